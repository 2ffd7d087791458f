"""Challenges: nonces that prove evidence to be fresh, and made for whoever submits it.

A challenge is good once for a CPU's evidence and once for that of its GPUs, for one principal, for
some minutes. It is on the disk before it is answered and used up by the transaction that logs the
result, so neither a crash nor a second request at the same moment makes it good again. What is
remembered is bounded by time, and never thrown away to make room.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from registry.core.access import Principal
from registry.core.evidence.binding import GPU_FAMILIES, NONCE_BYTES
from registry.core.evidence.claims import Family
from registry.core.evidence.validity import seconds
from registry.core.keys import PublicKey
from registry.errors import (
    ConflictError,
    ForbiddenError,
    LimitExceededError,
    NotFoundError,
    Reason,
    RefusedError,
)
from registry.storage.sql import challenges
from registry.storage.sql.challenges import StoredChallenge
from registry.storage.sql.engine import Connection, Database

LIFE = timedelta(minutes=10)
"""How long a challenge is good: GPUs are asked one after the other, then the CPU."""

REMEMBERED = timedelta(days=1)
"""How long a challenge that has ended is remembered, so that whoever is late is told so."""

MAX_OUTSTANDING = 1024
"""Challenges that one principal may have at once."""

MAX_FRESH = 8192
"""Challenges that are kept in memory as well until they are used; some 2 MB."""

ROLES = ("node", "auditor", "admin")
"""Who may submit evidence."""

Clock = Callable[[], datetime]
"""Gives the time, in UTC."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What the first result about evidence uses up: a challenge, and the evidence itself.

    Attributes:
        nonce: That of the challenge.
        family: The kind of evidence.
        evidence_id: Its name over signed regions.
        principal: Who submits it.
        at: When, in Unix seconds.
    """

    nonce: bytes
    family: Family
    evidence_id: bytes
    principal: str
    at: int


class Challenges:
    """Issues challenges, and says whether one may be used."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        # What nobody has used yet, so that the database need not be asked about it.
        self._fresh: dict[bytes, StoredChallenge] = {}

    def issue(self, caller: Principal, session_key: bytes | None = None) -> StoredChallenge:
        """A new challenge; durable on return.

        Args:
            caller: Who asks, and who alone may use it.
            session_key: The DER key that evidence must be bound to; None for any.

        Raises:
            ForbiddenError: ``ROLE``.
            MalformedError: What is wrong with the key.
            LimitExceededError: ``TOO_MANY_CHALLENGES``.
        """
        require_role(caller)
        if session_key is not None:
            PublicKey.parse(session_key)
        now = seconds(self._clock())
        row = StoredChallenge(
            secrets.token_bytes(NONCE_BYTES),
            caller.name,
            session_key,
            now,
            now + int(LIFE.total_seconds()),
        )
        with self._database.write() as connection:
            challenges.forget(connection, now - int(REMEMBERED.total_seconds()))
            if challenges.outstanding(connection, caller.name, now) >= MAX_OUTSTANDING:
                raise LimitExceededError(
                    Reason.TOO_MANY_CHALLENGES,
                    "this principal has too many challenges at once",
                    where=caller.name,
                    expected=f"at most {MAX_OUTSTANDING}",
                    hint="use them, or wait until they end",
                )
            challenges.add(connection, row)
        if len(self._fresh) >= MAX_FRESH:
            # All of them are on the disk.
            self._fresh.clear()
        self._fresh[row.nonce] = row
        return row

    def require(self, nonce: bytes, family: Family, caller: Principal) -> StoredChallenge:
        """The challenge with this nonce, if the caller may use it now for this kind of evidence.

        Raises:
            NotFoundError, ForbiddenError, RefusedError, ConflictError: As :func:`check`.
        """
        with self._database.glance() as connection:
            return check(connection, nonce, family, caller.name, seconds(self._clock()))

    def fresh(self, nonce: bytes, family: Family, caller: Principal) -> StoredChallenge | None:
        """As :meth:`require`, from memory; None if it is not there, or was tried.

        Whoever uses it at the same moment may get the same: the log decides who was first.

        Raises:
            ForbiddenError, RefusedError: As :func:`check`.
        """
        fresh = self._fresh.get(nonce)
        if fresh is None:
            return None
        return _usable(fresh, nonce, family, caller.name, seconds(self._clock()))

    def tried(self, nonce: bytes) -> None:
        """The log was asked to let somebody use the challenge with this nonce."""
        self._fresh.pop(nonce, None)


def check(
    connection: Connection, nonce: bytes, family: Family, principal: str, at: int
) -> StoredChallenge:
    """The challenge with this nonce, if a principal may use it at a moment.

    Raises:
        NotFoundError: ``UNKNOWN_CHALLENGE``.
        ForbiddenError: ``CHALLENGE_NOT_YOURS``.
        RefusedError: ``CHALLENGE_EXPIRED``.
        ConflictError: ``CHALLENGE_USED``.
    """
    return _usable(challenges.find(connection, nonce), nonce, family, principal, at)


def _usable(
    found: StoredChallenge | None, nonce: bytes, family: Family, principal: str, at: int
) -> StoredChallenge:
    if found is None:
        raise NotFoundError(
            Reason.UNKNOWN_CHALLENGE,
            "this nonce was not issued here, or long ago",
            where=nonce.hex()[:64] or "no nonce",
            hint="run: provreg evidence challenge",
        )
    if found.principal != principal:
        raise ForbiddenError(
            Reason.CHALLENGE_NOT_YOURS,
            "this nonce was issued to somebody else",
            expected=f"a challenge of {principal}",
        )
    if at >= found.expires_at:
        raise RefusedError(
            Reason.CHALLENGE_EXPIRED,
            "this challenge has ended",
            expected=f"its use before {_text(found.expires_at)}",
            actual=_text(at),
            hint="run: provreg evidence challenge, and ask the device again",
        )
    used = found.gpu_entry if family in GPU_FAMILIES else found.device_entry
    if used is not None:
        raise _used(used)
    return found


def use_up(connection: Connection, claim: Claim, entry: int) -> None:
    """Let an entry of the log use a challenge, in the transaction that adds the entry.

    Raises:
        NotFoundError, ForbiddenError, RefusedError, ConflictError: As :func:`check`.
    """
    check(connection, claim.nonce, claim.family, claim.principal, claim.at)
    if not challenges.use(connection, claim.nonce, entry, gpu=claim.family in GPU_FAMILIES):
        raise _used(None)


def require_role(caller: Principal) -> None:
    """Check that somebody may submit evidence.

    Raises:
        ForbiddenError: ``ROLE``.
    """
    if not set(ROLES) & set(caller.roles):
        raise ForbiddenError(
            Reason.ROLE,
            "this call needs another role",
            where=f"principal {caller.name}",
            expected=" or ".join(ROLES),
            actual=", ".join(caller.roles) or "no role",
        )


def _used(entry: int | None) -> ConflictError:
    return ConflictError(
        Reason.CHALLENGE_USED,
        "this challenge was used before",
        where="" if entry is None else f"entry {entry}",
        hint="run: provreg evidence challenge, and ask the device again",
    )


def _text(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()
