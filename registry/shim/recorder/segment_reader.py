"""Reading a journal back in order, from where the last reading ended: there is no index."""

import os
from collections.abc import Sequence
from pathlib import Path

from registry.shim.recorder.frames import read_frames
from registry.shim.recorder.segments import Segment, damaged


class SegmentReader:
    """One place in the files of a journal; for one thread."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._descriptor = -1
        self._n = 0
        self._position = 0

    def read(
        self, segments: Sequence[Segment], first: int, limit: int, max_bytes: int
    ) -> list[bytes]:
        """Records from ``first`` up to ``limit``, at least one if there is one.

        Args:
            segments: All files, in order.
            first: The first record wanted.
            limit: The first one not wanted; all before are on disk.
            max_bytes: What they may have together.

        Raises:
            DamagedError: ``JOURNAL_DAMAGED``.
        """
        records: list[bytes] = []
        size = 0
        while first + len(records) < limit:
            path = self._seek(segments, first + len(records))
            for end, payload in read_frames(self._descriptor, self._position):
                if self._n >= first:
                    size += len(payload)
                    if records and size > max_bytes:
                        return records
                    records.append(payload)
                self._n, self._position = self._n + 1, end
                if self._n == limit:
                    return records
            # The end of this segment: the record must be the first one of another.
            if not any(item.first == self._n and item.path != path for item in segments):
                raise damaged(path, f"no whole frame at byte {self._position}")
        return records

    def close(self) -> None:
        """Close the file."""
        if self._descriptor != -1:
            os.close(self._descriptor)
        self._path, self._descriptor = None, -1

    def _seek(self, segments: Sequence[Segment], n: int) -> Path:
        """Go to record ``n`` or one before it, in the segment that holds it."""
        segment = max((item for item in segments if item.first <= n), key=lambda item: item.first)
        if self._path != segment.path or self._n > n:
            self.close()
            self._descriptor = os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC)
            self._path, self._n, self._position = segment.path, segment.first, 0
        return segment.path
