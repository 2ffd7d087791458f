"""The second checkpoint slot: the newest checkpoint that enough witnesses cosigned, one row."""

from sqlalchemy import Connection, insert, select, update

from registry.storage.sql import tables as t

_SLOT = 1


def newest(connection: Connection) -> bytes | None:
    """The note in the slot; None if nothing was ever cosigned to quorum."""
    note = connection.execute(select(t.cosigned.c.note).where(t.cosigned.c.slot == _SLOT)).scalar()
    return None if note is None else bytes(note)


def put(connection: Connection, size: int, note: bytes) -> None:
    """Put a checkpoint of ``size`` entries into the slot, unless it holds a larger one."""
    found = connection.execute(select(t.cosigned.c.size).where(t.cosigned.c.slot == _SLOT)).scalar()
    values = {"size": size, "note": note}
    if found is None:
        connection.execute(insert(t.cosigned), {"slot": _SLOT, **values})
    elif found <= size:
        connection.execute(update(t.cosigned).where(t.cosigned.c.slot == _SLOT).values(values))
