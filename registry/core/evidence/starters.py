"""Starter policies: one for each family, to be filled in; what they do not ask they say by name.

A starter is a whole policy: it refuses debug modes, foreign roots, revoked devices and whatever
else the family calls fatal. What it does not compare are the measurements of software that only its
user knows; each is named under ``skip``, to be moved to ``reference_values``.
"""

from typing import Final

from registry.core.evidence.claims import Family
from registry.core.evidence.families import rules_of
from registry.core.evidence.policy import Policy, check

EXPECTED: Final[dict[Family, dict[str, tuple[str, ...]]]] = {
    # The level of the guest itself; anything less privileged may be told anything.
    Family.AMD_SNP: {"vmpl": ("0",)},
}
"""Reference values that hold for everybody."""


def starter(family: str) -> Policy:
    """The starter policy of a family.

    Raises:
        MalformedError: ``UNKNOWN_FAMILY``.
    """
    rules = rules_of(family)
    expected = EXPECTED.get(rules.family, {})
    policy = Policy(
        name=f"starter/{rules.family}",
        family=rules.family,
        reference_values=expected,
        skip=tuple(name for name in rules.references if name not in expected),
    )
    check(policy, rules)
    return policy
