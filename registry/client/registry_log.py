"""A registry's log over gRPC, for a monitor: proofs instead of tiles."""

from collections.abc import Iterator

from registry.api.v1 import log_service_pb2 as pb
from registry.client.log import LogCalls, WatchedEntry
from registry.core.records.wanted import Wanted
from registry.core.tlog.checkpoint import Checkpoint, SignedCheckpoint


class RegistryLog(LogCalls):
    """Reads the log of one registry. Belongs to one thread."""

    def newest(self, *, cosigned: bool = False) -> bytes:
        """The newest checkpoint that is shown, a note that nobody has verified yet.

        With ``cosigned`` it is the newest that enough witnesses have seen, if there is one.

        Raises:
            NotFoundError: ``BEYOND_TREE`` for an empty log.
            RegistryError: As :meth:`Connection.call`.
        """
        answer = self.connection.call(
            self._log.GetCheckpoint, pb.GetCheckpointRequest(cosigned=cosigned)
        )
        return answer.checkpoint

    def verify_extends(self, older: Checkpoint, newer: Checkpoint) -> None:
        """Check that ``newer`` extends ``older``; everything extends the empty tree.

        Raises:
            VerificationError: ``CONSISTENCY_PROOF``.
        """
        if older.size:
            super().verify_extends(older, newer)

    def entries(
        self, start: int, head: SignedCheckpoint
    ) -> Iterator[tuple[int, tuple[bytes, ...]]]:
        """The entries from ``start`` to the end of ``head``, each verified.

        Raises:
            VerificationError: ``INCLUSION_PROOF``, ``CONSISTENCY_PROOF`` or ``FORK``.
            RegistryError: As :meth:`Connection.call`.
        """
        size = head.checkpoint.size
        proved = head.checkpoint
        first, found = start, list[bytes]()
        if start >= size:
            return
        for told in self.watch(Wanted(), start, until_newest=True):
            shown = told.receipt.head if isinstance(told, WatchedEntry) else told.head
            if shown.checkpoint != proved:
                # What is proved to be in a larger tree is in ours if that one extends ours.
                self.verify_extends(head.checkpoint, shown.checkpoint)
                proved = shown.checkpoint
            if isinstance(told, WatchedEntry) and told.receipt.index < size:
                found.append(told.body)
            elif found:
                yield first, tuple(found)
                first, found = first + len(found), []
            if not isinstance(told, WatchedEntry) and told.next >= size:
                return
