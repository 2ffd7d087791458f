"""What verification cost, summed page by page: no answer takes more than a bounded part of the log.

A page is some batches in log order, and the replays between them. Whoever asks goes on behind it,
and fixes the size of the log at the first page, so that the same questions have the same answers.
"""

from dataclasses import dataclass
from typing import Final

import msgspec

from registry.core import digest
from registry.core.attestation.dsse import Envelope
from registry.core.records import batch, costs, inference, predicate, replay
from registry.core.records.costs import Cost, Costs, Wanted
from registry.errors import MalformedError, NotFoundError
from registry.services.journals import Journals
from registry.services.sources import damaged
from registry.storage.blobs.port import BlobStore
from registry.storage.sql import catalog, log
from registry.storage.sql.engine import Database

PAGE_BATCHES: Final = 256
"""Batches in one page, at most."""

PAGE_BYTES: Final = 64 * 1024 * 1024
"""Bytes of records after which a page ends."""

PAGE_ROWS: Final = 16_384
"""Rows after which a page ends; one more batch adds at most its records."""

PAGE_REPLAYS: Final = 1000
"""Replays in one page, at most."""

UNKNOWN_MODEL: Final = "unknown"
"""What a call was about whose intent or release is not registered here."""


@dataclass(frozen=True, slots=True)
class Page:
    """A part of all sums.

    Attributes:
        rows: The costs in it.
        next: The entry with which to go on.
        end: The first entry that no longer counts.
        records: How many records were read.
    """

    rows: tuple[Cost, ...]
    next: int
    end: int
    records: int


class CostSums:
    """Sums what verification cost."""

    def __init__(self, database: Database, blobs: BlobStore, journals: Journals) -> None:
        self._database = database
        self._blobs = blobs
        self._journals = journals

    def page(self, wanted: Wanted, start: int, end: int) -> Page:
        """The costs in some batches from entry ``start`` on.

        Args:
            wanted: Which are asked for.
            start: The first entry.
            end: The first entry that no longer counts; 0 for all that there are now.

        Raises:
            DamagedError: ``STORED_BYTES``.
        """
        with self._database.read() as connection:
            size = log.size(connection)
            last = min(end or size, size)
            replays = catalog.find(
                connection, replay.PREDICATE_TYPE, start=start, limit=PAGE_REPLAYS + 1
            )
            # What is left out of a full page goes to the next one.
            stop = min(last, replays[-1][1].index) if len(replays) > PAGE_REPLAYS else last
            found = catalog.batches_between(connection, start, stop, PAGE_BATCHES)
        behind = stop if len(found) < PAGE_BATCHES else found[-1].index + 1
        summed, read, records = Costs(), 0, 0
        for stored in found:
            leaves = self._blobs.read(stored.leaves, batch.MAX_LEAVES_BYTES)
            try:
                costs.add_batch(summed, wanted, batch.split_leaves(leaves), self._model_of)
            except (msgspec.MsgspecError, MalformedError) as error:
                raise damaged(f"batch {stored.index}") from error
            read += len(leaves)
            records += stored.n_last - stored.n_first + 1
            if read >= PAGE_BYTES or len(summed) >= PAGE_ROWS:
                behind = stored.index + 1
                break
        for listed, entry in replays:
            if listed.index < behind:
                said = predicate.parse(Envelope.parse(entry.envelope).payload).predicate
                costs.add_replay(summed, wanted, said)
        return Page(summed.rows(), max(behind, start), last, records)

    def _model_of(self, shim_id: str, intent_n: int) -> str:
        """What a call was about: its intent names the release."""
        try:
            data = self._journals.record(bytes.fromhex(shim_id), intent_n).data
        except NotFoundError:
            return UNKNOWN_MODEL
        intent = inference.parse(data)
        if not isinstance(intent, inference.Intent):
            return UNKNOWN_MODEL
        with self._database.read() as connection:
            stored = log.entry_of_record(connection, digest.parse(intent.release))
            listed = None if stored is None else catalog.listed(connection, stored.index)
        return UNKNOWN_MODEL if listed is None else f"{listed.name}@{listed.version}"
