"""Attestation results: what the registry made of evidence, as EAR claims that anybody can redo.

EAR is draft-ietf-rats-ear-04; terms are those of RFC 9711 and RFC 9334. The raw evidence and every
endorsement are named by digest, so that whoever has the blobs can examine again, offline, and must
come to the same result.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Final, Literal

import msgspec

from registry.core import encoding
from registry.core.digest import sha256
from registry.core.encoding import AsciiKey, Count, Hex32, Text, Value
from registry.core.evidence import distrust
from registry.core.evidence.appraisal import (
    Appraisal,
    Question,
    appraise,
    dispute,
    policy_digest,
)
from registry.core.evidence.binding import Binding
from registry.core.evidence.checks import CheckResult
from registry.core.evidence.claims import Family
from registry.core.evidence.endorsements import MAX_ENDORSEMENTS, Endorsements, Role
from registry.core.evidence.policy import Policy
from registry.core.evidence.rules import Rules, TrustClaim
from registry.core.evidence.trust import Tier
from registry.core.evidence.validity import LATEST, seconds
from registry.core.verdict import Verdict
from registry.errors import MalformedError, Reason, VerificationError

EAT_PROFILE: Final = "tag:provreg.dev,2026:ear/v1"
"""The profile (RFC 9711 §6): the claims of EAR, and ours under ``provreg.``."""

MAX_SUBMODULES = 16
"""Environments that one result may speak of."""

MAX_CHECKS = 512
"""Results of checks that one environment may have; a table has at most 24."""

_Check = Annotated[tuple[CheckResult, ...], msgspec.Meta(max_length=MAX_CHECKS)]


class Verifier(Value, frozen=True):
    """EAR's ``ear.verifier-id``: which software judged."""

    build: Text
    developer: Text


class Endorsed(Value, frozen=True):
    """An endorsement that was at hand, by role and digest."""

    role: Role
    sha256: Hex32


class Stated(Value, frozen=True):
    """What the submitter says that the device committed to (:mod:`registry.core.evidence.binding`).

    Attributes:
        session_key: Base64 of the DER SubjectPublicKeyInfo.
    """

    nonce: Hex32 | msgspec.UnsetType = msgspec.UNSET
    session_key: Annotated[str, msgspec.Meta(max_length=1024)] | msgspec.UnsetType = msgspec.UNSET
    model: Hex32 | msgspec.UnsetType = msgspec.UNSET
    gpu: Hex32 | msgspec.UnsetType = msgspec.UNSET
    context: Hex32 | msgspec.UnsetType = msgspec.UNSET

    @classmethod
    def of(cls, binding: Binding) -> "Stated":
        """As a record writes it."""

        def hexadecimal(value: bytes | None) -> str | msgspec.UnsetType:
            return msgspec.UNSET if value is None else value.hex()

        key = binding.session_key
        return cls(
            nonce=hexadecimal(binding.nonce),
            session_key=msgspec.UNSET if key is None else encoding.base64_text(key),
            model=hexadecimal(binding.model),
            gpu=hexadecimal(binding.gpu),
            context=hexadecimal(binding.context),
        )

    def binding(self) -> Binding:
        """As it is compared.

        Raises:
            MalformedError: ``MALFORMED_BASE64``.
        """

        def raw(value: str | msgspec.UnsetType) -> bytes | None:
            return None if isinstance(value, msgspec.UnsetType) else bytes.fromhex(value)

        key = self.session_key
        return Binding(
            nonce=raw(self.nonce),
            session_key=None if isinstance(key, msgspec.UnsetType) else encoding.base64_bytes(key),
            model=raw(self.model),
            gpu=raw(self.gpu),
            context=raw(self.context),
        )


class Environment(Value, frozen=True):
    """One of EAR's ``submods``: what was made of one piece of evidence.

    Attributes:
        status: The worst tier of the vector.
        trust: The AR4SI trustworthiness vector.
        policy: SHA-256 of the appraisal policy.
        raw_evidence: SHA-256 of the evidence as it came, never the evidence itself.
        evidence_id: Its name over signed regions.
        question: ``then``: by what was valid at the moment; ``now``: by what is believed now.
        appraised_at: The moment that counts, in Unix seconds.
        valid_from: First second at which every endorsement that was used is valid.
        valid_until: Last one.
        endorsements: What was at hand.
        checks: Every check of the family's table that did not simply pass.
        claims: What the evidence says, as policies and distrust entries write it.
        stated: What it was submitted for; absent for evidence that was not asked for.
        distrusted: SHA-256 of the distrust entries that apply.
        configured_roots: Roots that are no vendor's, on which this result rests.
        disputed: What another engine says otherwise; the verdict is then INDETERMINATE.
    """

    status: Tier = msgspec.field(name="ear.status")
    trust: dict[TrustClaim, Annotated[int, msgspec.Meta(ge=-128, le=127)]] = msgspec.field(
        name="ear.trustworthiness-vector"
    )
    policy: Hex32 = msgspec.field(name="ear.appraisal-policy-id")
    raw_evidence: Hex32 = msgspec.field(name="ear.raw-evidence")
    verdict: Verdict = msgspec.field(name="provreg.verdict")
    question: Literal["then", "now"] = msgspec.field(name="provreg.question")
    appraised_at: Count = msgspec.field(name="provreg.appraised-at")
    evidence_id: Hex32 | msgspec.UnsetType = msgspec.field(
        name="provreg.evidence-id", default=msgspec.UNSET
    )
    valid_from: Count | msgspec.UnsetType = msgspec.field(
        name="provreg.valid-from", default=msgspec.UNSET
    )
    valid_until: Count | msgspec.UnsetType = msgspec.field(
        name="provreg.valid-until", default=msgspec.UNSET
    )
    endorsements: Annotated[tuple[Endorsed, ...], msgspec.Meta(max_length=MAX_ENDORSEMENTS)] = (
        msgspec.field(name="provreg.endorsements", default=())
    )
    checks: _Check = msgspec.field(name="provreg.checks", default=())
    claims: dict[AsciiKey, Text] = msgspec.field(name="provreg.claims", default_factory=dict)
    stated: Stated | msgspec.UnsetType = msgspec.field(
        name="provreg.binding", default=msgspec.UNSET
    )
    distrusted: Annotated[tuple[Hex32, ...], msgspec.Meta(max_length=1024)] = msgspec.field(
        name="provreg.distrusted", default=()
    )
    configured_roots: Annotated[tuple[Hex32, ...], msgspec.Meta(max_length=64)] = msgspec.field(
        name="provreg.configured-roots", default=()
    )
    disputed: Text = msgspec.field(name="provreg.disputed", default="")


class AttestationResult(Value, frozen=True):
    """The registry says: this is what we made of this evidence.

    Attributes:
        profile: ``eat_profile``.
        issued_at: ``iat``, in Unix seconds.
        expires_at: ``exp``: from then on it is no longer in force; always there.
        verifier: Which software judged.
        submods: What was made of each piece of evidence, by the name of its family.
    """

    profile: Literal["tag:provreg.dev,2026:ear/v1"] = msgspec.field(name="eat_profile")
    issued_at: Count = msgspec.field(name="iat")
    expires_at: Count = msgspec.field(name="exp")
    verifier: Verifier = msgspec.field(name="ear.verifier-id")
    submods: Annotated[
        dict[Family, Environment], msgspec.Meta(min_length=1, max_length=MAX_SUBMODULES)
    ]


@dataclass(frozen=True, slots=True)
class Material:
    """Everything that a result rests on, as bytes and values.

    Attributes:
        evidence: As it came.
        endorsements: Those that the result names.
        policy: The one that it names.
        distrusted: Distrust entries that are known.
    """

    evidence: bytes
    endorsements: Endorsements
    policy: Policy
    distrusted: Sequence[distrust.Entry] = ()


def entry_digest(entry: distrust.Entry) -> str:
    """SHA-256 of the one spelling of a distrust entry, in hexadecimal."""
    return sha256(encoding.write_json(entry)).hex()


def build(
    appraisal: Appraisal,
    material: Material,
    question: Question,
    *,
    issued_at: int,
    verifier: Verifier,
) -> AttestationResult:
    """Write down an appraisal.

    Args:
        appraisal: What was made of the evidence.
        material: What was judged.
        question: What was asked.
        issued_at: When, in Unix seconds.
        verifier: Which software judged.
    """
    environment = _environment(appraisal, material, question)
    window = appraisal.examination.window
    expires = issued_at + material.policy.result_seconds
    if window is not None and appraisal.verdict is Verdict.VALID:
        expires = max(issued_at, min(expires, window.end))
    return AttestationResult(
        profile=EAT_PROFILE,
        issued_at=issued_at,
        expires_at=expires,
        verifier=verifier,
        submods={appraisal.examination.family: environment},
    )


def redo(environment: Environment, material: Material, rules: Rules) -> Appraisal:
    """Examine and appraise again, from the material, and compare with what a result says.

    Raises:
        VerificationError: ``RESULT_MISMATCH`` if the material is not what the result names, or the
            result is not what it leads to.
        MalformedError: What is wrong with the policy.
    """
    named = tuple(sorted((item.role.value, item.sha256) for item in environment.endorsements))
    held = tuple(sorted((item.role.value, item.sha256) for item in material.endorsements.items))
    for what, expected, actual in (
        ("evidence", environment.raw_evidence, sha256(material.evidence).hex()),
        ("endorsements", str(named), str(held)),
        ("policy", environment.policy, policy_digest(material.policy)),
    ):
        if expected != actual:
            raise _mismatch(f"the {what} is not what the result names", expected, actual)
    stated = environment.stated
    binding = None if isinstance(stated, msgspec.UnsetType) else stated.binding()
    applied = [item for item in material.distrusted if entry_digest(item) in environment.distrusted]
    question = Question(
        now=environment.question == "now",
        stated=binding,
        expected=binding or Binding(),
        distrusted=applied,
    )
    if environment.appraised_at > seconds(LATEST):
        text = "nothing can be examined at this moment"
        raise _mismatch(text, f"at most {seconds(LATEST)}", str(environment.appraised_at))
    at = datetime.fromtimestamp(environment.appraised_at, UTC)
    examination = rules.examine(
        material.evidence, material.endorsements, at, material.policy.trusted_roots()
    )
    appraisal = appraise(examination, material.policy, rules, question)
    # The other engine may not be here: what it said is kept.
    appraisal = dispute(appraisal, environment.disputed)
    again = _environment(appraisal, material, question)
    # What a check looked at and how it words its finding may change between releases.
    for field in ("verdict", "status", "trust", "evidence_id", "valid_from", "valid_until"):
        expected, actual = getattr(environment, field), getattr(again, field)
        if expected != actual:
            text = f"examining again leads to another {field.replace('_', ' ')}"
            raise _mismatch(text, str(expected), str(actual))
    said, found = _found(environment), _found(again)
    if said != found or environment.configured_roots != again.configured_roots:
        raise _mismatch("examining again finds something else", str(said), str(found))
    return appraisal


def validate(result: AttestationResult) -> None:
    """Check what types cannot express.

    Raises:
        MalformedError: ``MALFORMED_FIELD``.
    """
    if result.expires_at < result.issued_at:
        raise MalformedError(
            Reason.MALFORMED_FIELD,
            "this attestation result ends before it is made",
            expected=f"exp of at least {result.issued_at}",
            actual=str(result.expires_at),
        )
    for environment in result.submods.values():
        worst = environment.verdict is not Verdict.VALID
        if environment.disputed and not worst:
            raise MalformedError(
                Reason.MALFORMED_FIELD, "a disputed result cannot be valid", where="provreg.verdict"
            )
        if environment.verdict is Verdict.VALID and environment.status is Tier.CONTRAINDICATED:
            raise MalformedError(
                Reason.MALFORMED_FIELD,
                "a valid result cannot be contraindicated",
                where="ear.status",
            )


def _environment(appraisal: Appraisal, material: Material, question: Question) -> Environment:
    examination = appraisal.examination
    window = examination.window
    name = examination.evidence_id
    stated = question.stated
    usable = window is not None and 0 <= window.start <= window.end
    return Environment(
        status=appraisal.tier,
        trust=dict(appraisal.trust),
        policy=appraisal.policy,
        raw_evidence=sha256(material.evidence).hex(),
        verdict=appraisal.verdict,
        question="now" if question.now else "then",
        appraised_at=examination.at,
        evidence_id=msgspec.UNSET if name is None else name.hex(),
        valid_from=window.start if window is not None and usable else msgspec.UNSET,
        valid_until=window.end if window is not None and usable else msgspec.UNSET,
        endorsements=tuple(
            Endorsed(role=item.role, sha256=item.sha256) for item in material.endorsements.items
        ),
        checks=tuple(item for item in appraisal.checks if item.outcome != "pass"),
        claims={
            key: distrust.written(value)[:4096] for key, value in sorted(examination.claims.items())
        },
        stated=msgspec.UNSET if stated is None else Stated.of(stated),
        distrusted=tuple(sorted(map(entry_digest, appraisal.distrusted))),
        configured_roots=tuple(sorted(examination.configured_roots)),
        disputed=appraisal.disputed,
    )


def _found(environment: Environment) -> list[tuple[str, str, str]]:
    return sorted((item.check, item.outcome, item.finding) for item in environment.checks)


def _mismatch(what: str, expected: str, actual: str) -> VerificationError:
    return VerificationError(
        Reason.RESULT_MISMATCH, what, expected=expected[:400], actual=actual[:400]
    )
