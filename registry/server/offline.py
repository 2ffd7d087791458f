"""A registry's folder and database without a server, for maintenance; exclusive like the server."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from registry.config import ServerSettings
from registry.core.tlog.checkpoint import Checkpoint
from registry.core.tlog.note import VerifierKey
from registry.server.folder import DataFolder
from registry.services.recovery import load_checked
from registry.services.tree import Tree
from registry.storage.blobs.disk import DiskBlobStore
from registry.storage.sql import migrate
from registry.storage.sql.engine import Database


@dataclass(frozen=True, slots=True)
class Stopped:
    """What a stopped registry consists of."""

    folder: DataFolder
    database: Database
    blobs: DiskBlobStore
    key: VerifierKey


def make_lock(settings: ServerSettings, url: str | None) -> Checkpoint:
    """Make the checkpoint lock of a new log, or of a log that has none, at the log's newest entry.

    Raises:
        ConflictError: ``TARGET_EXISTS`` if it has one there.
        UnavailableError: ``LOG_IN_USE``, ``SCHEMA_BEHIND``.
        DamagedError: ``STORED_BYTES``.
    """
    with open_offline(settings, check=False) as stopped:
        tree = Tree(stopped.database)
        if migrate.revision(stopped.database) is not None:
            migrate.check(stopped.database)
            load_checked(stopped.database, tree, stopped.key)
        newest = Checkpoint(stopped.key.name, tree.size, tree.root())
        stopped.folder.make_checkpoint_lock(url, stopped.key, newest)
        return newest


@contextmanager
def open_offline(settings: ServerSettings, *, check: bool = True) -> Iterator[Stopped]:
    """Take the folder and the database for this process alone.

    Raises:
        UnavailableError: ``LOG_IN_USE`` while a server runs, ``SCHEMA_BEHIND`` if ``check``.
    """
    with DataFolder(settings.data) as folder:
        database = Database(settings.database or folder.default_database)
        try:
            database.lock_exclusively()
            if check:
                migrate.check(database)
            signer, _ = folder.keys(settings.origin)
            yield Stopped(folder, database, DiskBlobStore(folder.path / "blobs"), signer.key)
        finally:
            database.close()
