"""What a family of evidence must state so that one appraisal can serve them all."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal

from registry.core.evidence.claims import Examination, Family
from registry.core.evidence.endorsements import Endorsements
from registry.core.evidence.roots import Roots

Examine = Callable[[bytes, Endorsements, datetime, Roots], Examination]
"""``(evidence, endorsements, at, roots)`` → claims and the result of every check.

Raises only :class:`registry.errors.RegistryError`: ``BAD_TIME``, ``EVIDENCE_SIZE``, or
``MISSING_EXTRA``. Whatever is wrong with the evidence or an endorsement is the result of a check.
"""

SecondOpinion = Callable[[bytes, Endorsements, Examination], str]
"""``(evidence, endorsements, examination)`` → what another engine says otherwise, or nothing.

A result that is disputed decides nothing.
"""

Treatment = Literal["fatal", "warning", "accept"]
"""What a policy makes of a finding: refuse, lower the tier, or take note."""

TrustClaim = Literal[
    "instance-identity",
    "configuration",
    "executables",
    "file-system",
    "hardware",
    "runtime-opaque",
    "storage-opaque",
    "sourced-data",
]
"""The claims of an AR4SI trustworthiness vector (draft-ietf-rats-ar4si)."""


@dataclass(frozen=True, slots=True)
class Weight:
    """What a policy finding means.

    Attributes:
        treatment: What a policy makes of it that does not say otherwise.
        trust: The AR4SI values that it sets while it is not accepted.
    """

    treatment: Treatment
    trust: Mapping[TrustClaim, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rules:
    """One family of evidence.

    Attributes:
        family: Its name.
        table: Every check: its name and what it checks, in order.
        examine: The examination.
        references: Claims that a policy must give reference values for, or skip by name; and the
            check that compares each.
        minimums: Whole-number claims that a policy may set a floor for, and the check.
        weights: Every finding of severity ``policy`` that an examination may yield.
        affirms: The AR4SI values of evidence about which nothing was found.
        binding: The claim that holds what the attester committed to, and the check that compares
            it.
        distrust: Claims that a distrust entry may select by, and the check; the first is the
            product line.
        optional: Checks that a policy may skip where their endorsements are not at hand: without
            them the evidence is still verified. Whoever skips another one believes anything.
        second_opinion: Another engine beside ours; None if there is none for the family.
    """

    family: Family
    table: Mapping[str, str]
    examine: Examine
    references: Mapping[str, str]
    minimums: Mapping[str, str]
    weights: Mapping[StrEnum, Weight]
    affirms: Mapping[TrustClaim, int]
    binding: tuple[str, str]
    distrust: tuple[tuple[str, ...], str]
    optional: frozenset[str] = frozenset()
    second_opinion: SecondOpinion | None = None
