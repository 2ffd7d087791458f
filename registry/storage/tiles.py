"""The static log as files: immutable tiles and bundles, and one checkpoint that is replaced.

The folder is what https://c2sp.org/tlog-tiles serves, path for path: any file server, or a copy in
any bucket, is a complete log. Everything in it is derived. A file is there completely or not at
all, and never changes: the same bytes again are no change, others mean that there are two logs.
"""

import os
import shutil
from pathlib import Path

from registry.errors import DamagedError, Reason
from registry.storage.durable import make_folder, sync_folder, write_new

CHECKPOINT = "checkpoint"
"""The one file that is replaced."""

FILE_MODE = 0o644
FOLDER_MODE = 0o755
"""Anybody may read what is public, so that a file server can run as somebody else."""


class TileFolder:
    """A folder that one process publishes into."""

    def __init__(self, path: Path) -> None:
        self.path = path
        make_folder(path, FOLDER_MODE)

    def holds(self, name: str) -> bool:
        """Whether this tile or bundle is published."""
        return (self.path / name).is_file()

    def read(self, name: str) -> bytes | None:
        """The bytes of a published file; None if there is none."""
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError:
            return None

    def publish(self, name: str, data: bytes) -> None:
        """Publish an immutable file, durably.

        Raises:
            DamagedError: ``STORED_BYTES`` if other bytes are published under this name.
            OSError: The disk refused; nothing is published under this name.
        """
        path = self.path / name
        make_folder(path.parent, FOLDER_MODE)
        try:
            write_new(path, data, FILE_MODE)
        except FileExistsError:
            if path.read_bytes() != data:
                raise DamagedError(
                    Reason.STORED_BYTES,
                    "other bytes are published already",
                    where=str(path),
                    hint="is this the folder of another log, or an older backup of the database?",
                ) from None

    def mend(self, name: str, data: bytes) -> None:
        """Publish a file whatever stands there, for whoever knows that it is damaged."""
        (self.path / name).unlink(missing_ok=True)
        self.publish(name, data)

    def drop_partials(self, name: str) -> None:
        """Forget the narrower forms of a tile or bundle that is published in full."""
        shutil.rmtree(self.path / f"{name}.p", ignore_errors=True)

    def replace_checkpoint(self, note: bytes) -> None:
        """Let the folder end with another checkpoint, durably: readers see the old or the new one.

        Raises:
            OSError: The disk refused; readers may see either.
        """
        path = self.path / CHECKPOINT
        temporary = path.with_name(f".{path.name}.new")
        temporary.unlink(missing_ok=True)
        descriptor = os.open(
            temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE
        )
        with os.fdopen(descriptor, "wb") as file:
            file.write(note)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
