"""Files that are there after a power cut: write, fsync, rename, fsync the folder."""

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from registry.errors import Reason, UnavailableError


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path, mode: int = 0o700) -> None:
    """Create ``folder`` and its parents, durably, for the owner only if nothing else is said."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(mode=mode, exist_ok=True)
        sync_folder(path.parent)


def write_new(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write a new file so that it is there completely or not at all.

    Raises:
        FileExistsError: There is such a file.
    """
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    try:
        # A link, unlike a rename, fails if somebody else was faster.
        os.link(temporary, path)
    finally:
        temporary.unlink()
    sync_folder(path.parent)


class FolderLock:
    """Exclusive use of a folder by one process, until closed or until the process dies."""

    def __init__(self, path: Path) -> None:
        """Take the lock file ``path``.

        Raises:
            UnavailableError: ``LOG_IN_USE`` if another process holds it.
        """
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._descriptor)
            raise UnavailableError(
                Reason.LOG_IN_USE,
                "another process is using this data folder",
                where=str(path.parent),
                hint="stop the other process, or choose another folder",
            ) from error

    def close(self) -> None:
        """Give the lock back."""
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
