"""Derived rows one by one, for whoever compares them with what they were derived from.

Here alone are single rows of the catalog taken back: everywhere else it only grows, or is made
again as a whole.
"""

from collections.abc import Iterator

from sqlalchemy import ColumnElement, Connection, and_, delete, select

from registry.storage.blobs.port import BlobInfo
from registry.storage.sql import catalog, log
from registry.storage.sql import tables as t
from registry.storage.sql.catalog import Listed, StoredBatch

Version = tuple[str, str, str, int]
"""Predicate type, name, version, and the entry that took them."""


def tile_keys(connection: Connection) -> list[tuple[int, int]]:
    """Level and index of every stored tile."""
    rows = connection.execute(select(t.tiles.c.level, t.tiles.c.tile_index))
    return [(row.level, row.tile_index) for row in rows]


def put_tile(connection: Connection, level: int, index: int, data: bytes) -> None:
    """Let a tile be ``data``."""
    drop_tile(connection, level, index)
    log.add_tiles(connection, [(level, index, data)])


def drop_tile(connection: Connection, level: int, index: int) -> None:
    """Let there be no such tile."""
    connection.execute(
        delete(t.tiles).where(t.tiles.c.level == level, t.tiles.c.tile_index == index)
    )


def listed_between(connection: Connection, start: int, end: int | None) -> dict[int, Listed]:
    """The catalog rows of entries ``start`` to ``end`` (exclusive)."""
    query = select(t.statements).where(t.statements.c.entry_index >= start)
    if end is not None:
        query = query.where(t.statements.c.entry_index < end)
    return {
        row.entry_index: Listed(
            row.entry_index, row.predicate_type, row.name, row.version, row.key_id, row.principal
        )
        for row in connection.execute(query)
    }


def put_listed(connection: Connection, index: int, row: Listed | None) -> None:
    """Let the catalog row of an entry be this one, or none."""
    connection.execute(delete(t.statements).where(t.statements.c.entry_index == index))
    if row is not None:
        catalog.add_statements(connection, [row])


def stray_versions(connection: Connection) -> list[Version]:
    """Versions that no statement in the catalog takes."""
    versions, statements = t.versions.c, t.statements.c
    taken = and_(
        statements.entry_index == versions.entry_index,
        statements.predicate_type == versions.predicate_type,
        statements.name == versions.name,
        statements.version == versions.version,
    )
    rows = connection.execute(
        select(t.versions)
        .select_from(t.versions.outerjoin(t.statements, taken))
        .where(statements.entry_index.is_(None))
    )
    return [(row.predicate_type, row.name, row.version, row.entry_index) for row in rows]


def put_version(connection: Connection, row: Listed) -> None:
    """Let a name and version be taken by this statement, and by no other."""
    connection.execute(
        delete(t.versions).where(*_version(row.predicate_type, row.name, row.version))
    )
    catalog.add_versions(connection, [row])


def drop_version(connection: Connection, version: Version) -> None:
    """Let this entry not have taken this name and version."""
    kind, name, number, index = version
    connection.execute(
        delete(t.versions).where(*_version(kind, name, number), t.versions.c.entry_index == index)
    )


def _version(kind: str, name: str, number: str) -> tuple[ColumnElement[bool], ...]:
    columns = t.versions.c
    return columns.predicate_type == kind, columns.name == name, columns.version == number


def batch_indices(connection: Connection) -> set[int]:
    """The entries that have a batch row."""
    return set(connection.execute(select(t.batches.c.entry_index)).scalars())


def put_batch(connection: Connection, index: int, row: StoredBatch | None) -> None:
    """Let the batch row of an entry be this one, or none."""
    connection.execute(delete(t.batches).where(t.batches.c.entry_index == index))
    if row is not None:
        # A damaged row may stand where this one belongs.
        connection.execute(
            delete(t.batches).where(
                t.batches.c.shim_id == row.shim_id, t.batches.c.n_first == row.n_first
            )
        )
        catalog.add_batches(connection, [row])


def blob_digests(connection: Connection) -> Iterator[bytes]:
    """The digests of all listed blobs."""
    for raw in connection.execute(select(t.blobs.c.sha256)).scalars():
        yield bytes(raw)


def put_blob(connection: Connection, blob: BlobInfo) -> None:
    """Let a blob be listed as it is."""
    connection.execute(delete(t.blobs).where(t.blobs.c.sha256 == blob.sha256))
    catalog.add_blob(connection, blob)
