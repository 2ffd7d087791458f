"""A family of evidence for tests of what all families share: its evidence is a list of defects."""

from dataclasses import replace
from datetime import UTC, datetime
from enum import StrEnum

from registry.core.evidence.binding import Binding, committed
from registry.core.evidence.checks import CheckError, Finding, Ledger, missing
from registry.core.evidence.claims import ClaimValue, Examination, Family
from registry.core.evidence.endorsements import Endorsements
from registry.core.evidence.policy import Policy
from registry.core.evidence.roots import Roots
from registry.core.evidence.rules import Rules, Weight
from registry.core.evidence.validity import Validity, appraised_at

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
MODEL = b"\x0a" * 32


class Found(StrEnum):
    """What this family finds."""

    DEBUG = "DEBUG"
    OLD = "OLD"


def examine(evidence: bytes, _more: Endorsements, at: datetime, _roots: Roots) -> Examination:
    """Read what is wrong from the evidence itself: one word for each defect."""
    ledger = Ledger(RULES.table, appraised_at(at))
    words = evidence.decode().split()
    with ledger.check("X1", evidence):
        if "forged" in words:
            raise CheckError(Finding.MALFORMED, "the signature does not verify")
    with ledger.check("X2"):
        ledger.within("the collateral", Validity(ledger.at - 10, ledger.at + 10))
        if "late" in words:
            ledger.within("the CRL", Validity(0, 1))
        if "bare" in words:
            raise missing("the CRL")
    if "uncrl" in words:
        ledger.skip("X4", Finding.MISSING, "no CRL at hand")
    elif "unseen" not in words:
        with ledger.check("X4", b"the CRL"):
            pass
    ledger.skip("X5", Finding.NOT_APPLICABLE, "a policy applies the list")
    with ledger.check("X3"):
        pass
    for word, finding in (("debug", Found.DEBUG), ("old", Found.OLD)):
        if word in words:
            ledger.find("X3", finding, word)
    claims: dict[str, ClaimValue] = {
        "measurement": b"\xaa",
        "svn": 7,
        "line": "Milan",
        "report_data": committed(Family.AMD_SNP, Binding(model=MODEL))["report_data"],
    }
    said = Examination(
        Family.AMD_SNP, ledger.at, b"id" * 16, claims, ledger.results(), ledger.window
    )
    member = replace(said, claims=claims | {"line": "Genoa"})
    return replace(said, members=(member, member)) if "set" in words else said


RULES = Rules(
    family=Family.AMD_SNP,
    table={"X1": "signature", "X2": "time", "X3": "content", "X4": "CRL", "X5": "distrust"},
    examine=examine,
    references={"measurement": "X3"},
    minimums={"svn": "X3"},
    weights={
        Found.DEBUG: Weight("fatal", {"configuration": 96, "runtime-opaque": 96}),
        Found.OLD: Weight("warning", {"hardware": 32}),
    },
    affirms={"hardware": 2, "configuration": 2},
    binding=("report_data", "X3"),
    distrust=(("line", "svn"), "X5"),
    optional=frozenset(("X2", "X4")),
)
POLICY = Policy(name="test", family=Family.AMD_SNP, skip=("measurement",))
