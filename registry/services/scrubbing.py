"""Reads the whole log again and again, slowly, so that damage is found before somebody needs it.

A thread of its own, 256 entries at a time with a pause after each: a log of a million entries is
read once in half a day, for a thousandth of a processor. Entries and tiles are read from the disk
and not from memory; what is wrong latches the log. Blobs are hashed whenever they are read, and by
``provreg log fsck``.
"""

import logging
import threading

from registry.core.tlog.tile import TILE_WIDTH
from registry.errors import DamagedError, Reason
from registry.services.sequencing import Sequencer
from registry.storage.sql import log
from registry.storage.sql.engine import Database

PAUSE_SECONDS = 10.0
"""From one piece of 256 entries to the next."""

logger = logging.getLogger(__name__)


class Scrubber:
    """Looks for damage in what is stored."""

    def __init__(
        self, database: Database, sequencer: Sequencer, *, pause_seconds: float = PAUSE_SECONDS
    ) -> None:
        self._database = database
        self._sequencer = sequencer
        self._pause_seconds = pause_seconds
        self._stopping = threading.Event()
        self._next = 0
        self._thread = threading.Thread(target=self._run, name="scrubber", daemon=True)

    def start(self) -> None:
        """Read from now on, until damage is found or the registry stops."""
        self._thread.start()

    def close(self) -> None:
        """Stop after the piece that is being read."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def step(self) -> None:
        """Read the next piece.

        Raises:
            DamagedError: ``STORED_BYTES``; the log is latched.
        """
        head = self._sequencer.head
        size = 0 if head is None else head.checkpoint.size
        start = self._next if self._next < size else 0
        end = min(start + TILE_WIDTH, size)
        # What is not full yet will be read from its beginning again, when it has grown.
        self._next = end if end - start == TILE_WIDTH else 0
        if end == start:
            return
        try:
            self._compare(start, end)
        except DamagedError as error:
            self._sequencer.latch("reading the log again found damage", error)
            raise

    def _compare(self, start: int, end: int) -> None:
        index = start // TILE_WIDTH
        with self._database.read() as connection:
            rows = log.entries_from(connection, start, end - start)
            stored = log.tile(connection, 0, index)
        for row in rows:
            self._sequencer.verify(row)
        leaves = b"".join(row.leaf_hash for row in rows)
        known = self._sequencer.tree.tile(0, index, end - start)
        # A tile that the tree knows may have been damaged, or lost, on the disk since.
        if leaves != known or (end - start == TILE_WIDTH and stored != leaves):
            raise DamagedError(
                Reason.STORED_BYTES,
                "a tile of the log, or an entry below it, is not what was stored",
                where=f"tile/0/{index}",
                hint="run: provreg log fsck",
            )

    def _run(self) -> None:
        while not self._stopping.wait(self._pause_seconds):
            try:
                self.step()
            except DamagedError:
                # Latched, and told of by that: there is nothing more to find out from here.
                return
            except Exception:
                # Nothing was written, so nothing is in doubt: it is read when that is possible.
                logger.warning("the log could not be read again just now", exc_info=True)
