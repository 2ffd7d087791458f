"""Challenges: nonces that were issued, to whom, until when, and which entry of the log used them.

A row stays for a while after its time, so that whoever comes too late is told so.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from registry.storage.sql import tables as t

_FIND = select(t.challenges).where(t.challenges.c.nonce == bindparam("nonce"))
_OUTSTANDING = select(func.count()).where(
    t.challenges.c.principal == bindparam("principal"), t.challenges.c.expires_at > bindparam("at")
)


@dataclass(frozen=True, slots=True)
class StoredChallenge:
    """One row. Times are Unix seconds.

    Attributes:
        nonce: 32 random bytes.
        principal: Whom it was issued to.
        session_key: DER of the key that evidence must be bound to; None for any.
        device_entry: The entry of the log that used it for a CPU's evidence; None if none did.
        gpu_entry: The same for the evidence of GPUs, which are asked with the same nonce.
    """

    nonce: bytes
    principal: str
    session_key: bytes | None
    issued_at: int
    expires_at: int
    device_entry: int | None = None
    gpu_entry: int | None = None


def add(connection: Connection, row: StoredChallenge) -> None:
    """Remember a new challenge."""
    connection.execute(
        insert(t.challenges),
        {
            "nonce": row.nonce,
            "principal": row.principal,
            "session_key": row.session_key,
            "issued_at": row.issued_at,
            "expires_at": row.expires_at,
            "device_entry": row.device_entry,
            "gpu_entry": row.gpu_entry,
        },
    )


def find(connection: Connection, nonce: bytes) -> StoredChallenge | None:
    """The challenge with this nonce."""
    row = connection.execute(_FIND, {"nonce": nonce}).first()
    if row is None:
        return None
    return StoredChallenge(
        bytes(row.nonce),
        row.principal,
        None if row.session_key is None else bytes(row.session_key),
        row.issued_at,
        row.expires_at,
        row.device_entry,
        row.gpu_entry,
    )


def use(connection: Connection, nonce: bytes, entry: int, *, gpu: bool) -> bool:
    """Let an entry use a challenge for a CPU's or for GPUs' evidence; False if one did before."""
    column = t.challenges.c.gpu_entry if gpu else t.challenges.c.device_entry
    done = connection.execute(
        update(t.challenges)
        .where(t.challenges.c.nonce == nonce, column.is_(None))
        .values({column: entry})
    )
    return done.rowcount == 1


def outstanding(connection: Connection, principal: str, at: int) -> int:
    """How many challenges of a principal have not ended."""
    found = connection.execute(_OUTSTANDING, {"principal": principal, "at": at})
    return int(found.scalar_one())


def forget(connection: Connection, before: int) -> None:
    """Forget what ended before this second."""
    connection.execute(delete(t.challenges).where(t.challenges.c.expires_at < before))
