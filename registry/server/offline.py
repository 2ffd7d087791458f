"""A registry's folder and database without a server, for maintenance; exclusive like the server."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from registry.config import ServerSettings
from registry.core.tlog.checkpoint import Checkpoint, SignedCheckpoint
from registry.core.tlog.note import VerifierKey
from registry.server.folder import STATIC_FOLDER, DataFolder
from registry.services.audit import Audited, Progress, check_log
from registry.services.freezing import freeze
from registry.services.recovery import load_checked
from registry.services.tree import Tree
from registry.signing.file import LogSigner
from registry.storage.blobs.disk import DiskBlobStore
from registry.storage.sql import log, migrate
from registry.storage.sql.engine import Database
from registry.storage.tiles import TileFolder


@dataclass(frozen=True, slots=True)
class Stopped:
    """What a stopped registry consists of."""

    folder: DataFolder
    database: Database
    blobs: DiskBlobStore
    signer: LogSigner

    @property
    def key(self) -> VerifierKey:
        """The log's key."""
        return self.signer.key


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


def freeze_log(settings: ServerSettings, at: datetime) -> SignedCheckpoint:
    """End the log for good; its final checkpoint.

    Raises:
        UnavailableError: ``LOG_IN_USE`` while a server runs, ``SCHEMA_BEHIND``.
        NotFoundError: ``LOCK_MISSING``.
        RefusedError, DamagedError: As :func:`registry.services.freezing.freeze`.
    """
    with open_offline(settings) as stopped:
        signer = stopped.signer
        cosigner = stopped.folder.post_quantum_key(signer.key.name, make=False)
        if cosigner is not None:
            signer.also(lambda checkpoint: cosigner.cosign(checkpoint, at))
        lock = stopped.folder.checkpoint_lock(settings.checkpoint_lock, signer.key)
        with closing(lock):
            head = freeze(stopped.database, lock, signer, at)
        with stopped.database.read() as connection:
            ended = log.ended(connection)
        if ended is not None:
            # Last: whoever dies before it freezes again, which changes nothing else.
            stopped.folder.tell_end(datetime.fromtimestamp(ended[1], UTC))
        return head


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
            yield Stopped(folder, database, DiskBlobStore(folder.path / "blobs"), signer)
        finally:
            database.close()


def check_offline(settings: ServerSettings, progress: Progress, *, repair: bool) -> Audited:
    """Examine a stopped registry, and on request mend what is derived.

    Raises:
        UnavailableError: As :func:`open_offline`.
        NotFoundError: ``LOCK_MISSING``.
    """
    with open_offline(settings) as stopped:
        with closing(stopped.folder.checkpoint_lock(settings.checkpoint_lock, stopped.key)) as lock:
            newest = lock.newest
        static = settings.static or stopped.folder.path / STATIC_FOLDER
        # A log that was never published has no such folder, and gets none here.
        published = TileFolder(static) if static.is_dir() else None
        return check_log(
            stopped.database,
            stopped.blobs,
            stopped.key,
            newest,
            progress,
            published=published,
            repair=repair,
        )
