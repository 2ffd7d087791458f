"""Where an output comes from, as a registry tells it."""

from collections.abc import Sequence
from dataclasses import dataclass

from registry.api.v1 import lineage_service_pb2 as pb
from registry.api.v1 import lineage_service_pb2_grpc as rpc
from registry.client.channel import Connection
from registry.client.session import Session
from registry.core.tlog.note import VerifierKey


@dataclass(frozen=True, slots=True)
class Location:
    """Where an inference receipt stands: in which batch, and at which position."""

    batch_index: int
    position: int


@dataclass(frozen=True, slots=True)
class Traced:
    """A capsule as the registry made it. Judge it with :mod:`registry.core.capsule.walk`.

    Attributes:
        matches: How many receipts of the output there are, says the registry.
    """

    capsule: bytes
    matches: int
    location: Location


class LineageCalls(Session):
    """Finds outputs and fetches capsules."""

    def __init__(self, connection: Connection, log_key: VerifierKey) -> None:
        super().__init__(connection, log_key)
        self._lineage = rpc.LineageServiceStub(connection.channel)

    def find_output(self, digests: Sequence[bytes]) -> list[Location]:
        """Where the receipts of an output stand, says the registry; oldest first."""
        request = pb.FindOutputRequest(content_digests=digests)
        answer = self.connection.call(self._lineage.FindOutput, request)
        return [Location(item.batch_index, item.position) for item in answer.locations]

    def trace(self, digests: Sequence[bytes], location: Location | None = None) -> Traced:
        """A capsule about one receipt of an output; it is not judged here.

        Raises:
            NotFoundError: ``UNKNOWN_OUTPUT``.
        """
        request = pb.TraceRequest(content_digests=digests)
        if location is not None:
            request.location.batch_index = location.batch_index
            request.location.position = location.position
        answer = self.connection.call(self._lineage.Trace, request)
        where = Location(answer.location.batch_index, answer.location.position)
        return Traced(answer.capsule, answer.matches, where)
