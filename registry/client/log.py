"""Checkpoints, proofs and entries of a log, each verified."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from registry.api.v1 import log_service_pb2 as pb
from registry.api.v1 import log_service_pb2_grpc as rpc
from registry.client.channel import Connection
from registry.client.session import Session, require
from registry.core.records.wanted import Wanted
from registry.core.tlog import entry
from registry.core.tlog.checkpoint import Checkpoint, SignedCheckpoint
from registry.core.tlog.cose import CoseReceipt
from registry.core.tlog.entry import Entry
from registry.core.tlog.merkle import leaf_hash, verify_consistency, verify_inclusion
from registry.core.tlog.note import VerifierKey
from registry.core.tlog.receipt import Receipt
from registry.wire import log as wire
from registry.wire import watching as wire_watching

WATCH_SECONDS: Final = 24 * 3600
"""How long one call may watch the log."""


@dataclass(frozen=True, slots=True)
class LoggedEntry:
    """One entry of the log and its proof."""

    body: bytes
    entry: Entry
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class WatchedEntry:
    """An entry that was watched for.

    Attributes:
        envelope: The statement in its envelope, whose signer nobody has judged here; empty if only
            its signature was logged.
    """

    body: bytes
    envelope: bytes
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class WatchProgress:
    """Every entry before ``next`` that matches was shown, says the registry.

    Attributes:
        head: A checkpoint over at least ``next`` entries.
    """

    next: int
    head: SignedCheckpoint


class LogCalls(Session):
    """Reads the log."""

    def __init__(self, connection: Connection, log_key: VerifierKey) -> None:
        super().__init__(connection, log_key)
        self._log = rpc.LogServiceStub(connection.channel)

    def checkpoint(self) -> SignedCheckpoint:
        """The newest checkpoint; proven to extend the one that this session saw before.

        Raises:
            NotFoundError: ``BEYOND_TREE`` for an empty log.
            VerificationError: ``FORK`` or ``CONSISTENCY_PROOF``.
        """
        before = self.heads.newest
        if before is not None:
            return self.consistency(before.checkpoint)
        request = pb.GetCheckpointRequest()
        answer = self.connection.call(self._log.GetCheckpoint, request)
        return self.heads.open(answer.checkpoint, 0)

    def cosigned_checkpoint(self) -> SignedCheckpoint:
        """The newest checkpoint that the log had cosigned to its quorum, or else the newest one.

        Whether the cosignatures are enough is for the caller's own policy to say. What the log
        shows otherwise is proven to extend it.

        Raises:
            NotFoundError: ``BEYOND_TREE`` for an empty log.
            VerificationError: ``FORK`` or ``CONSISTENCY_PROOF``.
        """
        request = pb.GetCheckpointRequest(cosigned=True)
        answer = self.connection.call(self._log.GetCheckpoint, request)
        head = self.heads.open(answer.checkpoint, 0)
        self.consistency(head.checkpoint)
        return head

    def consistency(self, before: Checkpoint) -> SignedCheckpoint:
        """The newest checkpoint, proven to extend ``before``.

        Raises:
            NotFoundError: ``BEYOND_TREE`` if the log never had that size.
            VerificationError: ``FORK`` or ``CONSISTENCY_PROOF``.
        """
        request = pb.GetConsistencyRequest(size=before.size)
        known = self.heads.size
        answer = self.connection.call(self._log.GetConsistency, request)
        head = self.heads.open(answer.checkpoint, known)
        after = head.checkpoint
        verify_consistency(before.size, after.size, tuple(answer.proof), before.root, after.root)
        return head

    def verify_extends(self, older: Checkpoint, newer: Checkpoint) -> None:
        """Check that ``newer`` extends ``older``: two checkpoints that came from anywhere.

        Raises:
            NotFoundError: ``BEYOND_TREE`` if the log never had these sizes.
            VerificationError: ``CONSISTENCY_PROOF``.
        """
        request = pb.GetConsistencyRequest(size=older.size, newer_size=newer.size)
        known = self.heads.size
        answer = self.connection.call(self._log.GetConsistency, request)
        self.heads.open(answer.checkpoint, known)
        verify_consistency(older.size, newer.size, tuple(answer.proof), older.root, newer.root)

    def watch(
        self,
        wanted: Wanted,
        start: int = 0,
        *,
        until_newest: bool = False,
        seconds: float = WATCH_SECONDS,
    ) -> Iterator[WatchedEntry | WatchProgress]:
        """New entries from ``start`` on, each verified, and how far the stream is complete.

        That nothing else matches is what the registry says; only somebody who wants everything can
        check it, and then it is checked here. The stream ends when the registry stops, or after
        ``seconds`` with ``DEADLINE``: go on from the last ``next``.

        Raises:
            VerificationError: ``INCLUSION_PROOF``, ``SUBJECT_MISMATCH``, ``FORK`` or
                ``LOG_SIGNATURE``.
            RegistryError: As :meth:`Connection.call`.
        """
        request = wire_watching.wanted_to_proto(wanted, start, until_newest=until_newest)
        following, shown = start, 0
        for answer in self.connection.receive(self._log.Watch, request, seconds):
            if answer.WhichOneof("event") == "progress":
                head = self.heads.open(answer.progress.checkpoint, shown)
                end = answer.progress.next
                whole = end == following or not wanted.is_everything
                require(whole and following <= end <= head.checkpoint.size, "progress", str(end))
                following = end
                yield WatchProgress(end, head)
            else:
                entry_ = answer.entry
                receipt = wire.receipt_from_proto(entry_.receipt)
                self.heads.verify(receipt, entry_.body, shown)
                head = receipt.head
                matches = wanted.find(entry_.body, entry_.envelope) is not None
                follows = receipt.index == following or not wanted.is_everything
                require(
                    matches and follows and receipt.index >= following,
                    "entry",
                    str(receipt.index),
                )
                following = receipt.index + 1
                yield WatchedEntry(entry_.body, entry_.envelope, receipt)
            shown = head.checkpoint.size

    def proof(self, which: int | bytes, *, cosigned: bool = False) -> LoggedEntry:
        """One entry by index, or the first entry of a statement by record id, with its proof.

        With ``cosigned`` it is proved against the checkpoint that :meth:`cosigned_checkpoint`
        gives, if that covers the entry.

        Raises:
            NotFoundError: ``BEYOND_TREE`` or ``UNKNOWN_RECORD``.
            VerificationError: ``INCLUSION_PROOF``.
        """
        if isinstance(which, int):
            request = pb.GetProofRequest(index=which, cosigned=cosigned)
        else:
            request = pb.GetProofRequest(record_id=which, cosigned=cosigned)
        # A quorum comes a moment later: what it signed may be smaller than what is known.
        known = 0 if cosigned else self.heads.size
        answer = self.connection.call(self._log.GetProof, request)
        receipt = wire.receipt_from_proto(answer.receipt)
        self.heads.verify(receipt, answer.body, known)
        if cosigned:
            self.consistency(receipt.head.checkpoint)
        parsed = entry.parse(answer.body)
        require(which in (receipt.index, parsed.digest), "entry", str(which)[:80])
        return LoggedEntry(answer.body, parsed, receipt)

    def cose_receipt(self, which: int | bytes) -> tuple[bytes, CoseReceipt]:
        """As :meth:`proof`, as a COSE receipt: the entry's bytes, and the receipt.

        Its root is that of a checkpoint which this session has checked like every other.

        Raises:
            NotFoundError: ``BEYOND_TREE`` or ``UNKNOWN_RECORD``.
            MalformedError: ``MALFORMED_COSE``.
            VerificationError: ``INCLUSION_PROOF`` or ``LOG_SIGNATURE``.
        """
        if isinstance(which, int):
            request = pb.GetCoseReceiptRequest(index=which)
        else:
            request = pb.GetCoseReceiptRequest(record_id=which)
        known = self.heads.size
        answer = self.connection.call(self._log.GetCoseReceipt, request)
        receipt = CoseReceipt.parse(answer.cose_receipt)
        receipt.verify(answer.body, self.log_key)
        head = self.heads.open(answer.checkpoint, known).checkpoint
        # Size and index are not signed in a receipt: both must fit the signed checkpoint.
        require(receipt.size == head.size, "tree size", str(receipt.size))
        verify_inclusion(leaf_hash(answer.body), receipt.index, head.size, receipt.proof, head.root)
        require(which in (receipt.index, receipt.subject), "entry", str(which)[:80])
        return answer.body, receipt


def fetch_log_key(connection: Connection) -> VerifierKey:
    """The key that a registry says its log has. It proves nothing: pin it, or compare it.

    Raises:
        MalformedError: ``MALFORMED_KEY``.
    """
    stub = rpc.LogServiceStub(connection.channel)
    answer = connection.call(stub.GetLogKey, pb.GetLogKeyRequest())
    return VerifierKey.parse(answer.vkey)
