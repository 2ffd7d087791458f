"""What judging evidence again changed, and whether that is more than the passing of time.

Endorsements of some devices end within hours. What was learned of a device must not be lost among
all that merely ran out, so two results are also compared as if nothing had.
"""

from enum import StrEnum

from registry.core.evidence.appraisal import verdict_but_for_time
from registry.core.evidence.policy import Policy
from registry.core.evidence.result import Environment
from registry.core.evidence.rules import Rules
from registry.core.verdict import Verdict


class Effect(StrEnum):
    """How a new result about evidence stands to the one before it."""

    UNCHANGED = "unchanged"
    """The verdict is what it was, and would be if nothing had run out."""
    CHANGED = "changed"
    """Something else is known: a distrust entry, a revocation, another status of its firmware."""
    EXPIRED = "expired"
    """Endorsements merely ran out; but for that the verdict is what it was."""
    RENEWED = "renewed"
    """Endorsements that had run out were replaced; but for that the verdict is what it was."""


def effect_of(before: Environment, now: Environment, policy: Policy, rules: Rules) -> Effect:
    """How the newer of two results by one policy about the same evidence stands to the older."""
    known, learned = (
        verdict_but_for_time(item.checks, policy, rules, item.disputed) for item in (before, now)
    )
    if known is not learned:
        return Effect.CHANGED
    if before.verdict is now.verdict:
        return Effect.UNCHANGED
    return Effect.EXPIRED if now.verdict is Verdict.INDETERMINATE else Effect.RENEWED
