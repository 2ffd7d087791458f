"""Appraisal policies: what evidence must say to be what somebody wants. Unset is an error.

A policy is for one family. Every reference value of the family is either listed or skipped by name,
so that forgetting one cannot pass for wanting none, and an empty list allows nothing.
"""

from typing import Annotated

import msgspec

from registry.core.encoding import AsciiKey, Count, Hex32, Text, Value
from registry.core.evidence.claims import Family
from registry.core.evidence.roots import Roots, Vendor
from registry.core.evidence.rules import Rules, Treatment
from registry.errors import MalformedError, Reason

MAX_REFERENCE_VALUES = 1024
"""Values that one claim may be allowed to have."""

DEFAULT_RESULT_SECONDS = 24 * 3600
"""How long a result is in force if its policy does not say."""

_Name = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9_.-]{1,64}\Z")]


class NamedRoot(Value, frozen=True):
    """A root that counts for a vendor's though it is not: of a test vendor, or of a laboratory."""

    vendor: Vendor
    sha256: Hex32


class Policy(Value, frozen=True):
    """What evidence of one family must say.

    Attributes:
        name: What people call it, such as ``acme/tdx-production``.
        family: The kind of evidence that it is for.
        reference_values: For each claim, the values that it may have. Bytes are in hexadecimal.
        skip: Reference values that are not compared, and optional checks whose endorsements may be
            missing.
        minimum: Floors of whole-number claims, such as a security version or an evaluation number.
        treatments: What to make of a finding, where it differs from the family's own view.
        require: Checks that may be skipped for want of an endorsement, and here may not be.
        roots: Further roots; a result then says in capitals that it rests on one.
        result_seconds: How long a result is in force.
        endorsement_days: How old an OCSP answer may be; UNSET means within its own window.
    """

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    family: Family
    reference_values: dict[
        AsciiKey, Annotated[tuple[Text, ...], msgspec.Meta(max_length=MAX_REFERENCE_VALUES)]
    ] = msgspec.field(default_factory=dict)
    skip: Annotated[tuple[_Name, ...], msgspec.Meta(max_length=128)] = ()
    minimum: dict[AsciiKey, Count] = msgspec.field(default_factory=dict)
    treatments: dict[AsciiKey, Treatment] = msgspec.field(default_factory=dict)
    require: Annotated[tuple[_Name, ...], msgspec.Meta(max_length=64)] = ()
    roots: Annotated[tuple[NamedRoot, ...], msgspec.Meta(max_length=16)] = ()
    result_seconds: Count = DEFAULT_RESULT_SECONDS
    endorsement_days: Count | msgspec.UnsetType = msgspec.UNSET

    def require_family(self, family: Family) -> None:
        """Check that this policy is for evidence of that family.

        Raises:
            MalformedError: ``MALFORMED_POLICY``.
        """
        if self.family != family:
            raise MalformedError(
                Reason.MALFORMED_POLICY,
                "this policy is for another family of evidence",
                expected=family,
                actual=self.family,
            )

    def trusted_roots(self) -> Roots:
        """The vendors' roots, those that this policy names, and how long their answers count."""
        days = self.endorsement_days
        return Roots.also(
            ((item.vendor, item.sha256) for item in self.roots),
            answer_days=None if isinstance(days, msgspec.UnsetType) else days,
        )


def check(policy: Policy, rules: Rules) -> None:
    """Check that a policy says something about every reference value, and nothing unknown.

    Raises:
        MalformedError: ``POLICY_EMPTY`` for a list of values that allows nothing, ``POLICY_UNSET``
            for a reference value that is neither listed nor skipped, ``MALFORMED_POLICY`` for a
            name that the family does not know.
    """
    for name, values in policy.reference_values.items():
        if not values:
            raise MalformedError(
                Reason.POLICY_EMPTY,
                "this list of reference values allows nothing",
                where=f"reference_values of {name}",
                hint="list what is allowed, or name the claim under skip",
            )
    unset = [
        name
        for name in rules.references
        if name not in policy.reference_values and name not in policy.skip
    ]
    if unset:
        raise MalformedError(
            Reason.POLICY_UNSET,
            "this policy says nothing about some reference values",
            where=", ".join(unset),
            hint="list what is allowed under reference_values, or name them under skip",
        )
    needed = (set(policy.skip) & set(rules.table)) - rules.optional
    if needed:
        raise MalformedError(
            Reason.MALFORMED_POLICY,
            "without this check the evidence would not be verified: no policy may skip it",
            where="skip",
            expected=", ".join(sorted(rules.optional)) or "no check",
            actual=", ".join(sorted(needed)),
        )
    findings = {finding.value for finding in rules.weights}
    for where, said, known in (
        ("reference_values", set(policy.reference_values), set(rules.references)),
        ("skip", set(policy.skip), {*rules.references, *rules.optional}),
        ("minimum", set(policy.minimum), set(rules.minimums)),
        ("treatments", set(policy.treatments), findings),
        ("require", set(policy.require), set(rules.table)),
    ):
        if said - known:
            raise MalformedError(
                Reason.MALFORMED_POLICY,
                f"{policy.family} knows nothing of this name",
                where=where,
                expected=", ".join(sorted(known))[:1000],
                actual=", ".join(sorted(said - known)),
            )
    both = set(policy.reference_values) & set(policy.skip)
    if both:
        raise MalformedError(
            Reason.MALFORMED_POLICY,
            "a reference value is both listed and skipped",
            where=", ".join(sorted(both)),
        )
    torn = set(policy.require) & set(policy.skip)
    if torn:
        raise MalformedError(
            Reason.MALFORMED_POLICY,
            "a check is both required and skipped",
            where=", ".join(sorted(torn)),
        )
