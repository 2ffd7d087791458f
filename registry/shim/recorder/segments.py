"""The files of a journal: found, checked from end to end, and for one process only."""

import errno
import fcntl
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from registry.errors import DamagedError, Reason, UnavailableError
from registry.shim.durable import sync_folder
from registry.shim.recorder.frames import MAX_GROUP_BYTES, is_torn, read_frames

RESERVE_BYTES = 1024 * 1024
"""Zeros written ahead of the frames at once."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_SUFFIX = ".segment"
_N_DIGITS = 20


@dataclass(frozen=True, slots=True)
class Segment:
    """The file at ``path`` holds the records from number ``first`` up to the next segment's."""

    first: int
    path: Path


def lock_folder(folder: Path) -> int:
    """Take ``folder`` for this process, until the descriptor is closed or the process dies.

    Raises:
        UnavailableError: ``JOURNAL_IN_USE``.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    descriptor = os.open(folder / "lock", flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise UnavailableError(
            Reason.JOURNAL_IN_USE,
            "another process is writing this journal",
            where=str(folder),
            hint="stop the other process, or give this shim a folder of its own",
        ) from error
    return descriptor


def find(folder: Path) -> list[Segment]:
    """The segments in ``folder`` in order; the first one is made if there is none."""
    segments = [
        Segment(int(path.stem), path)
        for path in sorted(folder.glob(f"*{_SUFFIX}"))
        if len(path.stem) == _N_DIGITS and path.stem.isascii() and path.stem.isdigit()
    ]
    if not segments:
        segments.append(create(folder, 0))
    return segments


class OpenSegment:
    """The last segment, open for writing.

    Frames are written over zeros that are there already: a sync of bytes that make a file longer,
    or that fall into room that was never written, has to write down the file's new shape as well,
    behind whatever else the file system is writing down.

    Attributes:
        size: Bytes of its frames.
    """

    def __init__(self, path: Path, size: int, reserve_bytes: int = RESERVE_BYTES) -> None:
        self.size = size
        self._reserve_bytes = reserve_bytes
        self._reserved = size
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)

    def append(self, frames: bytes) -> None:
        """Write ``frames`` durably."""
        data = memoryview(frames)
        if self.size + len(data) > self._reserved:
            self._reserve(len(data) + self._reserve_bytes)
        while data:
            written = os.pwrite(self._descriptor, data, self.size)
            self.size, data = self.size + written, data[written:]
        os.fdatasync(self._descriptor)

    def finish(self) -> None:
        """Cut off what is reserved, durably: an earlier segment ends with its last frame."""
        os.ftruncate(self._descriptor, self.size)
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file as it is."""
        os.close(self._descriptor)

    def _reserve(self, count: int) -> None:
        zeros = memoryview(bytes(count))
        end = self.size
        try:
            while zeros:
                written = os.pwrite(self._descriptor, zeros, end)
                end, zeros = end + written, zeros[written:]
        except OSError as error:
            # A disk that is nearly full may still have room for the frames.
            if error.errno not in _FULL:
                raise
        os.fdatasync(self._descriptor)
        self._reserved = end


def create(folder: Path, first: int) -> Segment:
    """Make the segment that begins with record ``first``, durably."""
    path = folder / f"{first:0{_N_DIGITS}}{_SUFFIX}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    os.close(os.open(path, flags, 0o600))
    sync_folder(folder)
    return Segment(first, path)


def check(segments: list[Segment], replay: Callable[[int, bytes], None]) -> tuple[int, int, int]:
    """Read all segments, handing every record to ``replay``, and cut off a torn end.

    Returns:
        The number of the next record, where it begins in the last segment, and how many bytes were
        cut off there, not counting zeros.

    Raises:
        DamagedError: ``JOURNAL_DAMAGED``.
    """
    n = segments[0].first
    torn = end = 0
    for segment in segments:
        if segment.first != n:
            raise damaged(segment.path, f"the record before it is number {n - 1}")
        descriptor = os.open(segment.path, os.O_RDWR | os.O_CLOEXEC)
        try:
            end = 0
            for position, payload in read_frames(descriptor, 0):
                replay(n, payload)
                n += 1
                end = position
            rest = os.fstat(descriptor).st_size - end
            if rest:
                tail = os.pread(descriptor, MAX_GROUP_BYTES + RESERVE_BYTES + 1, end)
                written = tail.rstrip(b"\0")
                torn = len(written)
                if (
                    segment is not segments[-1]
                    or len(tail) > MAX_GROUP_BYTES + RESERVE_BYTES
                    or not is_torn(written, end)
                ):
                    raise damaged(
                        segment.path, f"no whole frame at byte {end}, {rest} bytes before the end"
                    )
                os.ftruncate(descriptor, end)
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
    return n, end, torn


def damaged(path: Path, actual: str) -> DamagedError:
    """The refusal to use a journal that lost something."""
    return DamagedError(
        Reason.JOURNAL_DAMAGED,
        "the journal is damaged where no crash of the shim could have damaged it",
        where=str(path),
        expected="whole frames up to the end",
        actual=actual,
        hint="restore the disk; to go on without these records, move the shim's folder away",
    )
