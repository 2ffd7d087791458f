"""Dated lists of what is no longer believed: product lines, chips, firmware, manifests, verifiers.

Vendor keys fall: the seed of a product line's keys leaks, and any of its reports can be forged
from then on. An entry applies to every answer as-now, and to an answer as-then if the moment lies
after it took effect or the entry is retroactive. It changes no stored result.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated

import msgspec

from registry.core.encoding import AsciiKey, Count, Text, Time, Value
from registry.core.evidence.claims import ClaimValue, Examination, Family
from registry.core.evidence.rules import Rules
from registry.core.evidence.validity import seconds
from registry.errors import MalformedError, Reason


class Selector(Value, frozen=True):
    """What an entry is about; all that is stated must hold.

    Attributes:
        family: The kind of evidence.
        claims: Claims with exactly these values, such as ``{"product_line": "Milan"}``. Bytes are
            written in hexadecimal.
        below: Whole-number claims smaller than these, such as ``{"tcb_snp": 24}``.
        verifiers: Versions of the verifier that made a result, such as ``dcap-qvl 0.3.8``.
    """

    family: Family
    claims: Annotated[dict[AsciiKey, Text], msgspec.Meta(max_length=16)] = msgspec.field(
        default_factory=dict
    )
    below: Annotated[dict[AsciiKey, Count], msgspec.Meta(max_length=16)] = msgspec.field(
        default_factory=dict
    )
    verifiers: Annotated[tuple[Text, ...], msgspec.Meta(max_length=64)] = ()


class Entry(Value, frozen=True):
    """One thing that is no longer believed, and since when.

    Attributes:
        retroactive: Whether it never should have been believed.
        reference: Where it was published.
    """

    selector: Selector
    effective_from: Time
    reason: Text
    retroactive: bool = False
    reference: Text = ""


def check(entry: Entry) -> None:
    """Refuse an entry that would match everything.

    Raises:
        MalformedError: ``MALFORMED_FIELD``.
    """
    selector = entry.selector
    if not selector.claims and not selector.below and not selector.verifiers:
        raise MalformedError(
            Reason.MALFORMED_FIELD,
            "a distrust entry must select something",
            expected="claims, below or verifiers",
        )


def check_names(entry: Entry, rules: Rules) -> None:
    """Refuse an entry that no evidence could match, since its family makes no such claim.

    Raises:
        MalformedError: ``MALFORMED_FIELD``.
    """
    named = {*rules.references, *rules.distrust[0]}
    for where, said, known in (
        ("claims", set(entry.selector.claims), {*named, *rules.minimums}),
        ("below", set(entry.selector.below), set(rules.minimums)),
    ):
        if said - known:
            raise MalformedError(
                Reason.MALFORMED_FIELD,
                f"evidence of {rules.family} makes no such claim: this entry would match nothing",
                where=where,
                expected=", ".join(sorted(known))[:1000] or "no name",
                actual=", ".join(sorted(said - known))[:400],
            )


def written(value: ClaimValue) -> str:
    """A claim's value as policies and distrust entries write it."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ",".join(value)
    return str(value)


def applying(
    entries: Iterable[Entry], examination: Examination, *, now: bool, verifier: str = ""
) -> tuple[Entry, ...]:
    """The entries that apply to evidence, or to a device of a set, in their order.

    Args:
        entries: The list, as it is known.
        examination: What the evidence says, and at which moment.
        now: Whether the question is what is believed now; else what was believable then.
        verifier: Which verifier made the result that is asked about, if one is.
    """
    parts = (examination, *examination.members)
    return tuple(
        entry
        for entry in entries
        if any(
            _in_force(entry, part.at, now=now)
            and _selects(entry.selector, part.family, part.claims, verifier)
            for part in parts
        )
    )


def _in_force(entry: Entry, at: int, *, now: bool) -> bool:
    return now or entry.retroactive or at >= seconds(datetime.fromisoformat(entry.effective_from))


def _selects(
    selector: Selector, family: Family, claims: Mapping[str, ClaimValue], verifier: str
) -> bool:
    if selector.family != family:
        return False
    for name, wanted in selector.claims.items():
        if name not in claims or written(claims[name]) != wanted:
            return False
    for name, limit in selector.below.items():
        value = claims.get(name)
        if not isinstance(value, int) or value >= limit:
            return False
    return not selector.verifiers or verifier in selector.verifiers
