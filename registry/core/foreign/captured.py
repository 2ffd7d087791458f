"""What an importer caught of another system: the bytes as they came, each with what it is for."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, Self

from registry.core.digest import sha256
from registry.core.evidence.distrust import Entry
from registry.core.evidence.endorsements import Endorsements
from registry.core.evidence.policy import NamedRoot, Policy
from registry.errors import LimitExceededError, MalformedError, Reason

MAX_PART_BYTES: Final = 16 * 1024 * 1024
"""Bytes of one part: a request with images in it takes a few MiB."""

MAX_PARTS: Final = 64
"""Parts of one proof; a receipt of a gateway cites a session for each attempt."""

MAX_NONCE_BYTES: Final = 64
"""Bytes of a nonce that the importer had sent."""


class PartRole(StrEnum):
    """What a part is for. The values are stable: files are called by them."""

    RECEIPT = "receipt"
    RESPONSE = "response"
    REQUEST = "request"
    SIGNATURE = "signature"
    REPORT = "report"
    KEYSET = "keyset"
    SESSION = "session"
    KEY = "key"
    EVIDENCE = "evidence"
    SETTLEMENT = "settlement"
    TRANSACTION = "transaction"


@dataclass(frozen=True, slots=True)
class Captured:
    """Everything that was caught of one output, and what vendors say of the hardware.

    Attributes:
        parts: The bytes in each role.
        endorsements: What judging the evidence among them takes.
    """

    parts: Mapping[PartRole, tuple[bytes, ...]]
    endorsements: Endorsements = field(default_factory=Endorsements)

    @classmethod
    def of(
        cls, parts: Iterable[tuple[PartRole, bytes]], endorsements: Endorsements | None = None
    ) -> Self:
        """Gather parts.

        Raises:
            LimitExceededError: ``FOREIGN_SIZE``.
        """
        gathered: dict[PartRole, tuple[bytes, ...]] = {}
        for role, data in parts:
            if len(data) > MAX_PART_BYTES:
                raise _too_large(role, f"{MAX_PART_BYTES} bytes", f"{len(data)} bytes")
            gathered[role] = (*gathered.get(role, ()), data)
        count = sum(map(len, gathered.values()))
        if count > MAX_PARTS:
            raise _too_large("all", f"{MAX_PARTS} parts", str(count))
        # The same parts are the same proof, in whatever order they are given, and how often.
        in_order = {role: tuple(sorted(set(gathered[role]))) for role in sorted(gathered)}
        return cls(in_order, endorsements or Endorsements())

    def all(self, role: PartRole) -> tuple[bytes, ...]:
        """Everything in one role; may be nothing."""
        return self.parts.get(role, ())

    def one(self, role: PartRole) -> bytes | None:
        """What is there in a role of which there may be one.

        Raises:
            MalformedError: ``FOREIGN_PART`` if there are two.
        """
        found = self.all(role)
        if len(found) > 1:
            raise MalformedError(
                Reason.FOREIGN_PART,
                f"there may be one {role}",
                actual=f"{len(found)} of them",
            )
        return found[0] if found else None

    def require(self, role: PartRole) -> bytes:
        """As :meth:`one`, for what no import can do without.

        Raises:
            MalformedError: ``FOREIGN_PART``.
        """
        self.require_any(role)
        return self.one(role) or b""

    def require_any(self, role: PartRole) -> None:
        """Require something in a role.

        Raises:
            MalformedError: ``FOREIGN_PART``.
        """
        if not self.all(role):
            raise MalformedError(
                Reason.FOREIGN_PART,
                f"there is no {role} among what is to be imported",
                expected=f"a file called {role}, or {role}=FILE",
                actual=", ".join(self.parts) or "nothing",
            )


@dataclass(frozen=True, slots=True)
class Asked:
    """What the importer wants to know, and what it knew before.

    Attributes:
        at: The moment at which the evidence must be valid.
        fetched_at: When the proof was fetched, in Unix seconds: a claim of the importer's.
        withheld: Parts that are checked and then kept to oneself.
        policy: What the evidence must say; None for the starter policy of its family.
        roots: Roots of no vendor that count besides those of the policy.
        nonce: What the importer had sent, for evidence to be fresh.
        model: SHA-256 of the model that should have run.
        distrusted: What is believed no longer, whatever was believable at that moment.
    """

    at: datetime
    policy: Policy | None = None
    nonce: bytes | None = None
    model: bytes | None = None
    roots: tuple[NamedRoot, ...] = ()
    fetched_at: int = 0
    withheld: frozenset[PartRole] = frozenset()
    distrusted: tuple[Entry, ...] = ()


def names(captured: Captured) -> tuple[tuple[str, bytes], ...]:
    """Role and SHA-256 of every part and every endorsement, each once, in a stable order."""
    named = {(role.value, sha256(data)) for role, items in captured.parts.items() for data in items}
    named |= {(item.role.value, sha256(item.data)) for item in captured.endorsements.items}
    return tuple(sorted(named))


def _too_large(where: str, limit: str, actual: str) -> LimitExceededError:
    return LimitExceededError(
        Reason.FOREIGN_SIZE,
        "this is too much for a foreign proof",
        where=where,
        expected=f"at most {limit}",
        actual=actual,
    )
