"""The log over plain HTTP, as https://c2sp.org/tlog-tiles asks, and again below ``/api/v2``.

Anybody may read it: entries hold digests, signatures and public keys, and no more.
"""

from registry.errors import NotFoundError, Reason
from registry.server.http.routing import TEXT, Request, Response, Route
from registry.services.sequencing import Sequencer

PREFIXES = ("", "/api/v2")
"""Where the same log is served: Sigstore clients add the second one to the log's address."""

CHECKPOINT_SECONDS = 2
"""How long anybody may keep a checkpoint instead of asking again."""


class Tiles:
    """Answers reads of the log."""

    def __init__(self, sequencer: Sequencer) -> None:
        self._sequencer = sequencer

    def routes(self) -> tuple[Route, ...]:
        """What is served where."""
        return tuple(Route("GET", f"{prefix}/checkpoint", self.checkpoint) for prefix in PREFIXES)

    async def checkpoint(self, _request: Request) -> Response:
        """The newest signed checkpoint."""
        head = self._sequencer.head
        if head is None:
            raise NotFoundError(Reason.BEYOND_TREE, "the log is empty")
        return Response(
            body=head.note,
            media_type=TEXT,
            headers=(("cache-control", f"max-age={CHECKPOINT_SECONDS}"),),
        )
