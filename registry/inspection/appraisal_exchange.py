"""What the appraisal pool and its workers say to each other: framed parts over a pipe.

A message is a u32 count and that many parts, each a u32 length and its bytes; big-endian. The first
part of a request is JSON, then come the evidence and the endorsements; an answer has one part.
"""

import io
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from registry.core.digest import sha256
from registry.core.encoding import Count, Value, read_json, write_json
from registry.core.evidence.appraisal import Question, appraise, dispute
from registry.core.evidence.distrust import Entry
from registry.core.evidence.endorsements import Endorsements, Role
from registry.core.evidence.families import rules_of
from registry.core.evidence.policy import Policy
from registry.core.evidence.result import AttestationResult, Material, Stated, Verifier, build
from registry.core.evidence.validity import LATEST, seconds
from registry.errors import (
    LimitExceededError,
    MalformedError,
    Reason,
    RegistryError,
    UnavailableError,
)
from registry.inspection.exchange import MAX_REFUSAL_CHARACTERS

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
"""Bytes of one message: evidence, and all endorsements that can be sent or fetched."""

MAX_PARTS = 300
"""Parts of one message: a header, the evidence, and each endorsement."""

_LIMITS = frozenset({Reason.EVIDENCE_SIZE, Reason.ENDORSEMENT_SIZE, Reason.APPRAISAL_LIMIT})
_U32 = struct.Struct(">I")

Read = Callable[[int], bytes]
"""Reads up to that many bytes; fewer only at the end."""


class Header(Value, frozen=True):
    """What is asked, but for the bytes that it is asked about."""

    family: str
    roles: tuple[Role, ...]
    policy: Policy
    at: Count
    now: bool
    expected: Stated
    distrusted: tuple[Entry, ...]
    verifier: Verifier
    stated: Stated | None = None


class Answer(Value, frozen=True):
    """Either what was made of the evidence, or why nothing can be."""

    result: AttestationResult | None = None
    reason: Reason | None = None
    what: str = ""
    where: str = ""
    expected: str = ""
    actual: str = ""
    hint: str = ""

    @classmethod
    def refusal(cls, error: RegistryError) -> "Answer":
        """Put ``error`` into words of bounded length."""
        limit = MAX_REFUSAL_CHARACTERS
        return cls(
            reason=error.reason,
            what=error.what[:limit],
            where=error.where[:limit],
            expected=error.expected[:limit],
            actual=error.actual[:limit],
            hint=error.hint[:limit],
        )

    def to_error(self) -> RegistryError:
        """The error that the worker meant."""
        reason = self.reason or Reason.INTERNAL
        if reason in _LIMITS:
            kind: type[RegistryError] = LimitExceededError
        elif reason is Reason.MISSING_EXTRA:
            kind = UnavailableError
        else:
            kind = RegistryError if reason is Reason.INTERNAL else MalformedError
        return kind(
            reason,
            self.what or "the appraisal failed",
            where=self.where,
            expected=self.expected,
            actual=self.actual,
            hint=self.hint,
        )


@dataclass(frozen=True, slots=True)
class Task:
    """One appraisal that is asked for.

    Attributes:
        family: The kind of evidence.
        material: Evidence, endorsements and policy: a snapshot.
        question: As-then or as-now, and what the evidence must be about.
        at: The moment that counts.
        verifier: Which software is going to judge.
    """

    family: str
    material: Material
    question: Question
    at: datetime
    verifier: Verifier

    def to_parts(self) -> list[bytes]:
        """As it is sent."""
        items = self.material.endorsements.items
        stated = self.question.stated
        header = Header(
            family=self.family,
            roles=tuple(item.role for item in items),
            policy=self.material.policy,
            at=int(self.at.timestamp()),
            now=self.question.now,
            stated=None if stated is None else Stated.of(stated),
            expected=Stated.of(self.question.expected),
            distrusted=tuple(self.question.distrusted),
            verifier=self.verifier,
        )
        return [write_json(header), self.material.evidence, *(item.data for item in items)]

    @classmethod
    def of_parts(cls, parts: Sequence[bytes]) -> "Task":
        """As it was sent.

        Raises:
            MalformedError: It is not what :meth:`to_parts` writes.
            LimitExceededError: ``ENDORSEMENT_SIZE``.
        """
        header = read_json(parts[0] if parts else b"", Header, what="request")
        if len(parts) != len(header.roles) + 2:
            raise MalformedError(
                Reason.MALFORMED_FIELD,
                "a request for an appraisal has another number of parts",
                expected=f"{len(header.roles) + 2}",
                actual=f"{len(parts)}",
            )
        if header.at > seconds(LATEST):
            raise MalformedError(
                Reason.BAD_TIME,
                "nothing can be appraised at this moment",
                expected=f"at most {seconds(LATEST)}",
                actual=f"{header.at}",
            )
        endorsements = Endorsements.of(zip(header.roles, parts[2:], strict=True))
        return cls(
            header.family,
            Material(parts[1], endorsements, header.policy, header.distrusted),
            Question(
                now=header.now,
                stated=None if header.stated is None else header.stated.binding(),
                expected=header.expected.binding(),
                distrusted=header.distrusted,
            ),
            datetime.fromtimestamp(header.at, UTC),
            header.verifier,
        )

    def carry_out(self) -> AttestationResult:
        """Examine, appraise, and write down what came of it.

        Raises:
            RegistryError: What is wrong with the policy or a limit; never with the evidence.
        """
        rules = rules_of(self.family)
        material, question = self.material, self.question
        examination = rules.examine(
            material.evidence, material.endorsements, self.at, material.policy.trusted_roots()
        )
        appraisal = appraise(examination, material.policy, rules, question)
        if rules.second_opinion is not None:
            other = rules.second_opinion(material.evidence, material.endorsements, examination)
            appraisal = dispute(appraisal, other)
        return build(
            appraisal,
            material,
            question,
            issued_at=int(self.at.timestamp()),
            verifier=self.verifier,
        )


def write_message(parts: Sequence[bytes]) -> bytes:
    """The bytes of a message.

    Raises:
        LimitExceededError: ``APPRAISAL_LIMIT``.
    """
    size = sum(map(len, parts))
    if size > MAX_MESSAGE_BYTES or len(parts) > MAX_PARTS:
        raise LimitExceededError(
            Reason.APPRAISAL_LIMIT,
            "evidence and endorsements together are too large",
            expected=f"at most {MAX_MESSAGE_BYTES} bytes in {MAX_PARTS} parts",
            actual=f"{size} bytes in {len(parts)} parts",
        )
    written = [_U32.pack(len(parts))]
    for part in parts:
        written += [_U32.pack(len(part)), part]
    return b"".join(written)


def read_message(read: Read) -> list[bytes] | None:
    """Read one message; None if there is none any more, or only a part of one."""
    start = read(_U32.size)
    if len(start) < _U32.size:
        return None
    (count,) = _U32.unpack(start)
    parts: list[bytes] = []
    left = MAX_MESSAGE_BYTES
    if count > MAX_PARTS:
        return None
    for _ in range(count):
        length = read(_U32.size)
        if len(length) < _U32.size:
            return None
        (size,) = _U32.unpack(length)
        left -= size
        if left < 0:
            return None
        part = read(size)
        if len(part) < size:
            return None
        parts.append(part)
    return parts


class Arriving:
    """A message of one part, such as an answer, of which more and more arrives."""

    def __init__(self) -> None:
        self._data = bytearray()

    def add(self, data: bytes) -> bool:
        """Take in what came; whether that is all, or no message at all."""
        self._data += data
        if len(self._data) < 2 * _U32.size:
            return not data
        (size,) = _U32.unpack_from(self._data, _U32.size)
        return not data or size > MAX_MESSAGE_BYTES or len(self._data) >= 2 * _U32.size + size

    def message(self) -> list[bytes] | None:
        """The parts; None if there came only a part of a message, or none."""
        return read_message(io.BytesIO(self._data).read)


def digest_of(parts: Sequence[bytes]) -> str:
    """What names a request in the record of what failed."""
    return sha256(parts[1]).hex()[:16] if len(parts) > 1 else ""
