"""RFC 3161 over HTTP (§3.4), where Sigstore clients look for it: ``POST /api/v1/timestamp``.

``GET /api/v1/timestamps`` says how it stands with the authorities that stamp this log.
"""

from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from typing import Final

from registry.core import encoding
from registry.core.archive.tsp import MAX_REQUEST_BYTES
from registry.errors import MalformedError, Reason
from registry.server.http.routing import Request, Response, Route
from registry.services.timestamps import Timestamps
from registry.signing.timestamping import TimestampSigner

PATH: Final = "/api/v1/timestamp"
STATES_PATH: Final = "/api/v1/timestamps"
QUERY: Final = "application/timestamp-query"
REPLY: Final = "application/timestamp-reply"


class Timestamping:
    """Answers anybody who asks: a digest tells us nothing, and a stamp claims little."""

    def __init__(self, signer: TimestampSigner, now: Callable[[], datetime]) -> None:
        self._signer = signer
        self._now = now

    def routes(self) -> tuple[Route, ...]:
        """What is served where."""
        return (Route("POST", PATH, self.stamp, max_body_bytes=MAX_REQUEST_BYTES),)

    async def stamp(self, request: Request) -> Response:
        """A token, with the status 201 that Sigstore's clients want, or a rejection with 400.

        Raises:
            MalformedError: ``MALFORMED_TIMESTAMP`` if the body is not even called a request.
        """
        if request.media_type != QUERY:
            raise MalformedError(
                Reason.MALFORMED_TIMESTAMP,
                "this is not a timestamp request",
                where="content-type",
                expected=QUERY,
                actual=request.media_type[:80],
            )
        response, granted = self._signer.answer(request.body, self._now())
        status = HTTPStatus.CREATED if granted else HTTPStatus.BAD_REQUEST
        return Response(status, response, REPLY, (("cache-control", "no-store"),))


class Schedule:
    """Says when which authority stamped the log last, and what keeps it from doing so again."""

    def __init__(self, timestamps: Timestamps) -> None:
        self._timestamps = timestamps

    def routes(self) -> tuple[Route, ...]:
        """What is served where."""
        return (Route("GET", STATES_PATH, self.states),)

    async def states(self, _request: Request) -> Response:
        """One object for each authority; where it is asked stays the operator's business."""
        states = [
            {
                "authority": state.subject,
                "size": state.size,
                "stampedAt": encoding.time_text(state.at) if state.at else "",
                "failures": state.failures,
                "reason": state.reason,
                "alarms": state.alarms,
            }
            for state in self._timestamps.states
        ]
        return Response(body=encoding.write_json(states), headers=(("cache-control", "no-store"),))
