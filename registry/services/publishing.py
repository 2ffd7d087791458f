"""Publishes the log as files: tiles and bundles first, then the checkpoint that needs them.

A thread of its own, woken by the sequencer and never waited for: what it does can neither delay nor
undo an acknowledgement. It publishes the newest checkpoint and leaves out those in between, so a
busy log costs one publication in :data:`PAUSE_SECONDS`.

======================================  ==========================================================
dies, or the disk refuses               afterwards
======================================  ==========================================================
while it writes a tile or a bundle      the file is not there; the next round writes it
before the checkpoint                   readers see the older one, whose tiles are all there
after the checkpoint                    all is there
a file was lost                         the next start writes it again
======================================  ==========================================================

Other bytes than ours under a name of ours mean that this log was shown with another history. That
latches the log; a published checkpoint that our log does not extend keeps it from starting.
"""

import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from registry.core.tlog import entry_bundle
from registry.core.tlog.checkpoint import SignedCheckpoint
from registry.core.tlog.tile import TILE_WIDTH, TilePath
from registry.core.tlog.verified_tiles import edge
from registry.errors import (
    DamagedError,
    MalformedError,
    Reason,
    RegistryError,
    VerificationError,
)
from registry.services.sequencing import Sequencer
from registry.services.tiles import Tiles
from registry.storage.tiles import CHECKPOINT, TileFolder

PAUSE_SECONDS = 1.0
"""From one publication to the next, at least."""

RETRY_SECONDS = 5.0
"""How long to wait after the disk, or the database, refused."""

LAST_ENTRIES = 4096
"""Entries that are published before a registry stops; more of them are left to the next start."""

logger = logging.getLogger(__name__)

Piece = TilePath | tuple[int, int]
"""A tile, or index and width of an entry bundle."""


class Publisher:
    """Keeps a folder up with the log."""

    def __init__(self, sequencer: Sequencer, tiles: Tiles, folder: TileFolder) -> None:
        self._sequencer = sequencer
        self._tiles = tiles
        self._folder = folder
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._done = threading.Condition()
        self._published: bytes | None = None
        # How many entries had been published when this process began, and are now.
        self._found = self._size = 0
        self._is_whole = False
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    def start(self) -> None:
        """Publish from now on, beginning with whatever is missing.

        Raises:
            DamagedError: ``FORK`` or ``LOG_ROLLBACK`` if our log does not extend what is published.
                ``STORED_BYTES`` if what is published is no checkpoint of this log.
        """
        self._found = self._size = self._compare()
        self._sequencer.heads.on_changed(lambda _head: self._wake.set())
        self._wake.set()
        self._thread.start()

    def close(self) -> None:
        """Publish what is shown, unless that is much, and stop."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def wait(self, seconds: float) -> bool:
        """Wait until the newest checkpoint is published; whether it is."""
        with self._done:
            return self._done.wait_for(self._is_up_to_date, seconds)

    def _is_up_to_date(self) -> bool:
        return self._to_publish() is None

    def _to_publish(self) -> SignedCheckpoint | None:
        """The checkpoint that is shown, if it is not the one that is published."""
        head = self._sequencer.head
        if head is None or head.note == self._published:
            return None
        # A log that fails closed only now may have been published up to more than it shows.
        return head if head.checkpoint.size >= self._size else None

    def _run(self) -> None:
        stopping = False
        while not stopping:
            self._wake.wait()
            self._wake.clear()
            stopping = self._stopping.is_set()
            pause = PAUSE_SECONDS
            try:
                self._publish()
            except (DamagedError, MalformedError, VerificationError) as error:
                self._sequencer.latch("the published log is not this one", error)
                return
            except Exception as error:
                # The log goes on: what is published is derived, and complete in itself.
                logger.warning("the log could not be published as files", exc_info=error)
                self._wake.set()
                pause = RETRY_SECONDS
            self._stopping.wait(pause)

    def _publish(self) -> None:
        head = self._to_publish()
        if head is None:
            return
        if not self._is_whole:
            self._is_whole = self._restore()
            if not self._is_whole:
                return
        size = head.checkpoint.size
        for piece in pieces(self._size, size):
            if self._stopping.is_set() and size - self._size > LAST_ENTRIES:
                return
            name = _name(piece)
            self._folder.publish(name, _data(self._tiles, piece, size))
            if _is_full(piece):
                self._folder.drop_partials(name)
        self._folder.replace_checkpoint(head.note)
        with self._done:
            self._size, self._published = size, head.note
            self._done.notify_all()

    def _restore(self) -> bool:
        """Make again what had been published and is lost; whether everything was looked at."""
        for piece in pieces(0, self._found):
            if self._stopping.is_set():
                return False
            name = _name(piece)
            if not self._folder.holds(name):
                self._folder.publish(name, _data(self._tiles, piece, self._found))
        return True

    def _compare(self) -> int:
        """Check that our log extends what was published before; how many entries that were."""
        note = self._folder.read(CHECKPOINT)
        if note is None:
            return 0
        try:
            shown = SignedCheckpoint.open(note, self._sequencer.key).checkpoint
        except RegistryError as error:
            raise DamagedError(
                Reason.STORED_BYTES,
                "the published checkpoint is not one of this log",
                where=str(self._folder.path / CHECKPOINT),
                actual=str(error),
                hint="run: provreg log fsck --repair",
            ) from error
        # Not only what is shown: witnesses may still have to see the rest.
        head = self._sequencer.heads.newest
        size = 0 if head is None else head.checkpoint.size
        if shown.size > size:
            raise DamagedError(
                Reason.LOG_ROLLBACK,
                "the log has fewer entries than were published",
                where=str(self._folder.path),
                expected=f"at least {shown.size} entries",
                actual=f"{size} entries",
                hint="is this an old backup, or the wrong database?",
            )
        root = self._sequencer.root_at(shown.size)
        if root != shown.root:
            raise DamagedError(
                Reason.FORK,
                "another history of this log was published",
                where=str(self._folder.path),
                expected=shown.root.hex(),
                actual=root.hex(),
                hint="do not go on: find the right database, and compare with witnesses",
            )
        return shown.size


def pieces(old: int, new: int) -> Iterator[Piece]:
    """What a log of ``new`` entries is published as, without what was full at ``old`` entries."""
    for index in range(old // TILE_WIDTH, new // TILE_WIDTH):
        yield index, TILE_WIDTH
    level, before, after = 0, old, new
    while after >= TILE_WIDTH:
        before, after = before // TILE_WIDTH, after // TILE_WIDTH
        for index in range(before, after):
            yield TilePath(level, index)
        level += 1
    if new % TILE_WIDTH:
        yield new // TILE_WIDTH, new % TILE_WIDTH
    yield from edge(new)


@dataclass(frozen=True, slots=True)
class Difference:
    """A published file that is not what it should be.

    Attributes:
        expected: The bytes that it should have.
        is_missing: Whether there is no such file.
    """

    name: str
    expected: bytes
    is_missing: bool

    def __str__(self) -> str:
        what = "not published" if self.is_missing else "published with other bytes"
        return f"{self.name}: {what}"


def compare_folder(tiles: Tiles, folder: TileFolder, size: int) -> Iterator[Difference]:
    """Compare every published file with what ``size`` entries make it, as far as they can."""
    for piece in pieces(0, size):
        name = _name(piece)
        try:
            expected = _data(tiles, piece, size)
        except DamagedError:
            # The damaged entry is found by others; this file may be all that is left of it.
            continue
        found = folder.read(name)
        if found != expected:
            yield Difference(name, expected, found is None)


def _name(piece: Piece) -> str:
    return str(piece) if isinstance(piece, TilePath) else entry_bundle.bundle_path(*piece)


def _data(tiles: Tiles, piece: Piece, size: int) -> bytes:
    if isinstance(piece, TilePath):
        return tiles.tile(piece, size)
    return tiles.bundle(*piece, size)


def _is_full(piece: Piece) -> bool:
    return (piece.width if isinstance(piece, TilePath) else piece[1]) == TILE_WIDTH
