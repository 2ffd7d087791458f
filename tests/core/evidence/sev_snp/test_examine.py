"""Tests of registry.core.evidence.sev_snp: windows, what is missing, several of a kind, names."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core.evidence.appraisal import appraise
from registry.core.evidence.checks import Finding, Severity
from registry.core.evidence.claims import Examination
from registry.core.evidence.crl import CRLFinding
from registry.core.evidence.endorsements import Endorsements, Role
from registry.core.evidence.policy import Policy, check
from registry.core.evidence.sev_snp.findings import SNPFinding
from registry.core.evidence.sev_snp.product import ProductLine
from registry.core.evidence.sev_snp.report import Report
from registry.core.evidence.sev_snp.rules import RULES, WEIGHTS
from registry.core.evidence.validity import seconds
from registry.core.verdict import Verdict
from registry.errors import LimitExceededError, MalformedError, Reason
from tests.core.evidence.sev_snp.minted import ANY, examined, found, refused
from tools.fake_vendor.amd import (
    KEY_START,
    NOON,
    Spec,
    key_certificate,
    mint,
    report,
    revocation_list,
    roots,
)
from tools.fake_vendor.amd_certificates import authorities

MILAN, GENOA, TURIN = ProductLine
DAY = timedelta(days=1)
SPEC = Spec(start=NOON - 10 * DAY, life=20 * DAY)
LIST = revocation_list(MILAN, this_update=NOON - 5 * DAY, life=7 * DAY)
MINTED = mint(SPEC, lists=[LIST])
EDGES = {
    # Window → its first second, and its last one.
    "S4": (seconds(NOON - 10 * DAY), seconds(NOON + 10 * DAY)),
    "S5": (seconds(NOON - 5 * DAY), seconds(NOON + 2 * DAY) - 1),
}
MOMENTS = [edge + step for edges in EDGES.values() for edge in edges for step in (-1, 0, 1)]


def at(moment: int) -> datetime:
    return datetime.fromtimestamp(moment, UTC)


def minted_at(moment: int) -> Examination:
    return RULES.examine(MINTED.evidence, MINTED.endorsements, at(moment), roots())


@given(st.one_of(st.sampled_from(MOMENTS), st.integers(min(MOMENTS), max(MOMENTS))))
def test_every_window_is_open_from_its_first_second_to_its_last(moment: int) -> None:
    expected = [
        (name, Finding.NOT_YET_VALID if moment < start else Finding.EXPIRED, Severity.TIME)
        for name, (start, end) in EDGES.items()
        if not start <= moment <= end
    ]
    examination = minted_at(moment)
    assert found(examination) == expected
    assert examination.window is not None
    assert (examination.window.start, examination.window.end) == EDGES["S5"]
    verdict = appraise(examination, ANY, RULES).verdict
    assert verdict is (Verdict.INDETERMINATE if expected else Verdict.VALID)


def test_the_windows_of_the_authorities_count_too() -> None:
    ark = authorities(MILAN).ark.certificate
    end = seconds(ark.not_valid_after_utc)
    minted = mint(Spec(life=datetime(2049, 12, 31, tzinfo=UTC) - KEY_START))
    for moment, expected in ((end, []), (end + 1, [("S4", Finding.EXPIRED, Severity.TIME)])):
        examination = RULES.examine(minted.evidence, minted.endorsements, at(moment), roots())
        assert found(examination) == expected


def test_a_contradiction_outweighs_what_is_outside_its_window() -> None:
    minted = mint(Spec(start=NOON + DAY, signature="other-key"))
    examination = RULES.examine(minted.evidence, minted.endorsements, NOON, roots())
    assert [item[1] for item in found(examination)] == [
        Finding.NOT_YET_VALID,
        SNPFinding.REPORT_SIGNATURE,
    ]
    assert appraise(examination, ANY, RULES).verdict is Verdict.INVALID


@given(st.integers(-2, 2), st.booleans())
def test_revocation_counts_from_its_second_on(step: int, at_hand: bool) -> None:
    serial = authorities(MILAN).ask.certificate.serial_number
    when = NOON + timedelta(seconds=step)
    lists = [revocation_list(MILAN, [(serial, when, None)])] if at_hand else []
    examination = examined(lists=lists)
    revoked = [("S5", Finding.REVOKED, Severity.IDENTITY)]
    assert found(examination) == (revoked if at_hand and step <= 0 else [])


def without(*roles: Role) -> Examination:
    kept = [(item.role, item.data) for item in mint().endorsements.items if item.role not in roles]
    return RULES.examine(mint().evidence, Endorsements.of(kept), NOON, roots())


@pytest.mark.parametrize("roles", [(Role.AMD_VEK,), (Role.AMD_CHAIN,), tuple(Role)])
def test_what_is_missing_leaves_the_verdict_open(roles: Sequence[Role]) -> None:
    examination = without(*roles)
    assert found(examination) == [("S4", Finding.MISSING, Severity.TIME)]
    assert examination.evidence_id is not None
    assert appraise(examination, ANY, RULES).verdict is Verdict.INDETERMINATE


def test_a_revocation_list_may_be_missing_unless_a_policy_requires_it() -> None:
    examination = examined()
    said = next(item for item in examination.checks if item.check == "S5")
    assert (said.outcome, said.finding) == ("skipped", Finding.MISSING)
    assert appraise(examination, ANY, RULES).verdict is Verdict.VALID
    strict = Policy(name="s", family=RULES.family, skip=tuple(RULES.references), require=("S5",))
    assert appraise(examination, strict, RULES).verdict is Verdict.INDETERMINATE
    listed = appraise(examined(lists=[revocation_list(MILAN)]), strict, RULES)
    assert listed.verdict is Verdict.VALID


def test_a_revocation_list_of_another_line_is_passed_over() -> None:
    examination = examined(lists=[revocation_list(GENOA, life=DAY)])
    assert found(examination) == []
    assert next(item for item in examination.checks if item.check == "S5").outcome == "skipped"


def test_of_several_revocation_lists_the_last_one_made_before_the_moment_counts() -> None:
    serial = authorities(MILAN).ask.certificate.serial_number
    old = revocation_list(MILAN, this_update=KEY_START, life=DAY)
    current = revocation_list(MILAN, this_update=NOON - DAY, life=9 * DAY)
    revoked = [(serial, NOON - DAY, None)]
    future = revocation_list(MILAN, revoked, this_update=NOON + DAY, life=9 * DAY)
    assert found(examined(lists=[old, current, future])) == []
    later = examined(at=NOON + 2 * DAY, lists=[old, current, future])
    assert refused(later) == [("S5", Finding.REVOKED)]
    early = examined(lists=[future])
    assert found(early) == [("S5", Finding.NOT_YET_VALID, Severity.TIME)]


@pytest.mark.parametrize("data", [b"", b"0\x00", mint().key_certificate], ids=["0", "1", "2"])
def test_a_revocation_list_that_cannot_be_read_is_refused(data: bytes) -> None:
    assert refused(examined(lists=[data])) == [("S5", CRLFinding.CRL_MALFORMED)]


def test_of_several_keys_the_one_that_fits_counts() -> None:
    minted = mint(Spec(vlek=False))
    others = [
        key_certificate(Spec(chip=b"\x01" * 64)),
        key_certificate(Spec(cert_tcb={"bl": 3, "tee": 0, "snp": 8, "ucode": 115})),
        key_certificate(Spec(vlek=True)),
        b"no certificate",
    ]
    more = minted.endorsements.with_((Role.AMD_VEK, data) for data in others)
    examination = RULES.examine(minted.evidence, more, NOON, roots())
    assert found(examination) == []
    assert len(examination.endorsements) == 2


def test_of_several_chains_the_one_that_holds_counts() -> None:
    minted = mint()
    forged = authorities(MILAN, forged=True).chain()
    more = minted.endorsements.with_(
        [(Role.AMD_CHAIN, forged), (Role.AMD_CHAIN, authorities(TURIN).chain())]
    )
    assert found(RULES.examine(minted.evidence, more, NOON, roots())) == []


@pytest.mark.parametrize(
    "chain",
    [b"", b"no PEM", b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"],
    ids=["empty", "text", "no certificate"],
)
def test_a_chain_that_cannot_be_read_is_refused(chain: bytes) -> None:
    minted = mint()
    only = Endorsements.of([(Role.AMD_VEK, minted.key_certificate), (Role.AMD_CHAIN, chain)])
    examination = RULES.examine(minted.evidence, only, NOON, roots())
    assert refused(examination) == [("S4", SNPFinding.CHAIN_MALFORMED)]


def test_the_endorsements_that_were_used_are_named() -> None:
    minted = mint(lists=[revocation_list(MILAN)])
    examination = RULES.examine(minted.evidence, minted.endorsements, NOON, roots())
    assert examination.endorsements == tuple(
        sorted(item.sha256 for item in minted.endorsements.items)
    )


def test_a_moment_without_a_clock_and_too_much_evidence_are_refused() -> None:
    minted = mint()
    with pytest.raises(MalformedError) as caught:
        RULES.examine(minted.evidence, minted.endorsements, datetime(2026, 6, 1), roots())  # noqa: DTZ001 - that it is naive is the point
    assert caught.value.reason is Reason.BAD_TIME
    with pytest.raises(LimitExceededError):
        RULES.examine(bytes(5 * 1024 * 1024), minted.endorsements, NOON, roots())


def test_every_policy_finding_has_a_weight() -> None:
    everything = Spec(
        policy=0xF0000 | 1 << 40,
        platform_info=1 << 40,
        mitigations=(1, 2),
        patches=[(0x1A0, bytes(64)), (0x1E0, bytes(8))],
    )
    examination = examined(everything)
    weighed = {finding for _, finding, severity in found(examination) if severity == "policy"}
    assert weighed == {finding.value for finding in WEIGHTS}


def test_mitigations_are_only_in_reports_that_have_them() -> None:
    old = examined(Spec(version=4, mitigations=(1, 2)))
    assert "mitigations_current" not in old.claims
    assert next(item for item in old.checks if item.check == "S14").outcome == "skipped"
    new = examined(Spec(mitigations=(3, 3)))
    assert new.claims["mitigations_current"] == 3


def test_a_policy_that_forgets_a_reference_value_is_no_policy() -> None:
    check(ANY, RULES)
    for name in RULES.references:
        skip = tuple(other for other in RULES.references if other != name)
        with pytest.raises(MalformedError) as caught:
            check(Policy(name="forgetful", family=RULES.family, skip=skip), RULES)
        assert caught.value.reason is Reason.POLICY_UNSET


def test_every_reference_and_minimum_is_a_claim_of_some_report() -> None:
    claims = set(examined(Spec(line=TURIN)).claims) | set(examined(Spec(vlek=True)).claims)
    assert set(RULES.references) | set(RULES.minimums) <= claims
    assert set(RULES.distrust[0]) <= claims
    assert RULES.binding[0] in claims


@given(st.binary(max_size=1300))
def test_any_bytes_are_examined(data: bytes) -> None:
    examination = RULES.examine(data, mint().endorsements, NOON, roots())
    assert refused(examination)
    assert [item.check for item in examination.checks if item.outcome == "skipped"]


@given(st.sampled_from(ProductLine), st.integers(3, 5), st.binary(min_size=64, max_size=64))
def test_what_is_minted_is_read_back(line: ProductLine, version: int, data: bytes) -> None:
    read = Report.parse(report(Spec(line=line, version=version, report_data=data)))
    assert (read.line, read.version, read.report_data) == (line, version, data)
