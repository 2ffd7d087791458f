"""The second checkpoint slot over HTTP: the newest checkpoint that enough witnesses cosigned."""

from registry.errors import NotFoundError, Reason
from registry.server.http.routing import TEXT, Request, Response, Route
from registry.services.sequencing import Sequencer


class CosignedCheckpoint:
    """Answers whoever wants cosignatures more than the newest entries."""

    def __init__(self, sequencer: Sequencer) -> None:
        self._sequencer = sequencer

    def routes(self) -> tuple[Route, ...]:
        """What is served where."""
        return (Route("GET", "/checkpoint/cosigned", self.checkpoint),)

    async def checkpoint(self, _request: Request) -> Response:
        """The checkpoint in the second slot, with all signatures."""
        head = self._sequencer.heads.cosigned
        if head is None:
            raise NotFoundError(Reason.QUORUM, "no checkpoint was cosigned to quorum so far")
        return Response(body=head.note, media_type=TEXT, headers=(("cache-control", "no-cache"),))
