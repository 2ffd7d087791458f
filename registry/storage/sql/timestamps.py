"""Timestamps of checkpoints: rows that are only ever added, at most one per size and authority."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, insert, select

from registry.storage.sql import tables as t

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class StoredTimestamp:
    """One row.

    Attributes:
        size: Entries of the checkpoint that was stamped.
        authority: The SHA-256 of the pinned chain of the authority that stamped it.
        at: The stamped time.
        note: The signed checkpoint, byte for byte what the token is over.
        token: A TimeStampToken in DER.
    """

    size: int
    authority: bytes
    at: datetime
    note: bytes
    token: bytes


def add(connection: Connection, row: StoredTimestamp) -> None:
    """Add the token of an authority over a checkpoint that it has not stamped before."""
    connection.execute(
        insert(t.timestamps),
        {
            "size": row.size,
            "authority": row.authority,
            "stamped_at": (row.at - _EPOCH) // _MICROSECOND,
            "note": row.note,
            "token": row.token,
        },
    )


def newest(connection: Connection, authority: bytes) -> StoredTimestamp | None:
    """The token of this authority over the largest checkpoint."""
    row = connection.execute(
        select(t.timestamps)
        .where(t.timestamps.c.authority == authority)
        .order_by(t.timestamps.c.size.desc())
        .limit(1)
    ).first()
    return None if row is None else _stored(row)


def every(connection: Connection) -> Iterator[StoredTimestamp]:
    """All tokens, those over small checkpoints first."""
    rows = connection.execute(
        select(t.timestamps).order_by(t.timestamps.c.size, t.timestamps.c.authority)
    )
    for row in rows:
        yield _stored(row)


def first_after(connection: Connection, index: int) -> list[StoredTimestamp]:
    """All tokens over the smallest stamped checkpoint that has entry ``index``, oldest first."""
    size = (
        select(t.timestamps.c.size)
        .where(t.timestamps.c.size > index)
        .order_by(t.timestamps.c.size)
        .limit(1)
        .scalar_subquery()
    )
    rows = connection.execute(
        select(t.timestamps)
        .where(t.timestamps.c.size == size)
        .order_by(t.timestamps.c.stamped_at, t.timestamps.c.authority)
    )
    return [_stored(row) for row in rows]


def _stored(row: Sequence[Any]) -> StoredTimestamp:
    size, authority, stamped_at, note, token = row
    at = _EPOCH + stamped_at * _MICROSECOND
    return StoredTimestamp(size, bytes(authority), at, bytes(note), bytes(token))
