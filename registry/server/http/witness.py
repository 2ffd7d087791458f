"""A witness over HTTP, as https://c2sp.org/tlog-witness asks; one prefix for asking and reading."""

import asyncio
from http import HTTPStatus

from registry.core.tlog.witnessing import MAX_REQUEST_BYTES, SIZE_TYPE
from registry.errors import (
    MalformedError,
    NotFoundError,
    Reason,
    RegistryError,
    VerificationError,
)
from registry.server.http.routing import TEXT, Request, Response, Route
from registry.services.witnessing import Stale, Witness


class Witnessing:
    """Answers logs that want cosignatures, and monitors that want to see them."""

    def __init__(self, witness: Witness) -> None:
        self._witness = witness

    def routes(self) -> tuple[Route, ...]:
        """What is served where."""
        return (
            Route("POST", "/add-checkpoint", self.add_checkpoint, MAX_REQUEST_BYTES),
            Route("GET", "/{log}/checkpoint", self.checkpoint),
        )

    async def add_checkpoint(self, request: Request) -> Response:
        """Cosign, or say why not, with the status that the protocol gives to each reason."""
        try:
            answer = await asyncio.to_thread(self._witness.add_checkpoint, request.body)
        except (MalformedError, NotFoundError, VerificationError) as error:
            return Response(_status(error), f"{error}\n".encode(), TEXT)
        if isinstance(answer, Stale):
            return Response(HTTPStatus.CONFLICT, f"{answer.size}\n".encode(), SIZE_TYPE)
        return Response(HTTPStatus.OK, answer, TEXT)

    async def checkpoint(self, request: Request) -> Response:
        """The checkpoint cosigned last of the log with this id."""
        note = await asyncio.to_thread(self._witness.latest, request.parts["log"])
        if note is None:
            raise NotFoundError(Reason.UNKNOWN_LOG, "no checkpoint of this log was cosigned here")
        return Response(HTTPStatus.OK, note, TEXT, (("cache-control", "no-cache"),))


def _status(error: RegistryError) -> HTTPStatus:
    if error.reason is Reason.CONSISTENCY_PROOF:
        return HTTPStatus.UNPROCESSABLE_ENTITY
    if isinstance(error, VerificationError):
        return HTTPStatus.FORBIDDEN
    if isinstance(error, NotFoundError):
        return HTTPStatus.NOT_FOUND
    return HTTPStatus.BAD_REQUEST
