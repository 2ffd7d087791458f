"""Entries, checkpoints and tiles: the rows of the log, written in one transaction.

An entry may be bare: its signature is logged, the statement is not known (an empty envelope). A
statement that is registered later is attached; log rows are never changed.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, insert, select

from registry.storage.sql import tables as t

_LOOKUP = 500
"""Values in one ``IN`` list; SQLite takes 32,766, older ones 999."""

# Built once: this runs for every group of statements, and building costs more than asking.
_FIND_LEAVES = select(t.entries.c.leaf_hash, t.entries.c.entry_index).where(
    t.entries.c.leaf_hash.in_(bindparam("wanted", expanding=True))
)


ENTRY = (
    t.entries.c.entry_index,
    t.entries.c.leaf_hash,
    t.entries.c.record_id,
    t.entries.c.body,
    func.coalesce(t.attachments.c.envelope, t.entries.c.envelope).label("envelope"),
)
"""The columns of a :class:`StoredEntry`, out of :data:`ENTRIES`."""

ENTRIES = t.entries.outerjoin(t.attachments, t.attachments.c.entry_index == t.entries.c.entry_index)
"""Entries, each with the envelope that was attached later, if there is one."""

_ENTRIES = select(*ENTRY).select_from(ENTRIES)

_ENTRY = _ENTRIES.where(t.entries.c.entry_index == bindparam("wanted"))


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """One row of the log; ``envelope`` is empty for a bare entry."""

    index: int
    leaf_hash: bytes
    record_id: bytes
    body: bytes
    envelope: bytes


def append(
    connection: Connection, rows: Sequence[StoredEntry], tiles: Sequence[tuple[int, int, bytes]]
) -> None:
    """Add entries and the tiles that they complete."""
    connection.execute(
        insert(t.entries),
        [
            {
                "entry_index": row.index,
                "leaf_hash": row.leaf_hash,
                "record_id": row.record_id,
                "body": row.body,
                "envelope": row.envelope,
            }
            for row in rows
        ],
    )
    add_tiles(connection, tiles)


def attach(connection: Connection, envelopes: Sequence[tuple[int, bytes]]) -> None:
    """Add the statements of bare entries, each as (index, envelope)."""
    if envelopes:
        connection.execute(
            insert(t.attachments),
            [{"entry_index": index, "envelope": envelope} for index, envelope in envelopes],
        )


def bare_entries(connection: Connection, indices: Collection[int]) -> set[int]:
    """Which of these entries have no statement."""
    if not indices:
        return set()
    found: set[int] = set()
    wanted = sorted(indices)
    for start in range(0, len(wanted), _LOOKUP):
        rows = connection.execute(
            select(t.entries.c.entry_index)
            .select_from(ENTRIES)
            .where(
                t.entries.c.entry_index.in_(wanted[start : start + _LOOKUP]),
                t.entries.c.envelope == b"",
                t.attachments.c.entry_index.is_(None),
            )
        )
        found.update(row.entry_index for row in rows)
    return found


def add_tiles(connection: Connection, tiles: Sequence[tuple[int, int, bytes]]) -> None:
    """Add full tiles, each as (level, index, data)."""
    if tiles:
        connection.execute(
            insert(t.tiles),
            [{"level": level, "tile_index": index, "data": data} for level, index, data in tiles],
        )


def add_checkpoint(connection: Connection, size: int, note: bytes) -> None:
    """Add the signed checkpoint of a tree of ``size`` entries."""
    connection.execute(insert(t.checkpoints), {"size": size, "note": note})


def end(connection: Connection, size: int, frozen_at: int) -> None:
    """Let the log end with ``size`` entries, as was said at ``frozen_at``, POSIX seconds."""
    connection.execute(insert(t.log_end), {"size": size, "frozen_at": frozen_at})


def ended(connection: Connection) -> tuple[int, int] | None:
    """How many entries a frozen log has, and when it was frozen, POSIX seconds."""
    row = connection.execute(select(t.log_end).order_by(t.log_end.c.size).limit(1)).first()
    return None if row is None else (int(row.size), int(row.frozen_at))


def size(connection: Connection) -> int:
    """How many entries the log has."""
    last = connection.execute(select(func.max(t.entries.c.entry_index))).scalar()
    return 0 if last is None else int(last) + 1


def newest_checkpoint(connection: Connection) -> tuple[int, bytes] | None:
    """Size and signed note of the largest checkpoint that is stored; a larger one may be signed."""
    row = connection.execute(
        select(t.checkpoints).order_by(t.checkpoints.c.size.desc()).limit(1)
    ).first()
    return None if row is None else (row.size, bytes(row.note))


def checkpoints(connection: Connection) -> Iterator[tuple[int, bytes]]:
    """All checkpoints, smallest first."""
    rows = connection.execute(
        select(t.checkpoints.c.size, t.checkpoints.c.note).order_by(t.checkpoints.c.size)
    )
    for row in rows:
        yield row.size, bytes(row.note)


def leaf_hashes(connection: Connection, start: int, end: int) -> list[bytes]:
    """The leaf hashes of entries ``start`` to ``end`` (exclusive)."""
    return [
        bytes(row[0])
        for row in connection.execute(
            select(t.entries.c.leaf_hash)
            .where(t.entries.c.entry_index >= start, t.entries.c.entry_index < end)
            .order_by(t.entries.c.entry_index)
        )
    ]


def bodies(connection: Connection, start: int, end: int) -> list[bytes]:
    """The leaf preimages of entries ``start`` to ``end`` (exclusive)."""
    return [
        bytes(row[0])
        for row in connection.execute(
            select(t.entries.c.body)
            .where(t.entries.c.entry_index >= start, t.entries.c.entry_index < end)
            .order_by(t.entries.c.entry_index)
        )
    ]


def tile(connection: Connection, level: int, index: int) -> bytes | None:
    """A full tile."""
    data = connection.execute(
        select(t.tiles.c.data).where(t.tiles.c.level == level, t.tiles.c.tile_index == index)
    ).scalar()
    return None if data is None else bytes(data)


def find_leaves(connection: Connection, hashes: Sequence[bytes]) -> dict[bytes, int]:
    """Which of these leaf hashes are in the log, and where."""
    found: dict[bytes, int] = {}
    for start in range(0, len(hashes), _LOOKUP):
        rows = connection.execute(_FIND_LEAVES, {"wanted": hashes[start : start + _LOOKUP]})
        found.update((bytes(row.leaf_hash), row.entry_index) for row in rows)
    return found


def _stored(row: Sequence[Any]) -> StoredEntry:
    index, leaf_hash, record_id, body, envelope = row
    return StoredEntry(index, bytes(leaf_hash), bytes(record_id), bytes(body), bytes(envelope))


def entry(connection: Connection, index: int) -> StoredEntry | None:
    """Entry number ``index``."""
    row = connection.execute(_ENTRY, {"wanted": index}).first()
    return None if row is None else _stored(row)


def entry_of_record(connection: Connection, record_id: bytes) -> StoredEntry | None:
    """The first entry of the statement with this record id; bare entries are no statements."""
    row = connection.execute(
        _ENTRIES.where(t.entries.c.record_id == record_id, ENTRY[-1] != b"")
        .order_by(t.entries.c.entry_index)
        .limit(1)
    ).first()
    return None if row is None else _stored(row)


def entries_from(connection: Connection, start: int, count: int) -> list[StoredEntry]:
    """Up to ``count`` entries from ``start`` on."""
    rows = connection.execute(
        _ENTRIES.where(t.entries.c.entry_index >= start)
        .order_by(t.entries.c.entry_index)
        .limit(count)
    )
    return [_stored(row) for row in rows]


def clear_derived(connection: Connection) -> None:
    """Empty every table that can be made again."""
    for table in t.DERIVED:
        connection.execute(delete(table))
