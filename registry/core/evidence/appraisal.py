"""Appraisal: an examination judged by a policy, as-then or as-now, into a verdict and a tier."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import msgspec

from registry.core import digest, encoding
from registry.core.evidence import distrust, trust
from registry.core.evidence.binding import Binding, mismatches
from registry.core.evidence.checks import CheckResult, Finding, Severity
from registry.core.evidence.claims import ClaimValue, Examination
from registry.core.evidence.policy import Policy, check
from registry.core.evidence.rules import Rules, TrustClaim, Weight
from registry.core.evidence.trust import Tier
from registry.core.verdict import Verdict

_SHOWN_VALUES = 3
_CONTRADICTIONS = (Severity.CRYPTO, Severity.IDENTITY)


@dataclass(frozen=True, slots=True)
class Question:
    """What an appraisal is asked.

    Attributes:
        now: Whether it asks what is believed now; else what was believable at its moment.
        stated: What the submitter says that the device committed to; None if the device was not
            asked on our behalf, as with a bare quote in a file.
        expected: What the evidence must be about.
        distrusted: The distrust list, as it is known.
    """

    now: bool = False
    stated: Binding | None = None
    expected: Binding = field(default_factory=Binding)
    distrusted: Sequence[distrust.Entry] = ()


@dataclass(frozen=True, slots=True)
class Appraisal:
    """What a policy makes of an examination.

    Attributes:
        examination: What was judged.
        policy: SHA-256 of the policy, in hexadecimal.
        verdict: VALID, INVALID, or INDETERMINATE if an input is missing or outside its window.
        tier: EAR's status.
        trust: The AR4SI trustworthiness vector; a claim that is not in it is not made.
        checks: Every check of the table, with what the policy added.
        distrusted: The entries of the distrust list that apply.
        disputed: What another engine says otherwise; such an appraisal is not VALID.
    """

    examination: Examination
    policy: str
    verdict: Verdict
    tier: Tier
    trust: Mapping[TrustClaim, int]
    checks: tuple[CheckResult, ...]
    distrusted: tuple[distrust.Entry, ...] = ()
    disputed: str = ""

    def findings(self) -> tuple[CheckResult, ...]:
        """The checks that did not pass for a reason, accepted ones included."""
        return tuple(item for item in self.checks if item.outcome == "fail")


def dispute(appraisal: Appraisal, disputed: str) -> Appraisal:
    """The same appraisal, with what another engine says otherwise: then nothing is decided."""
    if not disputed or appraisal.verdict is not Verdict.VALID:
        return replace(appraisal, disputed=disputed)
    return replace(
        appraisal, verdict=Verdict.INDETERMINATE, tier=Tier.NONE, trust={}, disputed=disputed
    )


def policy_digest(policy: Policy) -> str:
    """SHA-256 of the one spelling of a policy, in hexadecimal."""
    return digest.sha256(encoding.write_json(policy)).hex()


def appraise(
    examination: Examination, policy: Policy, rules: Rules, question: Question | None = None
) -> Appraisal:
    """Judge what evidence says by a policy.

    Args:
        examination: What the cryptography says of it.
        policy: What it must say.
        rules: Those of its family.
        question: As-then or as-now, and what it must be about; None asks about a bare quote.

    Raises:
        MalformedError: ``POLICY_UNSET``, ``POLICY_EMPTY`` or ``MALFORMED_POLICY``.
    """
    for family in (rules.family, examination.family):
        policy.require_family(family)
    check(policy, rules)
    asked = question or Question()
    weights = _weights(policy, rules)
    distrusted = distrust.applying(asked.distrusted, examination, now=asked.now)
    checks = [
        *_waive(examination.checks, policy),
        *_references(examination, policy, rules),
        *_minimums(examination, policy, rules),
        *_binding(examination, rules, asked),
        *_distrust(distrusted, rules),
    ]
    failed = [item for item in checks if item.outcome == "fail"]
    order = list(rules.table)
    said = _merged([_with_inputs(item, _looked(examination)) for item in checks], order)
    verdict = _verdict(failed, said, weights)
    if verdict is Verdict.INDETERMINATE:
        vector: dict[TrustClaim, int] = {}
    else:
        weighed = [
            (item, weight)
            for item in failed
            if (weight := weights.get(item.finding)) is None or weight.treatment != "accept"
        ]
        vector = trust.weigh(_affirms(policy, rules), weighed)
    tier = Tier.CONTRAINDICATED if verdict is Verdict.INVALID else trust.worst(vector.values())
    return Appraisal(
        examination=examination,
        policy=policy_digest(policy),
        verdict=verdict,
        tier=tier,
        trust=vector,
        checks=said,
        distrusted=distrusted,
    )


def verdict_but_for_time(
    checks: Sequence[CheckResult], policy: Policy, rules: Rules, disputed: str = ""
) -> Verdict:
    """What an appraisal with these checks would come to if nothing had run out.

    Args:
        checks: Those of a result: all that did not simply pass.
        policy: What it was judged by.
        rules: Those of its family.
        disputed: What another engine says otherwise.
    """
    left = [item for item in checks if item.finding != Finding.EXPIRED]
    failed = [item for item in left if item.outcome == "fail"]
    verdict = _verdict(failed, left, _weights(policy, rules))
    return Verdict.INDETERMINATE if disputed and verdict is Verdict.VALID else verdict


def _weights(policy: Policy, rules: Rules) -> dict[str, Weight]:
    own: Mapping[StrEnum, Weight] = {**trust.COMMON, **rules.weights}
    said = {finding.value: weight for finding, weight in own.items()}
    for finding, treatment in policy.treatments.items():
        weight = replace(said[finding], treatment=treatment)
        said[finding] = trust.softened(weight) if treatment == "warning" else weight
    return said


def _waive(checks: Sequence[CheckResult], policy: Policy) -> list[CheckResult]:
    """Let the policy skip what is missing, or require what was skipped."""
    waived: list[CheckResult] = []
    for item in checks:
        if item.finding == Finding.MISSING and item.check in policy.skip:
            skipped = {"outcome": "skipped", "finding": Finding.SKIPPED_BY_POLICY}
            waived.append(msgspec.structs.replace(item, **skipped))
        elif item.finding == Finding.MISSING and item.check in policy.require:
            required = {"outcome": "fail", "severity": Severity.TIME}
            waived.append(msgspec.structs.replace(item, **required))
        else:
            waived.append(item)
    return waived


def _references(examination: Examination, policy: Policy, rules: Rules) -> list[CheckResult]:
    said: list[CheckResult] = []
    for claim, name in rules.references.items():
        allowed = policy.reference_values.get(claim)
        if allowed is None or examination.evidence_id is None:
            continue
        if claim not in examination.claims:
            actual = "nothing"
        else:
            actual = distrust.written(examination.claims[claim])
            if actual in allowed:
                said.append(CheckResult(check=name, outcome="pass"))
                continue
        said.append(
            CheckResult(
                check=name,
                outcome="fail",
                severity=Severity.IDENTITY,
                finding=Finding.REFERENCE_MISMATCH,
                detail=f"{claim} is {actual[:200]}, not {_shown_values(allowed)}",
            )
        )
    return said


def _shown_values(allowed: Sequence[str]) -> str:
    first = " or ".join(value[:200] for value in allowed[:_SHOWN_VALUES])
    more = len(allowed) - _SHOWN_VALUES
    return f"{first} or one of {more} more" if more > 0 else first


def _minimums(examination: Examination, policy: Policy, rules: Rules) -> list[CheckResult]:
    said: list[CheckResult] = []
    for claim, floor in policy.minimum.items():
        actual = examination.claims.get(claim)
        name = rules.minimums[claim]
        if isinstance(actual, int) and actual >= floor:
            said.append(CheckResult(check=name, outcome="pass"))
        elif examination.evidence_id is not None:
            said.append(
                CheckResult(
                    check=name,
                    outcome="fail",
                    severity=Severity.POLICY,
                    finding=Finding.BELOW_MINIMUM,
                    detail=f"{claim} is {_shown(actual)}, below the minimum {floor}",
                )
            )
    return said


def _shown(value: ClaimValue | None) -> str:
    return "absent" if value is None else distrust.written(value)[:200]


def _binding(examination: Examination, rules: Rules, question: Question) -> list[CheckResult]:
    if question.stated is None or examination.evidence_id is None:
        return []
    name = rules.binding[1]
    found = mismatches(examination.family, examination.claims, question.stated, question.expected)
    if not found:
        return [CheckResult(check=name, outcome="pass")]
    return [
        CheckResult(
            check=name, outcome="fail", severity=Severity.IDENTITY, finding=mismatch, detail=text
        )
        for mismatch, text in found
    ]


def _distrust(entries: Sequence[distrust.Entry], rules: Rules) -> list[CheckResult]:
    return [
        CheckResult(
            check=rules.distrust[1],
            outcome="fail",
            severity=Severity.POLICY,
            finding=Finding.DISTRUSTED,
            detail=f"{entry.reason}; since {entry.effective_from}; {entry.reference}"[:1000],
        )
        for entry in entries
    ]


def _verdict(
    failed: Sequence[CheckResult], said: Sequence[CheckResult], weights: Mapping[str, Weight]
) -> Verdict:
    if any(item.severity in _CONTRADICTIONS for item in failed):
        return Verdict.INVALID
    if any(item.severity is Severity.TIME for item in failed):
        return Verdict.INDETERMINATE
    for item in failed:
        weight = weights.get(item.finding)
        # A finding that nobody weighed is refused: what is unknown is not harmless.
        if weight is None or weight.treatment == "fatal":
            return Verdict.INVALID
    if any(item.finding == Finding.NOT_REACHED for item in said):
        # Nothing speaks against it, and something was never looked at.
        return Verdict.INDETERMINATE
    return Verdict.VALID


def _affirms(policy: Policy, rules: Rules) -> dict[TrustClaim, int]:
    """What good evidence affirms: executables only if something was there to compare."""
    vector = dict(rules.affirms)
    if policy.reference_values:
        vector["executables"] = 2 if len(policy.reference_values) == len(rules.references) else 3
    return vector


def _looked(examination: Examination) -> dict[str, tuple[str, ...]]:
    """What each check of the examination looked at; under no name, the evidence itself.

    What a policy compares are claims, and those come from there.
    """
    first = next((item.inputs for item in examination.checks if item.inputs), ())
    found: dict[str, tuple[str, ...]] = {"": first}
    for item in examination.checks:
        found[item.check] = found.get(item.check) or item.inputs
    return found


def _with_inputs(item: CheckResult, looked: Mapping[str, tuple[str, ...]]) -> CheckResult:
    if item.outcome == "skipped" or item.inputs or item.finding == Finding.MISSING:
        return item
    inputs = looked.get(item.check) or looked[""]
    return msgspec.structs.replace(item, inputs=inputs)


def _merged(checks: Sequence[CheckResult], order: Sequence[str]) -> tuple[CheckResult, ...]:
    """One pass at most for each check, none beside a failure, in the order of the table."""
    said: list[CheckResult] = []
    for name in order:
        own = [item for item in checks if item.check == name]
        failed = [item for item in own if item.outcome == "fail"]
        passed = [item for item in own if item.outcome == "pass"]
        inputs = tuple(dict.fromkeys(item for part in passed for item in part.inputs))
        if failed:
            said.extend(failed)
        elif passed:
            said.append(msgspec.structs.replace(passed[0], inputs=inputs))
        else:
            said.extend(own[:1])
    return tuple(said)
