"""What stands beside an outcome: the record of what ran, and of the level that its caller got.

What was attached to a call may come a day later, behind many batches. It is looked for where it can
be: directly after the outcome, when the caller's deadline passed, and after each replay.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import msgspec

from registry.core.attestation.dsse import Envelope
from registry.core.capsule.parts import Beside, LoggedEnvelope
from registry.core.records import batch, inference, predicate
from registry.errors import NotFoundError
from registry.services.journals import Found, Journals
from registry.services.sources import Sources
from registry.storage.sql import catalog, log
from registry.storage.sql.engine import Connection
from registry.storage.sql.log import StoredEntry

MAX_ROUNDS: Final = 4
"""How often 64 batches are searched from one place on."""


@dataclass(frozen=True, slots=True)
class Around:
    """What goes into a capsule beside an outcome, with the batches that hold it."""

    setup: Beside | None = None
    attached: tuple[Beside, ...] = ()
    batches: tuple[LoggedEnvelope, ...] = ()


class BesideRecords:
    """Finds what stands beside outcomes."""

    def __init__(self, journals: Journals) -> None:
        self._journals = journals

    def gather(
        self,
        connection: Connection,
        sources: Sources,
        record: inference.Completion,
        replays: Sequence[LoggedEnvelope],
    ) -> Around:
        """What stands beside an outcome and can be proved; may be nothing.

        Args:
            connection: Where batches are listed.
            sources: Proves statements.
            record: The outcome.
            replays: What auditors say who ran its call again.

        Raises:
            DamagedError: ``STORED_BYTES``.
        """
        setup = self._setup(connection, record)
        attached = self._attached(connection, record, [item.index for item in replays])
        found = [item for item in (setup, attached) if item is not None]
        # What was registered after this checkpoint cannot be proved against it.
        proved = [item for item in found if item.entry.index < sources.size]
        return Around(
            setup=_beside(setup) if setup is not None and setup in proved else None,
            attached=(_beside(attached),) if attached is not None and attached in proved else (),
            batches=tuple(sources.entry(entry) for entry in _entries(proved)),
        )

    def _setup(self, connection: Connection, record: inference.Completion) -> Found | None:
        if record.setup_n is msgspec.UNSET:
            return None
        shim_id = bytes.fromhex(record.sequence.shim_id)
        try:
            found = self._journals.record_on(connection, shim_id, record.setup_n)
        except NotFoundError:
            return None
        return found if isinstance(inference.parse(found.data), inference.Setup) else None

    def _attached(
        self, connection: Connection, record: inference.Completion, replays: Sequence[int]
    ) -> Found | None:
        if record.asked is msgspec.UNSET or record.asked == "logged":
            return None
        shim_id = bytes.fromhex(record.sequence.shim_id)
        for first in sorted({*_places(connection, record, replays)}):
            from_n, rounds = first, 0
            while from_n and rounds < MAX_ROUNDS:
                found, from_n = self._journals.about_on(
                    connection, shim_id, record.intent_n, from_n
                )
                if found is None:
                    rounds += 1
                elif isinstance(inference.parse(found.data), inference.Attached):
                    return found
        return None


def _places(
    connection: Connection, record: inference.Completion, replays: Iterable[int]
) -> Iterator[int]:
    """The numbers from which on it is worth looking for what was attached to a call."""
    yield record.sequence.n + 1
    shim_id = bytes.fromhex(record.sequence.shim_id)
    head = catalog.shim_head(connection, shim_id)
    if head is None:
        return

    def first_that(is_late: "_IsLate") -> int:
        """The first record of the first batch that is late; batches get later and later."""
        low, high = record.sequence.n, head.n_last + 1
        while low < high:
            stored = catalog.batch_of_record(connection, shim_id, (low + high) // 2)
            if stored is None:
                return high
            if is_late(connection, stored):
                high = max(stored.n_first, low)
            else:
                low = stored.n_last + 1
        return low

    for index in replays:
        yield first_that(_After(index))
    try:
        ends = datetime.fromisoformat(record.at) + timedelta(milliseconds=record.deadline_ms)
    except (ValueError, OverflowError):
        # No calendar has this time.
        return
    yield first_that(_Closed(ends))


@dataclass(frozen=True, slots=True)
class _After:
    """Whether a batch was logged after an entry."""

    index: int

    def __call__(self, _connection: Connection, stored: catalog.StoredBatch) -> bool:
        return stored.index > self.index


@dataclass(frozen=True, slots=True)
class _Closed:
    """Whether a batch was closed at a time or later, says its node."""

    at: datetime

    def __call__(self, connection: Connection, stored: catalog.StoredBatch) -> bool:
        entry = log.entry(connection, stored.index)
        if entry is None:
            return True
        said: batch.Batch = predicate.parse(Envelope.parse(entry.envelope).payload).predicate
        try:
            return datetime.fromisoformat(said.closed_at) >= self.at
        except ValueError:
            return True


_IsLate = _After | _Closed


def _beside(found: Found) -> Beside:
    return Beside(found.data, found.position, found.path)


def _entries(found: Iterable[Found]) -> list[StoredEntry]:
    return list({item.entry.index: item.entry for item in found}.values())
