"""Databases that have all tables and nothing in them, used again after each test.

Making a PostgreSQL database and removing it again takes longer than most tests do. After a test its
database is emptied, and kept if nobody can tell it from a new one: the same tables, columns,
indexes, constraints and settings, the same revision, no rows and no connections.
"""

import hashlib
import shutil
from pathlib import Path

import psycopg
from psycopg import sql

from registry.storage.sql import migrate
from registry.storage.sql.engine import Database
from tests import postgres

LEAVING_MS = 10_000
"""How long whoever is still connected may take to be gone."""

_TABLES = """
    SELECT relname FROM pg_class
    WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> 'alembic_version'
"""

_SHAPE = """
    SELECT relname, relkind, reloptions, relpersistence, relrowsecurity, attname,
           format_type(atttypid, atttypmod), attnotnull, attisdropped, attidentity,
           pg_get_expr(adbin, adrelid)
        FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
            LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
        WHERE relnamespace = 'public'::regnamespace ORDER BY relname, attnum;
    SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY indexdef;
    SELECT conrelid::regclass::text, conname, convalidated, pg_get_constraintdef(oid)
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace ORDER BY conrelid, conname;
    SELECT pg_get_triggerdef(oid), tgenabled FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1;
    SELECT proname, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace ORDER BY 1, 2;
    SELECT sequencename, last_value FROM pg_sequences ORDER BY 1;
    SELECT setconfig FROM pg_db_role_setting ORDER BY 1;
    SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp' ORDER BY 1;
    SELECT version_num FROM alembic_version ORDER BY 1
"""


class RecycledDatabases:
    """The databases of one server, each for one test at a time."""

    def __init__(self, server: postgres.PostgresServer) -> None:
        self._server = server
        self._empty: list[str] = []
        self._shape = ""

    def take(self) -> str:
        """The URL of a database that has all tables and nothing in them."""
        if self._empty:
            return self._empty.pop()
        url = postgres.fresh_database(self._server)
        _upgrade(url)
        with self._connect(url) as connection:
            self._shape = _shape(connection)
        return url

    def give_back(self, url: str) -> None:
        """Empty a database for the next test, or remove it if it is not what it was."""
        with self._connect(url) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, %s) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()",
                [LEAVING_MS],
            )
            is_as_new = _shape(connection) == self._shape
            if is_as_new:
                _empty(connection)
        if is_as_new:
            self._empty.append(url)
        else:
            postgres.drop_database(self._server, url)

    def _connect(self, url: str) -> psycopg.Connection:
        return self._server.connect(url.rpartition("/")[2])


def _empty(connection: psycopg.Connection) -> None:
    tables = [sql.Identifier(name) for (name,) in connection.execute(_TABLES)]
    has_rows = sql.SQL(", ").join(
        sql.SQL("EXISTS (SELECT FROM {})").format(table) for table in tables
    )
    found = connection.execute(sql.SQL("SELECT {}").format(has_rows)).fetchone() or ()
    filled = [table for table, is_filled in zip(tables, found, strict=True) if is_filled]
    if filled:
        # Not deleted from: rows would lie elsewhere afterwards, and come in another order.
        # With CASCADE tables that refer to these are emptied as well.
        connection.execute(
            sql.SQL("TRUNCATE {} RESTART IDENTITY CASCADE").format(sql.SQL(", ").join(filled))
        )


def _shape(connection: psycopg.Connection) -> str:
    """What tells a database from one that was just made, but for rows."""
    said = hashlib.sha256()
    cursor = connection.execute(_SHAPE)
    while True:
        said.update(repr(cursor.fetchall()).encode())
        if not cursor.nextset():
            return said.hexdigest()


class MigratedFile:
    """An SQLite file that has all tables and nothing in them, to be copied."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "migrated.sqlite3"
        _upgrade(f"sqlite:///{self._path}")
        assert [path.name for path in folder.iterdir()] == [self._path.name]

    def copy(self, path: Path) -> None:
        """Make such a file."""
        shutil.copyfile(self._path, path)


def _upgrade(url: str) -> None:
    database = Database(url)
    try:
        migrate.upgrade(database)
    finally:
        database.close()
