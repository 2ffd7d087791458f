"""The files of a journal: found, checked from end to end, and for one process only."""

import fcntl
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from registry.errors import DamagedError, Reason, UnavailableError
from registry.shim.durable import sync_folder
from registry.shim.recorder.frames import MAX_GROUP_BYTES, is_torn, read_frames

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
        segment, descriptor = create(folder, 0)
        os.close(descriptor)
        segments.append(segment)
    return segments


def create(folder: Path, first: int) -> tuple[Segment, int]:
    """Make the segment that begins with record ``first``, durably, and open it for appending."""
    path = folder / f"{first:0{_N_DIGITS}}{_SUFFIX}"
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    sync_folder(folder)
    return Segment(first, path), descriptor


def check(segments: list[Segment], replay: Callable[[int, bytes], None]) -> tuple[int, int]:
    """Read all segments, handing every record to ``replay``, and cut off a torn end.

    Returns:
        The number of the next record, and how many bytes were cut off.

    Raises:
        DamagedError: ``JOURNAL_DAMAGED``.
    """
    n = segments[0].first
    torn = 0
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
            torn = os.fstat(descriptor).st_size - end
            if torn:
                tail = os.pread(descriptor, MAX_GROUP_BYTES + 1, end)
                if segment is not segments[-1] or not is_torn(tail):
                    raise damaged(
                        segment.path, f"no whole frame at byte {end}, {torn} bytes before the end"
                    )
                os.ftruncate(descriptor, end)
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
    return n, torn


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
