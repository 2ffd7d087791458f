"""An empty database of each kind, and Alembic as its command line finds it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from registry.storage.sql.engine import Database

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where an empty database is."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'registry.sqlite3'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def connection(url: str) -> Iterator[Connection]:
    """The writer's connection, as migrations get it."""
    database = Database(url)
    with database.migrating() as connection:
        yield connection
    database.close()


@pytest.fixture
def config(connection: Connection) -> Config:
    """The configuration in pyproject.toml, for that connection."""
    config = Config(toml_file=REPOSITORY / "pyproject.toml")
    config.attributes["connection"] = connection
    return config


@pytest.fixture
def script() -> ScriptDirectory:
    """All revisions."""
    return ScriptDirectory.from_config(Config(toml_file=REPOSITORY / "pyproject.toml"))
