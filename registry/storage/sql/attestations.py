"""Attestation results, listed by evidence, session key and verifier. Derived from the log."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    delete,
    exists,
    insert,
    select,
)

from registry.storage.sql import tables as t


@dataclass(frozen=True, slots=True)
class StoredResult:
    """What one entry of the log says of one piece of evidence. Times are Unix seconds.

    Attributes:
        family: The kind of evidence.
        evidence: Its id over signed regions, or the SHA-256 of bytes that cannot be read.
        raw_evidence: SHA-256 of the evidence as it came.
        key_id: The session key that it is bound to; empty if to none.
        question: ``then`` or ``now``.
        is_authentic: Whether nothing in its cryptography is broken.
        verifier: Which software judged.
    """

    index: int
    family: str
    evidence: bytes
    raw_evidence: bytes
    key_id: str
    question: str
    verdict: str
    is_authentic: bool
    issued_at: int
    expires_at: int
    verifier: str


def add(connection: Connection, rows: Sequence[StoredResult]) -> None:
    """List results."""
    if rows:
        connection.execute(
            insert(t.results),
            [
                {
                    "entry_index": row.index,
                    "family": row.family,
                    "evidence": row.evidence,
                    "raw_evidence": row.raw_evidence,
                    "key_id": row.key_id,
                    "question": row.question,
                    "verdict": row.verdict,
                    "is_authentic": int(row.is_authentic),
                    "issued_at": row.issued_at,
                    "expires_at": row.expires_at,
                    "verifier": row.verifier,
                }
                for row in rows
            ],
        )


def about(connection: Connection, evidence: bytes) -> list[StoredResult]:
    """All results about evidence with this id, oldest first."""
    return _all(connection, _ABOUT, evidence)


def about_bytes(connection: Connection, raw_evidence: bytes) -> list[StoredResult]:
    """All results about exactly these bytes, oldest first."""
    return _all(connection, _ABOUT_BYTES, raw_evidence)


def of_key(connection: Connection, key_id: str) -> list[StoredResult]:
    """All results about evidence that is bound to this key, oldest first."""
    return _rows(connection, t.results.c.key_id == key_id)


def by_verifier(
    connection: Connection, verifier: str, start: int, limit: int
) -> list[StoredResult]:
    """Results that this verifier made, from entry ``start`` on, oldest first."""
    wanted = and_(t.results.c.verifier == verifier, t.results.c.entry_index >= start)
    return _rows(connection, wanted, limit)


def of_entry(connection: Connection, index: int) -> list[StoredResult]:
    """What one entry says, by family."""
    return _rows(connection, t.results.c.entry_index == index)


def after(connection: Connection, index: int, limit: int) -> list[StoredResult]:
    """The results that were logged first after an entry."""
    return _rows(connection, t.results.c.entry_index > index, limit)


def of_families(
    connection: Connection, families: Sequence[str], start: int | None, limit: int
) -> list[StoredResult]:
    """Results about evidence of these families from an entry on; without one, the last ones."""
    table = t.results.c
    wanted = table.family.in_(families)
    if start is not None:
        return _rows(connection, and_(wanted, table.entry_index >= start), limit)
    query = select(t.results).where(wanted).order_by(table.entry_index.desc()).limit(limit)
    return [_stored(row) for row in connection.execute(query)][::-1]


def firsts(connection: Connection, start: int, limit: int) -> list[StoredResult]:
    """First results about authentic evidence from entry ``start`` on, oldest first."""
    earlier = t.results.alias()
    again = exists().where(
        earlier.c.evidence == t.results.c.evidence,
        earlier.c.entry_index < t.results.c.entry_index,
        earlier.c.is_authentic == 1,
    )
    return _rows(
        connection,
        and_(t.results.c.entry_index >= start, t.results.c.is_authentic == 1, ~again),
        limit,
    )


def in_force(connection: Connection, key_id: str, at: int, before: int) -> StoredResult | None:
    """The newest result that admits a key at a moment, of those logged before an entry.

    It is valid, and what was found of the same evidence afterwards does not say otherwise.
    """
    if not key_id:
        return None
    table = t.results.c
    return _holding(connection, table.key_id == key_id, at, before)


def gpus_in_force(connection: Connection, evidence: bytes, at: int) -> bool:
    """Whether a result about evidence of GPUs holds at a moment, as one that admits a key does."""
    wanted = and_(t.results.c.evidence == evidence, t.results.c.question == "then")
    return _holding(connection, wanted, at, None) is not None


def _holding(
    connection: Connection, wanted: ColumnElement[bool], at: int, before: int | None
) -> StoredResult | None:
    table, later = t.results.c, t.results.alias()
    refutes = [
        later.c.evidence == table.evidence,
        later.c.entry_index > table.entry_index,
        later.c.question == "now",
        later.c.verdict == "INVALID",
    ]
    holds = [
        wanted,
        table.verdict == "VALID",
        table.issued_at <= at,
        table.expires_at > at,
    ]
    if before is not None:
        refutes.append(later.c.entry_index < before)
        holds.append(table.entry_index < before)
    row = connection.execute(
        select(t.results)
        .where(*holds, ~exists().where(*refutes))
        .order_by(table.entry_index.desc())
        .limit(1)
    ).first()
    return None if row is None else _stored(row)


def between(connection: Connection, start: int, end: int | None) -> dict[int, list[StoredResult]]:
    """The rows of entries ``start`` to ``end`` (exclusive), by entry."""
    wanted: ColumnElement[bool] = t.results.c.entry_index >= start
    if end is not None:
        wanted = and_(wanted, t.results.c.entry_index < end)
    found: dict[int, list[StoredResult]] = {}
    # Databases sort text in their own ways.
    for row in sorted(_rows(connection, wanted), key=lambda row: (row.index, row.family)):
        found.setdefault(row.index, []).append(row)
    return found


def replace(connection: Connection, index: int, rows: Sequence[StoredResult]) -> None:
    """Let the rows of an entry be these."""
    connection.execute(delete(t.results).where(t.results.c.entry_index == index))
    add(connection, rows)


def _rows(
    connection: Connection, wanted: ColumnElement[bool], limit: int | None = None
) -> list[StoredResult]:
    return [_stored(row) for row in connection.execute(_query(wanted).limit(limit))]


def _query(wanted: ColumnElement[bool]) -> Select[Any]:
    return select(t.results).where(wanted).order_by(t.results.c.entry_index, t.results.c.family)


def _all(connection: Connection, query: Select[Any], wanted: bytes) -> list[StoredResult]:
    return [_stored(row) for row in connection.execute(query, {"wanted": wanted})]


# Asked for each piece of evidence: making a query costs more than asking it.
_ABOUT = _query(t.results.c.evidence == bindparam("wanted"))
_ABOUT_BYTES = _query(t.results.c.raw_evidence == bindparam("wanted"))


def _stored(row: Sequence[Any]) -> StoredResult:
    index, family, evidence, raw, key_id, question, verdict, authentic, start, end, verifier = row
    return StoredResult(
        index,
        family,
        bytes(evidence),
        bytes(raw),
        key_id,
        question,
        verdict,
        bool(authentic),
        start,
        end,
        verifier,
    )
