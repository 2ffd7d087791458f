"""The second checkpoint slot over HTTP, and how the witnesses of this log do."""

from typing import Final

from registry.core import encoding
from registry.errors import NotFoundError, Reason
from registry.server.http.routing import TEXT, Request, Response, Route
from registry.services.cosigning import Cosigning
from registry.services.sequencing import Sequencer

PATH: Final = "/checkpoint/cosigned"
STATES_PATH: Final = "/api/v1/witnesses"


class CosignedCheckpoint:
    """Answers whoever wants cosignatures more than the newest entries."""

    def __init__(self, sequencer: Sequencer, cosigning: Cosigning | None) -> None:
        self._sequencer = sequencer
        self._cosigning = cosigning

    def routes(self) -> tuple[Route, ...]:
        """What is served where."""
        return (
            Route("GET", PATH, self.checkpoint),
            Route("GET", STATES_PATH, self.states),
        )

    async def checkpoint(self, _request: Request) -> Response:
        """The checkpoint in the second slot, with all signatures."""
        head = self._sequencer.heads.cosigned
        if head is None:
            raise NotFoundError(Reason.QUORUM, "no checkpoint was cosigned to quorum so far")
        return Response(body=head.note, media_type=TEXT, headers=(("cache-control", "no-cache"),))

    async def states(self, _request: Request) -> Response:
        """Which quorum is asked for, up to where it was met, and how each witness does."""
        cosigning = self._cosigning
        if cosigning is None:
            raise NotFoundError(Reason.QUORUM, "this log asks no witnesses")
        heads = self._sequencer.heads
        newest, cosigned = heads.newest, heads.cosigned
        found = {
            "quorum": cosigning.quorum,
            "mode": "fail-closed" if heads.held else "fail-open",
            "size": 0 if newest is None else newest.checkpoint.size,
            "cosigned": 0 if cosigned is None else cosigned.checkpoint.size,
            "witnesses": [
                {"name": state.name, "size": state.size, "reason": state.reason}
                for state in cosigning.states
            ],
        }
        return Response(body=encoding.write_json(found), headers=(("cache-control", "no-store"),))
