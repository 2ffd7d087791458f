"""The data folder: lock, keys, origin, admin token. Made on first start, step by step.

Every step leaves a complete file or none, and is skipped if its file is there: a first start that
dies half-way goes on with the next one. ``log.vkey`` comes last: where it stands there is a log,
and a checkpoint lock that is missing then is never made by starting.
"""

import secrets
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from registry.core.encoding import time_text
from registry.core.tlog.checkpoint import Checkpoint
from registry.core.tlog.note import VerifierKey, check_name
from registry.errors import ConflictError, NotFoundError, Reason
from registry.signing.cosigner import Cosigner
from registry.signing.file import LogSigner, StatementSigner
from registry.storage.durable import FolderLock, make_folder, write_new
from registry.storage.sql.lock import CheckpointLock

END_FILE = "log.end"
"""When a frozen log ended; absent while it has not."""

DATABASE_FILE = "registry.sqlite3"
"""The SQLite database inside the data folder."""

CHECKPOINT_LOCK_FILE = "newest-checkpoint.sqlite3"
"""The checkpoint lock inside the data folder; better on another disk, see ``provreg log init``."""

STATIC_FOLDER = "static"
"""Where the log is published, inside the data folder."""


class DataFolder:
    """One registry's folder, held by one process."""

    def __init__(self, path: Path) -> None:
        """Take the folder.

        Raises:
            UnavailableError: ``LOG_IN_USE``.
        """
        make_folder(path)
        self.path = path
        self._lock = FolderLock(path / "lock")

    @property
    def default_database(self) -> str:
        """The database that is used if no other is named."""
        return f"sqlite:///{(self.path / DATABASE_FILE).absolute()}"

    def keys(self, origin: str | None) -> tuple[LogSigner, StatementSigner]:
        """The log's and the operator's key, made if this is a new registry.

        Raises:
            ConflictError: ``BAD_SETTING`` if the log has another origin than asked for.
            NotFoundError: ``KEY_LOST`` if the log has begun, and one of them is not there.
            MalformedError: What is wrong with a key file or the origin.
        """
        keys = self.path / "keys"
        make_folder(keys)
        file = self.path / "origin"
        log_file, operator_file = keys / "log.pem", keys / "operator.pem"
        if self._vkey.exists():
            _check_kept(file, log_file, operator_file)
        if not file.exists():
            # Two registries must never share a name: a log is known by it.
            chosen = origin or f"log-{secrets.token_hex(4)}.provreg.localhost"
            check_name(chosen)
            write_new(file, chosen.encode() + b"\n")
        known = file.read_text(encoding="utf-8").strip()
        if origin not in (None, known):
            raise ConflictError(
                Reason.BAD_SETTING,
                "a log never changes its origin",
                where="--origin",
                expected=known,
                actual=origin or "",
            )
        if not log_file.exists():
            LogSigner.generate(known).save(log_file)
        if not operator_file.exists():
            StatementSigner.generate().save(operator_file)
        return LogSigner.load(known, log_file), StatementSigner.load(operator_file)

    def post_quantum_key(self, origin: str, *, make: bool) -> Cosigner | None:
        """The log's ML-DSA-44 key; None if there is none and none is to be made.

        Once made it signs for good: who demands its signature must not find one missing.

        Raises:
            MalformedError: What is wrong with the key file.
        """
        file = self.path / "keys" / "log-mldsa.pem"
        if not file.exists():
            if not make:
                return None
            Cosigner.generate(origin, post_quantum=True).save(file)
        cosigner = Cosigner.load(origin, file)
        vkey = self.path / "log-mldsa.vkey"
        if not vkey.exists():
            write_new(vkey, f"{cosigner.key}\n".encode(), 0o644)
        return cosigner

    def checkpoint_lock(self, url: str | None, key: VerifierKey) -> CheckpointLock:
        """Open the lock of the log with ``key``; made here only for a new log, and only inside.

        Raises:
            NotFoundError: ``LOCK_MISSING``.
            VerificationError: ``WRONG_LOG``.
        """
        try:
            lock = CheckpointLock(url or self._lock_inside, key)
        except NotFoundError:
            if url is not None or self._vkey.exists():
                raise
            lock = CheckpointLock.create(self._lock_inside, key)
        self._write_vkey(key)
        return lock

    def make_checkpoint_lock(self, url: str | None, key: VerifierKey, newest: Checkpoint) -> None:
        """Make the lock of the log with ``key``, in the folder or where ``url`` says.

        Raises:
            ConflictError: ``TARGET_EXISTS``.
        """
        CheckpointLock.create(url or self._lock_inside, key, newest).close()
        self._write_vkey(key)

    @property
    def _lock_inside(self) -> str:
        return f"sqlite:///{(self.path / CHECKPOINT_LOCK_FILE).absolute()}"

    @property
    def _vkey(self) -> Path:
        return self.path / "log.vkey"

    def _write_vkey(self, key: VerifierKey) -> None:
        if not self._vkey.exists():
            write_new(self._vkey, f"{key}\n".encode(), 0o644)

    def tell_end(self, at: datetime) -> None:
        """Say beside the log's key when it ended, for those who write trust configs."""
        file = self.path / END_FILE
        if not file.exists():
            write_new(file, f"{time_text(at)}\n".encode(), 0o644)

    def admin_token(self, generate: Callable[[], str]) -> str:
        """The first administrator's token, on the disk before it works."""
        file = self.path / "admin.token"
        if not file.exists():
            write_new(file, f"{generate()}\n".encode())
        return file.read_text(encoding="ascii").strip()

    def close(self) -> None:
        """Give the folder back."""
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _check_kept(*files: Path) -> None:
    """A log that has begun goes on with its own name and keys: new ones would be another log's.

    Raises:
        NotFoundError: ``KEY_LOST``.
    """
    for file in files:
        if not file.exists():
            raise NotFoundError(
                Reason.KEY_LOST,
                "a file of this log is gone that cannot be made again",
                where=str(file),
                hint="restore it from a backup",
            )
