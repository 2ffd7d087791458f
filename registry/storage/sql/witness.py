"""What a witness cosigned last, of each log: one row that only ever grows.

The store is a database of the witness's own. Reading the row, comparing and replacing it is one
transaction on the one writer connection, and durable when it ends: a slow request for N finds
N + K. Restoring an old copy makes the witness forget; then it may cosign a fork. Never restore one.
"""

from dataclasses import dataclass

from sqlalchemy import (
    BigInteger,
    Column,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    insert,
    select,
    update,
)

from registry.core.tlog.checkpoint import Checkpoint
from registry.storage.sql.engine import Connection, Database

_metadata = MetaData(naming_convention={"pk": "pk_%(table_name)s"})

_heads = Table(
    "witnessed_heads",
    _metadata,
    Column("log_id", String(64), primary_key=True),
    Column("origin", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("root", LargeBinary(32), nullable=False),
    Column("note", LargeBinary, nullable=False),
)


@dataclass(frozen=True, slots=True)
class WitnessedHead:
    """The checkpoint that was cosigned last, and the note with both signatures."""

    checkpoint: Checkpoint
    note: bytes


def create(database: Database) -> None:
    """Make the table, if it is not there."""
    with database.write() as connection:
        _metadata.create_all(connection)


def last(connection: Connection, log_id: str) -> WitnessedHead | None:
    """What was cosigned last; None if nothing ever was."""
    row = connection.execute(select(_heads).where(_heads.c.log_id == log_id)).first()
    if row is None:
        return None
    return WitnessedHead(Checkpoint(row.origin, row.size, bytes(row.root)), bytes(row.note))


def put(connection: Connection, log_id: str, head: WitnessedHead) -> None:
    """Replace what was cosigned last. The same transaction has read it and found that it may."""
    values = {"size": head.checkpoint.size, "root": head.checkpoint.root, "note": head.note}
    changed = connection.execute(update(_heads).where(_heads.c.log_id == log_id).values(values))
    if changed.rowcount == 0:
        new = {"log_id": log_id, "origin": head.checkpoint.origin, **values}
        connection.execute(insert(_heads), new)
