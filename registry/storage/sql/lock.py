"""The newest checkpoint that may be signed, apart from the log: what makes a fork impossible.

One row for each log, changed by compare-and-swap before a signature is made. It lives in a database
of its own, best on another disk, so that a log that was restored from a backup is refused and not
served with a second history. It is made explicitly and never by opening it: a mistyped path must
not start a second log. Whoever can write here can make the log show two histories; whoever restores
it together with the log hides a rollback, so the two are never backed up as a pair.

The fencing token counts who took the row: a process that was overtaken can change nothing more.
"""

from pathlib import Path
from typing import Self

from sqlalchemy import (
    BigInteger,
    Column,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    insert,
    inspect,
    select,
    update,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from registry.core.tlog.checkpoint import Checkpoint
from registry.core.tlog.merkle import EMPTY_ROOT
from registry.core.tlog.note import VerifierKey
from registry.errors import (
    ConflictError,
    DamagedError,
    MalformedError,
    NotFoundError,
    Reason,
    VerificationError,
)
from registry.storage.sql.engine import Connection, Database

_metadata = MetaData(naming_convention={"pk": "pk_%(table_name)s"})

_locks = Table(
    "checkpoint_locks",
    _metadata,
    Column("origin", String(255), primary_key=True),
    Column("vkey", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("root", LargeBinary(32), nullable=False),
    Column("token", BigInteger, nullable=False),
)


class CheckpointLock:
    """The row of one log, held by this process.

    Attributes:
        url: The store that it is in.
    """

    url: str

    def __init__(self, url: str, key: VerifierKey) -> None:
        """Open the store that :meth:`create` made, and read the row of the log with ``key``.

        Raises:
            NotFoundError: ``LOCK_MISSING`` if there is no such store, or no row of this log in it.
            VerificationError: ``WRONG_LOG`` if the row is of a log with the same name.
            MalformedError: ``BAD_SETTING``.
            UnavailableError: ``UNREACHABLE`` or ``STORAGE_FAILED``.
        """
        file = _file(url)
        if file is not None and not file.is_file():
            raise _missing(url)
        self.url = url
        self._key = key
        self._token = -1
        self._database = Database(url)
        try:
            self._newest = self._read(url)
        except BaseException:
            self._database.close()
            raise

    def _read(self, url: str) -> Checkpoint:
        with self._database.write() as connection:
            row = _row(connection, self._key.name)
        if row is None:
            raise _missing(url)
        vkey, newest, _ = row
        if vkey != str(self._key):
            raise VerificationError(
                Reason.WRONG_LOG,
                "the checkpoint lock is of another log with this name",
                expected=vkey,
                actual=str(self._key),
            )
        return newest

    @classmethod
    def create(cls, url: str, key: VerifierKey, newest: Checkpoint | None = None) -> Self:
        """Make the row of a new log, or of a log that had none so far, and open it.

        Raises:
            ConflictError: ``TARGET_EXISTS`` if there is a row of a log with this name.
            MalformedError: ``BAD_SETTING``.
            UnavailableError: ``UNREACHABLE`` or ``STORAGE_FAILED``.
        """
        checkpoint = newest or Checkpoint(key.name, 0, EMPTY_ROOT)
        database = Database(url)
        try:
            with database.write() as connection:
                _metadata.create_all(connection)
                if _row(connection, key.name) is not None:
                    raise ConflictError(
                        Reason.TARGET_EXISTS,
                        "this store has a checkpoint lock of a log with this name",
                        where=key.name,
                        hint="it is never made twice; choose another store for another log",
                    )
                connection.execute(
                    insert(_locks),
                    {
                        "origin": key.name,
                        "vkey": str(key),
                        "size": checkpoint.size,
                        "root": checkpoint.root,
                        "token": 0,
                    },
                )
        finally:
            database.close()
        return cls(url, key)

    @property
    def newest(self) -> Checkpoint:
        """The newest checkpoint that may be signed; of size 0 for a log without entries."""
        return self._newest

    def take(self) -> None:
        """Become the one process that may replace the checkpoint; any other is overtaken.

        Raises:
            UnavailableError: ``UNREACHABLE`` or ``STORAGE_FAILED``.
        """
        with self._database.write() as connection:
            row = _row(connection, self._key.name)
            if row is None:
                raise _missing(self._key.name)
            _, self._newest, token = row
            self._token = token + 1
            connection.execute(
                update(_locks).where(_locks.c.origin == self._key.name).values(token=self._token)
            )

    def replace(self, new: Checkpoint) -> None:
        """Durably store ``new`` if the checkpoint is still the one that we know of.

        Only afterwards may ``new`` be signed.

        Raises:
            DamagedError: ``LOCK_MOVED`` if somebody else replaced it or took the lock.
            UnavailableError: ``UNREACHABLE`` or ``STORAGE_FAILED``; what is stored is unknown.
        """
        old = self._newest
        with self._database.write() as connection:
            changed = connection.execute(
                update(_locks)
                .where(
                    _locks.c.origin == self._key.name,
                    _locks.c.size == old.size,
                    _locks.c.root == old.root,
                    _locks.c.token == self._token,
                )
                .values(size=new.size, root=new.root)
            ).rowcount
            if changed != 1:
                raise DamagedError(
                    Reason.LOCK_MOVED,
                    "another process replaced the newest checkpoint of this log",
                    where=self._key.name,
                    expected=f"size {old.size}, token {self._token}",
                    hint="two registries run for one log: stop both, and find out which is right",
                )
        self._newest = new

    def close(self) -> None:
        """Let go of the store; the row stays."""
        self._database.close()


def _row(connection: Connection, origin: str) -> tuple[str, Checkpoint, int] | None:
    if not inspect(connection).has_table(_locks.name):
        return None
    row = connection.execute(select(_locks).where(_locks.c.origin == origin)).first()
    if row is None:
        return None
    return row.vkey, Checkpoint(row.origin, row.size, bytes(row.root)), row.token


def _file(url: str) -> Path | None:
    """The file of a SQLite URL, which opening it would make."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise MalformedError(
            Reason.BAD_SETTING, "this is not a database URL", where="--checkpoint-lock"
        ) from error
    is_file = parsed.get_backend_name() == "sqlite" and parsed.database
    return Path(parsed.database or "") if is_file else None


def _missing(where: str) -> NotFoundError:
    return NotFoundError(
        Reason.LOCK_MISSING,
        "there is no checkpoint lock of this log",
        where=where,
        hint="is the path right? for a log without one, run: provreg log init",
    )
