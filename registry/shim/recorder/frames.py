"""Frames on disk: ``u32 BE length ‖ u32 BE CRC-32 ‖ payload``, one after the other, then zeros.

A payload holds no zero byte. Frames are written over zeros that are on disk already, so that a sync
has nothing to write down but the frames themselves.

A process that dies while it writes leaves a torn end: bytes that no caller was told are durable.
They may be cut off. Anything else that is no frame is damage, and cutting it off would lose what
follows. So an end counts as torn only if

* it is no longer than what one group commit may write, and
* no whole frame begins anywhere inside it: a damaged length would otherwise hide good frames;
* unless a sector of its first frame is still zeros. A machine that loses power in a sync may have
  written the sectors of a group in any order, and whole frames may stand behind such a hole.
"""

import itertools
import os
import struct
import zlib
from collections.abc import Iterator

from registry.core.records.inference import MAX_RECORD_BYTES

MAX_GROUP_BYTES = 1024 * 1024
"""Bytes written between two syncs: the longest end that a crash can tear."""

SECTOR_BYTES = 512
"""Bytes that a disk writes wholly or not at all, or a multiple."""

_LENGTH_ZEROS = 2
"""How many bytes of a frame's length are zero in any case."""

_HEAD = struct.Struct(">II")
_CHUNK_BYTES = 256 * 1024


def frame(payload: bytes) -> bytes:
    """Write ``payload`` as one frame."""
    return _HEAD.pack(len(payload), zlib.crc32(payload)) + payload


def payload_of(framed: bytes) -> bytes:
    """What :func:`frame` was given."""
    return framed[_HEAD.size :]


def whole_frame(data: bytes, position: int) -> int:
    """The position after the whole frame that begins at ``position``; -1 if none does."""
    start = position + _HEAD.size
    if start > len(data):
        return -1
    length, checksum = _HEAD.unpack_from(data, position)
    end = start + int(length)
    # A run of zero bytes, as some file systems leave behind, would be a frame of length zero.
    if not 1 <= length <= MAX_RECORD_BYTES or end > len(data):
        return -1
    return end if zlib.crc32(memoryview(data)[start:end]) == checksum else -1


def read_frames(descriptor: int, position: int) -> Iterator[tuple[int, bytes]]:
    """Read whole frames from ``position`` on: where each ends in the file, and its payload.

    Stops at the first position where no whole frame begins; whether that is the end of the file is
    for the caller to find out.
    """
    while True:
        data = os.pread(descriptor, _CHUNK_BYTES, position)
        at = 0
        while (end := whole_frame(data, at)) != -1:
            yield position + end, data[at + _HEAD.size : end]
            at = end
        if at == 0:
            return
        position += at


def is_torn(tail: bytes, position: int) -> bool:
    """Whether ``tail``, which begins with no whole frame, is what a crash may leave behind.

    Args:
        tail: The end of a file, without the zeros after it.
        position: Where in the file it begins.
    """
    if len(tail) > MAX_GROUP_BYTES:
        return False
    return _has_hole(tail, position) or all(
        whole_frame(tail, start) == -1 for start in range(1, len(tail))
    )


def _has_hole(tail: bytes, position: int) -> bool:
    """Whether the frame that ``tail`` begins with lacks a sector: only zeros are there."""
    if len(tail) < _HEAD.size:
        return False
    length, _ = _HEAD.unpack_from(tail)
    # The length itself is cut by the end of its sector, or is not there at all.
    first = SECTOR_BYTES - position % SECTOR_BYTES
    if length == 0 or (_LENGTH_ZEROS < first < _HEAD.size and not any(tail[:first])):
        return True
    end = min(len(tail), _HEAD.size + length)
    cuts = [0, *range(first, end, SECTOR_BYTES), end]
    return length <= MAX_RECORD_BYTES and any(
        not any(tail[one:other]) for one, other in itertools.pairwise(cuts)
    )
