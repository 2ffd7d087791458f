"""What the tests of Nitro documents share: examine, judge, and name what was found."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from registry.core.evidence.appraisal import Appraisal, Question, appraise
from registry.core.evidence.claims import Examination, Family
from registry.core.evidence.endorsements import Endorsements
from registry.core.evidence.nitro.rules import RULES
from registry.core.evidence.policy import Policy
from tools.fake_vendor.nitro import NOON, Minted, Spec, mint


def policy(**claims: tuple[str, ...]) -> Policy:
    """A policy that expects these measurements, and skips the others by name."""
    return Policy(
        name="test",
        family=Family.AWS_NITRO,
        reference_values=claims,
        skip=tuple(name for name in RULES.references if name not in claims),
    )


SKIPPING = policy()


def examined(
    minted: Minted, at: datetime = NOON, endorsements: Endorsements | None = None
) -> Examination:
    given = Endorsements() if endorsements is None else endorsements
    return RULES.examine(minted.evidence, given, at, minted.roots)


def judged(
    spec: Spec | Minted | None = None,
    at: datetime = NOON,
    *,
    policy: Policy = SKIPPING,
    question: Question | None = None,
    endorsements: Endorsements | None = None,
) -> Appraisal:
    minted = spec if isinstance(spec, Minted) else mint(spec)
    return appraise(examined(minted, at, endorsements), policy, RULES, question)


def found(appraisal: Appraisal) -> Mapping[str, set[str]]:
    """What failed: the findings of each check."""
    failed: dict[str, set[str]] = {}
    for item in appraisal.findings():
        failed.setdefault(item.check, set()).add(str(item.finding))
    return failed


def refused(spec: Spec | Minted) -> Mapping[str, set[str]]:
    """What makes a document invalid."""
    appraisal = judged(spec)
    assert appraisal.verdict.name == "INVALID"
    return found(appraisal)


def changed(minted: Minted, evidence: bytes) -> Minted:
    return replace(minted, evidence=evidence)
