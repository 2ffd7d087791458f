"""The hardware's evidence inside a foreign proof: examined and appraised as any other evidence."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgspec

from registry.core.evidence.appraisal import Question, appraise
from registry.core.evidence.checks import CheckError, Finding, Ledger, Severity
from registry.core.evidence.claims import ClaimValue, Family
from registry.core.evidence.endorsements import Endorsements
from registry.core.evidence.families import rules_of
from registry.core.evidence.policy import Policy
from registry.core.evidence.result import Environment, Material, Verifier, build
from registry.core.evidence.starters import starter
from registry.core.foreign.captured import Asked
from registry.core.foreign.reading import Reading
from registry.core.verdict import Verdict
from registry.errors import RegistryError

_CONTRADICTIONS: Final = (Severity.CRYPTO, Severity.IDENTITY)
_VERIFIER: Final = Verifier(build="foreign/1", developer="provreg")


class Found(StrEnum):
    """What may be found about the evidence inside a proof of any format."""

    EVIDENCE_REFUSED = "EVIDENCE_REFUSED"
    EVIDENCE_OPEN = "EVIDENCE_OPEN"
    EVIDENCE_DISTRUSTED = "EVIDENCE_DISTRUSTED"


@dataclass(frozen=True, slots=True)
class Device:
    """Evidence that came with a proof.

    Attributes:
        family: Of which kind it must be.
        evidence: Its bytes; None if none came.
        endorsements: What judging it takes.
    """

    family: Family
    evidence: bytes | None
    endorsements: Endorsements


@dataclass(frozen=True, slots=True)
class Attested:
    """What the evidence says, and what was made of it.

    Attributes:
        claims: What it says; believed only if the verdict says so.
        policy: What judged it, if that is not the starter of its family.
        not_compared: Measurements that the policy compared with nothing.
    """

    claims: Mapping[str, ClaimValue]
    environment: Environment
    policy: Policy | None
    not_compared: tuple[str, ...]

    def raw(self, claim: str) -> bytes:
        """A claim that is bytes; empty if it is not there."""
        value = self.claims.get(claim, b"")
        return value if isinstance(value, bytes) else b""


def examine(ledger: Ledger, check: str, device: Device, asked: Asked) -> Attested | None:
    """Examine and appraise evidence as one check; None if there is none.

    Raises:
        MalformedError: ``POLICY_UNSET``, ``POLICY_EMPTY`` or ``MALFORMED_POLICY``; ``BAD_TIME``.
        LimitExceededError: ``EVIDENCE_SIZE``.
    """
    evidence, family = device.evidence, device.family
    if evidence is None:
        ledger.skip(check, Finding.MISSING, "no evidence of the hardware came with the proof")
        return None
    rules = rules_of(family)
    policy = asked.policy or starter(family)
    policy = msgspec.structs.replace(policy, roots=(*policy.roots, *asked.roots))
    examination = rules.examine(evidence, device.endorsements, asked.at, policy.trusted_roots())
    question = Question(now=bool(asked.distrusted), distrusted=asked.distrusted)
    appraisal = appraise(examination, policy, rules, question)
    material = Material(evidence, device.endorsements, policy, asked.distrusted)
    result = build(appraisal, material, question, issued_at=examination.at, verifier=_VERIFIER)
    with ledger.check(check, evidence):
        if appraisal.verdict is not Verdict.VALID:
            said = ", ".join(f"{item.check} {item.finding}" for item in appraisal.findings())
            refused = appraisal.verdict is Verdict.INVALID
            # What is not genuine at all says nothing of what is distrusted.
            genuine = not any(item.severity in _CONTRADICTIONS for item in appraisal.findings())
            because = Found.EVIDENCE_REFUSED if refused else Found.EVIDENCE_OPEN
            raise CheckError(
                Found.EVIDENCE_DISTRUSTED if appraisal.distrusted and genuine else because,
                f"the evidence of the hardware is {appraisal.verdict}",
                severity=Severity.CRYPTO if refused else Severity.TIME,
                where=family,
                actual=said,
            )
    known = examination.claims.keys() & rules.references.keys()
    skipped = tuple(name for name in policy.skip if name in known)
    own = None if policy == starter(family) else policy
    return Attested(examination.claims, result.submods[family], own, skipped)


def note(reading: Reading, attested: Attested) -> None:
    """Take note of what was made of evidence, and of what was not compared."""
    if reading.environment is None:
        reading.environment, reading.policy = attested.environment, attested.policy
    reading.uncovered += [f"measurement {name}, not compared" for name in attested.not_compared]


def from_text(check: Callable[[], bytes], what: str, finding: StrEnum) -> bytes:
    """Decode something inside a document, as a failure of its own.

    Raises:
        CheckError: ``finding``.
    """
    try:
        return check()
    except RegistryError as error:
        raise CheckError(finding, f"{what} cannot be decoded", actual=str(error)) from error


def same(given: bytes, expected: bytes, finding: StrEnum, what: str) -> None:
    """Require two digests, keys or nonces to be the same.

    Raises:
        CheckError: ``finding``.
    """
    if given != expected:
        raise CheckError(
            finding,
            what,
            severity=Severity.IDENTITY,
            expected=expected.hex()[:200],
            actual=given.hex()[:200] or "nothing",
        )
