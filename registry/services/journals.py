"""What shims wrote down, as far as it is registered: records by number, each with its proof."""

from collections.abc import Iterator
from dataclasses import dataclass

from registry.core.attestation.dsse import Envelope
from registry.core.records import batch, inference, predicate
from registry.core.tlog import merkle
from registry.errors import MalformedError, NotFoundError, Reason, VerificationError
from registry.services.sources import damaged
from registry.services.stored_batches import StoredBatches
from registry.storage.blobs.port import BlobStore
from registry.storage.sql import catalog, log
from registry.storage.sql.catalog import StoredBatch
from registry.storage.sql.engine import Connection, Database
from registry.storage.sql.log import StoredEntry

MAX_SEARCHED = 64
"""Batches that are searched for one answer; whoever asks goes on behind them."""

MAX_N = 2**53 - 1
"""The largest number that a record can have."""


@dataclass(frozen=True, slots=True)
class Found:
    """A record, its place in its batch, its path to the root, and the batch as it was logged."""

    data: bytes
    path: tuple[bytes, ...]
    entry: StoredEntry
    principal: str
    position: int


class Journals:
    """Answers what a shim wrote down."""

    def __init__(self, database: Database, blobs: BlobStore) -> None:
        self._database = database
        self._batches = StoredBatches(blobs)

    def record(self, shim_id: bytes, n: int) -> Found:
        """Record ``n`` of a shim.

        Raises:
            NotFoundError: ``UNKNOWN_RECORD``.
            DamagedError: ``STORED_BYTES``.
        """
        with self._database.read() as connection:
            return self.record_on(connection, shim_id, n)

    def record_on(self, connection: Connection, shim_id: bytes, n: int) -> Found:
        """As :meth:`record`, for whoever reads already."""
        stored = self._holding(connection, shim_id, n)
        position = n - stored.n_first
        try:
            data = self._batches.record(stored, position)
        except MalformedError as error:
            raise damaged(_where(stored, position)) from error
        return self._proved(connection, stored, position, data)

    def about(self, shim_id: bytes, intent_n: int, from_n: int) -> tuple[Found | None, int]:
        """The next record about a call: its outcome, or what was attached to it later.

        Args:
            shim_id: Whose call.
            intent_n: The number of its intent.
            from_n: The number of the first record to look at.

        Returns:
            The record; None if none of those that were looked at is about the call. And the number
            with which to go on; 0 if the registered part of the journal ends there.

        Raises:
            DamagedError: ``STORED_BYTES``.
        """
        with self._database.read() as connection:
            return self.about_on(connection, shim_id, intent_n, from_n)

    def about_on(
        self, connection: Connection, shim_id: bytes, intent_n: int, from_n: int
    ) -> tuple[Found | None, int]:
        """As :meth:`about`, for whoever reads already."""
        first = max(from_n, intent_n + 1)
        head = catalog.shim_head(connection, shim_id)
        stored = catalog.batch_of_record(connection, shim_id, first)
        if head is None or stored is None:
            return None, 0
        others = catalog.batches_of_shim(connection, shim_id, stored.n_last + 1, MAX_SEARCHED - 1)
        for searched in (stored, *others):
            for n, data in self._naming(searched, intent_n):
                if n >= first:
                    found = self._proved(connection, searched, n - searched.n_first, data)
                    return found, n + 1 if n < head.n_last else 0
        last = (stored, *others)[-1].n_last
        return None, last + 1 if last < head.n_last else 0

    def batches(
        self, shim_id: bytes, from_n: int, limit: int
    ) -> list[tuple[StoredBatch, StoredEntry]]:
        """The batches of a shim, in order, from the one on that holds record ``from_n``.

        If none holds it, from the next one on: no batch is there, and whoever asks shall see that.
        """
        with self._database.read() as connection:
            first = catalog.batch_of_record(connection, shim_id, from_n)
            n_first = from_n if first is None else first.n_first
            found = catalog.batches_of_shim(connection, shim_id, n_first, limit)
            return [(item, _entry(connection, item)) for item in found]

    def shims(self, after: bytes, limit: int) -> list[bytes]:
        """The shims that registered anything and whose ids are larger than ``after``."""
        with self._database.read() as connection:
            return catalog.shims(connection, after, limit)

    def _holding(self, connection: Connection, shim_id: bytes, n: int) -> StoredBatch:
        stored = catalog.batch_of_record(connection, shim_id, n)
        if stored is None:
            raise _unknown(shim_id, n)
        return stored

    def _naming(self, stored: StoredBatch, intent_n: int) -> Iterator[tuple[int, bytes]]:
        """The records of a batch that name this intent, with their numbers."""
        # RFC 8785 gives a number one spelling, and quotes in texts are escaped.
        text = b'"intent_n":%d,' % intent_n
        try:
            for position, data in self._batches.holding(stored, text):
                if getattr(inference.parse(data), "intent_n", None) == intent_n:
                    yield stored.n_first + position, data
        except MalformedError as error:
            raise damaged(f"batch {stored.index}") from error

    def _proved(
        self, connection: Connection, stored: StoredBatch, position: int, data: bytes
    ) -> Found:
        entry = _entry(connection, stored)
        try:
            path = self._batches.path(stored, position)
            said: batch.Batch = predicate.parse(Envelope.parse(entry.envelope).payload).predicate
            leaf = merkle.leaf_hash(data)
            merkle.verify_inclusion(leaf, position, said.count, path, bytes.fromhex(said.root))
        except (MalformedError, VerificationError) as error:
            raise damaged(_where(stored, position)) from error
        return Found(data, path, entry, stored.principal, position)


def _entry(connection: Connection, stored: StoredBatch) -> StoredEntry:
    entry = log.entry(connection, stored.index)
    if entry is None:
        raise damaged(f"batch {stored.index}")
    return entry


def _where(stored: StoredBatch, position: int) -> str:
    return f"record {position} of batch {stored.index}"


def _unknown(shim_id: bytes, n: int) -> NotFoundError:
    return NotFoundError(
        Reason.UNKNOWN_RECORD,
        "no such record of this shim is registered",
        where=f"{shim_id.hex()}/{n}",
        hint="was it not uploaded yet?",
    )
