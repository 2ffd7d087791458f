"""One writer connection, some readers: SQLite in WAL mode, or PostgreSQL.

SQLite 3.7.0 to 3.51.2 can lose a committed transaction when one connection commits while another
checkpoints the WAL. So all writes and all checkpoints go through the one writer; readers open the
file read-only and never checkpoint. ``synchronous=FULL`` makes a commit survive a power cut.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import sqlalchemy
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.engine import URL, ExceptionContext, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, OperationalError
from sqlalchemy.pool import QueuePool, StaticPool

from registry.errors import DamagedError, MalformedError, Reason, UnavailableError

Connection: TypeAlias = sqlalchemy.Connection
"""A transaction, as :meth:`Database.write` and :meth:`Database.read` hand it out."""

READERS = 8
"""Connections for reading, at most."""

WAL_CHECKPOINT_PAGES = 4000
"""Pages of 4 KiB in the WAL before the writer copies them into the database file."""

WRITER_CACHE_KIB = 32 * 1024
"""KiB of page cache of the SQLite writer."""

READER_CACHE_KIB = 2 * 1024
"""KiB of page cache of each SQLite reader."""

ADVISORY_LOCK = 0x70726F7672656731
"""The PostgreSQL advisory lock of the one sequencer: ``provreg1`` in ASCII."""

_LOCK_NOT_AVAILABLE = "55P03"
_ALONE = "provreg_alone"

POSTGRES_OPTIONS = "-c lock_timeout=4000 -c statement_timeout=60000 -c synchronous_commit=on"
"""Milliseconds that a statement may wait for a lock, and run; and durable commits."""


class Database:
    """A database with one writer at a time."""

    def __init__(self, url: str) -> None:
        """Connect.

        Raises:
            MalformedError: ``BAD_SETTING`` for another kind of database.
            UnavailableError: ``UNREACHABLE``.
        """
        try:
            parsed = make_url(url)
        except ArgumentError as error:
            raise MalformedError(
                Reason.BAD_SETTING, "this is not a database URL", where="--database"
            ) from error
        self.dialect = parsed.get_backend_name()
        if self.dialect == "sqlite":
            self._writer, self._readers = _sqlite(parsed)
        elif self.dialect == "postgresql":
            self._writer, self._readers = _postgres(parsed)
        else:
            raise MalformedError(
                Reason.BAD_SETTING,
                "this kind of database is not supported",
                where="--database",
                expected="sqlite:///… or postgresql+psycopg://…",
                actual=self.dialect,
            )
        self._alone: dict[str, Any] = (
            {_ALONE: True} if self.dialect == "sqlite" else {"isolation_level": "AUTOCOMMIT"}
        )
        self._lock = threading.Lock()
        self._exclusive: Connection | None = None

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction on the writer connection: durable when the block ends without an error."""
        with self._lock, _reachable(), self._writer.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A consistent snapshot."""
        with _reachable(), self._readers.connect() as connection:
            yield connection

    @contextmanager
    def glance(self) -> Iterator[Connection]:
        """For one SELECT, which sees one state by itself; two of them may see two.

        Beginning and ending a transaction costs more than what it is for: each step of a driver
        makes the threads of this process wait for each other.
        """
        with _reachable(), self._readers.connect() as connection:
            yield connection.execution_options(**self._alone)

    def lock_exclusively(self) -> None:
        """Be the only sequencer on this database, until closed; for SQLite, see the folder's lock.

        Raises:
            UnavailableError: ``LOG_IN_USE``.
        """
        if self.dialect != "postgresql":
            return
        with _reachable():
            connection = self._readers.connect().execution_options(isolation_level="AUTOCOMMIT")
            try:
                # Waits as long as lock_timeout says: the server may need a moment to notice that
                # the process that held the lock has died.
                connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": ADVISORY_LOCK})
            except OperationalError as error:
                connection.close()
                if getattr(error.orig, "sqlstate", None) != _LOCK_NOT_AVAILABLE:
                    raise
                raise UnavailableError(
                    Reason.LOG_IN_USE,
                    "another process is writing to this database",
                    hint="stop the other process, or choose another database",
                ) from error
        self._exclusive = connection

    def close(self) -> None:
        """Close all connections; the writer last, so that it alone checkpoints the WAL."""
        if self._exclusive is not None:
            self._exclusive.close()
        self._readers.dispose()
        self._writer.dispose()

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        """The writer connection without a transaction: each migration is one of its own."""
        with self._lock, _reachable(), self._writer.connect() as connection:
            yield connection


@contextmanager
def _reachable() -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        if error.connection_invalidated or "connect" in str(error.orig).lower():
            raise UnavailableError(
                Reason.UNREACHABLE, "the database does not answer", actual=type(error.orig).__name__
            ) from error
        raise UnavailableError(
            Reason.STORAGE_FAILED,
            "the database could not be read or written",
            actual=str(error.orig)[:200],
            hint="is the disk full? try again when the operator has looked at it",
        ) from error


def _sqlite(url: URL) -> tuple[Engine, Engine]:
    path = url.database
    if not path or path == ":memory:":
        raise MalformedError(
            Reason.BAD_SETTING, "a registry needs a database in a file", where="--database"
        )
    writer = create_engine(
        url, poolclass=StaticPool, connect_args={"check_same_thread": False, "timeout": 10}
    )
    readers = create_engine(
        f"sqlite:///file:{path}?mode=ro&uri=true",
        poolclass=QueuePool,
        pool_size=READERS,
        max_overflow=0,
        connect_args={"check_same_thread": False, "timeout": 10},
    )

    def tell_damage(context: ExceptionContext) -> None:
        # Its subclasses are about statements, locks and disks.
        if type(context.sqlalchemy_exception) is DatabaseError:
            raise DamagedError(
                Reason.STORED_BYTES,
                "a database file is damaged",
                where=path,
                actual=str(context.original_exception)[:200],
                hint="restore it from a backup; a new checkpoint lock: provreg log init",
            )

    event.listen(writer, "handle_error", tell_damage)
    event.listen(readers, "handle_error", tell_damage)

    @event.listens_for(writer, "connect")
    def prepare_writer(connection: Any, _record: object) -> None:
        # Transactions begin below, not whenever the driver thinks that they should.
        connection.isolation_level = None
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            f"wal_autocheckpoint={WAL_CHECKPOINT_PAGES}",
            f"cache_size=-{WRITER_CACHE_KIB}",
            "foreign_keys=ON",
            "temp_store=MEMORY",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(writer, "begin")
    def begin_immediate(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    @event.listens_for(readers, "connect")
    def prepare_reader(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.execute(f"PRAGMA cache_size=-{READER_CACHE_KIB}")

    @event.listens_for(readers, "begin")
    def begin_deferred(connection: Connection) -> None:
        if not connection.get_execution_options().get(_ALONE):
            connection.exec_driver_sql("BEGIN DEFERRED")

    return writer, readers


def _postgres(url: URL) -> tuple[Engine, Engine]:
    options = {"options": POSTGRES_OPTIONS, "connect_timeout": 10}
    writer = create_engine(url, pool_size=1, max_overflow=0, connect_args=options)
    readers = create_engine(
        url,
        pool_size=READERS,
        max_overflow=1,
        connect_args=options,
        execution_options={"isolation_level": "REPEATABLE READ"},
    )
    return writer, readers
