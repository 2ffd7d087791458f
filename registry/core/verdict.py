"""Verdicts: valid, invalid or indeterminate, always with the reason. Never a bare boolean."""

from collections.abc import Iterable
from enum import StrEnum

from registry.core.encoding import Value
from registry.errors import Reason, RegistryError


class Verdict(StrEnum):
    """What can be said about one link (the three states of ETSI EN 319 102-1)."""

    VALID = "VALID"
    INVALID = "INVALID"
    INDETERMINATE = "INDETERMINATE"


class Check(Value, frozen=True):
    """One thing that was checked.

    Attributes:
        link: Which link of the chain, such as ``"batch in log"``.
        verdict: What can be said about it.
        reason: The stable word for why it is not valid; empty if it is.
        detail: What was checked, or what was found, in plain words.
    """

    link: str
    verdict: Verdict
    reason: str = ""
    detail: str = ""


def valid(link: str, detail: str = "") -> Check:
    """The link holds."""
    return Check(link=link, verdict=Verdict.VALID, detail=detail)


def invalid(link: str, error: RegistryError) -> Check:
    """The link is broken, and the error says how."""
    return Check(link=link, verdict=Verdict.INVALID, reason=error.reason, detail=str(error))


def indeterminate(link: str, reason: Reason, detail: str) -> Check:
    """The material at hand neither proves nor refutes the link."""
    return Check(link=link, verdict=Verdict.INDETERMINATE, reason=reason, detail=detail)


def overall(checks: Iterable[Check]) -> Verdict:
    """The verdict on a chain: as weak as its weakest link. An empty chain proves nothing."""
    verdicts = [check.verdict for check in checks]
    if Verdict.INVALID in verdicts:
        return Verdict.INVALID
    if not verdicts or Verdict.INDETERMINATE in verdicts:
        return Verdict.INDETERMINATE
    return Verdict.VALID
