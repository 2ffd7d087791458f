"""The bad inputs of the catalogue that concern one device, each with its own reason."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from cryptography import x509

from registry.core.encoding import base64_text, write_json
from registry.core.evidence.appraisal import Question, appraise
from registry.core.evidence.binding import Binding
from registry.core.evidence.checks import Finding
from registry.core.evidence.claims import MAX_EVIDENCE_BYTES
from registry.core.evidence.endorsements import Endorsements, Role
from registry.core.evidence.nvidia.container import write_device
from registry.core.evidence.nvidia.findings import Found
from registry.core.evidence.nvidia.rules import DEVICE_RULES, SET_RULES, TOKEN_RULES
from registry.core.evidence.nvidia.spdm import Opaque
from registry.core.evidence.policy import check as check_policy
from registry.core.evidence.roots import Roots
from registry.core.evidence.rules import Rules
from registry.core.evidence.trust import Tier
from registry.core.verdict import Verdict
from registry.errors import MalformedError, Reason, RegistryError
from tests.core.evidence.nvidia.judging import (
    exchanged,
    findings,
    judge,
    left_open,
    policy,
    refused,
    serialized,
    with_rims,
)
from tools.fake_vendor import nvidia_token, pki
from tools.fake_vendor.nvidia import (
    DRIVER_INDICES,
    FIRMWARE_INDICES,
    Minted,
    Spec,
    blackwell,
    block,
    high_s,
    mint,
    mint_set,
    switch,
)
from tools.fake_vendor.nvidia_certificates import authorities, boot_rom
from tools.fake_vendor.nvidia_ocsp import NOON, Said
from tools.fake_vendor.nvidia_rim import Rim, golden

_KINDS: dict[str, Callable[..., Spec]] = {"Hopper": Spec, "Blackwell": blackwell, "LS10": switch}
each_kind = pytest.mark.parametrize("kind", list(_KINDS))

_LENIENT = policy(skip=(*DEVICE_RULES.references, *sorted(DEVICE_RULES.optional)))
"""Waives whatever can be waived."""

DRIVER = Rim(active=DRIVER_INDICES)
FIRMWARE = Rim(version="96.00.9F.00.01", active=FIRMWARE_INDICES)


@each_kind
def test_good_evidence_is_valid(kind: str) -> None:
    appraisal = judge(_KINDS[kind]())
    assert findings(appraisal) == set()
    assert (appraisal.verdict, appraisal.tier) == (Verdict.VALID, Tier.AFFIRMING)
    assert len(appraisal.examination.configured_roots) == 2


@pytest.mark.parametrize("rules", [DEVICE_RULES, SET_RULES], ids=["device", "set"])
def test_evidence_is_bounded_and_judged_at_a_moment(rules: Rules) -> None:
    for data, at, reason in (
        (bytes(MAX_EVIDENCE_BYTES + 1), NOON, Reason.EVIDENCE_SIZE),
        (b"", NOON.replace(tzinfo=None), Reason.BAD_TIME),
    ):
        with pytest.raises(RegistryError) as caught:
            rules.examine(data, Endorsements(), at, Roots())
        assert caught.value.reason is reason


def test_what_is_not_looked_at_says_so() -> None:
    skipped = {
        item.check: item.finding for item in judge(switch()).checks if item.outcome == "skipped"
    }
    assert skipped == dict.fromkeys(("G9", "G10", "G11", "G12"), Finding.NOT_APPLICABLE)
    whole = judge(mint_set([Spec()]), by=policy(SET_RULES))
    skipped = {item.check: item.finding for item in whole.checks if item.outcome == "skipped"}
    assert skipped == dict.fromkeys(("G11", "G12"), Finding.NOT_APPLICABLE)


@each_kind
def test_evidence_under_roots_that_nobody_named_is_refused(kind: str) -> None:
    minted = mint(_KINDS[kind]())
    refused(replace(minted, roots=Roots()), ("G2", Finding.UNTRUSTED_ROOT))


@each_kind
def test_a_report_that_another_key_signed_is_refused(kind: str) -> None:  # row 99
    refused(_KINDS[kind](signer=pki.p384("somebody")), ("G3", Found.REPORT_SIGNATURE))


@each_kind
@pytest.mark.parametrize("at", [5, 60, -97], ids=["nonce", "measurement", "opaque"])
def test_a_report_that_was_edited_is_refused(kind: str, at: int) -> None:  # row 99
    def edit(report: bytes) -> bytes:
        data = bytearray(report)
        data[at] ^= 1
        return bytes(data)

    refused(_KINDS[kind](report=edit), ("G3", Found.REPORT_SIGNATURE))


def test_a_chain_that_is_only_the_root_is_refused() -> None:  # row 100
    refused(
        Spec(chain=lambda chain: chain[-1:]),
        ("G2", Found.CHAIN_LENGTH),
        ("G2", Found.LEAF_NAME),
        ("G3", Found.REPORT_SIGNATURE),
    )


def test_a_chain_without_the_issuer_of_its_leaf_is_refused() -> None:  # row 100
    refused(Spec(chain=lambda chain: (chain[0], *chain[2:])), ("G2", Found.CHAIN_LENGTH))
    refused(
        Spec(chain=lambda chain: (chain[0], chain[2], *chain[2:])), ("G2", Found.CHAIN_SIGNATURE)
    )


def test_a_chain_with_the_wrong_leaf_is_refused() -> None:  # row 100
    refused(
        Spec(chain=lambda chain: chain[1:]),
        ("G2", Found.CHAIN_LENGTH),
        ("G2", Found.LEAF_NAME),
        ("G3", Found.REPORT_SIGNATURE),
    )
    refused(Spec(common="GH100 A01 GSP BROM"), ("G2", Found.LEAF_NAME))


def test_a_leaf_of_another_generation_than_claimed_is_refused() -> None:
    minted = mint(blackwell())
    claimed = replace(minted, evidence=serialized(minted.devices, "HOPPER"))
    refused(claimed, ("G2", Found.WRONG_ARCHITECTURE))
    assert judge(replace(minted, evidence=serialized(minted.devices, "BLACKWELL"))).verdict is (
        Verdict.VALID
    )


def test_a_switch_with_the_certificates_of_another_is_refused() -> None:  # row 101
    other = mint(switch(number=102)).devices[0]
    refused(switch(chain=lambda _: other.chain), ("G3", Found.REPORT_SIGNATURE))


@pytest.mark.parametrize(
    ("rim", "finding"),
    [
        (
            replace(FIRMWARE, document=lambda text: text.replace(golden(9).hex(), "0" * 96)),
            ("G7", Found.RIM_DIGEST),
        ),
        (replace(FIRMWARE, signer=pki.p384("somebody")), ("G7", Found.RIM_SIGNATURE)),
        (replace(FIRMWARE, root="foreign"), ("G7", Finding.UNTRUSTED_ROOT)),
        (
            replace(FIRMWARE, resource=lambda _, text: text.replace(golden(9).hex(), "0" * 96)),
            ("G8", Found.MEASUREMENT_MISMATCH),
        ),
    ],
    ids=["edited", "bad signature", "foreign chain", "index 9"],
)
def test_a_manifest_that_does_not_hold_is_refused(  # row 102
    rim: Rim, finding: tuple[str, str]
) -> None:
    appraisal = judge(with_rims([DRIVER, rim]))
    assert appraisal.verdict is Verdict.INVALID
    assert finding in findings(appraisal)
    assert findings(appraisal) - {finding} <= {("G8", Found.NOT_COMPARED)}


def test_measurements_that_differ_say_so_of_executables_alone() -> None:
    rim = replace(FIRMWARE, resource=lambda _, text: text.replace(golden(9).hex(), "0" * 96))
    appraisal = judge(with_rims([DRIVER, rim]))
    assert appraisal.trust == {"hardware": 2, "executables": 96}
    [said] = [item for item in appraisal.findings() if item.check == "G8"]
    assert "33 of 34 measurements match; index 9" in said.detail


def test_a_manifest_whose_signer_has_ended_is_good_then_and_open_now() -> None:  # rows 102, 106
    ended = datetime(2026, 5, 1, tzinfo=NOON.tzinfo)
    before = ended - timedelta(days=1)
    spec = with_rims(
        [replace(DRIVER, signer_end=ended), replace(FIRMWARE, signer_end=ended)],
        answered_at=before,
    )
    minted = mint(spec)
    minted = replace(minted, roots=replace(minted.roots, answer_days=365))
    assert judge(minted, before).verdict is Verdict.VALID
    assert judge(minted, ended).verdict is Verdict.VALID
    left_open(minted, ("G7", Finding.EXPIRED), at=ended + timedelta(seconds=1))


def test_a_certificate_on_hold_is_for_the_policy_to_weigh() -> None:  # row 104
    hold = Said(status="revoked", reason=x509.ReasonFlags.certificate_hold)
    spec = Spec(answers={1: hold})
    refused(spec, ("G5", Found.CERTIFICATE_HOLD))
    for treatment, tier in (("warning", Tier.WARNING), ("accept", Tier.AFFIRMING)):
        milder = policy(treatments={Found.CERTIFICATE_HOLD: treatment})
        appraisal = judge(spec, by=milder)
        assert (appraisal.verdict, appraisal.tier) == (Verdict.VALID, tier)
    later = replace(hold, revoked_at=NOON + timedelta(seconds=1))
    assert judge(Spec(answers={1: later})).verdict is Verdict.VALID
    # That it is on hold excuses no answer that has ended.
    stale = replace(hold, this_update=NOON - timedelta(days=2))
    milder = policy(treatments={Found.CERTIFICATE_HOLD: "accept"})
    assert judge(Spec(answers={1: stale}), by=milder).verdict is Verdict.INDETERMINATE


_OTHER = (boot_rom("nvidia", "HOPPER", 2), authorities("nvidia", "GH100")[2])


@pytest.mark.parametrize(
    ("said", "finding", "verdict"),
    [
        (Said(status="revoked"), Finding.REVOKED, Verdict.INVALID),
        (Said(status="unknown"), Found.OCSP_UNKNOWN, Verdict.INDETERMINATE),
        (Said(this_update=NOON - timedelta(days=2)), Finding.EXPIRED, Verdict.INDETERMINATE),
        (
            Said(this_update=NOON + timedelta(seconds=1)),
            Finding.NOT_YET_VALID,
            Verdict.INDETERMINATE,
        ),
        (Said(about=_OTHER), Found.OCSP_OTHER_CERTIFICATE, Verdict.INDETERMINATE),
        (Said(responder="useless"), Found.OCSP_RESPONDER, Verdict.INVALID),
        (Said(responder="stranger"), Found.OCSP_RESPONDER, Verdict.INVALID),
        (None, Finding.MISSING, Verdict.INDETERMINATE),
    ],
    ids=["revoked", "unknown", "stale", "future", "other", "useless", "stranger", "missing"],
)
def test_each_bad_answer_about_a_certificate_has_its_reason(  # row 105
    said: Said | None, finding: str, verdict: Verdict
) -> None:
    appraisal = judge(Spec(answers={1: said}))
    assert findings(appraisal) == {("G5", finding)}
    assert appraisal.verdict is verdict


@pytest.mark.parametrize("place", [0, 1, 2], ids=["signer", "third", "second"])
def test_manifests_whose_signers_are_revoked_are_refused(place: int) -> None:
    refused(Spec(signer_answers={place: Said(status="revoked")}), ("G5", Finding.REVOKED))


def test_a_manifest_of_another_version_is_refused() -> None:  # row 107
    other = replace(DRIVER, version="550.144.03")
    appraisal = judge(with_rims([other, FIRMWARE]))
    assert appraisal.verdict is Verdict.INVALID
    assert ("G6", Found.RIM_VERSION) in findings(appraisal)


@pytest.mark.parametrize(
    "other",
    [
        replace(FIRMWARE, version="96.00.9F.00.02"),
        replace(DRIVER, product="GB100", version="590.48.01"),
        replace(DRIVER, product="GB100"),
    ],
    ids=["firmware", "chip and version", "chip"],
)
def test_a_manifest_of_something_else_is_not_one_of_another_version(other: Rim) -> None:
    appraisal = judge(with_rims([FIRMWARE, other]))
    assert ("G6", Finding.MISSING) in findings(appraisal)
    assert ("G6", Found.RIM_VERSION) not in findings(appraisal)
    assert appraisal.verdict is Verdict.INDETERMINATE


def test_only_what_was_verified_is_compared() -> None:  # row 108
    wrong = bytes(48)
    spec = with_rims([DRIVER, FIRMWARE], measurements=lambda said: {**said, 5: wrong})
    edited = replace(FIRMWARE, document=lambda text: text.replace(golden(4).hex(), wrong.hex()))
    assert ("G8", Found.MEASUREMENT_MISMATCH) in findings(judge(spec))
    # A second issue of the manifest that would fit is not believed, in whatever order they come.
    forged = replace(spec, rims=(DRIVER, FIRMWARE, edited))
    appraisal = judge(forged)
    assert appraisal.verdict is Verdict.INVALID
    assert ("G8", Found.MEASUREMENT_MISMATCH) in findings(appraisal)


def test_manifests_without_golden_measurements_affirm_nothing() -> None:  # row 109
    none = with_rims([replace(DRIVER, active=()), replace(FIRMWARE, active=())])
    refused(none, ("G8", Found.NOTHING_TO_COMPARE))


def _index_9(old: str, new: str) -> Rim:
    return replace(
        FIRMWARE,
        resource=lambda index, text: text.replace(old, new) if index == 9 else text,
    )


def test_an_inactive_measurement_does_not_count() -> None:  # row 110
    inactive = replace(FIRMWARE, active=tuple(range(9)))
    spec = with_rims([DRIVER, inactive], measurements=lambda said: {**said, 10: bytes(48)})
    appraisal = judge(spec)
    assert appraisal.verdict is Verdict.VALID
    assert appraisal.examination.claims["golden_measurements"] == 31


def test_any_alternative_may_match() -> None:  # row 110
    value = f'alternatives="1" ns2:Hash0="{golden(9).hex()}"'
    two = f'alternatives="2" ns2:Hash0="{"0" * 96}" ns2:Hash1="{golden(9).hex()}"'
    assert judge(with_rims([DRIVER, _index_9(value, two)])).verdict is Verdict.VALID
    neither = two.replace(golden(9).hex(), golden(8).hex())
    refused(with_rims([DRIVER, _index_9(value, neither)]), ("G8", Found.MEASUREMENT_MISMATCH))


def test_a_measurement_of_another_size_does_not_match() -> None:  # row 110
    refused(
        with_rims([DRIVER, _index_9('size="48"', 'size="32"')]),
        ("G8", Found.MEASUREMENT_MISMATCH),
    )
    shorter = with_rims([DRIVER, FIRMWARE], measurements=lambda said: {**said, 10: golden(9)[:32]})
    refused(shorter, ("G8", Found.MEASUREMENT_MISMATCH))


def test_the_video_decoder_is_compared_only_if_it_runs() -> None:  # row 111
    def edit(said: dict[int, bytes]) -> dict[int, bytes]:
        return {**said, 36: bytes(48)}

    refused(Spec(measurements=edit, nvdec0=0xAA), ("G8", Found.MEASUREMENT_MISMATCH))
    appraisal = judge(Spec(measurements=edit, nvdec0=0x55))
    assert appraisal.verdict is Verdict.VALID
    assert appraisal.examination.claims["golden_measurements"] == 33


def test_a_measurement_that_both_manifests_claim_is_refused() -> None:  # row 112
    twice = replace(FIRMWARE, active=(*FIRMWARE_INDICES, 12))
    refused(with_rims([DRIVER, twice]), ("G8", Found.MEASUREMENT_CLAIMED_TWICE))


def test_a_measurement_that_the_report_lacks_is_refused() -> None:
    def edit(said: dict[int, bytes]) -> dict[int, bytes]:
        return {index: value for index, value in said.items() if index != 10}

    refused(Spec(measurements=edit), ("G8", Found.MEASUREMENT_MISSING))


def test_a_report_without_a_firmware_id_is_for_listed_firmware_only() -> None:  # row 113
    refused(Spec(fwid=None), ("G4", Found.FWID_MISSING))
    refused(blackwell(fwid=None), ("G4", Found.FWID_MISSING))
    assert judge(Spec(fwid=None, driver="535.86.09")).verdict is Verdict.VALID
    assert judge(switch()).verdict is Verdict.VALID
    refused(switch(certificate_fwid=None), ("G4", Found.FWID_MISSING))


@each_kind
def test_a_report_of_other_firmware_than_the_certificate_is_refused(kind: str) -> None:  # row 113
    refused(_KINDS[kind](fwid=b"\xf2" * 48), ("G4", Found.FWID_MISMATCH))
    if kind == "Blackwell":
        # The unused place of the certificate is no firmware.
        refused(blackwell(fwid=bytes(48)), ("G4", Found.FWID_MISMATCH))


def test_the_nonce_beside_a_report_counts_for_nothing() -> None:  # row 114
    minted = mint(Spec(nonce=b"\x01" * 32))
    asked = b"\x02" * 32
    lying = replace(minted, evidence=serialized(minted.devices, "HOPPER", asked.hex()))
    appraisal = refused(lying, ("G1", Found.NONCE_FIELD))
    assert appraisal.examination.claims["nonce"] == b"\x01" * 32


@pytest.mark.parametrize(
    ("spec", "finding"),
    [
        (Spec(record=lambda record: record + record[:55]), Found.REPORT_LAYOUT),
        (
            Spec(record=lambda record: record[:-55] + block(1, golden(0))),
            Found.DUPLICATE_MEASUREMENT,
        ),
        (Spec(response=lambda data: data[:4] + b"\xff" + data[5:]), Found.REPORT_LAYOUT),
        (
            Spec(response=lambda data: data[:5] + b"\xff\xff\xff" + data[8:]),
            Found.REPORT_LAYOUT,
        ),
        (Spec(report=lambda report: report + b"\0"), Found.REPORT_TRAILING_BYTES),
        (Spec(record=lambda record: b"\x01\x02" + record[2:]), Found.REPORT_LAYOUT),
        (
            Spec(opaque=lambda said: {**said, 40: b"\x03\x00\x01\x00\x00" * 2}),
            None,
        ),
    ],
    ids=["longer", "index twice", "count 255", "overrun", "trailing", "specification 2", "nested"],
)
def test_a_report_has_one_layout(spec: Spec, finding: str | None) -> None:  # row 115
    if finding is None:
        assert judge(spec).verdict is Verdict.VALID
        return
    appraisal = judge(spec)
    assert ("G1", finding) in findings(appraisal)
    assert appraisal.verdict is Verdict.INVALID
    assert appraisal.examination.evidence_id is None


def test_an_opaque_item_that_occurs_twice_is_refused() -> None:  # row 115
    def edit(response: bytes) -> bytes:
        size = int.from_bytes(response[5:8], "little")
        at = 8 + size + 32
        opaque = response[at + 2 :]
        return response[:at] + (2 * len(opaque)).to_bytes(2, "little") + opaque * 2

    refused(Spec(response=edit), ("G1", Found.DUPLICATE_OPAQUE))


@pytest.mark.parametrize(
    ("algorithm", "finding"),
    [
        ("none", Found.TOKEN_UNSIGNED),  # row 116
        ("HS256", Found.TOKEN_ALGORITHM),  # row 117
        ("ES256", Found.TOKEN_ALGORITHM),
        ("RS384", Found.TOKEN_ALGORITHM),
    ],
)
def test_a_token_that_its_issuer_did_not_sign_is_no_evidence(algorithm: str, finding: str) -> None:
    minted = nvidia_token.mint(nvidia_token.Spec(algorithm=algorithm))
    wrapped = json.dumps({"detached_eat": json.loads(minted.evidence)}).encode()
    for data in (minted.evidence, wrapped):
        for given in (minted.endorsements, Endorsements()):
            examination = TOKEN_RULES.examine(data, given, NOON, minted.roots)
            appraisal = appraise(examination, policy(TOKEN_RULES), TOKEN_RULES)
            assert findings(appraisal) == {("G12", finding)}
            assert appraisal.verdict is Verdict.INVALID
            assert examination.evidence_id is None


def test_a_token_is_no_report_of_a_device() -> None:
    minted = nvidia_token.mint()
    refused(Minted(minted.evidence, Endorsements(), Roots(), ()), ("G1", Found.CONTAINER))


def test_whether_confidential_computing_is_on_must_be_asked_or_skipped() -> None:  # row 118
    with pytest.raises(MalformedError) as caught:
        check_policy(policy(skip=("driver_version", "vbios_version")), DEVICE_RULES)
    assert caught.value.reason is Reason.POLICY_UNSET
    wanted = policy(
        reference_values={"feature_flag": ("2",), "protected_pcie": ("aa",)},
        skip=("driver_version", "vbios_version"),
    )
    assert judge(Spec(), by=wanted).verdict is Verdict.VALID
    for off in (Spec(feature_flag=0), Spec(feature_flag=None), Spec(protected_pcie=0x55)):
        appraisal = judge(off, by=wanted)
        assert findings(appraisal) == {("G9", Finding.REFERENCE_MISMATCH)}
        assert appraisal.verdict is Verdict.INVALID
    assert "runtime-opaque" not in judge(Spec()).trust
    odd = judge(Spec(protected_pcie=0x77))
    assert findings(odd) == {("G9", Found.MODE_UNKNOWN)}
    assert (odd.verdict, odd.tier) == (Verdict.VALID, Tier.WARNING)


def test_evidence_of_a_gpu_that_was_asked_by_others_is_refused() -> None:  # row 120
    mine, theirs = Binding(nonce=b"\x0a" * 32), Binding(nonce=b"\x0b" * 32)
    own = mint(Spec(nonce=mine.gpu_nonce()))
    assert judge(own, question=Question(stated=mine, expected=mine)).verdict is Verdict.VALID
    relayed = mint(Spec(nonce=theirs.gpu_nonce()))
    appraisal = judge(relayed, question=Question(stated=mine, expected=mine))
    assert findings(appraisal) == {("G11", "WRONG_COMMITMENT")}
    assert appraisal.verdict is Verdict.INVALID
    replayed = judge(relayed, question=Question(stated=theirs, expected=mine))
    assert findings(replayed) == {("G11", "WRONG_NONCE")}


def test_the_other_spelling_of_a_signature_is_the_same_evidence() -> None:  # row 123
    minted = mint(Spec())
    device = minted.devices[0]
    other = replace(minted, evidence=write_device(replace(device, report=high_s(device.report))))
    first, second = judge(minted), judge(other)
    assert other.evidence != minted.evidence
    assert second.verdict is Verdict.VALID
    assert first.examination.evidence_id == second.examination.evidence_id


@pytest.mark.parametrize(
    ("spec", "driver", "firmware"),
    [
        (
            Spec(),
            "NV_GPU_DRIVER_GH100_550.90.07",
            "NV_GPU_VBIOS_1010_0200_882_96009F0001",
        ),
        (
            blackwell(),
            "NV_GPU_CC_DRIVER_GB100_590.48.01",
            "NV_GPU_VBIOS_1010_0200_882_9700D90035",
        ),
        (
            blackwell(opaque=lambda said: {**said, Opaque.CHIP_INFO: b"GB102\0"}),
            "NV_GPU_CC_DRIVER_GB102_590.48.01",
            "NV_GPU_VBIOS_1010_0200_882_9700D90035",
        ),
        (switch(), None, "NV_SWITCH_BIOS_5612_0002_890_9610550001"),
    ],
    ids=["Hopper", "Blackwell", "chip info", "LS10"],
)
def test_manifests_are_named_by_the_report(spec: Spec, driver: str | None, firmware: str) -> None:
    claims = judge(spec).examination.claims
    assert claims.get("driver_manifest") == driver
    assert claims["vbios_manifest"] == firmware


def test_names_are_padded_with_zero_bytes_and_spaces() -> None:  # row 124
    padded = Spec(opaque=lambda said: {**said, Opaque.DRIVER_VERSION: b"550.90.07\0\0 \0"})
    appraisal = judge(padded)
    assert appraisal.verdict is Verdict.VALID
    assert appraisal.examination.claims["driver_version"] == "550.90.07"


@pytest.mark.parametrize(
    "name", [b"../../550\0", b"550/90", b"", b"550\n90", b"55\xc30", b"\0\0"], ids=range(6)
)
def test_names_that_are_no_names_are_refused(name: bytes) -> None:  # row 124
    edited = Spec(opaque=lambda said: {**said, Opaque.DRIVER_VERSION: name})
    appraisal = judge(edited)
    assert appraisal.verdict is Verdict.INVALID
    assert ("G6", Found.REPORT_NAMES) in findings(appraisal)
    assert "driver_version" not in appraisal.examination.claims


@pytest.mark.parametrize(
    "spec",
    [
        Spec(driver=None),
        Spec(opaque=lambda said: {**said, Opaque.VBIOS_VERSION: bytes(7)}),
        switch(firmware="96.10.55.00"),
        switch(firmware="96.10.55.00.0G"),
        Spec(opaque=lambda said: {k: v for k, v in said.items() if k != Opaque.PROJECT}),
    ],
    ids=["no driver", "short", "four parts", "no number", "no project"],
)
def test_a_report_that_does_not_name_its_software_is_refused(spec: Spec) -> None:
    appraisal = judge(spec)
    assert ("G6", Found.REPORT_NAMES) in findings(appraisal)
    assert appraisal.verdict is Verdict.INVALID


def test_manifests_that_are_missing_leave_it_open_unless_the_policy_says_otherwise() -> None:
    minted = exchanged(mint(Spec()), Role.NVIDIA_RIM, [])
    left_open(
        minted,
        ("G6", Finding.MISSING),
        ("G7", Finding.MISSING),
        ("G8", Finding.MISSING),
        ("G8", Found.NOT_COMPARED),
    )
    lenient = policy(skip=(*DEVICE_RULES.references, "G6", "G7", "G8"))
    appraisal = judge(minted, by=lenient)
    assert (appraisal.verdict, appraisal.tier) == (Verdict.VALID, Tier.WARNING)
    assert appraisal.trust["executables"] == 33
    half = judge(with_rims([DRIVER]), by=lenient)
    assert findings(half) == {("G8", Found.NOT_COMPARED)}
    assert (half.verdict, half.tier) == (Verdict.VALID, Tier.WARNING)
    assert half.examination.claims["golden_measurements"] == len(DRIVER_INDICES)


@each_kind
def test_what_a_policy_waives_is_never_the_signature(kind: str) -> None:
    minted = mint(_KINDS[kind]())
    bare = replace(minted, endorsements=Endorsements())
    appraisal = judge(bare, by=_LENIENT)
    assert (appraisal.verdict, appraisal.tier) == (Verdict.VALID, Tier.WARNING)
    foreign = replace(bare, roots=Roots())
    assert judge(foreign, by=_LENIENT).verdict is Verdict.INVALID


def test_a_report_alone_lacks_its_certificates() -> None:
    minted = mint(Spec())
    report = minted.devices[0].report
    for text in (report, report.hex().encode() + b"\n", base64_text(report).encode()):
        appraisal = judge(replace(minted, evidence=text))
        assert findings(appraisal) == {("G2", Found.CHAIN_MISSING)}
        assert appraisal.verdict is Verdict.INDETERMINATE
        lenient = judge(replace(minted, evidence=text), by=_LENIENT)
        assert lenient.verdict is Verdict.INDETERMINATE


def test_a_container_has_one_spelling() -> None:
    minted = mint(Spec())
    for data in (
        minted.evidence + b"\n",
        minted.evidence.replace(b":", b": ", 1),
        b"{}",
        b"[]",
        b"no evidence",
        b"\xff\xfe",
        write_json({"devices": [], "type": "provreg/nvidia-set/v1"}),
    ):
        appraisal = judge(replace(minted, evidence=data))
        assert findings(appraisal) == {("G1", Found.CONTAINER)}
        assert appraisal.verdict is Verdict.INVALID
