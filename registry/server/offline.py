"""A registry's folder and database without a server, for maintenance; exclusive like the server."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from registry.config import ServerSettings
from registry.core.tlog.note import VerifierKey
from registry.server.folder import DataFolder
from registry.storage.blobs.disk import DiskBlobStore
from registry.storage.sql import migrate
from registry.storage.sql.engine import Database


@dataclass(frozen=True, slots=True)
class Stopped:
    """What a stopped registry consists of."""

    database: Database
    blobs: DiskBlobStore
    key: VerifierKey


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
            yield Stopped(database, DiskBlobStore(folder.path / "blobs"), signer.key)
        finally:
            database.close()
