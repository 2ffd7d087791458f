"""How many calls went out that the journal could not take: a number that a full disk can keep.

Only ``best_effort`` lets such calls pass. The file is made with its full size, and overwriting
eight bytes of it needs no space. It is not synced: whoever wants certainty uses another mode.
"""

import contextlib
import os
import struct
import threading
from collections.abc import Callable
from pathlib import Path

from registry.errors import DamagedError, Reason
from registry.shim.durable import replace_file
from registry.shim.recorder.ticket import After, Ticket

_COUNT = struct.Struct(">Q")


class Unrecorded:
    """The count in one file, for any number of threads."""

    def __init__(self, path: Path) -> None:
        """Read the count at ``path``, or begin with none.

        Raises:
            DamagedError: ``JOURNAL_DAMAGED``.
        """
        if not path.exists():
            replace_file(path, _COUNT.pack(0))
        self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        data = os.pread(self._descriptor, _COUNT.size + 1, 0)
        if len(data) != _COUNT.size:
            self.close()
            raise DamagedError(
                Reason.JOURNAL_DAMAGED,
                "this is not the count of unrecorded calls",
                where=str(path),
                expected=f"{_COUNT.size} bytes",
                actual=f"{len(data)} bytes",
            )
        self._count = int.from_bytes(data)
        self._mutex = threading.Lock()

    @property
    def count(self) -> int:
        """Calls that were not written down since the count was last told."""
        return self._count

    def add(self) -> None:
        """Count one more."""
        with self._mutex:
            self._count += 1
            # A call that passes unrecorded passes; while this runs the number is known anyway.
            with contextlib.suppress(OSError):
                os.pwrite(self._descriptor, _COUNT.pack(self._count), 0)

    def once(self) -> Callable[[], None]:
        """What counts one call, however often and in whatever thread it is called."""
        uncounted = [None]

        def count() -> None:
            # Taken by one caller alone.
            with contextlib.suppress(IndexError):
                uncounted.pop()
                self.add()

        return count

    def told(self, count: int) -> None:
        """Forget ``count`` calls, now that a durable record tells of them."""
        with self._mutex:
            self._count -= count
            os.pwrite(self._descriptor, _COUNT.pack(self._count), 0)

    def close(self) -> None:
        """Give the file back."""
        os.close(self._descriptor)


def uncounted() -> None:
    """For a call that is not counted if something of it is lost: its intent tells of it."""


def unless_durable(lost: Callable[[], None]) -> After:
    """What calls ``lost`` if a record that nobody waits for never becomes durable."""

    def settled(ticket: Ticket) -> None:
        if ticket.failed:
            lost()

    return settled
