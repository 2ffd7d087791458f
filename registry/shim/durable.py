"""Small files that are there after a power cut: write, fsync, rename, fsync the folder."""

import os
import stat
from pathlib import Path

from registry.errors import Reason, RefusedError


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Create ``folder`` and its parents, durably, for the owner only."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(mode=0o700, exist_ok=True)
        sync_folder(path.parent)


def require_own(folder: Path) -> None:
    """Require that nobody else can put something into ``folder``: a key of theirs, or a link.

    Raises:
        RefusedError: ``FOREIGN_FOLDER``: it is another user's, or everybody may write to it.
    """
    found = folder.stat()
    # Whoever is root can do everything anyway.
    if found.st_uid in (os.geteuid(), 0) and not found.st_mode & stat.S_IWOTH:
        return
    raise RefusedError(
        Reason.FOREIGN_FOLDER,
        "others can change what a shim remembers",
        where=str(folder),
        expected=f"a folder of user {os.geteuid()} that nobody else may write to",
        actual=f"user {found.st_uid}, mode {stat.S_IMODE(found.st_mode):04o}",
        hint="run: chmod o-w, or give the shim another folder; it makes what is missing",
    )


def replace_file(path: Path, data: bytes, temporary: Path | None = None) -> None:
    """Put ``data`` at ``path``: after a crash the old file is there or the new one, never a part.

    One thread at a time writes to one path.

    Args:
        path: Where.
        data: What.
        temporary: Where it is written first, on the same file system; beside ``path`` if None.
            After a crash it may still lie there.
    """
    temporary = temporary or path.with_name(f".{path.name}.new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    with os.fdopen(os.open(temporary, flags, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)
