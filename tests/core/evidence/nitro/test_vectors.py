"""Real Nitro documents, each with its expected verdict; found by PROVREG_TEST_VECTORS."""

import base64
import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from registry.core.evidence.appraisal import Appraisal, appraise
from registry.core.evidence.endorsements import Endorsements
from registry.core.evidence.nitro.rules import RULES
from registry.core.evidence.policy import Policy
from registry.core.evidence.roots import Roots
from registry.core.verdict import Verdict
from tests.core.evidence.nitro.judging import SKIPPING, found

FOLDER = Path(os.environ.get("PROVREG_TEST_VECTORS", "/nonexistent")) / "tee" / "aws-nitro"
SECOND = timedelta(seconds=1)
_ROW = re.compile(
    r"\| `(?P<file>[^`]+)` \|[^|]*\| (?P<form>binary|base64), document at byte (?P<start>\d+), "
    r"(?P<size>\d+) bytes \| (?P<at>\S+) \| \*\*(?P<verdict>\w+)\*\*, (?P<tier>\w+) "
    r"\| (?P<findings>[^|]*)\| (?P<begins>\S+) … (?P<ends>\S+) \| (?P<id>[0-9a-f]{64}) \|"
)


class Case(NamedTuple):
    """One row of the index."""

    evidence: bytes
    at: datetime
    verdict: str
    tier: str
    findings: str
    window: str
    id: str


def _cases() -> dict[str, Case]:
    if not FOLDER.is_dir():
        return {}
    cases = {}
    for row in _ROW.finditer((FOLDER / "INDEX.md").read_text(encoding="utf-8")):
        data = (FOLDER / row["file"]).read_bytes()
        if row["form"] == "base64":
            data = base64.b64decode(data)
        start = int(row["start"])
        cases[row["file"]] = Case(
            data[start : start + int(row["size"])],
            datetime.fromisoformat(row["at"]).astimezone(UTC),
            row["verdict"].upper(),
            row["tier"],
            row["findings"],
            f"{row['begins']} to {row['ends']}",
            row["id"],
        )
    return cases


CASES = _cases()
CASE = pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
pytestmark = pytest.mark.skipif(not CASES, reason="PROVREG_TEST_VECTORS names no TEE vectors")


def judged(case: Case, at: datetime | None = None, policy: Policy = SKIPPING) -> Appraisal:
    examination = RULES.examine(case.evidence, Endorsements(), at or case.at, Roots())
    return appraise(examination, policy, RULES)


def test_all_rows_of_the_index_are_read() -> None:
    index = (FOLDER / "INDEX.md").read_text(encoding="utf-8")
    assert len(CASES) == index.count("\n| `") == 6


@CASE
def test_a_real_document_gets_its_verdict(case: Case) -> None:
    appraisal = judged(case)
    assert (appraisal.verdict.name, appraisal.tier) == (case.verdict, case.tier)
    assert found(appraisal) == ({"N6": {"DEBUG"}} if "N6 debug" in case.findings else {})
    assert str(appraisal.examination.window) == case.window
    assert appraisal.examination.evidence_id == bytes.fromhex(case.id)
    assert appraisal.examination.configured_roots == ()


@CASE
def test_what_the_index_says_of_a_document_is_claimed(case: Case) -> None:
    claims = judged(case).examination.claims
    filled = [index for index in range(16) if any(claims[f"pcr{index}"])]  # type: ignore[arg-type]  # bytes
    assert f"PCRs non-zero: {','.join(map(str, filled))};" in case.findings
    for name in ("nonce", "user_data", "public_key"):
        value = claims.get(name)
        size = f"{len(value)} B" if isinstance(value, bytes) else "null"
        assert f"{name} {size}" in case.findings


@CASE
def test_outside_its_window_the_answer_is_incomplete(case: Case) -> None:
    begins, ends = (datetime.fromisoformat(item) for item in case.window.split(" to "))
    for at in (begins - SECOND, ends + SECOND):
        assert judged(case, at).verdict is Verdict.INDETERMINATE
    assert judged(case, ends).verdict.name == case.verdict


@CASE
def test_a_policy_that_wants_revocation_lists_is_not_satisfied(case: Case) -> None:
    wanting = Policy(name="r", family=SKIPPING.family, skip=SKIPPING.skip, require=("N9",))
    assert judged(case, policy=wanting).verdict is Verdict.INDETERMINATE


@CASE
def test_a_tag_makes_no_other_evidence(case: Case) -> None:
    tagged = judged(case._replace(evidence=b"\xd2" + case.evidence))
    assert tagged.examination.evidence_id == bytes.fromhex(case.id)
    assert tagged.verdict.name == case.verdict


@CASE
def test_no_byte_can_be_changed_without_being_found_out(case: Case) -> None:
    wrong = []
    for place in range(0, len(case.evidence), 211):
        flipped = bytearray(case.evidence)
        flipped[place] ^= 1
        appraisal = judged(case._replace(evidence=bytes(flipped)))
        if appraisal.verdict is not Verdict.INVALID:
            wrong.append(place)
    assert wrong == []
