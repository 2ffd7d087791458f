"""Every contract is asked of a SQLite file and of a PostgreSQL database."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.storage.sql import migrate
from registry.storage.sql.engine import Database


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'registry.sqlite3'}"
    found: str = request.getfixturevalue("postgres_url")
    return found


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """A database with all tables."""
    database = Database(url)
    try:
        migrate.upgrade(database)
        yield database
    finally:
        database.close()
