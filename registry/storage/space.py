"""How much room is left on a disk, and the watermark below which nothing more is taken.

A disk that fills up in the middle of a write has ended logs elsewhere. Refusing new work while
there is room to finish the old keeps the log whole, and readable.
"""

import os
from pathlib import Path

from registry.errors import Reason, UnavailableError


class DiskSpace:
    """The free room of the disk that holds ``folder``."""

    def __init__(self, folder: Path, least_free_bytes: int) -> None:
        self._folder = folder
        self._least_free_bytes = least_free_bytes

    def check(self) -> None:
        """Refuse new work while less than the watermark is free.

        Raises:
            UnavailableError: ``DISK_LOW``; it passes as soon as there is room again.
        """
        disk = os.statvfs(self._folder)
        free = disk.f_bavail * disk.f_frsize
        if free < self._least_free_bytes:
            raise UnavailableError(
                Reason.DISK_LOW,
                "the registry's disk is nearly full",
                where=str(self._folder),
                expected=f"at least {self._least_free_bytes} bytes free",
                actual=f"{free} bytes",
                hint="nothing was stored; try again when the operator has made room",
            )
