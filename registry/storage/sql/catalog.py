"""The catalog: what the log says, arranged for questions. Derived, and rebuilt from log and blobs.

Rows become values here and nowhere else.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select

from registry.storage.blobs.port import BlobInfo
from registry.storage.sql import log
from registry.storage.sql import tables as t
from registry.storage.sql.log import StoredEntry

_LOOKUP = 500
"""Values in one ``IN`` list."""

# Built once: this runs for every group of statements, and building costs more than asking.
_FIND_VERSIONS = select(
    t.versions.c.predicate_type, t.versions.c.name, t.versions.c.version, t.versions.c.entry_index
).where(
    t.versions.c.predicate_type.in_(bindparam("kinds", expanding=True)),
    t.versions.c.name.in_(bindparam("names", expanding=True)),
    t.versions.c.version.in_(bindparam("versions", expanding=True)),
)
_FIND_BLOBS = select(t.blobs).where(t.blobs.c.sha256.in_(bindparam("wanted", expanding=True)))


@dataclass(frozen=True, slots=True)
class Listed:
    """One row of the catalog: a statement, and under which names it is found."""

    index: int
    predicate_type: str
    name: str
    version: str
    key_id: str
    principal: str


@dataclass(frozen=True, slots=True)
class ShimHead:
    """Where the journal of a shim stands: its last registered batch."""

    n_last: int
    record_id: bytes
    last_leaf: bytes
    principal: str


@dataclass(frozen=True, slots=True)
class StoredBatch:
    """One batch: whose, which records, and the blobs that hold them.

    Attributes:
        landmarks: What finds one of its records; None if an earlier release listed it.
    """

    index: int
    shim_id: bytes
    n_first: int
    n_last: int
    record_id: bytes
    principal: str
    leaves: bytes
    hashes: bytes
    last_leaf: bytes
    landmarks: bytes | None = None


def add_statements(connection: Connection, rows: Sequence[Listed]) -> None:
    """List statements."""
    connection.execute(
        insert(t.statements),
        [
            {
                "entry_index": row.index,
                "predicate_type": row.predicate_type,
                "name": row.name,
                "version": row.version,
                "key_id": row.key_id,
                "principal": row.principal,
            }
            for row in rows
        ],
    )


def add_versions(connection: Connection, rows: Sequence[Listed]) -> None:
    """Note that these names and versions are taken."""
    if rows:
        connection.execute(
            insert(t.versions),
            [
                {
                    "predicate_type": row.predicate_type,
                    "name": row.name,
                    "version": row.version,
                    "entry_index": row.index,
                }
                for row in rows
            ],
        )


def add_batches(connection: Connection, rows: Sequence[StoredBatch]) -> None:
    """List batches."""
    if rows:
        connection.execute(
            insert(t.batches),
            [
                {
                    "entry_index": row.index,
                    "shim_id": row.shim_id,
                    "n_first": row.n_first,
                    "n_last": row.n_last,
                    "record_id": row.record_id,
                    "principal": row.principal,
                    "leaves": row.leaves,
                    "hashes": row.hashes,
                    "last_leaf": row.last_leaf,
                    "landmarks": row.landmarks,
                }
                for row in rows
            ],
        )


def version_index(
    connection: Connection, predicate_type: str, name: str, version: str
) -> int | None:
    """The entry that took this name and version."""
    table = t.versions.c
    return connection.execute(
        select(table.entry_index).where(
            table.predicate_type == predicate_type, table.name == name, table.version == version
        )
    ).scalar()


def taken_versions(
    connection: Connection, keys: Iterable[tuple[str, str, str]]
) -> dict[tuple[str, str, str], int]:
    """Which of these (predicate type, name, version) are taken, and by which entry."""
    found = {}
    wanted = set(keys)
    kinds = sorted({kind for kind, _, _ in wanted})
    names = sorted({name for _, name, _ in wanted})
    versions = sorted({version for _, _, version in wanted})
    for start in range(0, len(names), _LOOKUP):
        rows = connection.execute(
            _FIND_VERSIONS,
            {"kinds": kinds, "names": names[start : start + _LOOKUP], "versions": versions},
        )
        for kind, name, version, index in rows:
            if (kind, name, version) in wanted:
                found[kind, name, version] = index
    return found


def shim_head(connection: Connection, shim_id: bytes) -> ShimHead | None:
    """The last batch of a shim."""
    table = t.batches.c
    row = connection.execute(
        select(table.n_last, table.record_id, table.last_leaf, table.principal)
        .where(table.shim_id == shim_id)
        .order_by(table.n_first.desc())
        .limit(1)
    ).first()
    if row is None:
        return None
    return ShimHead(row.n_last, bytes(row.record_id), bytes(row.last_leaf), row.principal)


def batch(connection: Connection, index: int) -> StoredBatch | None:
    """The batch that was registered as entry ``index``."""
    row = connection.execute(select(t.batches).where(t.batches.c.entry_index == index)).first()
    return None if row is None else _batch(row)


def batch_of_record(connection: Connection, shim_id: bytes, n: int) -> StoredBatch | None:
    """The batch that holds record ``n`` of a shim."""
    table = t.batches.c
    row = connection.execute(
        select(t.batches)
        .where(table.shim_id == shim_id, table.n_first <= n)
        .order_by(table.n_first.desc())
        .limit(1)
    ).first()
    return None if row is None or row.n_last < n else _batch(row)


def batches_of_shim(
    connection: Connection, shim_id: bytes, n_first: int, limit: int
) -> list[StoredBatch]:
    """The batches of a shim that begin with record ``n_first`` or a later one, in order."""
    table = t.batches.c
    rows = connection.execute(
        select(t.batches)
        .where(table.shim_id == shim_id, table.n_first >= n_first)
        .order_by(table.n_first)
        .limit(limit)
    )
    return [_batch(row) for row in rows]


def shims(connection: Connection, after: bytes, limit: int) -> list[bytes]:
    """The shims with batches whose ids are larger than ``after``, in order."""
    table = t.batches.c
    # One look into the index for each shim: DISTINCT would read all its batches.
    found: list[bytes] = []
    while len(found) < limit:
        query = select(table.shim_id).where(table.shim_id > after).order_by(table.shim_id).limit(1)
        row = connection.execute(query).first()
        if row is None:
            break
        after = bytes(row.shim_id)
        found.append(after)
    return found


def batches_between(connection: Connection, start: int, end: int, limit: int) -> list[StoredBatch]:
    """The batches from entry ``start`` to before entry ``end``, oldest first."""
    table = t.batches.c
    rows = connection.execute(
        select(t.batches)
        .where(table.entry_index >= start, table.entry_index < end)
        .order_by(table.entry_index)
        .limit(limit)
    )
    return [_batch(row) for row in rows]


def batches_of_key(connection: Connection, key_id: str, start: int) -> list[StoredBatch]:
    """The batches that a key signed, from entry ``start`` on, oldest first."""
    table = t.statements.c
    rows = connection.execute(
        select(t.batches)
        .select_from(t.batches.join(t.statements, table.entry_index == t.batches.c.entry_index))
        .where(table.key_id == key_id, table.entry_index >= start)
        .order_by(table.entry_index)
    )
    return [_batch(row) for row in rows]


def listed(connection: Connection, index: int) -> Listed | None:
    """The catalog row of entry ``index``."""
    row = connection.execute(
        select(t.statements).where(t.statements.c.entry_index == index)
    ).first()
    if row is None:
        return None
    return Listed(
        row.entry_index, row.predicate_type, row.name, row.version, row.key_id, row.principal
    )


def find(
    connection: Connection,
    predicate_type: str,
    *,
    name: str = "",
    version: str = "",
    start: int = 0,
    limit: int,
) -> list[tuple[Listed, StoredEntry]]:
    """Statements of one predicate type from entry ``start`` on, oldest first."""
    table = t.statements.c
    query = select(t.statements, *log.ENTRY).select_from(
        t.statements.join(log.ENTRIES, t.entries.c.entry_index == table.entry_index)
    )
    query = query.where(table.predicate_type == predicate_type, table.entry_index >= start)
    if name:
        query = query.where(table.name == name)
    if version:
        query = query.where(table.version == version)
    rows = connection.execute(query.order_by(table.entry_index).limit(limit))
    return [
        (
            Listed(row[0], row[1], row[2], row[3], row[4], row[5]),
            StoredEntry(row[6], bytes(row[7]), bytes(row[8]), bytes(row[9]), bytes(row[10])),
        )
        for row in rows
    ]


def key_events(connection: Connection, predicate_type: str) -> Iterator[StoredEntry]:
    """All entries of the key-event predicate type, in log order."""
    for _, entry in find(connection, predicate_type, limit=2**31 - 1):
        yield entry


def _batch(row: Any) -> StoredBatch:
    return StoredBatch(
        row.entry_index,
        bytes(row.shim_id),
        row.n_first,
        row.n_last,
        bytes(row.record_id),
        row.principal,
        bytes(row.leaves),
        bytes(row.hashes),
        bytes(row.last_leaf),
        None if row.landmarks is None else bytes(row.landmarks),
    )


def add_blob(connection: Connection, blob: BlobInfo) -> None:
    """Note a stored blob; noting it twice is no error."""
    known = connection.execute(
        select(t.blobs.c.size).where(t.blobs.c.sha256 == blob.sha256)
    ).scalar()
    if known is None:
        connection.execute(
            insert(t.blobs), {"sha256": blob.sha256, "sha512": blob.sha512, "size": blob.size}
        )


def blobs(connection: Connection, digests: Sequence[bytes]) -> dict[bytes, BlobInfo]:
    """Which of these blobs are stored."""
    found = {}
    for start in range(0, len(digests), _LOOKUP):
        for row in connection.execute(_FIND_BLOBS, {"wanted": digests[start : start + _LOOKUP]}):
            info = BlobInfo(bytes(row.sha256), bytes(row.sha512), row.size)
            found[info.sha256] = info
    return found
