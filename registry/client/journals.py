"""Journals of shims, checked: records by number, each proven in its batch, and batches in order.

A shim numbers its records, so that whoever has two numbers can tell whether something lies between
them. What the registry does not show is not seen here; but the batches of one shim adjoin, and
their statements are chained, so that it cannot leave one out in the middle.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from registry.api.v1 import journal_service_pb2 as pb
from registry.api.v1 import journal_service_pb2_grpc as rpc
from registry.client.registry import RegistryClient
from registry.client.session import require
from registry.client.statements import LoggedStatement
from registry.core.digest import DigestSet
from registry.core.records import batch, inference
from registry.core.records.batch import Batch, Content
from registry.core.tlog import merkle
from registry.errors import NotFoundError, Reason

PAGE_SIZE: Final = 100
"""Batches asked for at once, or shims."""

SHIM_ID_BYTES: Final = 16
"""Bytes of a shim's id."""


@dataclass(frozen=True, slots=True)
class ProvenRecord:
    """A journal record whose place in the log is proven, and that a node was entitled to write.

    Attributes:
        data: Leaf data, as the shim wrote it.
        path: From the record to the root of its batch.
        batch: The batch statement.
    """

    data: bytes
    record: inference.Record
    position: int
    path: tuple[bytes, ...]
    batch: LoggedStatement


class JournalCalls:
    """What anybody may ask about the journals of shims."""

    def __init__(self, client: RegistryClient) -> None:
        self._client = client
        self._connection = client.connection
        self._journals = rpc.JournalServiceStub(client.connection.channel)

    def record(self, shim_id: bytes, n: int) -> ProvenRecord:
        """Record ``n`` of a shim.

        Raises:
            NotFoundError: ``UNKNOWN_RECORD``.
            RegistryError: What is wrong with the record or its proof.
        """
        known = self._client.heads.size
        request = pb.GetRecordRequest(shim_id=shim_id, n=n)
        answer = self._connection.call(self._journals.GetRecord, request)
        found = self._open(shim_id, answer.record, known)
        require(found.record.sequence.n == n, "record", f"{shim_id.hex()}/{n}")
        return found

    def about(self, shim_id: bytes, intent_n: int) -> Iterator[ProvenRecord]:
        """Every record about a call that is registered: its outcome, and what was attached to it.

        Raises:
            RegistryError: What is wrong with a record or its proof.
        """
        where = f"{shim_id.hex()}/{intent_n}"
        from_n = intent_n + 1
        while from_n:
            known = self._client.heads.size
            request = pb.FindAboutRequest(shim_id=shim_id, intent_n=intent_n, from_n=from_n)
            answer = self._connection.call(self._journals.FindAbout, request)
            require(not answer.next_n or answer.next_n > from_n, "part of the journal", where)
            if answer.HasField("record"):
                found = self._open(shim_id, answer.record, known)
                require(getattr(found.record, "intent_n", None) == intent_n, "call", where)
                require(found.record.sequence.n >= from_n, "part of the journal", where)
                yield found
            from_n = answer.next_n

    def outcome(self, shim_id: bytes, intent_n: int) -> ProvenRecord:
        """The one outcome of a call.

        Raises:
            NotFoundError: ``UNKNOWN_RECORD`` if it has none yet, or none that is registered.
            RegistryError: What is wrong with a record or its proof.
        """
        for found in self.about(shim_id, intent_n):
            if isinstance(found.record, inference.Outcome):
                return found
        raise NotFoundError(
            Reason.UNKNOWN_RECORD,
            "no outcome of this call is registered",
            where=f"{shim_id.hex()}/{intent_n}",
            hint="is the call still under way, or its record not uploaded yet?",
        )

    def batches(self, shim_id: bytes, from_n: int = 0) -> Iterator[LoggedStatement]:
        """The batches of a shim from the one on that holds record ``from_n``, without a hole.

        Raises:
            RegistryError: What is wrong with a batch, or ``SUBJECT_MISMATCH`` if two do not adjoin
                or are not chained.
        """
        previous: LoggedStatement | None = None
        for logged in self.listed(shim_id, from_n):
            said = batch_in(logged)
            where = f"batch {logged.index}"
            require(said.n_first <= from_n, "part of the journal", where)
            if previous is not None:
                require(said.n_first == from_n, "part of the journal", where)
                require(said.prev_batch == previous.record_id, "chain of batches", where)
            previous, from_n = logged, said.n_last + 1
            yield logged

    def listed(self, shim_id: bytes, from_n: int = 0) -> Iterator[LoggedStatement]:
        """The batches of a shim as they are, from the one on that holds ``from_n`` or follows it.

        Each is verified; whether they adjoin and chain is left to whoever asks.

        Raises:
            RegistryError: What is wrong with a batch.
        """
        while True:
            known = self._client.heads.size
            request = pb.ListBatchesRequest(shim_id=shim_id, from_n=from_n, page_size=PAGE_SIZE)
            answer = self._connection.call(self._journals.ListBatches, request)
            if not answer.batches:
                return
            for message in answer.batches:
                logged = self._client.opened(message, known)
                said = batch_in(logged)
                where = f"batch {logged.index}"
                require(said.shim_id == shim_id.hex(), "shim", where)
                # Also what keeps a registry from showing the same batch for ever.
                require(said.n_last >= from_n, "part of the journal", where)
                from_n = said.n_last + 1
                yield logged

    def shims(self) -> Iterator[bytes]:
        """The ids of all shims that registered anything, says the registry; smallest first.

        Raises:
            RegistryError: What is wrong with its answer.
        """
        after = b""
        while True:
            request = pb.ListShimsRequest(after=after, page_size=PAGE_SIZE)
            answer = self._connection.call(self._journals.ListShims, request)
            if not answer.shim_ids:
                return
            for shim_id in answer.shim_ids:
                require(len(shim_id) == SHIM_ID_BYTES and shim_id > after, "order of shims")
                after = shim_id
                yield shim_id

    def leaves(self, logged: LoggedStatement) -> list[bytes]:
        """The records of a batch, as its leaves file has them; they are not checked one by one.

        Raises:
            MalformedError: ``BATCH_CONTENT``.
            RegistryError: Why the file is not there.
        """
        said = batch_in(logged)
        data = self._client.read_blob(said.leaves.raw, batch.MAX_LEAVES_BYTES)
        require(DigestSet.of(data) == said.leaves, "leaves file", f"batch {logged.index}")
        return list(batch.split_leaves(data))

    def content(
        self, logged: LoggedStatement, previous_leaf: bytes | None = None
    ) -> tuple[list[bytes], Content]:
        """The records of a batch, each checked against the batch statement.

        Args:
            logged: The batch.
            previous_leaf: Leaf hash of the record before the first; None if it is not known.

        Raises:
            RegistryError: What is wrong with a record, as
                :func:`registry.core.records.batch.open_content`.
        """
        said, records = batch_in(logged), self.leaves(logged)
        link = None if previous_leaf is None else previous_leaf.hex()
        return records, batch.open_content(logged.statement.subject, said, records, link)

    def _open(self, shim_id: bytes, message: pb.ProvenRecord, known: int) -> ProvenRecord:
        logged = self._client.opened(message.batch, known)
        said = batch_in(logged)
        record = inference.parse(message.record)
        sequence = record.sequence
        where = f"{shim_id.hex()}/{sequence.n}"
        require(said.shim_id == sequence.shim_id == shim_id.hex(), "shim", where)
        position = sequence.n - said.n_first
        merkle.verify_inclusion(
            merkle.leaf_hash(message.record),
            position,
            said.count,
            message.path,
            bytes.fromhex(said.root),
        )
        return ProvenRecord(message.record, record, position, tuple(message.path), logged)


def batch_in(logged: LoggedStatement) -> Batch:
    """What a batch statement says.

    Raises:
        VerificationError: ``SUBJECT_MISMATCH`` if it is another kind of statement.
    """
    said = logged.statement.predicate
    require(isinstance(said, Batch), "kind of statement", f"entry {logged.index}")
    batch_: Batch = said
    return batch_
