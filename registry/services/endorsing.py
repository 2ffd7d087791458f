"""Where endorsements come from that the submitter of evidence did not bring."""

from collections.abc import Iterable
from datetime import datetime
from typing import Protocol

from registry.core.evidence.checks import CheckResult, Finding, Severity
from registry.core.evidence.claims import Family
from registry.core.evidence.endorsements import Role


class Endorser(Protocol):
    """Asks vendors for what they say of the device that made evidence.

    Evidence is given to it only after a confined process could read it. Answers are bounded, and
    are believed no more than what a submitter brings: the examination judges them.
    """

    def endorse(
        self, family: Family, evidence: bytes, at: datetime
    ) -> Iterable[tuple[Role, bytes]]:
        """The newest endorsements for this evidence, with the role of each.

        Raises:
            RegistryError: Nobody answers, or not as it should be.
        """


def may_be_fetched(item: CheckResult) -> bool:
    """Whether a check lacks something, or has it of another time."""
    dated = item.outcome == "fail" and item.severity is Severity.TIME
    return dated or (item.outcome != "pass" and item.finding == Finding.MISSING)
