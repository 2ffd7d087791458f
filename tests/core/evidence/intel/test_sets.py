"""Public quotes get their published result at their stated time, with their collateral only."""

from datetime import timedelta

import pytest

from registry.core.evidence.appraisal import appraise
from registry.core.evidence.checks import Finding, Severity
from registry.core.evidence.crl import CRLFinding
from registry.core.evidence.endorsements import Role
from registry.core.evidence.intel.findings import TABLE, WEIGHTS, Found
from registry.core.evidence.intel.quote import Quote
from registry.core.evidence.intel.rules import RULES
from registry.core.evidence.trust import Tier
from registry.core.evidence.validity import seconds
from registry.core.verdict import Verdict
from tests.core.evidence.intel.minted import POLICY
from tests.core.evidence.intel.sets import (
    FLAGGED,
    NO_SETS,
    SECOND,
    SETS,
    STATUS,
    Set,
    failures,
    load,
    needs_sets,
)

NOTED = {finding for finding, weight in WEIGHTS.items() if weight.treatment == "accept"}
"""What is written down and changes nothing; the public table has no word for it."""

if not SETS:
    pytest.skip(NO_SETS, allow_module_level=True)

each_set = pytest.mark.parametrize("name", SETS)


@each_set
def test_a_real_quote_has_its_published_result(name: str) -> None:
    case = load(name)
    result = case.examine()
    expected = case.expected
    assert result.evidence_id is not None
    assert result.evidence_id.hex() == expected["evidence_id"]
    assert result.claims.get("tcb_status") == expected["tcb_status"]
    assert list(result.claims.get("advisory_ids", ())) == expected["advisory_ids"]  # type: ignore[arg-type]  # a tuple of text
    assert result.claims["tcb_evaluation_data_number"] == expected["tcb_evaluation_data_number"]
    flagged = {FLAGGED[item] for item in expected["flagged"]} | STATUS[expected["tcb_status"]]
    assert {item for item in failures(result) if item[1] not in NOTED} == flagged
    assert all(item.severity is Severity.POLICY for item in result.checks if item.outcome == "fail")
    assert {item.check for item in result.checks} == set(TABLE)
    assert len(result.endorsements) == len(set(case.roles.values()))
    assert not result.configured_roots


@each_set
def test_a_real_quote_has_its_published_verdict(name: str) -> None:
    case = load(name)
    appraisal = appraise(case.examine(), POLICY, RULES)
    assert appraisal.verdict.value.lower() == case.expected["verdict"]
    assert appraisal.tier == case.expected["tier"]
    for at in (case.start - SECOND, case.end + SECOND):
        outside = appraise(case.examine(at), POLICY, RULES)
        assert (outside.verdict, outside.tier) == (Verdict.INDETERMINATE, Tier.NONE)


@each_set
def test_the_window_of_a_real_quote_is_the_published_one(name: str) -> None:
    case = load(name)
    window = case.examine().window
    assert window is not None
    assert window.start == seconds(case.start)
    # A CRL's next update no longer counts; the public table names it as the end.
    assert seconds(case.end) - window.end in (0, 1)


@each_set
def test_outside_its_window_nothing_is_decided(name: str) -> None:
    case = load(name)
    window = case.examine().window
    assert window is not None
    for at, finding in (
        (case.start - SECOND, Finding.NOT_YET_VALID),
        (case.end + SECOND, Finding.EXPIRED),
        (case.at + timedelta(seconds=window.end + 1 - seconds(case.at)), Finding.EXPIRED),
    ):
        result = case.examine(at)
        grave = [
            item
            for item in result.checks
            if item.outcome == "fail" and item.severity is not Severity.POLICY
        ]
        assert {item.finding for item in grave} == {finding}
        assert {item.severity for item in grave} == {Severity.TIME}
        assert {item.check for item in grave} <= {"I4", "I6", "I7", "I9"}
        assert result.window == window, "the window does not depend on the moment"
    for at in (case.start, case.at + timedelta(seconds=window.end - seconds(case.at))):
        assert failures(case.examine(at)) == failures(case.examine())


@each_set
def test_a_real_quote_is_written_back_as_it_was(name: str) -> None:
    case = load(name)
    assert Quote.parse(case.quote).to_bytes() == case.quote


def other_platform(case: Set) -> bytes:
    """Real TCB info, current at the same time, of another platform."""
    for name in SETS:
        other = load(name)
        if other.quote == case.quote or other.start > case.at or other.end < case.at:
            continue
        said = other.examine().claims
        if said["fmspc"] != case.examine().claims["fmspc"] and said["tee"] == "tdx":
            return other.roles[Role.INTEL_TCB_INFO]
    pytest.skip("no other platform's TCB info is current then")


# 16: real.
@pytest.mark.parametrize(
    "name", [item for item in SETS if item.startswith(("alibaba_quote_5@2025", "trustee"))]
)
def test_tcb_info_of_another_platform_is_refused(name: str) -> None:
    case = load(name)
    result = case.examine(INTEL_TCB_INFO=other_platform(case))
    assert ("I8", Found.FMSPC_MISMATCH) in failures(result)


# 12: real.
@needs_sets
def test_the_identity_of_the_other_quoting_enclave_is_refused() -> None:
    sgx, tdx = load("phala-sgx_quote@2025-07-04"), load("phala-tdx_quote@2025-07-04")
    for case, other in ((sgx, tdx), (tdx, sgx)):
        identity = other.roles[Role.INTEL_QE_IDENTITY]
        assert ("I9", Found.QE_IDENTITY_ID) in failures(case.examine(INTEL_QE_IDENTITY=identity))
        info = other.roles[Role.INTEL_TCB_INFO]
        assert ("I7", Found.TCB_INFO_ID) in failures(case.examine(INTEL_TCB_INFO=info))


# 22: real.
@each_set
def test_the_root_crl_is_no_pck_crl(name: str) -> None:
    case = load(name)
    result = case.examine(INTEL_PCK_CRL=case.roles[Role.INTEL_ROOT_CRL])
    assert ("I6", CRLFinding.CRL_ISSUER) in failures(result)
    assert ("I6", Finding.MISSING) in failures(case.examine(INTEL_PCK_CRL=b""))


# 19: real.
@each_set
def test_tcb_info_written_in_another_way_is_refused(name: str) -> None:
    case = load(name)
    body = case.roles[Role.INTEL_TCB_INFO].replace(b'"version":3', b'"version": 3', 1)
    assert ("I7", Found.COLLATERAL_SIGNATURE) in failures(case.examine(INTEL_TCB_INFO=body))
