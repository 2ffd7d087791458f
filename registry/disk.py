"""Large files on their way to the disk: past the page cache, hashed while they are written.

The kernel's cache costs more for new bytes than the disk does: each page is found, zeroed, filled
and later written back. Here bytes are gathered in aligned buffers and go from there to the disk
directly (``O_DIRECT``), while each digest takes the same buffer in a thread of its own: hashing and
writing let other threads run. Where the file system takes no direct writes, they are ordinary ones.

How many bytes are lost when the process dies: those in the buffers, at most ``SLOTS`` of them. The
file never holds anything but a prefix of what came. Nothing here is durable before ``os.fsync``.
"""

import contextlib
import errno
import fcntl
import mmap
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Final, Protocol

BLOCK_BYTES: Final = 4096
"""Positions and lengths of direct writes are multiples of it: no disk has larger blocks."""

BUFFER_BYTES: Final = 2 * 1024 * 1024
"""Bytes that are hashed and written, or read, at once."""

WIDE_BUFFER_BYTES: Final = 4 * 1024 * 1024
"""The same for who has few files at once, and little else to do for them: a tenth of the processor
time of an upload is saved, for twice the memory."""

SLOTS: Final = 3
"""Buffers of one file: one that fills, one that is taken, one between."""

READS_AHEAD: Final = 2
"""Buffers that are read at once: a disk is fast only if it is asked for several things."""

LARGE_BYTES: Final = 4 * 1024 * 1024
"""Bytes from which threads and buffers of their own are worth it for a file."""


class Hash(Protocol):
    """What takes bytes and makes a digest of them, such as ``hashlib.sha256()``."""

    def update(self, data: memoryview, /) -> object:
        """Take the next bytes."""


class LargeFile:
    """Writes a file on, and feeds hashes, in the order of the calls. For one thread at a time."""

    def __init__(
        self, descriptor: int, position: int, *hashes: Hash, buffer_bytes: int = BUFFER_BYTES
    ) -> None:
        """Write from ``position`` on; the descriptor stays open when this is closed."""
        self._descriptor = descriptor
        self._buffer_bytes = buffer_bytes
        self._position = position
        self._direct = _set_direct(descriptor, on=True)
        self._failed = False
        takers: tuple[Callable[[memoryview], object], ...] = (
            *(item.update for item in hashes),
            self._write,
        )
        # One thread for each: it takes the buffers in their order.
        self._takers = [(ThreadPoolExecutor(1, "large-file"), take) for take in takers]
        self._slots = [_buffer(buffer_bytes) for _ in range(SLOTS)]
        self._taken: list[list[Future[object]]] = [[] for _ in range(SLOTS)]
        self._turn = 0
        self._filled = 0

    def write(self, data: bytes | memoryview) -> None:
        """Take the next bytes; waits while all buffers are full.

        Raises:
            OSError: Why earlier bytes could not be written.
        """
        view = memoryview(data)
        while view:
            room = self.room()
            count = min(len(room), len(view))
            room[:count] = view[:count]
            self.filled(count)
            view = view[count:]

    def room(self) -> memoryview:
        """Where the next bytes go, at least one of them: for those who can put them there."""
        return memoryview(self._slots[self._turn])[self._filled :]

    def filled(self, count: int) -> None:
        """Take the first ``count`` bytes of :meth:`room`; waits while all buffers are full.

        Raises:
            OSError: Why earlier bytes could not be written.
        """
        self._filled += count
        if self._filled == self._buffer_bytes:
            self._hand_over()

    def finish(self) -> None:
        """Wait until everything is hashed and written; to be called once, last.

        Raises:
            OSError: Why bytes could not be written.
        """
        self._hand_over()
        for turn in range(SLOTS):
            self._await(turn)

    def close(self) -> None:
        """End the threads; bytes that fill no buffer are dropped, unless :meth:`finish` came first.

        The descriptor then takes ordinary writes again. May be called at any time.
        """
        for pool, _ in self._takers:
            pool.shutdown()
        # At once, not when somebody looks for circles: the buffers are large.
        self._takers.clear()
        self._slots.clear()
        self._taken.clear()
        if self._direct:
            self._direct = not _set_direct(self._descriptor, on=False)

    def _hand_over(self) -> None:
        view = memoryview(self._slots[self._turn])[: self._filled]
        self._taken[self._turn] = [pool.submit(take, view) for pool, take in self._takers]
        self._turn = (self._turn + 1) % SLOTS
        self._filled = 0
        self._await(self._turn)

    def _await(self, turn: int) -> None:
        for future in self._taken[turn]:
            future.result()

    def _write(self, view: memoryview) -> None:
        if self._failed:
            # What follows a gap must not be written.
            raise OSError(errno.EIO, "an earlier part of this file could not be written")
        start, size = self._position, len(view)
        try:
            while view:
                count = self._write_some(view)
                self._position += count
                view = view[count:]
        except OSError:
            self._failed = True
            raise
        if not self._direct and hasattr(os, "posix_fadvise"):
            # Linux starts to write what is dirty: the fsync to come is then short.
            os.posix_fadvise(self._descriptor, start, size, os.POSIX_FADV_DONTNEED)

    def _write_some(self, view: memoryview) -> int:
        whole = len(view) - len(view) % BLOCK_BYTES
        if self._direct and whole and self._position % BLOCK_BYTES == 0:
            try:
                return os.pwrite(self._descriptor, view[:whole], self._position)
            except OSError as error:
                # A file system may say yes to the flag, and no to the write.
                if error.errno != errno.EINVAL:
                    raise
        # The end of the file, or what comes after a short write.
        self._direct = self._direct and not _set_direct(self._descriptor, on=False)
        return os.pwrite(self._descriptor, view, self._position)


class Reader:
    """Reads an open file from a position to its end, some buffers ahead of whoever takes them.

    Large files leave the cache to those that are small, and asked for more often.
    """

    def __init__(self, descriptor: int, position: int, size: int) -> None:
        """Begin to read a file of ``size`` bytes; the descriptor stays open when this is closed."""
        self._descriptor = descriptor
        self._size = size
        if size >= LARGE_BYTES:
            _set_direct(descriptor, on=True)
        # A direct read begins at a block; what comes before the position is left out.
        self._left_out = position % BLOCK_BYTES
        self._position = position - self._left_out
        # One that is being taken, and one for each read under way. What is small must not take a
        # huge page.
        new = _buffer if size >= LARGE_BYTES else partial(mmap.mmap, -1, BUFFER_BYTES)
        self._slots = deque(new() for _ in range(READS_AHEAD + 1))
        self._pool = ThreadPoolExecutor(READS_AHEAD, "reader")
        self._ahead = deque(self._begin() for _ in range(READS_AHEAD))

    def next(self) -> "Future[memoryview]":
        """The next piece, empty at the end; it is valid until the next one is asked for.

        The future raises OSError if the file cannot be read.
        """
        self._ahead.append(self._begin())
        return self._ahead.popleft()

    def close(self) -> None:
        """Wait for the reads under way; the descriptor may be closed afterwards."""
        self._pool.shutdown(cancel_futures=True)

    def _begin(self) -> "Future[memoryview]":
        if self._position >= self._size:
            nothing: Future[memoryview] = Future()
            nothing.set_result(memoryview(b""))
            return nothing
        self._slots.rotate(-1)
        begun = self._pool.submit(self._read, self._slots[0], self._position, self._left_out)
        self._position += BUFFER_BYTES
        self._left_out = 0
        return begun

    def _read(self, slot: mmap.mmap, position: int, left_out: int) -> memoryview:
        view = memoryview(slot)
        try:
            count = os.preadv(self._descriptor, [view], position)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            # A file system that says yes to the flag and no to the read.
            _set_direct(self._descriptor, on=False)
            count = os.preadv(self._descriptor, [view], position)
        return view[left_out:count]


def _buffer(size: int = BUFFER_BYTES) -> mmap.mmap:
    """Memory that begins at a page, as direct transfers need it; of huge pages if there are any.

    A disk takes a buffer of 512 small pages in several pieces, one after the other, and one huge
    page at once: it is then more than twice as fast.
    """
    if not hasattr(mmap, "MADV_HUGEPAGE"):
        return mmap.mmap(-1, size)
    # Shared memory, which is what mmap gives if not asked for something else, has no huge pages.
    buffer = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    # open(2): into private memory a direct read may be lost if the process forks meanwhile.
    buffer.madvise(mmap.MADV_DONTFORK)
    with contextlib.suppress(OSError):
        # A system may be built without.
        buffer.madvise(mmap.MADV_HUGEPAGE)
    return buffer


def _set_direct(descriptor: int, *, on: bool) -> bool:
    """Let writes go past the cache, or not; returns whether the system took it."""
    flag = getattr(os, "O_DIRECT", 0)
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | flag if on else flags & ~flag)
    except OSError:
        return False
    return flag != 0
