"""``provreg db``: upgrade the schema, and make again what is derived. With the registry stopped."""

from pathlib import Path

import click

from registry.cli.folder import data_options
from registry.config import ServerSettings
from registry.server.offline import open_offline
from registry.services.indexing import rebuild as rebuild_catalog
from registry.storage.sql import migrate


@click.group()
def command() -> None:
    """Upgrade and rebuild the database."""


@command.command()
@data_options
def upgrade(data: Path, database: str | None) -> None:
    """Bring the schema to this version's revision."""
    with open_offline(ServerSettings(data, database=database), check=False) as stopped:
        before = migrate.revision(stopped.database)
        migrate.upgrade(stopped.database)
        click.echo(f"schema {before or 'none'} → {migrate.revision(stopped.database)}")


@command.command()
@data_options
def rebuild(data: Path, database: str | None) -> None:
    """Make tiles and catalog again from the log and the blobs."""
    with open_offline(ServerSettings(data, database=database)) as stopped:
        count = rebuild_catalog(stopped.database, stopped.blobs, lambda _what, _done: None)
    click.echo(f"rebuilt the catalog from {count} entries")
