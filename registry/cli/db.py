"""``provreg db``: upgrade the schema, and make again what is derived. With the registry stopped."""

from pathlib import Path
from typing import Any

import click

from registry.config import ServerSettings
from registry.server.offline import open_offline
from registry.services.indexing import rebuild as rebuild_catalog
from registry.storage.sql import migrate


def data_options(function: Any) -> Any:
    """``--data`` and ``--database``, for commands that work without a server."""
    function = click.option(
        "--data",
        type=click.Path(path_type=Path, file_okay=False, exists=True),
        default=Path("provreg-data"),
        show_default=True,
        help="The data folder.",
    )(function)
    return click.option("--database", metavar="URL", help="As given to serve.")(function)


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
