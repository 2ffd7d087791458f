"""The public vectors for Azure: three forms, over real SNP reports and a real TD quote."""

from dataclasses import replace
from datetime import timedelta

import pytest

from registry.core import encoding
from registry.core.evidence.appraisal import Question, appraise
from registry.core.evidence.azure.container import Submission
from registry.core.evidence.azure.hcl import HCLReport
from registry.core.evidence.azure.rules import SNP_RULES, TDX_RULES
from registry.core.evidence.binding import Binding, Mismatch
from registry.core.evidence.checks import Finding
from registry.core.evidence.policy import Policy
from registry.core.evidence.roots import Roots
from registry.core.evidence.sev_snp.report import SIGNED_BYTES
from registry.core.evidence.starters import starter
from registry.core.verdict import Verdict
from tests.core.evidence.intel import sets
from tests.core.evidence.sev_snp import rows

ROWS = rows.rows(azure=True)
POLICY = starter(SNP_RULES.family)
TDX_ID = "fc3ee619610a8bb4d5b628a1861e784c32ebb0b75d5f05402e764b412d68ac98"

pytestmark = pytest.mark.skipif(not ROWS, reason=rows.WHY_NOT)
each = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


@each
def test_evidence_gets_the_verdict_the_window_and_the_id_of_the_index(row: rows.Row) -> None:
    examination = SNP_RULES.examine(row.evidence(), row.endorsements(), row.at, Roots())
    assert [item.finding for item in examination.checks if item.outcome == "fail"] == []
    assert [item.check for item in examination.checks] == list(SNP_RULES.table)
    assert examination.evidence_id is not None
    assert examination.evidence_id.hex() == row.evidence_id
    assert examination.window is not None
    start, end = examination.window.start, examination.window.end
    assert (start // 60 * 60, end // 60 * 60) == row.minutes
    appraisal = appraise(examination, POLICY, SNP_RULES)
    assert (appraisal.verdict.value.lower(), appraisal.tier) == (row.verdict, row.tier)
    # The key's certificate came with the evidence: of what was handed in, the chain was used.
    assert len(examination.endorsements) == 1


@each
def test_the_window_of_the_key_is_the_window_of_the_evidence(row: rows.Row) -> None:
    window = SNP_RULES.examine(row.evidence(), row.endorsements(), row.at, Roots()).window
    assert window is not None
    for moment, finding in (
        (window.start - 1, Finding.NOT_YET_VALID),
        (window.start, ""),
        (window.end, ""),
        (window.end + 1, Finding.EXPIRED),
    ):
        at = row.at + timedelta(seconds=moment - row.at.timestamp())
        examination = SNP_RULES.examine(row.evidence(), row.endorsements(), at, Roots())
        found = [item.finding for item in examination.checks if item.outcome == "fail"]
        assert found == ([finding] if finding else [])


@each
def test_in_our_own_form_it_is_the_same_evidence(row: rows.Row) -> None:
    submission = Submission.parse(row.evidence())
    own = submission.to_bytes()
    read = Submission.parse(own)
    assert read == replace(submission, key_certificate=b"")
    assert read.to_bytes() == own
    examination = SNP_RULES.examine(own, row.endorsements(), row.at, Roots())
    assert examination.evidence_id is not None
    assert examination.evidence_id.hex() == row.evidence_id
    # Without the certificate that the other forms bring, the verdict stays open.
    assert appraise(examination, POLICY, SNP_RULES).verdict is Verdict.INDETERMINATE


@each
def test_what_the_vtpm_says_are_claims(row: rows.Row) -> None:
    claims = SNP_RULES.examine(row.evidence(), row.endorsements(), row.at, Roots()).claims
    assert claims["secure_boot"] is True
    assert {f"pcr_{number}" for number in range(24)} <= set(claims)
    if "genoa" not in row.file:
        nonce = b"" if "milan-v3" in row.file else b"challenge"
        assert claims["tpm_nonce"] == nonce


def test_two_quotes_over_one_report_are_two_pieces_of_evidence() -> None:
    v0, v1 = (row for row in ROWS if row.file.endswith(("evidence-v0.json", "evidence-v1.json")))
    one, other = (HCLReport.parse(Submission.parse(row.evidence()).hcl_report) for row in (v0, v1))
    assert one.runtime == other.runtime
    assert one.hardware[:SIGNED_BYTES] == other.hardware[:SIGNED_BYTES]
    assert v0.evidence_id != v1.evidence_id


def test_an_empty_nonce_fails_wherever_one_was_issued() -> None:
    row = next(row for row in ROWS if "milan-v3" in row.file)
    examination = SNP_RULES.examine(row.evidence(), row.endorsements(), row.at, Roots())
    asked = Question(stated=Binding(nonce=b"n" * 32), expected=Binding(nonce=b"n" * 32))
    appraisal = appraise(examination, POLICY, SNP_RULES, asked)
    assert [(i.check, i.finding) for i in appraisal.findings()] == [
        ("S15", Mismatch.WRONG_COMMITMENT)
    ]
    assert appraisal.verdict is Verdict.INVALID


@pytest.mark.parametrize("name", ["azure-td-quote@2025-07-22", "azure-td-quote@2025-10-31"])
def test_a_td_quote_is_judged_as_it_is_alone(name: str) -> None:
    assert rows.FOLDER is not None
    file = rows.FOLDER.parent / "intel-dcap/attestation-rs/az_tdx/evidence-v1.json"
    evidence = file.read_bytes()
    case = sets.load(next(stem for stem in sets.SETS if stem.startswith(name)))
    examination = TDX_RULES.examine(evidence, case.endorsements, case.at, Roots())
    assert [item.check for item in examination.checks if item.check == "S15"] == ["S15"]
    assert [i.outcome for i in examination.checks if i.check == "S15"] == ["pass"]
    assert examination.evidence_id is not None
    assert examination.evidence_id.hex() == TDX_ID
    assert examination.claims["tpm_nonce"] == b"challenge"
    appraisal = appraise(examination, starter(TDX_RULES.family), TDX_RULES)
    told = case.expected
    assert (appraisal.verdict.value.lower(), appraisal.tier) == (told["verdict"], told["tier"])
    assert examination.claims["tcb_status"] == told["tcb_status"]


@each
def test_evidence_that_was_edited_is_refused(row: rows.Row) -> None:
    submission = Submission.parse(row.evidence())
    at = submission.hcl_report.index(b'"secure-boot":true')
    edited = bytearray(submission.hcl_report)
    edited[at + 2 : at + 3] = b"E"
    data = replace(submission, hcl_report=bytes(edited)).to_bytes()
    policy = Policy(name="x", family=SNP_RULES.family, skip=tuple(SNP_RULES.references))
    examination = SNP_RULES.examine(data, row.endorsements(), row.at, Roots())
    assert "RUNTIME_DATA_MISMATCH" in [item.finding for item in examination.checks]
    assert appraise(examination, policy, SNP_RULES).verdict is Verdict.INVALID


def test_a_form_that_is_almost_right_is_no_form() -> None:
    row = next(row for row in ROWS if row.file.endswith("evidence-v1.json"))
    value = encoding.read_foreign_json(row.evidence(), what="vector")
    assert isinstance(value, dict)
    for change in ({"version": 2}, {"more": 1}, {"hcl_report": 5}, {"vcek": "+/=="}):
        data = encoding.write_json(value | change)
        examination = SNP_RULES.examine(data, row.endorsements(), row.at, Roots())
        assert [i.finding for i in examination.checks if i.outcome == "fail"] == ["CONTAINER"]
