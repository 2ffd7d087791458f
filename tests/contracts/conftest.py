"""Every contract is asked of a SQLite file and of a PostgreSQL database."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.storage.sql import migrate
from registry.storage.sql.engine import Database
from tests import postgres
from tests.recycled import MigratedFile, RecycledDatabases


@pytest.fixture(scope="session")
def recycled_databases(postgres_server: postgres.PostgresServer) -> RecycledDatabases:
    """The databases that tests have one after the other."""
    return RecycledDatabases(postgres_server)


@pytest.fixture
def postgres_url(recycled_databases: RecycledDatabases) -> Iterator[str]:
    """A PostgreSQL database with nothing but tables."""
    url = recycled_databases.take()
    yield url
    recycled_databases.give_back(url)


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> MigratedFile:
    """What becomes the database of each test on SQLite."""
    return MigratedFile(tmp_path_factory.mktemp("migrated"))


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database with nothing but tables: how they come to be, tests of migrations try."""
    if request.param == "sqlite":
        path = tmp_path / "registry.sqlite3"
        migrated: MigratedFile = request.getfixturevalue("migrated_file")
        migrated.copy(path)
        return f"sqlite:///{path}"
    found: str = request.getfixturevalue("postgres_url")
    return found


@pytest.fixture(params=["sqlite", "postgresql"])
def bare_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'bare.sqlite3'}"
        return
    server: postgres.PostgresServer = request.getfixturevalue("postgres_server")
    found = postgres.fresh_database(server)
    yield found
    postgres.drop_database(server, found)


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """A database with all tables."""
    database = Database(url)
    try:
        migrate.upgrade(database)
        yield database
    finally:
        database.close()
