"""Minted quotes, examined and appraised."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from registry.core.evidence.appraisal import Appraisal, Question, appraise
from registry.core.evidence.checks import CheckResult
from registry.core.evidence.claims import Examination
from registry.core.evidence.endorsements import Endorsements, Role
from registry.core.evidence.intel.rules import RULES
from registry.core.evidence.policy import Policy
from registry.core.evidence.roots import Roots
from registry.core.verdict import Verdict
from tools.fake_vendor.intel import NOON, Minted, Spec, mint

POLICY = Policy(name="vectors", family=RULES.family, skip=tuple(RULES.references))
"""The policy under which the public table holds."""

Found = set[tuple[str, str]]


def examine(minted: Minted, at: datetime = NOON, roots: Roots | None = None) -> Examination:
    return RULES.examine(minted.evidence, minted.endorsements, at, roots or minted.roots)


def failures(examination: Examination) -> Found:
    return {(item.check, item.finding) for item in examination.checks if item.outcome == "fail"}


def found(at: datetime = NOON, /, **defects: Any) -> Found:
    """What is found in a quote with these defects."""
    return failures(examine(mint(Spec(**defects)), at))


def result(examination: Examination, check: str) -> CheckResult:
    return next(item for item in examination.checks if item.check == check)


def judged(minted: Minted, at: datetime = NOON, question: Question | None = None) -> Appraisal:
    return appraise(examine(minted, at), POLICY, RULES, question)


def verdict(at: datetime = NOON, /, **defects: Any) -> Verdict:
    return judged(mint(Spec(**defects)), at).verdict


def swapped(minted: Minted, **other: bytes) -> Minted:
    """With some collateral exchanged by role name; empty takes it away."""
    roles = dict(minted.roles) | {Role[name]: data for name, data in other.items()}
    return replace(minted, roles={role: data for role, data in roles.items() if data})


def archive(*many: Minted) -> Endorsements:
    """Everything at hand for several quotes."""
    return Endorsements.of(item for minted in many for item in minted.roles.items())
