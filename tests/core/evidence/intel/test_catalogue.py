"""The bad-input catalogue for Intel quotes, row by row; numbers stand in comments and ids."""

import json
import struct
from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from cryptography import x509

from registry.core.evidence.appraisal import Question, appraise
from registry.core.evidence.binding import Binding, Mismatch
from registry.core.evidence.checks import Finding
from registry.core.evidence.crl import CRLFinding
from registry.core.evidence.distrust import Entry, Selector, written
from registry.core.evidence.endorsements import Role
from registry.core.evidence.intel.findings import Found
from registry.core.evidence.intel.quote import Body
from registry.core.evidence.intel.rules import RULES
from registry.core.evidence.policy import Policy
from registry.core.evidence.roots import Roots
from registry.core.evidence.trust import Tier
from registry.core.verdict import Verdict
from tests.core.evidence.intel.minted import (
    POLICY,
    archive,
    examine,
    failures,
    found,
    judged,
    swapped,
    verdict,
)
from tools.fake_vendor.intel import (
    NOON,
    ORDER_P256,
    Minted,
    Revoked,
    Spec,
    element,
    enclave_level,
    high_s,
    integer,
    level,
    mint,
    octets,
    public_point,
)
from tools.fake_vendor.pki import p256

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
FORMS: dict[str, dict[str, Any]] = {
    "SGX v3": {"version": 3},
    "TDX v4": {"version": 4},
    "TDX v5": {"version": 5},
    "TDX 1.0 in v5": {"version": 5, "body": Body.TD_1_0},
    "SGX v5": {"version": 5, "body": Body.ENCLAVE},
}
each_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


def attributes(*bits: int) -> dict[str, bytes]:
    return {"td_attributes": sum(1 << bit for bit in bits).to_bytes(8, "little")}


def levels(*many: dict[str, Any]) -> Any:
    return lambda info: {**info, "tcbLevels": list(many)}


@each_form
def test_a_good_quote_of_each_form_is_valid(form: dict[str, Any]) -> None:
    appraisal = judged(mint(Spec(**form)))
    assert (appraisal.verdict, appraisal.tier) == (Verdict.VALID, Tier.AFFIRMING)
    assert not appraisal.findings()


# --- 1 to 9: what a policy weighs. ---


# 1
def test_an_enclave_in_debug_mode_is_refused() -> None:
    debug = {"attributes": struct.pack("<QQ", 7, 0xE7)}
    assert found(version=3, fields=debug) == {("I18", Found.DEBUG)}
    assert verdict(version=3, fields=debug) is Verdict.INVALID


# 2
def test_a_trust_domain_in_debug_mode_is_refused() -> None:
    assert found(fields=attributes(0, 28)) == {("I19", Found.DEBUG)}
    assert verdict(fields=attributes(0, 28)) is Verdict.INVALID
    for bit in range(1, 8):
        assert found(fields=attributes(bit, 28)) == {("I19", Found.TD_UNDER_DEBUG)}


# 3
def test_a_domain_whose_pages_may_vanish_is_a_warning() -> None:
    appraisal = judged(mint(Spec(fields=attributes())))
    assert failures(appraisal.examination) == {("I19", Found.SEPT_VE_ENABLED)}
    assert (appraisal.verdict, appraisal.tier) == (Verdict.VALID, Tier.WARNING)


# 4
@pytest.mark.parametrize(
    "defect",
    [
        {"pce_svn": 10},
        {"components": (1, *(9,) * 15)},
        {"fields": {"tee_tcb_svn": bytes((9, 1, 0))}},
    ],
    ids=["PCE", "SGX component", "TDX component"],
)
def test_a_platform_without_tcb_level_is_unsupported(defect: dict[str, Any]) -> None:
    assert found(**defect) == {("I14", Found.TCB_UNSUPPORTED)}
    appraisal = judged(mint(Spec(**defect)))
    assert appraisal.verdict is Verdict.INVALID
    assert appraisal.trust["hardware"] == 97
    assert "tcb_status" not in appraisal.examination.claims


# 5
def test_an_outdated_platform_keeps_its_advisories() -> None:
    old = mint(Spec(components=(2, 2, 2, 2, 3, 1, 0, 5, *(0,) * 8), pce_svn=11))
    appraisal = judged(old)
    assert failures(appraisal.examination) == {("I16", Found.OUT_OF_DATE)}
    assert appraisal.examination.claims["advisory_ids"] == ("INTEL-SA-00001",)
    assert (appraisal.verdict, appraisal.tier) == (Verdict.VALID, Tier.WARNING)
    none = levels(level((0,), "OutOfDate", tdx=(0,)))
    assert examine(mint(Spec(tcb_info=none))).claims["advisory_ids"] == ()
    assert found(tcb_info=none) == {("I16", Found.OUT_OF_DATE)}


# 6, 7
@pytest.mark.parametrize(
    ("status", "finding", "trust"),
    [
        ("SWHardeningNeeded", Found.SW_HARDENING_NEEDED, {"hardware": 32}),
        ("ConfigurationNeeded", Found.CONFIGURATION_NEEDED, {"configuration": 32}),
        (
            "ConfigurationAndSWHardeningNeeded",
            Found.CONFIGURATION_AND_SW_HARDENING_NEEDED,
            {"hardware": 32, "configuration": 32},
        ),
        (
            "OutOfDateConfigurationNeeded",
            Found.OUT_OF_DATE_CONFIGURATION_NEEDED,
            {"hardware": 32, "configuration": 32},
        ),
    ],
)
def test_a_status_is_kept_as_it_is(status: str, finding: Found, trust: dict[str, int]) -> None:
    info = levels(level((0,), status, advisories=["INTEL-SA-00615"]))
    appraisal = judged(mint(Spec(version=3, tcb_info=info)))
    claims = appraisal.examination.claims
    assert claims["tcb_status"] == status
    assert claims["advisory_ids"] == ("INTEL-SA-00615",)
    assert failures(appraisal.examination) == {("I16", finding)}
    assert (appraisal.verdict, appraisal.tier) == (Verdict.VALID, Tier.WARNING)
    assert trust.items() <= dict(appraisal.trust).items()


# 8
def test_newer_tcb_info_makes_the_same_quote_outdated() -> None:
    def made(start: timedelta, number: int, status: str) -> Minted:
        window = (NOON + start, NOON + start + 30 * DAY)

        def info(said: dict[str, Any]) -> dict[str, Any]:
            only = [level((0,), status, tdx=(0,))]
            return {**said, "tcbEvaluationDataNumber": number, "tcbLevels": only}

        return mint(Spec(windows={"tcb_info": window}, tcb_info=info))

    old, new = made(-10 * DAY, 17, "UpToDate"), made(DAY, 18, "OutOfDate")
    both = archive(old, new)
    for at, status in ((NOON, "UpToDate"), (NOON + 10 * DAY, "OutOfDate")):
        examination = RULES.examine(old.evidence, both, at, old.roots)
        assert examination.claims["tcb_status"] == status
        assert examination.evidence_id == examine(old).evidence_id
        assert {item for item in failures(examination) if item[0] == "I7"} == set()


# 9
def test_a_service_domain_is_a_warning_until_its_policy_accepts_it() -> None:
    minted = mint(Spec(version=5, fields={"mr_service_td": b"\x09" * 48}))
    appraisal = judged(minted)
    assert failures(appraisal.examination) == {("I21", Found.SERVICE_TD)}
    assert (appraisal.verdict, appraisal.tier) == (Verdict.VALID, Tier.WARNING)
    listed = Policy(
        name="listed",
        family=RULES.family,
        reference_values={"mr_service_td": ("09" * 48,)},
        skip=tuple(name for name in RULES.references if name != "mr_service_td"),
        treatments={Found.SERVICE_TD: "accept"},
    )
    assert appraise(examine(minted), listed, RULES).tier is Tier.AFFIRMING
    other = mint(Spec(version=5, fields={"mr_service_td": b"\x0a" * 48}))
    assert appraise(examine(other), listed, RULES).verdict is Verdict.INVALID


# --- 10 to 15: roots and quoting enclaves. ---


# 10
def test_a_root_that_nobody_named_is_not_trusted() -> None:
    minted = mint(Spec())
    examination = examine(minted, roots=Roots())
    assert ("I4", Finding.UNTRUSTED_ROOT) in failures(examination)
    assert not examination.configured_roots
    trusted = examine(minted)
    assert trusted.configured_roots == (next(iter(minted.roots.named))[1],)


# 11: CVE-2026-22696
def test_an_identity_that_intel_did_not_sign_is_refused() -> None:
    own = b"\x66" * 32
    mine = {"mrsigner": own.hex()}
    unsigned = {"qe_answer": lambda body: body.replace(body[-131:-2], b"0" * 128 + b'"')}
    assert ("I9", Found.COLLATERAL) in found(**unsigned)
    edited = {
        "qe": {"mr_signer": own},
        "qe_answer": lambda body: body.replace(b"DC9E2A7C", own.hex().encode()[:8]),
    }
    assert ("I9", Found.COLLATERAL_SIGNATURE) in found(**edited)
    forger = mint(Spec(root="forger", qe_identity=lambda said: {**said, **mine}))
    honest = mint(Spec(qe={"mr_signer": own}))
    forged = swapped(
        honest,
        INTEL_QE_IDENTITY=forger.roles[Role.INTEL_QE_IDENTITY],
        INTEL_QE_CHAIN=forger.roles[Role.INTEL_QE_CHAIN],
    )
    assert failures(examine(forged)) == {("I9", Finding.UNTRUSTED_ROOT)}
    both = Roots(honest.roots.named | forger.roots.named)
    assert failures(examine(forged, roots=both)) == {("I9", Found.OTHER_ROOT)}
    kept = swapped(honest, INTEL_QE_IDENTITY=forger.roles[Role.INTEL_QE_IDENTITY])
    assert failures(examine(kept)) == {("I9", Found.COLLATERAL_SIGNATURE)}


# 12
def test_the_identity_of_the_other_quoting_enclave_is_refused() -> None:
    sgx, tdx = mint(Spec(version=3)), mint(Spec())
    for minted, other in ((sgx, tdx), (tdx, sgx)):
        identity = other.roles[Role.INTEL_QE_IDENTITY]
        examination = examine(swapped(minted, INTEL_QE_IDENTITY=identity))
        assert failures(examination) == {("I9", Found.QE_IDENTITY_ID)}
        assert "tcb_status" not in examination.claims


# 13
@pytest.mark.parametrize(
    ("field", "value", "finding"),
    [
        ("mr_signer", b"\x01" * 32, Found.QE_MRSIGNER),
        ("isv_prod_id", b"\x07\x00", Found.QE_ISVPRODID),
        ("misc_select", b"\x01\x00\x00\x00", Found.QE_MISCSELECT),
        ("attributes", struct.pack("<QQ", 0x35, 0xE7), Found.QE_ATTRIBUTES),
    ],
)
@pytest.mark.parametrize("version", [3, 4])
def test_another_quoting_enclave_is_refused(
    field: str, value: bytes, finding: Found, version: int
) -> None:
    assert found(version=version, qe={field: value}) == {("I11", finding)}


def test_a_masked_attribute_of_the_quoting_enclave_may_differ() -> None:
    assert found(qe={"attributes": struct.pack("<QQ", 0x11, 0x3)}) == set()


# 14
def test_a_quoting_enclave_that_can_be_debugged_is_refused() -> None:
    debug = {"attributes": struct.pack("<QQ", 0x17, 0xE7)}
    assert found(qe=debug) == {("I11", Found.QE_ATTRIBUTES), ("I11", Found.QE_DEBUG)}
    open_mask = {"attributesMask": "00" * 16}
    masked = found(
        qe=debug, qe_identity=lambda said: {**said, **open_mask, "attributes": "00" * 16}
    )
    assert masked == {("I11", Found.QE_DEBUG)}


# 15
def test_an_old_or_revoked_quoting_enclave_is_refused() -> None:
    below = {"isv_svn": b"\x01\x00"}
    assert found(qe=below) == {("I12", Found.QE_UNSUPPORTED)}
    assert verdict(qe=below) is Verdict.INVALID
    revoked: dict[str, Any] = {
        "qe_identity": lambda said: {**said, "tcbLevels": [enclave_level(1, "Revoked")]}
    }
    assert ("I16", Found.TCB_REVOKED) in found(**revoked)
    assert verdict(**revoked) is Verdict.INVALID
    old = {"isv_svn": b"\x06\x00"}
    assert found(qe=old) == {("I12", Found.QE_OUTDATED), ("I16", Found.OUT_OF_DATE)}
    assert verdict(qe=old) is Verdict.VALID


# --- 16 to 20: TCB info. ---


# 16
def test_tcb_info_for_another_fmspc_is_refused() -> None:
    assert found(fmspc="00806f050000") == {("I8", Found.FMSPC_MISMATCH)}


# 17
def test_tcb_info_for_another_pce_is_refused() -> None:
    assert found(pce_id="0001") == {("I8", Found.PCEID_MISMATCH)}


# 18
def test_tcb_info_of_sgx_is_none_of_tdx() -> None:
    sgx = mint(Spec(version=3))
    info = sgx.roles[Role.INTEL_TCB_INFO]
    assert failures(examine(swapped(mint(Spec()), INTEL_TCB_INFO=info))) == {
        ("I7", Found.TCB_INFO_ID)
    }
    assert ("I7", Found.TCB_INFO_ID) in found(tcb_info=lambda said: {**said, "id": "SGX"})
    assert ("I7", Found.TCB_INFO_VERSION) in found(tcb_info=lambda said: {**said, "version": 2})
    assert ("I9", Found.QE_IDENTITY_VERSION) in found(
        qe_identity=lambda said: {**said, "version": 1}
    )


# 19
@pytest.mark.parametrize("edit", ["spaces", "order", "case"])
def test_tcb_info_under_an_old_signature_is_refused(edit: str) -> None:
    def again(body: bytes) -> bytes:
        said = json.loads(body)
        value = said["tcbInfo"]
        text = {
            "spaces": lambda: json.dumps(value),
            "order": lambda: json.dumps(value, separators=(",", ":"), sort_keys=True),
            "case": lambda: json.dumps({**value, "fmspc": "90C06F000000"}, separators=(",", ":")),
        }[edit]()
        return f'{{"tcbInfo":{text},"signature":"{said["signature"]}"}}'.encode()

    assert found(tcb_answer=again) == {("I7", Found.COLLATERAL_SIGNATURE)}


def test_white_space_that_is_signed_is_kept() -> None:
    def spread(text: bytes) -> bytes:
        return json.dumps(json.loads(text), indent=1).encode()

    assert found(tcb_text=spread, qe_text=spread) == set()


# 20
def test_only_the_signer_of_collateral_signs_collateral() -> None:
    assert ("I7", Found.NOT_AN_AUTHORITY) in found(tcb_signer="ca")
    assert ("I9", Found.NOT_AN_AUTHORITY) in found(qe_signer="ca")
    # The PCK's own chain ends in the authority, not in the root.
    assert ("I7", Found.CHAIN_BROKEN) in found(tcb_signer="pck")
    assert ("I9", Found.CHAIN_BROKEN) in found(qe_signer="pck")
    named = {"signer_name": "Intel SGX PCK Certificate"}
    assert ("I7", Found.COLLATERAL_SIGNER) in found(**named)
    assert ("I7", Found.CHAIN_BROKEN) in found(tcb_signer="stranger")


# --- 22 to 25: revocation; 21 and 23 are in test_time. ---


# 22
def test_a_crl_of_another_authority_is_refused() -> None:
    good = mint(Spec())
    root_crl = good.roles[Role.INTEL_ROOT_CRL]
    assert failures(examine(swapped(good, INTEL_PCK_CRL=root_crl))) == {
        ("I6", CRLFinding.CRL_ISSUER)
    }
    assert found(pck_crl_by="Processor") == {("I6", CRLFinding.CRL_ISSUER)}
    assert found(authority="Processor", pck_crl_by="Platform") == {("I6", CRLFinding.CRL_ISSUER)}
    assert found(pck_crl_by="other") == {("I6", CRLFinding.CRL_SIGNATURE)}
    chain = mint(Spec(authority="Processor")).roles[Role.INTEL_PCK_CRL_CHAIN]
    assert failures(examine(swapped(good, INTEL_PCK_CRL_CHAIN=chain))) == {
        ("I5", CRLFinding.CRL_ISSUER)
    }


def test_without_crls_nothing_is_decided() -> None:
    for role in ("INTEL_ROOT_CRL", "INTEL_PCK_CRL"):
        appraisal = judged(swapped(mint(Spec()), **{role: b""}))
        assert failures(appraisal.examination) == {("I6", Finding.MISSING)}
        assert appraisal.verdict is Verdict.INDETERMINATE
    assert failures(examine(swapped(mint(Spec()), INTEL_PCK_CRL_CHAIN=b""))) == set()


def test_without_collateral_nothing_is_decided() -> None:
    for role, check in (
        ("INTEL_TCB_INFO", "I7"),
        ("INTEL_TCB_CHAIN", "I7"),
        ("INTEL_QE_IDENTITY", "I9"),
        ("INTEL_QE_CHAIN", "I9"),
    ):
        appraisal = judged(swapped(mint(Spec()), **{role: b""}))
        assert failures(appraisal.examination) == {(check, Finding.MISSING)}
        assert appraisal.verdict is Verdict.INDETERMINATE


# 24
def test_a_platform_is_revoked_from_its_date_on() -> None:
    before = Revoked("pck", NOON)
    later = Revoked("pck", NOON + SECOND)
    assert found(revoked=[before]) == {("I6", Finding.REVOKED)}
    assert verdict(revoked=[before]) is Verdict.INVALID
    assert found(revoked=[later]) == {("I6", Found.REVOKED_LATER)}
    assert verdict(revoked=[later]) is Verdict.VALID
    assert verdict(NOON + SECOND, revoked=[later]) is Verdict.INVALID
    for reason in (x509.ReasonFlags.key_compromise, x509.ReasonFlags.ca_compromise):
        stolen = Revoked("pck", NOON + DAY, reason)
        assert ("I6", Finding.REVOKED) in found(revoked=[stolen])
    retired = Revoked("pck", NOON + DAY, x509.ReasonFlags.superseded)
    assert ("I6", Finding.REVOKED) not in found(revoked=[retired])


# 25
@pytest.mark.parametrize("what", ["ca", "tcb_signer"])
def test_a_revoked_authority_or_signer_is_refused(what: str) -> None:
    revoked = [Revoked(what, NOON - DAY)]
    assert ("I6", Finding.REVOKED) in found(revoked=revoked)
    assert verdict(revoked=revoked) is Verdict.INVALID


# --- 26 to 28: certificates. ---


# 26
def test_a_pck_certificate_of_another_name_is_refused() -> None:
    assert found(pck_name="Intel SGX PCK Certificate ") == {("I5", Found.PCK_NAME)}
    assert found(authority_name="Intel SGX PCK CA") == {("I5", Found.PCK_AUTHORITY)}


# 27
@pytest.mark.parametrize(
    ("edit", "finding"),
    [
        (lambda chain: chain[:2], Found.CHAIN_LENGTH),
        (lambda chain: [*chain, chain[2]], Found.CHAIN_LENGTH),
        (lambda chain: chain[3:], Found.PEM),
        (lambda chain: chain[::-1], Found.NOT_AN_AUTHORITY),
        (lambda chain: [chain[0], chain[2], chain[2]], Found.CHAIN_BROKEN),
        (lambda chain: [chain[0], chain[1], chain[1]], Found.NOT_AN_AUTHORITY),
        (lambda chain: [chain[1], chain[1], chain[2]], Found.NOT_AN_AUTHORITY),
        (lambda chain: [b"\n", *chain], Found.PEM),
        (lambda chain: [chain[0].replace(b"\n", b"\r\n"), *chain[1:]], Found.PEM),
        (lambda chain: [b"\xef\xbb\xbf", *chain], Found.PEM),
        (lambda chain: [chain[0][:100], *chain], Found.PEM),
        (lambda chain: [*chain, b"\0\0"], Found.PEM),
        (lambda chain: [chain[0], b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                        chain[2]], Found.CERTIFICATE),
    ],
    ids=["two", "four", "none", "reversed", "root twice", "authority twice", "authority first",
         "leading line", "CRLF", "BOM", "half a certificate", "two NULs", "no certificate"],
)  # fmt: skip
def test_a_chain_is_pck_authority_root(edit: Any, finding: Found) -> None:
    assert ("I4", finding) in found(chain=edit)


def test_a_chain_may_end_without_line_feed_or_with_nul() -> None:
    assert found(chain=lambda chain: [*chain, b"\0"]) == set()
    assert found(chain=lambda chain: [*chain[:2], chain[2].removesuffix(b"\n")]) == set()


def test_a_root_may_limit_how_many_authorities_follow() -> None:
    assert found(path_length=0) == {("I4", Found.NOT_AN_AUTHORITY)}
    assert found(path_length=None) == set()


# 28
@pytest.mark.parametrize(
    "edit",
    [
        lambda members: [*members, members[3]],
        lambda members: [*members, members[1]],
        lambda members: members[:3] + members[4:],
        lambda members: [members[0], *members[2:]],
        lambda members: [*members[:3], (4, octets(b"\x01" * 5)), *members[4:]],
        lambda members: [*members[:4], (5, b"\x0a\x01\x03"), *members[5:]],
        lambda members: [*members[:4], (5, integer(1)), *members[5:]],
    ],
    ids=["FMSPC twice", "TCB twice", "no FMSPC", "no TCB", "short FMSPC", "type 3", "type integer"],
)
def test_a_pck_extension_says_each_thing_once(edit: Any) -> None:
    assert ("I5", Found.PCK_EXTENSION) in found(extension=edit)


def test_a_pck_extension_is_there_and_a_sequence_of_its_own_members() -> None:
    def nothing(members: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
        return [*members[:1], (2, octets(b"")), *members[2:]]

    assert ("I5", Found.PCK_EXTENSION) in found(extension=nothing)
    assert ("I5", Found.PCK_EXTENSION) in found(sgx_extension="1.2.3.4")
    foreign = element(0x30, bytes.fromhex("06032a0304") + integer(0))
    tcb = [(2, element(0x30, foreign))]
    swap: Any = lambda members: [*members[:1], *tcb, *members[2:]]  # noqa: E731
    assert ("I5", Found.PCK_EXTENSION) in found(extension=swap)


@pytest.mark.parametrize(
    "edit",
    [
        lambda members: [*members[:15], *members[16:]],
        lambda members: [*members, (19, integer(0))],
        lambda members: [*members[:15], members[0], *members[16:]],
        lambda members: [(1, b"\x02\x02\x00\x03"), *members[1:]],
        lambda members: [(1, integer(-1)), *members[1:]],
        lambda members: [(1, integer(256)), *members[1:]],
        lambda members: [(1, octets(b"\x03")), *members[1:]],
        lambda members: [*members[:16], (17, integer(65536)), members[17]],
    ],
    ids=["15 components", "19 members", "a component twice", "not minimal", "negative", "256",
         "no integer", "PCE SVN"],
)  # fmt: skip
def test_a_tcb_has_sixteen_small_components(edit: Any) -> None:
    assert ("I5", Found.PCK_EXTENSION) in found(tcb=edit)


def test_a_long_length_where_a_short_one_fits_is_refused() -> None:
    def stretch(members: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
        value = members[3][1]
        return [*members[:3], (4, value[:1] + b"\x81" + value[1:]), *members[4:]]

    assert ("I5", Found.PCK_EXTENSION) in found(extension=stretch)
    assert element(4, bytes(200))[1:3] == b"\x81\xc8"


# --- 29 to 34: keys and signatures. ---


# 29
def test_the_quoting_enclave_commits_to_the_key_and_nothing_else() -> None:
    other = {"qe_report_data": lambda data: bytes(32) + data[32:]}
    assert found(**other) == {("I10", Found.QE_REPORT_DATA)}
    padded = {"qe_report_data": lambda data: data[:63] + b"\x01"}
    assert found(**padded) == {("I10", Found.QE_REPORT_PADDING)}
    unsigned = {"qe_signature": lambda data: data[:-1] + bytes([data[-1] ^ 1])}
    assert found(**unsigned) == {("I10", Found.QE_REPORT_SIGNATURE)}


# 30
@pytest.mark.parametrize("size", [0, 31, 33, 1000, 65535])
@each_form
def test_authentication_data_may_have_any_size(size: int, form: dict[str, Any]) -> None:
    minted = mint(Spec(auth_data=bytes(size), **form))
    assert failures(examine(minted)) == set()
    assert examine(minted).claims["qe_auth_data_bytes"] == size


# 31
def test_a_key_off_the_curve_and_a_zero_in_a_signature_are_refused() -> None:
    for point in (bytes(64), b"\xff" * 64, bytes(63) + b"\x01"):
        assert found(attestation_key=lambda _, point=point: point) == {
            ("I13", Found.ATTESTATION_KEY)
        }
    zero = bytes(32)
    order = ORDER_P256.to_bytes(32, "big")
    for edit in (
        lambda data: zero + data[32:],
        lambda data: data[:32] + zero,
        lambda data: zero + zero + data[64:],
        lambda data: order + data[32:],
        lambda data: data[:32] + order,
    ):
        assert found(signature=edit) == {("I13", Found.QUOTE_SIGNATURE)}
        assert found(qe_signature=edit) == {("I10", Found.QE_REPORT_SIGNATURE)}


def test_another_key_in_the_quote_is_refused() -> None:
    other = public_point(p256("another attestation key"))
    assert found(attestation_key=lambda _: other) == {("I13", Found.QUOTE_SIGNATURE)}


# 32
@each_form
def test_the_other_half_of_a_signature_is_the_same_evidence(form: dict[str, Any]) -> None:
    low = examine(mint(Spec(**form)))
    high = examine(mint(Spec(signature=high_s, qe_signature=high_s, **form)))
    assert failures(high) == set()
    assert high.evidence_id == low.evidence_id


# 34
@each_form
def test_what_follows_a_quote_is_nothing_or_zero(form: dict[str, Any]) -> None:
    plain = examine(mint(Spec(**form)))
    padded = examine(mint(Spec(tail=bytes(3065), **form)))
    assert failures(padded) == set()
    assert padded.evidence_id == plain.evidence_id
    trailed = mint(Spec(tail=bytes(10) + b"x", **form))
    assert failures(examine(trailed)) == {("I3", Found.TRAILING_BYTES)}
    assert examine(trailed).evidence_id == plain.evidence_id
    assert judged(trailed).verdict is Verdict.INVALID


@each_form
def test_a_quote_that_ends_early_is_refused(form: dict[str, Any]) -> None:
    minted = mint(Spec(**form))
    whole = minted.evidence
    signed = whole.index(b"-----BEGIN")
    for end in {0, 1, 2, 4, 8, 47, 48, 53, 54, *range(400, signed, 7), signed, len(whole) - 1}:
        examination = examine(replace(minted, evidence=whole[:end]))
        assert failures(examination) & {("I1", Found.TRUNCATED), ("I3", Found.TRUNCATED)}
        assert examination.evidence_id is None


# --- 35 to 38: lengths and types. ---


def lengths() -> dict[str, int]:
    """Where the lengths of a version 4 quote are."""
    data = 48 + 584
    inner = data + 4 + 128
    auth = inner + 6 + 448
    return {"data": data, "outer": inner + 2, "auth": auth, "chain": auth + 2 + 32 + 2}


# 35: dstack #566, #567
@pytest.mark.parametrize("place", ["data", "outer", "auth", "chain"])
@pytest.mark.parametrize("value", [0, 1, -1, 0xFFFF, 0xFFFFFFFF], ids=str)
def test_a_length_that_is_not_exact_is_refused(place: str, value: int) -> None:
    minted = mint(Spec())
    start = lengths()[place]
    size = 2 if place == "auth" else 4
    right = int.from_bytes(minted.evidence[start : start + size], "little")
    # 1 and -1 stand for one more and one less.
    wrong = right + value if value in (1, -1) else value % 256**size
    data = bytearray(minted.evidence)
    data[start : start + size] = wrong.to_bytes(size, "little")
    examination = examine(replace(minted, evidence=bytes(data)))
    said = {finding for check, finding in failures(examination) if check == "I3"}
    assert len(said) == 1
    assert said <= {Found.SIGNATURE_DATA_LENGTH, Found.TRUNCATED, Found.CERTIFICATION_DATA}
    assert said == {Found.SIGNATURE_DATA_LENGTH} or place != "outer"
    assert examination.evidence_id is None


# 36
@pytest.mark.parametrize(
    ("defect", "finding"),
    [
        ({"version": 3, "header": lambda h: h[:4] + b"\x81" + h[5:]}, Found.TEE_TYPE),
        ({"version": 4, "header": lambda h: h[:4] + b"\x00" + h[5:]}, Found.TEE_TYPE),
        ({"version": 4, "header": lambda h: h[:4] + b"\x82" + h[5:]}, Found.TEE_TYPE),
        ({"version": 4, "header": lambda h: b"\x02" + h[1:]}, Found.UNKNOWN_VERSION),
        ({"version": 4, "header": lambda h: b"\x06" + h[1:]}, Found.UNKNOWN_VERSION),
        ({"version": 4, "header": lambda h: h[:2] + b"\x03" + h[3:]}, Found.UNKNOWN_KEY_TYPE),
        ({"version": 5, "descriptor": struct.pack("<HI", 2, 648)}, Found.BODY_TYPE),
        ({"version": 5, "descriptor": struct.pack("<HI", 3, 584)}, Found.BODY_TYPE),
        ({"version": 5, "descriptor": struct.pack("<HI", 1, 384)}, Found.BODY_TYPE),
        ({"version": 5, "descriptor": struct.pack("<HI", 4, 648)}, Found.BODY_TYPE),
        ({"version": 5, "descriptor": struct.pack("<HI", 0, 0)}, Found.BODY_TYPE),
        ({"version": 5, "descriptor": struct.pack("<HI", 3, 2**32 - 1)}, Found.BODY_TYPE),
    ],
    ids=["v3 TDX", "v4 SGX", "v4 other", "v2", "v6", "key type", "1.0 of 1.5's size",
         "1.5 of 1.0's size", "enclave for TDX", "type 4", "type 0", "4 GiB"],
)  # fmt: skip
def test_version_environment_and_body_must_agree(defect: dict[str, Any], finding: Found) -> None:
    examination = examine(mint(Spec(**defect)))
    assert failures(examination) == {("I1", finding)}
    assert examination.evidence_id is None
    assert {item.finding for item in examination.checks[1:]} == {Finding.NOT_REACHED}


# 37: dcap-qvl #127
def test_another_vendor_of_quoting_enclaves_is_refused() -> None:
    assert found(header=lambda h: h[:12] + bytes(16) + h[28:]) == {("I2", Found.QE_VENDOR)}


# 38
@pytest.mark.parametrize("kind", [0, 1, 2, 3, 4, 6, 7])
@pytest.mark.parametrize("version", [3, 4])
def test_certification_data_is_a_pck_chain(kind: int, version: int) -> None:
    assert found(version=version, certification=kind) == {("I3", Found.CERTIFICATION_DATA)}
    if version == 4 and kind != 6:
        assert found(wrapping=kind) == {("I3", Found.CERTIFICATION_DATA)}


# --- 39 to 44: TCB. ---


# 39: go-tdx-guest #37
def test_the_first_tdx_components_count_only_without_module_identity() -> None:
    low_with_identity = {"tee_tcb_svn": bytes((6, 1, 2))}
    high = levels(level((0,), "UpToDate", tdx=(7, 2, 2)), level((0,), "OutOfDate", tdx=(0,)))
    assert examine(mint(Spec(fields=low_with_identity, tcb_info=high))).claims["tcb_status"] == (
        "UpToDate"
    )
    low_without = {"tee_tcb_svn": bytes((6, 0, 2))}
    assert found(fields=low_without, tcb_info=high) == {("I16", Found.OUT_OF_DATE)}
    enough = {"tee_tcb_svn": bytes((7, 0, 2))}
    first = levels(level((0,), "UpToDate", tdx=(7, 0, 2)), level((0,), "OutOfDate", tdx=(0,)))
    assert found(fields=enough, tcb_info=first) == set()
    third = {"tee_tcb_svn": bytes((6, 1, 1))}
    assert found(fields=third, tcb_info=high) == {("I16", Found.OUT_OF_DATE)}


# 40
def test_levels_are_sorted_before_they_are_searched() -> None:
    many = [
        level((3, 3, 2, 2, 3, 1, 0, 5), "UpToDate", tdx=(5, 0, 2)),
        level((2,), "OutOfDate", tdx=(4, 0, 2)),
        level((1,), "Revoked", tdx=(0,), pce_svn=1),
    ]
    for order in (many, many[::-1], [many[1], many[2], many[0]]):
        examination = examine(mint(Spec(tcb_info=levels(*order))))
        assert examination.claims["tcb_status"] == "UpToDate"


# 41: aleph-vm #1195, dcap-qvl #124
def test_another_tdx_module_is_refused() -> None:
    signer = {"mr_signer_seam": b"\x01"}
    assert found(fields=signer) == {("I15", Found.MODULE_SIGNER)}
    assert found(fields={"seam_attributes": b"\x01"}) == {("I15", Found.MODULE_ATTRIBUTES)}
    assert found(fields={"tee_tcb_svn": bytes((9, 2, 4))}) == {("I15", Found.MODULE_MISSING)}
    assert found(fields={"tee_tcb_svn": bytes((1, 1, 4))}) == {("I15", Found.MODULE_UNSUPPORTED)}
    oldest = {**signer, "tee_tcb_svn": bytes((9, 0, 4))}
    assert found(fields=oldest) == {("I15", Found.MODULE_SIGNER)}

    def without(info: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in info.items() if not key.startswith("tdxModule")}

    for svn in (bytes((9, 0, 4)), bytes((9, 1, 4))):
        assert found(fields={"tee_tcb_svn": svn}, tcb_info=without) == {
            ("I15", Found.MODULE_MISSING)
        }
    stated = {"mrsigner": "00" * 48, "attributes": "01" + "00" * 7, "attributesMask": "FF" * 8}
    assert found(
        fields={"tee_tcb_svn": bytes((9, 0, 4))}, tcb_info=lambda i: {**i, "tdxModule": stated}
    ) == {("I15", Found.MODULE_ATTRIBUTES)}


# 42
def test_levels_that_cannot_be_understood_are_refused() -> None:
    assert found(tcb_info=levels(level((0,), "UpToDate"))) == {("I14", Found.TDX_COMPONENTS)}
    strange = levels(level((0,), "Unknown", tdx=(0,)))
    assert found(tcb_info=strange) == {("I16", Found.UNKNOWN_STATUS)}
    assert verdict(tcb_info=strange) is Verdict.INVALID
    relaunch = levels(level((0,), "TDRelaunchAdvised", tdx=(0,)))
    assert found(tcb_info=relaunch) == {("I16", Found.UNKNOWN_STATUS)}
    short = level((0,), "UpToDate", tdx=(0,))
    short["tcb"]["tdxtcbcomponents"].pop()
    assert ("I7", Found.COLLATERAL) in found(tcb_info=levels(short))


# 43
def test_attributes_and_features_are_judged_bit_by_bit() -> None:
    for bit, finding in (
        (30, Found.PROTECTION_KEYS),
        (31, Found.KEY_LOCKER),
        (63, Found.PERFORMANCE_MONITORING),
        (8, Found.RESERVED_BITS),
        (20, Found.RESERVED_BITS),
        (29, Found.RESERVED_BITS),
        (62, Found.RESERVED_BITS),
    ):
        assert found(fields=attributes(28, bit)) == {("I19", finding)}
        expected = Tier.AFFIRMING if bit in (30, 31) else Tier.WARNING
        assert judged(mint(Spec(fields=attributes(28, bit)))).tier is expected
    for xfam in (0, 1, 2, 1 << 3 | 3, 1 << 4 | 3, 1 << 10 | 3, 1 << 63 | 3):
        legal = xfam & 3 == 3 and not xfam & ~0x6DBE7
        assert not legal
        fields = {"xfam": xfam.to_bytes(8, "little")}
        assert found(fields=fields) == {("I20", Found.ILLEGAL_FEATURES)}
        assert verdict(fields=fields) is Verdict.INVALID
    assert found(fields={"xfam": (0x6DBE7).to_bytes(8, "little")}) == set()


def test_an_enclave_is_judged_bit_by_bit() -> None:
    for flags, xfrm, finding in (
        (4, 0xE7, Found.NOT_INITIALIZED),
        (1, 0xE7, Found.NOT_64_BIT),
        (5, 0x1, Found.ILLEGAL_FEATURES),
    ):
        fields = {"attributes": struct.pack("<QQ", flags, xfrm)}
        assert found(version=3, fields=fields) == {("I18", finding)}
    assert found(version=3, fields={"reserved": b"\x01"}) == {("I18", Found.RESERVED_BITS)}
    kss = {"attributes": struct.pack("<QQ", 0x85, 0xE7), "config_id": b"\x01" * 64}
    claims = examine(mint(Spec(version=3, fields=kss))).claims
    assert claims["kss"] is True
    assert claims["config_id"] == b"\x01" * 64


# 44: near/mpc #4169, trustee #1157
def test_stale_collateral_falls_below_a_minimum() -> None:
    strict = Policy(
        name="strict",
        family=RULES.family,
        skip=tuple(RULES.references),
        minimum={"tcb_evaluation_data_number": 19, "qe_isv_svn": 8},
    )
    appraisal = appraise(examine(mint(Spec())), strict, RULES)
    assert {(item.check, item.finding) for item in appraisal.findings()} == {
        ("I17", Finding.BELOW_MINIMUM)
    }
    assert appraisal.verdict is Verdict.INVALID
    newer = mint(Spec(tcb_info=lambda said: {**said, "tcbEvaluationDataNumber": 19}))
    assert appraise(examine(newer), strict, RULES).verdict is Verdict.VALID


# 45
def test_a_status_never_becomes_a_yes_or_no() -> None:
    claims = examine(mint(Spec())).claims
    assert claims["tcb_status"] == "UpToDate"
    assert claims["tcb_date"] == "2025-01-01T00:00:00Z"
    assert claims["tcb_evaluation_data_number"] == 18
    assert claims["tdx_module_status"] == claims["qe_status"] == "UpToDate"


# 46: MigTD #747
def test_report_data_is_compared_whole() -> None:
    binding = Binding(nonce=b"\x01" * 32, model=b"\x02" * 32)
    asked = Question(stated=binding, expected=binding)
    commitment = binding.report_data()
    assert judged(mint(Spec(report_data=commitment)), question=asked).verdict is Verdict.VALID
    for wrong in (
        commitment[:32] + bytes(32),
        commitment[:63] + bytes(1),
        commitment.hex().encode()[:64],
        bytes(64),
        bytes(32) + commitment[:32],
    ):
        appraisal = judged(mint(Spec(report_data=wrong)), question=asked)
        assert appraisal.verdict is Verdict.INVALID
        assert {item.finding for item in appraisal.findings()} == {Mismatch.WRONG_COMMITMENT}


def test_a_measurement_that_is_not_listed_is_refused() -> None:
    for form, claim, check in (
        ({"version": 3}, "mr_enclave", "I18"),
        ({"version": 4}, "mr_td", "I21"),
        ({"version": 5}, "rtmr3", "I21"),
    ):
        examination = examine(mint(Spec(**form)))  # type: ignore[arg-type]  # a version each
        value = examination.claims[claim]
        assert isinstance(value, bytes)
        for listed, expected in ((value.hex(), Verdict.VALID), ("00" * 48, Verdict.INVALID)):
            policy = Policy(
                name="listed",
                family=RULES.family,
                reference_values={claim: (listed,)},
                skip=tuple(name for name in RULES.references if name != claim),
            )
            appraisal = appraise(examination, policy, RULES)
            assert appraisal.verdict is expected
            if expected is Verdict.INVALID:
                assert [item.check for item in appraisal.findings()] == [check]


def test_a_platform_may_be_distrusted_by_what_names_it() -> None:
    minted = mint(Spec())
    claims = examine(minted).claims
    for name in RULES.distrust[0]:
        entry = Entry(
            selector=Selector(family=RULES.family, claims={name: written(claims[name])}),
            effective_from="2026-07-01T00:00:00Z",
            reason="its keys were extracted",
        )
        then = judged(minted, question=Question(distrusted=[entry]))
        now = judged(minted, question=Question(now=True, distrusted=[entry]))
        assert (then.verdict, now.verdict) == (Verdict.VALID, Verdict.INVALID)
        assert {(item.check, item.finding) for item in now.findings()} == {
            ("I23", Finding.DISTRUSTED)
        }
        other = msgspec.structs.replace(
            entry, selector=Selector(family=RULES.family, claims={name: "other"})
        )
        assert judged(minted, question=Question(now=True, distrusted=[other])).tier is (
            Tier.AFFIRMING
        )


def test_the_policy_of_the_vectors_skips_every_reference_by_name() -> None:
    assert set(POLICY.skip) == set(RULES.references)
