"""The catalogue of bad AMD evidence, minted: each row has a finding of its own.

The number of a row stands before its tests; 53 and 71 are among the public vectors, 74 and 75 are
Azure's.
"""

import warnings
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

import pytest
from cryptography import x509

from registry.core.evidence.appraisal import Question
from registry.core.evidence.checks import CheckError, Finding, Severity
from registry.core.evidence.crl import CRLFinding
from registry.core.evidence.distrust import Entry, Selector
from registry.core.evidence.roots import Roots
from registry.core.evidence.sev_snp.certificate import endorsed
from registry.core.evidence.sev_snp.findings import SNPFinding as F
from registry.core.evidence.sev_snp.product import ProductLine, components
from registry.core.evidence.sev_snp.report import REPORT_BYTES, Report
from registry.core.evidence.sev_snp.rules import RULES
from registry.core.evidence.trust import Tier
from registry.core.verdict import Verdict
from tests.core.evidence.sev_snp.minted import (
    demanding,
    examined,
    found,
    judged,
    refused,
    wanting,
)
from tools.fake_vendor.amd import (
    NOON,
    Spec,
    mint,
    report,
    revocation_list,
    roots,
    tcb_bytes,
)
from tools.fake_vendor.amd_certificates import authorities, integer, text

MILAN, GENOA, TURIN = ProductLine
TCB = {"fmc": 1, "bl": 4, "tee": 0, "snp": 24, "ucode": 219}


def changed(**components_: int) -> dict[str, int]:
    return TCB | components_


@pytest.mark.parametrize("line", ProductLine)
@pytest.mark.parametrize("version", [2, 3, 4, 5])
@pytest.mark.parametrize("vlek", [False, True], ids=["VCEK", "VLEK"])
def test_a_good_report_has_nothing_wrong(line: ProductLine, version: int, vlek: bool) -> None:
    examination = examined(Spec(line=line, version=version, vlek=vlek))
    if line is TURIN and version == 2:
        assert refused(examination) == [("S3", F.PRODUCT_MISMATCH)]
        return
    assert found(examination) == []
    assert examination.claims["product_line"] == line
    assert len(examination.configured_roots) == 1
    assert examination.window is not None
    assert [item.check for item in examination.checks] == list(RULES.table)


# 49
def test_a_debug_guest_is_refused_though_all_else_is_perfect() -> None:
    appraisal = judged(Spec(policy=0xB0000))
    assert [item.finding for item in appraisal.findings()] == [F.DEBUG]
    assert (appraisal.verdict, appraisal.tier) == (Verdict.INVALID, Tier.CONTRAINDICATED)
    assert appraisal.trust["configuration"] == 96


# 50
def test_a_report_of_another_privilege_level_is_refused() -> None:
    appraisal = judged(Spec(vmpl=1), wanting(vmpl="0"))
    assert [(i.check, i.finding) for i in appraisal.findings()] == [
        ("S11", Finding.REFERENCE_MISMATCH)
    ]
    assert appraisal.verdict is Verdict.INVALID
    assert judged(Spec(vmpl=1), wanting(vmpl="1")).verdict is Verdict.VALID


@pytest.mark.parametrize(("vmpl", "finding"), [(0xFFFFFFFF, F.HOST_REQUESTED), (4, F.VMPL_RANGE)])
def test_a_report_of_no_guest_is_refused_whatever_a_policy_says(vmpl: int, finding: F) -> None:
    assert refused(examined(Spec(vmpl=vmpl))) == [("S11", finding)]
    assert judged(Spec(vmpl=vmpl)).verdict is Verdict.INVALID


# 51
def test_a_broken_signature_in_the_certificate_is_refused() -> None:
    examination = examined(Spec(broken=True))
    assert found(examination) == [("S4", F.VEK_SIGNATURE, Severity.CRYPTO)]
    # What the certificate says is not looked at.
    reached = {item.check for item in examination.checks if item.outcome == "pass"}
    assert not reached & {"S3", "S6", "S7", "S8"}


# 52
@pytest.mark.parametrize(
    "patch",
    [(0x1E0, tcb_bytes(MILAN, changed(snp=23))), (0x1EC, bytes((28,)))],
    ids=["TCB", "version"],
)
def test_provisional_firmware_is_for_the_policy_to_weigh(patch: tuple[int, bytes]) -> None:
    appraisal = judged(Spec(tcb=TCB, patches=[patch]))
    assert [item.finding for item in appraisal.findings()] == [F.PROVISIONAL_FIRMWARE]
    assert (appraisal.verdict, appraisal.tier) == (Verdict.VALID, Tier.WARNING)


# 54
def test_forged_authorities_with_the_right_names_are_no_root() -> None:
    assert refused(examined(Spec(forged=True))) == [("S4", Finding.UNTRUSTED_ROOT)]


def test_a_test_root_counts_only_where_it_is_named() -> None:
    minted = mint()
    bare = RULES.examine(minted.evidence, minted.endorsements, NOON, Roots())
    assert refused(bare) == [("S4", Finding.UNTRUSTED_ROOT)]
    assert bare.configured_roots == ()


def test_the_root_of_another_line_does_not_stand_in() -> None:
    other = Roots.also(item for item in roots().named if item[0] != "AMD Milan")
    minted = mint()
    examination = RULES.examine(minted.evidence, minted.endorsements, NOON, other)
    assert refused(examination) == [("S4", Finding.UNTRUSTED_ROOT)]


# 55
def test_a_genoa_report_under_a_milan_chain_is_refused() -> None:
    other_chain = examined(Spec(line=GENOA, chain=MILAN))
    assert refused(other_chain) == [("S4", F.ISSUER_MISMATCH)]
    other_processor = examined(Spec(line=MILAN, cpu=(0x19, 0x11, 1)))
    assert refused(other_processor) == [("S3", F.PRODUCT_MISMATCH)]
    other_certificate = examined(Spec(line=MILAN, cert_line=GENOA))
    assert refused(other_certificate) == [("S3", F.PRODUCT_MISMATCH)]


@pytest.mark.parametrize("cpu", [(0x19, 0x20, 0), (0x1A, 0x12, 0), (0x17, 0x31, 0), (0, 0, 0)])
def test_a_processor_that_nobody_knows_is_refused(cpu: tuple[int, int, int]) -> None:
    assert ("S3", F.PRODUCT_UNKNOWN) in refused(examined(Spec(cpu=cpu)))


def test_a_turin_chip_is_eight_bytes_and_then_zeros() -> None:
    chip = b"\x07" * 8
    good = examined(Spec(line=TURIN, chip=chip))
    assert found(good) == []
    padded_in_front = Spec(line=TURIN, chip=chip, patches=[(0x1A0, chip.rjust(64, b"\0"))])
    assert refused(examined(padded_in_front)) == [("S6", F.HWID_MISMATCH)]
    longer = Spec(line=TURIN, chip=chip, patches=[(0x1A8, b"\x01")])
    assert refused(examined(longer)) == [("S6", F.HWID_MISMATCH)]
    whole = Spec(line=TURIN, chip=chip, hwid=chip.ljust(64, b"\0"))
    assert refused(examined(whole)) == [("S6", F.EXTENSION_MALFORMED)]


# 56
def test_whose_key_signed_must_be_said_alike_by_report_and_certificate() -> None:
    vlek = Spec(vlek=True, signer_info=0)
    assert refused(examined(vlek)) == [("S2", F.SIGNING_KEY_MISMATCH)]
    vcek = Spec(signer_info=4)
    assert refused(examined(vcek)) == [("S2", F.SIGNING_KEY_MISMATCH)]
    by_the_other = Spec(issuer="wrong")
    assert refused(examined(by_the_other)) == [("S2", F.SIGNING_KEY_MISMATCH)]


@pytest.mark.parametrize("signer_info", [7 << 2, 2], ids=["no key", "withheld"])
def test_an_unsigned_report_is_refused(signer_info: int) -> None:
    spec = Spec(signer_info=signer_info)
    assert ("S2", F.UNSIGNED) in refused(examined(spec))


@pytest.mark.parametrize("key", [2, 3, 4, 5, 6])
def test_a_kind_of_key_that_nobody_knows_is_refused(key: int) -> None:
    assert ("S2", F.SIGNING_KEY_UNKNOWN) in refused(examined(Spec(signer_info=key << 2)))


# 57
def test_the_certificate_of_another_chip_is_refused() -> None:
    assert refused(examined(Spec(hwid=b"\x01" * 64))) == [("S6", F.HWID_MISMATCH)]


def test_a_withheld_chip_is_refused_unless_a_policy_accepts_it() -> None:
    spec = Spec(patches=[(0x1A0, bytes(64))])
    appraisal = judged(spec)
    assert [item.finding for item in appraisal.findings()] == [F.CHIP_ID_MASKED]
    assert appraisal.verdict is Verdict.INVALID
    assert appraisal.trust["instance-identity"] == 97
    lenient = demanding()
    lenient.treatments["CHIP_ID_MASKED"] = "accept"
    assert judged(spec, lenient).verdict is Verdict.VALID


@pytest.mark.parametrize("line", ProductLine)
def test_a_chip_in_an_octet_string_is_the_same_chip(line: ProductLine) -> None:
    assert found(examined(Spec(line=line, hwid_octets=True))) == []


# 58
@pytest.mark.parametrize("line", ProductLine)
@pytest.mark.parametrize("name", ["fmc", "bl", "tee", "snp", "ucode"])
def test_a_certificate_for_other_firmware_is_refused(line: ProductLine, name: str) -> None:
    spec = Spec(line=line, tcb=TCB, cert_tcb=changed(**{name: TCB[name] + 1}))
    said = refused(examined(spec))
    assert said == ([] if name == "fmc" and line is not TURIN else [("S7", F.TCB_MISMATCH)])


def test_reserved_components_are_compared_too() -> None:
    spec = Spec(extensions={"3.5": integer(1)})
    assert refused(examined(spec)) == [("S7", F.TCB_MISMATCH)]


# 59
def test_turin_firmware_is_not_read_as_milan_firmware() -> None:
    spec = Spec(line=TURIN, tcb=TCB)
    read = Report.parse(report(spec))
    certified = dict(endorsed(mint(spec).key_certificate).components)
    right = {name: components(TURIN, read.reported_tcb)[name] for name in TCB}
    wrong = components(MILAN, read.reported_tcb)
    assert all(right[name] == certified[name] for name in TCB)
    assert wrong["snp"] != certified["snp"]
    laid_out_as_milan = Spec(line=TURIN, tcb=TCB, patches=everywhere(tcb_bytes(MILAN, TCB)))
    assert refused(examined(laid_out_as_milan)) == [("S7", F.TCB_MISMATCH)]


def everywhere(tcb: bytes) -> list[tuple[int, bytes]]:
    """The same TCB version in its four places."""
    return [(at, tcb) for at in (0x038, 0x180, 0x1E0, 0x1F0)]


# 60
@pytest.mark.parametrize("name", ["bl", "tee", "snp", "ucode"])
def test_firmware_newer_than_what_runs_is_refused(name: str) -> None:
    newer = tcb_bytes(MILAN, changed(**{name: TCB[name] + 1}))
    reported = Spec(tcb=TCB, cert_tcb=changed(**{name: TCB[name] + 1}), patches=[(0x180, newer)])
    assert refused(examined(reported)) == [("S7", F.TCB_ABOVE_CURRENT)]
    committed = Spec(tcb=TCB, patches=[(0x1E0, newer)])
    assert refused(examined(committed)) == [("S7", F.COMMITTED_ABOVE_CURRENT)]


# 61
def reserved(version: int) -> Iterator[int]:
    """The offsets of every byte that must be zero, as the specification lists them."""
    yield from range(0x04C, 0x050)
    yield from range(0x188 if version == 2 else 0x18B, 0x1A0)
    yield from (0x1EB, 0x1EF)
    yield from range(0x208 if version == 5 else 0x1F8, 0x2A0)


@pytest.mark.parametrize("version", [2, 3, 4, 5])
def test_every_reserved_byte_must_be_zero(version: int) -> None:
    good = report(Spec(version=version))
    for at in reserved(version):
        bad = bytearray(good)
        bad[at] = 0x80
        with pytest.raises(CheckError) as caught:
            Report.parse(bytes(bad))
        assert caught.value.finding is F.RESERVED_NONZERO, hex(at)
    for bit in range(5, 32):
        bad = bytearray(good)
        bad[0x048 + bit // 8] |= 1 << bit % 8
        with pytest.raises(CheckError):
            Report.parse(bytes(bad))


@pytest.mark.parametrize("version", [0, 1, 6, 0xFFFFFFFF])
def test_an_unknown_version_is_refused(version: int) -> None:
    examination = examined(Spec(version=version))
    assert refused(examination) == [("S1", F.REPORT_VERSION)]
    assert examination.evidence_id is None
    assert examination.claims == {}


def test_a_policy_that_no_firmware_launches_is_refused() -> None:
    assert refused(examined(Spec(policy=0x10000))) == [("S1", F.POLICY_BIT_17)]


def test_another_signature_algorithm_is_refused() -> None:
    spec = Spec(patches=[(0x034, b"\x02")])
    assert refused(examined(spec)) == [("S1", F.SIGNATURE_ALGORITHM)]


# 62
def test_unknown_bits_are_recorded_and_never_masked() -> None:
    known = examined(Spec(policy=0x30000 | 1 << 25, platform_info=0x67))
    assert found(known) == []
    assert known.claims["platform_info"] == 0x67
    assert known.claims["guest_page_swap_disabled"] is True
    unknown = Spec(policy=0x30000 | 1 << 26, platform_info=0x125)
    appraisal = judged(unknown)
    assert [item.finding for item in appraisal.findings()] == [
        F.UNKNOWN_POLICY_BITS,
        F.UNKNOWN_PLATFORM_BITS,
    ]
    assert (appraisal.verdict, appraisal.tier) == (Verdict.VALID, Tier.WARNING)
    assert appraisal.trust["configuration"] == 36


# 63
@pytest.mark.parametrize(
    ("signature", "expected"),
    [
        ("padded", ("S1", F.SIGNATURE_PADDING)),
        ("tail", ("S1", F.SIGNATURE_PADDING)),
        ("big-endian", ("S1", F.SIGNATURE_PADDING)),
        ("zero-r", ("S8", F.SIGNATURE_RANGE)),
        ("zero-s", ("S8", F.SIGNATURE_RANGE)),
        ("order-r", ("S8", F.SIGNATURE_RANGE)),
        ("order-s", ("S8", F.SIGNATURE_RANGE)),
        ("other-key", ("S8", F.REPORT_SIGNATURE)),
    ],
)
def test_a_signature_in_another_form_is_refused(signature: str, expected: tuple[str, F]) -> None:
    spec = Spec(signature=signature)  # type: ignore[arg-type]  # a literal, out of a table
    assert refused(examined(spec)) == [expected]


def test_a_changed_bit_anywhere_is_refused() -> None:
    minted = mint()
    for at in range(REPORT_BYTES):
        bad = bytearray(minted.evidence)
        bad[at] ^= 1
        examination = RULES.examine(bytes(bad), minted.endorsements, NOON, roots())
        assert refused(examination), hex(at)


# 64
def test_the_other_spelling_of_a_signature_is_the_same_evidence() -> None:
    assert report(Spec()) != report(Spec(signature="high-s"))
    good, high = examined(), examined(Spec(signature="high-s"))
    assert found(high) == []
    assert high.evidence_id == good.evidence_id


# 65
def revoked(when: datetime, reason: x509.ReasonFlags | None = None) -> bytes:
    serial = authorities(MILAN).ask.certificate.serial_number
    return revocation_list(MILAN, [(serial, when, reason)])


def test_a_revoked_signer_is_refused() -> None:
    examination = examined(lists=[revoked(NOON)])
    assert found(examination) == [("S5", Finding.REVOKED, Severity.IDENTITY)]


def test_a_signer_that_is_revoked_later_was_good_then() -> None:
    later = NOON + timedelta(seconds=1)
    assert found(examined(lists=[revoked(later, x509.ReasonFlags.superseded)])) == []
    at_once = (x509.ReasonFlags.key_compromise, x509.ReasonFlags.ca_compromise)
    for reason in at_once:
        examination = examined(lists=[revoked(later, reason)])
        assert refused(examination) == [("S5", Finding.REVOKED)]


def test_a_list_that_another_signed_is_refused() -> None:
    by_name = examined(lists=[revocation_list(MILAN, signer="ask")])
    assert refused(by_name) == [("S5", CRLFinding.CRL_ISSUER)]
    by_key = examined(lists=[revocation_list(MILAN, signer="named")])
    assert refused(by_key) == [("S5", CRLFinding.CRL_SIGNATURE)]


# 66
@pytest.mark.parametrize(
    ("change", "finding"),
    [
        ({"twice": "3.3"}, F.EXTENSION_DUPLICATE),
        ({"twice": "4"}, F.EXTENSION_DUPLICATE),
        ({"extensions": {"3.3": None}}, F.EXTENSION_MISSING),
        ({"extensions": {"4": None}}, F.EXTENSION_MISSING),
        ({"extensions": {"2": None}}, F.EXTENSION_MISSING),
        ({"extensions": {"3.8": integer(-1)}}, F.EXTENSION_RANGE),
        ({"extensions": {"3.8": integer(256)}}, F.EXTENSION_RANGE),
        ({"extensions": {"3.8": b"\x02\x02\x00\x05"}}, F.EXTENSION_MALFORMED),
        ({"extensions": {"3.8": b"\x02\x01\x05\x00"}}, F.EXTENSION_MALFORMED),
        ({"extensions": {"2": text("Naples")}}, F.EXTENSION_MALFORMED),
        ({"extensions": {"2": b"\x0c\x05Milan"}}, F.EXTENSION_MALFORMED),
        ({"extensions": {"4": b"\x01" * 63}}, F.EXTENSION_MALFORMED),
        ({"extensions": {"5": text("CN=cloud")}}, F.EXTENSION_UNEXPECTED),
        ({"vlek": True, "extensions": {"5": None}}, F.EXTENSION_MISSING),
        ({"vlek": True, "extensions": {"4": b"\x01" * 64}}, F.EXTENSION_UNEXPECTED),
    ],
    ids=[
        *("component twice", "chip twice", "no component", "no chip", "no product", "negative"),
        *("over a byte", "long form", "trailing", "other product", "other text", "short chip"),
        *("cloud in VCEK", "no cloud in VLEK", "chip in VLEK"),
    ],
)
def test_amds_extensions_are_read_strictly(change: Mapping[str, object], finding: F) -> None:
    spec = Spec(**change)  # type: ignore[arg-type]  # fields, out of a table
    assert refused(examined(spec)) == [("S6", finding)]


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        ({"critical": True}, F.VEK_MALFORMED),
        ({"cert_name": "VCEK"}, F.VEK_MALFORMED),
        ({"curve": "P-256"}, F.VEK_KEY),
    ],
    ids=["critical", "name", "curve"],
)
def test_a_certificate_of_another_shape_is_refused(
    change: Mapping[str, object], finding: F
) -> None:
    spec = Spec(**change)  # type: ignore[arg-type]  # fields, out of a table
    assert refused(examined(spec)) == [("S4", finding)]


# 67
def test_certificates_are_read_though_other_readers_refuse_serial_number_0(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read = x509.load_der_x509_certificate

    def refuse(data: bytes) -> x509.Certificate:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            certificate = read(data)
            if certificate.serial_number == 0:
                message = "the serial number is not positive"
                raise ValueError(message)
        return certificate

    monkeypatch.setattr(x509, "load_der_x509_certificate", refuse)
    # A certificate of its own, so that nothing is remembered of it.
    minted = mint(Spec(start=NOON - timedelta(days=1)))
    with pytest.raises(ValueError, match="not positive"):
        x509.load_der_x509_certificate(minted.key_certificate)
    assert found(RULES.examine(minted.evidence, minted.endorsements, NOON, roots())) == []


# 68
def test_a_guest_that_an_agent_may_move_is_refused_unless_a_policy_accepts_it() -> None:
    spec = Spec(policy=0x70000)
    assert [item.finding for item in judged(spec).findings()] == [F.MIGRATION_AGENT]
    assert judged(spec).verdict is Verdict.INVALID


@pytest.mark.parametrize(
    ("claim", "check", "without", "with_"),
    [
        ("guest_no_smt", "S9", {"policy": 0x30000}, {"policy": 0x20000}),
        ("guest_single_socket", "S9", {"policy": 0x30000}, {"policy": 0x130000}),
        ("guest_no_cxl", "S9", {"policy": 0x230000}, {"policy": 0x30000}),
        ("guest_aes_256_xts", "S9", {"policy": 0x30000}, {"policy": 0x430000}),
        ("guest_rapl_disabled", "S9", {"policy": 0x30000}, {"policy": 0x830000}),
        ("guest_ciphertext_hiding", "S9", {"policy": 0x30000}, {"policy": 0x1030000}),
        ("guest_page_swap_disabled", "S9", {"policy": 0x30000}, {"policy": 0x2030000}),
        ("platform_no_smt", "S10", {"platform_info": 0x25}, {"platform_info": 0x24}),
        ("platform_tsme", "S10", {"platform_info": 0x25}, {"platform_info": 0x27}),
        ("platform_ecc", "S10", {"platform_info": 0x21}, {"platform_info": 0x25}),
        ("platform_rapl_disabled", "S10", {"platform_info": 0x25}, {"platform_info": 0x2D}),
        ("platform_ciphertext_hiding", "S10", {"platform_info": 0x25}, {"platform_info": 0x35}),
        ("platform_tio", "S10", {"platform_info": 0x25}, {"platform_info": 0xA5}),
    ],
)
def test_a_policy_may_demand_any_bit_of_guest_and_platform(
    claim: str, check: str, without: Mapping[str, int], with_: Mapping[str, int]
) -> None:
    policy = demanding(**{claim: 1})
    refusal = judged(Spec(**without), policy)  # type: ignore[arg-type]  # out of a table
    assert [(i.check, i.finding) for i in refusal.findings()] == [(check, Finding.BELOW_MINIMUM)]
    assert refusal.verdict is Verdict.INVALID
    accepted = judged(Spec(**with_), policy)  # type: ignore[arg-type]  # out of a table
    assert accepted.verdict is Verdict.VALID


# 69
def test_a_platform_that_did_not_check_for_aliased_memory_is_warned_of() -> None:
    appraisal = judged(Spec(platform_info=0x1))
    assert [item.finding for item in appraisal.findings()] == [F.ALIAS_CHECK_CLEAR]
    assert (appraisal.verdict, appraisal.tier) == (Verdict.VALID, Tier.WARNING)
    assert judged(Spec(platform_info=0x25)).tier is Tier.AFFIRMING


# 70
def test_firmware_below_a_fix_is_refused_by_distrust_list_and_by_minimum() -> None:
    entry = Entry(
        selector=Selector(
            family=RULES.family, claims={"product_line": "Milan"}, below={"tcb_ucode": 220}
        ),
        effective_from="2025-02-03T00:00:00Z",
        reason="microcode can be forged",
        reference="CVE-2024-56161",
    )
    listed = Question(distrusted=(entry,))
    appraisal = judged(Spec(tcb=TCB), question=listed)
    assert [(i.check, i.finding) for i in appraisal.findings()] == [("S16", Finding.DISTRUSTED)]
    assert appraisal.verdict is Verdict.INVALID
    fixed = judged(Spec(tcb=changed(ucode=220)), question=listed)
    assert fixed.verdict is Verdict.VALID
    low = judged(Spec(tcb=TCB), demanding(tcb_ucode=220))
    assert [(i.check, i.finding) for i in low.findings()] == [("S7", Finding.BELOW_MINIMUM)]


# 72
def test_an_identity_block_can_be_required_and_its_author_named() -> None:
    key, author = b"\x72" * 48, b"\x73" * 48
    policy = wanting(id_key_digest=key.hex(), author_key_digest=author.hex())
    assert judged(Spec(), policy).verdict is Verdict.INVALID
    signed = Spec(id_key_digest=key, author_key_digest=author)
    assert judged(signed, policy).verdict is Verdict.VALID
    other = judged(Spec(id_key_digest=key, author_key_digest=key), policy)
    assert [(i.check, i.finding) for i in other.findings()] == [("S13", Finding.REFERENCE_MISMATCH)]


@pytest.mark.parametrize(
    "spec",
    [
        Spec(id_key_digest=b"\x01" * 48, author_key_digest=b"\x01" * 48, signer_info=0),
        Spec(id_key_digest=b"\x01" * 48, signer_info=1),
        Spec(author_key_digest=b"\x01" * 48),
    ],
    ids=["author not enabled", "no author", "author of nothing"],
)
def test_an_author_that_signed_nothing_is_refused(spec: Spec) -> None:
    assert refused(examined(spec)) == [("S13", F.AUTHOR_KEY_INCONSISTENT)]


# 73
def test_host_data_other_than_the_digest_of_the_initialisation_data_is_refused() -> None:
    digest = b"\x1d" * 32
    policy = wanting(host_data=digest.hex())
    appraisal = judged(Spec(host_data=b"\x1e" * 32), policy)
    assert [(i.check, i.finding) for i in appraisal.findings()] == [
        ("S12", Finding.REFERENCE_MISMATCH)
    ]
    assert judged(Spec(host_data=digest), policy).verdict is Verdict.VALID


# 76
@pytest.mark.parametrize("size", [0, 1183, 1185, 2600])
def test_a_report_of_another_size_is_refused(size: int) -> None:
    minted = mint()
    data = minted.evidence[:size].ljust(size, b"\0")
    examination = RULES.examine(data, minted.endorsements, NOON, roots())
    assert refused(examination) == [("S1", F.REPORT_SIZE)]


def test_every_field_is_read_from_its_own_place() -> None:
    """Each field is given a value of its own, so that no offset can be another's."""
    values = {
        "guest_svn": 0x11121314,
        "family_id": bytes(range(0x20, 0x30)),
        "image_id": bytes(range(0x30, 0x40)),
        "report_data": bytes(range(0x40, 0x80)),
        "measurement": bytes(range(0x80, 0xB0)),
        "host_data": bytes(range(0xB0, 0xD0)),
        "id_key_digest": bytes(range(0xD0, 0x100)),
        "author_key_digest": bytes(range(0x30)),
        "chip": bytes(range(0x01, 0x41)),
        "mitigations": (0x0102030405060708, 0x1112131415161718),
    }
    patches = [
        (0x140, b"\xa1" * 32),
        (0x160, b"\xa2" * 32),
        (0x038, b"\xb1" * 8),
        (0x180, b"\xb2" * 8),
        (0x1E0, b"\xb3" * 8),
        (0x1F0, b"\xb4" * 8),
        (0x1E8, b"\x03\x02\x01"),
        (0x1EC, b"\x06\x05\x04"),
    ]
    spec = Spec(**values, patches=patches)  # type: ignore[arg-type]  # fields, out of a table
    read = Report.parse(report(spec))
    for name, value in values.items():
        assert getattr(read, "chip_id" if name == "chip" else name) == value, name
    assert (read.report_id, read.report_id_ma) == (b"\xa1" * 32, b"\xa2" * 32)
    tcbs = (read.current_tcb, read.reported_tcb, read.committed_tcb, read.launch_tcb)
    assert tcbs == (b"\xb1" * 8, b"\xb2" * 8, b"\xb3" * 8, b"\xb4" * 8)
    assert (read.current, read.committed) == (0x010203, 0x040506)
    assert read.cpu == (0x19, 1, 1)
