"""New entries for whoever watches the log, page by page, each proved and verified before it goes.

Every row of a page is checked, also those that do not match: a damaged entry must not be able to
hide behind the words "nothing else matches".
"""

from dataclasses import dataclass

from registry.core.records.wanted import Said, Wanted
from registry.core.tlog.checkpoint import SignedCheckpoint
from registry.core.tlog.receipt import Receipt
from registry.errors import DamagedError, Reason
from registry.services.sequencing import Sequencer
from registry.storage.sql import log
from registry.storage.sql.engine import Database

PAGE = 64
"""Entries that are read at a time; what a watcher has in memory, at most."""


@dataclass(frozen=True, slots=True)
class Watched:
    """An entry that matches."""

    body: bytes
    receipt: Receipt
    envelope: bytes
    said: Said


@dataclass(frozen=True, slots=True)
class Progress:
    """Every entry before ``next`` that matches was told of; ``head`` is over at least so many."""

    next: int
    head: SignedCheckpoint


@dataclass(frozen=True, slots=True)
class Page:
    """What matches in some entries, and how far they go."""

    found: tuple[Watched, ...]
    progress: Progress


class Watching:
    """Reads the log for watchers."""

    def __init__(self, database: Database, sequencer: Sequencer) -> None:
        self._database = database
        self._sequencer = sequencer

    def page(self, wanted: Wanted, start: int, head: SignedCheckpoint) -> Page:
        """What matches in the page of entries from ``start`` on, and how far that is.

        ``start`` is below the size of ``head``.

        Raises:
            DamagedError: ``STORED_BYTES``.
        """
        end = min(start + PAGE, head.checkpoint.size)
        with self._database.read() as connection:
            rows = log.entries_from(connection, start, end - start)
        if [row.index for row in rows] != list(range(start, end)):
            raise DamagedError(
                Reason.STORED_BYTES,
                "entries are missing from the log",
                where=f"entries {start} to {end - 1}",
                hint="run: provreg log fsck",
            )
        found = []
        for stored in rows:
            self._sequencer.verify(stored)
            said = wanted.find(stored.body, stored.envelope)
            if said is not None:
                receipt = self._sequencer.prove(stored, head)
                found.append(Watched(stored.body, receipt, stored.envelope, said))
        return Page(tuple(found), Progress(end, head))
