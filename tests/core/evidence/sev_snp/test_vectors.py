"""The public vectors for AMD SEV-SNP: real reports, and what must be made of each."""

from dataclasses import replace
from datetime import timedelta

import pytest

from registry.core.evidence.appraisal import Appraisal, Question, appraise
from registry.core.evidence.checks import Finding
from registry.core.evidence.distrust import Entry, Selector
from registry.core.evidence.policy import Policy
from registry.core.evidence.roots import Roots
from registry.core.evidence.sev_snp.rules import RULES
from registry.core.verdict import Verdict
from tests.core.evidence.sev_snp.rows import WHY_NOT, Row, rows

ROWS = rows(azure=False)
POLICY = Policy(
    name="vectors",
    family=RULES.family,
    reference_values={"vmpl": ("0",)},
    skip=tuple(name for name in RULES.references if name != "vmpl"),
)
MILAN = Entry(
    selector=Selector(family=RULES.family, claims={"product_line": "Milan"}),
    effective_from="2026-05-13T00:00:00Z",
    reason="the root of the endorsement keys was extracted",
)

pytestmark = pytest.mark.skipif(not ROWS, reason=WHY_NOT)
each = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


def judged(row: Row, policy: Policy = POLICY, question: Question | None = None) -> Appraisal:
    examination = RULES.examine(row.evidence(), row.endorsements(), row.at, Roots())
    return appraise(examination, policy, RULES, question)


@each
def test_a_report_is_found_to_be_what_the_index_says(row: Row) -> None:
    examination = RULES.examine(row.evidence(), row.endorsements(), row.at, Roots())
    found = {item.finding for item in examination.checks if item.outcome == "fail"}
    assert found == row.findings
    assert examination.claims["vmpl"] == row.vmpl
    assert examination.evidence_id is not None
    assert examination.evidence_id.hex() == row.evidence_id
    if "VEK_SIGNATURE" not in row.findings:
        assert examination.window is not None
        assert (examination.window.start // 60 * 60, examination.window.end // 60 * 60) == (
            row.minutes
        )
        assert len(examination.endorsements) == 2
    assert examination.configured_roots == ()


@each
def test_a_report_gets_the_verdict_and_the_tier_of_the_index(row: Row) -> None:
    appraisal = judged(row)
    assert (appraisal.verdict.value.lower(), appraisal.tier) == (row.verdict, row.tier)


@each
def test_outside_the_window_of_its_key_a_report_proves_nothing(row: Row) -> None:
    if row.verdict != "valid":
        pytest.skip("the index finds it invalid at any time")
    inside = RULES.examine(row.evidence(), row.endorsements(), row.at, Roots()).window
    assert inside is not None
    for moment, finding in (
        (inside.start - 1, Finding.NOT_YET_VALID),
        (inside.start, ""),
        (inside.end, ""),
        (inside.end + 1, Finding.EXPIRED),
    ):
        at = row.at + timedelta(seconds=moment - row.at.timestamp())
        appraisal = judged(replace(row, at=at))
        said = {item.finding for item in appraisal.findings() if item.check == "S4"}
        assert said == ({finding} if finding else set())
        wanted = Verdict.INDETERMINATE if finding else Verdict.VALID
        assert appraisal.verdict is wanted


@each
def test_a_policy_may_demand_a_revocation_list(row: Row) -> None:
    strict = Policy(
        name="strict", family=RULES.family, skip=tuple(RULES.references), require=("S5",)
    )
    if row.verdict == "valid":
        assert judged(row, strict).verdict is Verdict.INDETERMINATE


# 53
def test_a_vlek_report_was_valid_then_and_its_key_has_expired_now() -> None:
    row = next(row for row in ROWS if "vlek" in row.file)
    policy = Policy(name="vmpl 1", family=RULES.family, skip=tuple(RULES.references))
    assert judged(row, policy).verdict is Verdict.VALID
    later = replace(row, at=row.at.replace(year=2026))
    assert judged(later, policy).verdict is Verdict.INDETERMINATE
    said = [item.finding for item in judged(later, policy).findings()]
    assert Finding.EXPIRED in said


# 71
@each
def test_milan_is_distrusted_from_the_day_its_root_was_lost(row: Row) -> None:
    asked = Question(distrusted=(MILAN,))
    as_now = Question(distrusted=(MILAN,), now=True)
    before = judged(row, question=asked)
    assert before.verdict.value.lower() == row.verdict
    now = judged(row, question=as_now)
    examination = now.examination
    milan = examination.claims.get("product_line") == "Milan"
    hit = "DISTRUSTED" in {item.finding for item in now.findings()}
    assert hit is milan
    if milan:
        assert now.verdict is Verdict.INVALID
        day = replace(
            row, at=row.at.replace(year=2026, month=5, day=13, hour=0, minute=0, second=0)
        )
        then = judged(day, question=asked)
        assert "DISTRUSTED" in {item.finding for item in then.findings()}
