"""Shared by tests of SEV-SNP: mint, examine, and say what was found."""

from collections.abc import Sequence
from datetime import datetime

from registry.core.evidence.appraisal import Appraisal, Question, appraise
from registry.core.evidence.checks import Severity
from registry.core.evidence.claims import Examination
from registry.core.evidence.policy import Policy
from registry.core.evidence.sev_snp.rules import RULES
from tools.fake_vendor.amd import NOON, Spec, mint, roots

ANY = Policy(name="any", family=RULES.family, skip=tuple(RULES.references))
"""Asks for no value."""


def examined(
    spec: Spec | None = None, at: datetime = NOON, lists: Sequence[bytes] = ()
) -> Examination:
    minted = mint(spec, lists=lists)
    return RULES.examine(minted.evidence, minted.endorsements, at, roots())


def judged(
    spec: Spec | None = None, policy: Policy = ANY, question: Question | None = None
) -> Appraisal:
    return appraise(examined(spec), policy, RULES, question)


def wanting(**values: str) -> Policy:
    """A policy that wants these values, and skips all other references."""
    return Policy(
        name="wanting",
        family=RULES.family,
        reference_values={name: (value,) for name, value in values.items()},
        skip=tuple(name for name in RULES.references if name not in values),
    )


def demanding(**floors: int) -> Policy:
    """A policy that sets these floors."""
    return Policy(
        name="demanding", family=RULES.family, minimum=floors, skip=tuple(RULES.references)
    )


def found(examination: Examination) -> list[tuple[str, str, Severity]]:
    """Every failed check: its name, finding and severity."""
    return [
        (item.check, item.finding, item.severity)
        for item in examination.checks
        if item.outcome == "fail"
    ]


def refused(examination: Examination) -> list[tuple[str, str]]:
    """Every check that contradicts the evidence."""
    return [
        (check, finding)
        for check, finding, severity in found(examination)
        if severity in (Severity.CRYPTO, Severity.IDENTITY)
    ]
