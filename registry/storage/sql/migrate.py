"""Runs the schema migrations, and refuses to serve a schema that is behind."""

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

import registry
from registry.errors import Reason, UnavailableError
from registry.storage.sql import log
from registry.storage.sql.engine import Database

_PACKAGE = Path(registry.__file__).parent


def script_folder() -> Path:
    """The migrations: inside the installed package, or beside it in a checkout."""
    shipped = _PACKAGE / "_migrations"
    return shipped if shipped.is_dir() else _PACKAGE.parent / "migrations"


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(script_folder()))
    config.attributes["connection"] = connection
    return config


@cache
def _scripts(folder: Path) -> ScriptDirectory:
    """All migrations, which are read once: each is a module of its own."""
    return ScriptDirectory(str(folder))


def upgrade(database: Database) -> None:
    """Bring the schema to the newest revision, one transaction for each."""
    with database.migrating() as connection:
        command.upgrade(_config(connection), "head")


def revision(database: Database) -> str | None:
    """The schema's revision; None for an empty database."""
    with database.migrating() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def is_new(database: Database) -> bool:
    """Whether nothing was ever logged here: an empty database, or a first start that died in it."""
    found = revision(database)
    if found is None:
        return True
    known = {script.revision for script in _scripts(script_folder()).walk_revisions()}
    with database.read() as connection:
        return found in known and log.size(connection) == 0


def head() -> str:
    """The newest revision."""
    newest = _scripts(script_folder()).get_current_head()
    if newest is None:
        raise UnavailableError(Reason.SCHEMA_BEHIND, "this installation has no migrations")
    return newest


def check(database: Database) -> None:
    """Refuse a schema that is behind or ahead.

    Raises:
        UnavailableError: ``SCHEMA_BEHIND``.
    """
    found, wanted = revision(database), head()
    if found != wanted:
        raise UnavailableError(
            Reason.SCHEMA_BEHIND,
            "the database has another schema than this version of provreg",
            expected=wanted,
            actual=found or "no schema",
            hint="run: provreg db upgrade",
        )
