"""Tests of sets of NVIDIA devices: one machine, all of it, asked at once."""

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from registry.core.digest import sha256
from registry.core.evidence.appraisal import Question
from registry.core.evidence.binding import Binding
from registry.core.evidence.checks import Finding
from registry.core.evidence.claims import Family, evidence_id
from registry.core.evidence.distrust import Entry, Selector
from registry.core.evidence.endorsements import Role
from registry.core.evidence.nvidia.findings import Found
from registry.core.evidence.nvidia.rules import SET_RULES
from registry.core.evidence.nvidia.spdm import Opaque
from registry.core.evidence.nvidia.tables import CHECKS
from registry.core.evidence.trust import Tier
from registry.core.evidence.validity import Validity, seconds
from registry.core.verdict import Verdict
from tests.core.evidence.nvidia.judging import exchanged, findings, judge, policy, serialized
from tools.fake_vendor.nvidia import Spec, machine, mint, mint_set, switch
from tools.fake_vendor.nvidia_certificates import authorities, boot_rom, pdi
from tools.fake_vendor.nvidia_ocsp import NOON, Said, answer
from tools.fake_vendor.nvidia_rim import Rim, mint_rim

SET = policy(SET_RULES)


def judged(specs: Sequence[Spec]) -> tuple[Verdict, set[tuple[str, str]]]:
    appraisal = judge(mint_set(specs), by=SET)
    return appraisal.verdict, findings(appraisal)


def broken(finding: str) -> tuple[Verdict, set[tuple[str, str]]]:
    return Verdict.INVALID, {("G10", finding)}


def test_a_whole_machine_is_valid() -> None:
    minted = mint_set(machine())
    appraisal = judge(minted, by=SET)
    assert findings(appraisal) == set()
    assert (appraisal.verdict, appraisal.tier) == (Verdict.VALID, Tier.AFFIRMING)
    examination = appraisal.examination
    assert [item.check for item in examination.checks] == list(CHECKS)
    reports = {sha256(device.report).hex() for device in minted.devices}
    assert set(examination.checks[0].inputs) == reports
    assert set(examination.checks[9].inputs) == reports
    assert examination.claims["gpu_count"] == 8
    assert examination.claims["switch_count"] == 4
    ids = [item.evidence_id for item in examination.members]
    named = sorted(item for item in ids if item is not None)
    assert examination.evidence_id == evidence_id(Family.NVIDIA_SET, named)
    assert len(set(named)) == 12
    assert len(examination.endorsements) == len(minted.endorsements.items)


def test_a_set_counts_while_everything_of_every_device_does() -> None:
    specs = machine(gpus=2, switches=1)
    early = Said(this_update=NOON - timedelta(hours=5))
    specs[1] = replace(specs[1], answers={1: early}, leaf_start=NOON - timedelta(minutes=20))
    window = judge(mint_set(specs), by=SET).examination.window
    assert window == Validity(
        seconds(NOON) - 20 * 60, seconds(NOON - timedelta(hours=5) + timedelta(days=1)) - 1
    )
    assert window is not None
    for at, verdict in (
        (window.start - 1, Verdict.INDETERMINATE),
        (window.start, Verdict.VALID),
        (window.end, Verdict.VALID),
        (window.end + 1, Verdict.INDETERMINATE),
    ):
        moment = datetime.fromtimestamp(at, UTC)
        assert judge(mint_set(specs), moment, by=SET).verdict is verdict


def test_many_bad_devices_are_counted() -> None:
    specs = [replace(spec, fwid=b"\xf2" * 48) for spec in machine()[:8]]
    said = "device 1, 2, 3, 4, 5, 6, 7, 8: "
    assert any(item.detail.startswith(said) for item in judge(mint_set(specs), by=SET).findings())
    specs = [Spec(number=number, fwid=b"\xf2" * 48) for number in range(1, 11)]
    [found] = judge(mint_set(specs), by=SET).findings()
    assert found.detail.startswith("device 1, 2, 3, 4, 5, 6, 7, 8 and 2 more: ")


def test_the_order_of_the_devices_does_not_matter() -> None:
    specs = machine(gpus=2, switches=1)
    minted = mint_set(specs)
    turned = replace(minted, evidence=serialized(reversed(minted.devices), ""))
    first, second = judge(minted, by=SET).examination, judge(turned, by=SET).examination
    assert first.evidence_id == second.evidence_id


def test_gpus_without_switches_are_a_set_too() -> None:
    assert judged([Spec(number=n) for n in (1, 2)]) == (Verdict.VALID, set())
    assert judged([Spec()]) == (Verdict.VALID, set())


def test_seven_of_eight_gpus_are_refused() -> None:  # row 119
    assert judged(machine()[1:]) == broken(Found.TOPOLOGY_GPUS)


def test_three_of_four_switches_are_refused() -> None:  # row 119
    assert judged(machine()[:-1]) == broken(Found.TOPOLOGY_SWITCHES)


def test_a_device_that_occurs_twice_is_refused() -> None:  # row 119
    specs = machine()
    assert judged([*specs, specs[0]]) == broken(Found.DUPLICATE_DEVICE)
    assert judged([switch(gpus=(1,))] * 4) == broken(Found.DUPLICATE_DEVICE)


def test_a_gpu_of_another_machine_is_refused() -> None:  # row 119
    specs = machine()
    assert judged([replace(specs[0], number=77), *specs[1:]]) == broken(Found.TOPOLOGY_GPUS)


def test_a_switch_of_another_machine_is_refused() -> None:  # row 119
    specs = machine()
    stranger = replace(specs[-1], number=177)
    assert judged([*specs[:-1], stranger]) == broken(Found.TOPOLOGY_SWITCHES)


def test_a_gpu_that_names_other_switches_is_refused() -> None:  # row 119
    specs = machine()
    odd = replace(specs[0], switches=(101, 102, 103, 177))
    assert judged([odd, *specs[1:]]) == broken(Found.TOPOLOGY_SWITCHES)


def test_a_switch_that_names_other_gpus_is_refused() -> None:  # row 119
    specs = machine()
    odd = replace(specs[-1], gpus=(1, 2, 3, 4, 5, 6, 7, 77))
    assert judged([*specs[:-1], odd]) == broken(Found.TOPOLOGY_GPUS)


def test_switch_names_that_are_not_reversed_are_refused() -> None:  # row 119
    straight = b"".join(pdi(n) for n in range(101, 105))
    specs = [
        replace(spec, opaque=lambda said: {**said, Opaque.SWITCH_PDIS: straight})
        if spec.switches
        else spec
        for spec in machine()
    ]
    assert judged(specs) == broken(Found.TOPOLOGY_SWITCHES)


def test_a_list_of_devices_that_is_cut_is_refused() -> None:
    cut = Spec(opaque=lambda said: {**said, Opaque.SWITCH_PDIS: bytes(15)})
    assert judged([cut]) == broken(Found.TOPOLOGY_SWITCHES)


def test_a_switch_that_states_the_name_of_another_is_refused() -> None:
    specs = machine()
    odd = replace(specs[-1], opaque=lambda said: {**said, Opaque.SWITCH_PDIS: pdi(103)})
    assert judged([*specs[:-1], odd]) == broken(Found.TOPOLOGY_SWITCHES)


def test_devices_that_were_asked_with_different_nonces_are_refused() -> None:  # row 119
    specs = machine()
    specs[3] = replace(specs[3], nonce=b"\x0f" * 32)
    assert judged(specs) == broken(Found.MIXED_NONCES)
    assert "nonce" not in judge(mint_set(specs), by=SET).examination.claims


@pytest.mark.parametrize("part", [slice(0, 8), slice(8, 12)], ids=["GPUs", "switches"])
def test_half_a_machine_is_left_open(part: slice) -> None:
    assert judged(machine()[part]) == (
        Verdict.INDETERMINATE,
        {("G10", Finding.MISSING)},
    )


def test_the_cpu_says_how_many_gpus_there_are() -> None:
    names = tuple(name for name in SET_RULES.references if name != "gpu_count")
    eight = policy(SET_RULES, skip=names, reference_values={"gpu_count": ("8",)})
    assert judge(mint_set(machine()), by=eight).verdict is Verdict.VALID
    seven = judge(mint_set([Spec(number=n) for n in range(1, 8)]), by=eight)
    assert findings(seven) == {("G10", Finding.REFERENCE_MISMATCH)}
    least = policy(SET_RULES, minimum={"gpu_count": 8})
    fewer = judge(mint_set([Spec()]), by=least)
    assert findings(fewer) == {("G10", Finding.BELOW_MINIMUM)}


def test_one_bad_device_makes_the_set_bad_and_is_named() -> None:
    specs = machine()
    specs[2] = replace(specs[2], fwid=b"\xf2" * 48)
    specs[4] = replace(specs[4], fwid=b"\xf2" * 48)
    appraisal = judge(mint_set(specs), by=SET)
    assert appraisal.verdict is Verdict.INVALID
    [said] = appraisal.findings()
    assert (said.check, said.finding) == ("G4", Found.FWID_MISMATCH)
    assert said.detail.startswith("device 3, 5: ")
    outcomes = [
        [item.outcome for item in member.checks if item.check == "G4"]
        for member in appraisal.examination.members
    ]
    assert outcomes.count(["fail"]) == 2
    assert outcomes.count(["pass"]) == 10


def test_an_answer_about_one_device_says_nothing_of_another() -> None:
    specs = machine(gpus=2, switches=1)
    specs[1] = replace(specs[1], answers={1: None})
    appraisal = judge(mint_set(specs), by=SET)
    assert findings(appraisal) == {("G5", Finding.MISSING)}
    assert appraisal.verdict is Verdict.INDETERMINATE


def test_a_revoked_device_makes_the_set_bad() -> None:
    specs = machine(gpus=2, switches=1)
    specs[1] = replace(specs[1], answers={1: Said(status="revoked")})
    assert judged(specs) == (Verdict.INVALID, {("G5", Finding.REVOKED)})


def test_a_device_that_cannot_be_read_makes_the_set_bad() -> None:
    specs = [Spec(), Spec(number=2, report=lambda report: report[:-1])]
    appraisal = judge(mint_set(specs), by=SET)
    assert findings(appraisal) == {("G1", Found.REPORT_LAYOUT)}
    assert appraisal.examination.evidence_id is None
    assert appraisal.verdict is Verdict.INVALID


def test_several_devices_are_no_evidence_of_one() -> None:
    minted = mint_set([Spec(), Spec(number=2)])
    appraisal = judge(minted)
    assert findings(appraisal) == {("G1", Found.CONTAINER)}


def test_devices_of_two_kinds_of_software_say_both() -> None:
    other = Spec(number=2, driver="550.144.03")
    claims = judge(mint_set([Spec(), other]), by=SET).examination.claims
    assert claims["driver_version"] == ("550.144.03", "550.90.07")
    older = Spec(number=2, protected_pcie=None)
    claims = judge(mint_set([Spec(), older]), by=SET).examination.claims
    assert claims["protected_pcie"] == ("aa", "none")


def test_a_manifest_of_another_version_is_not_missed_where_another_device_needs_it() -> None:
    first, second = Spec(), Spec(number=2, driver="550.144.03")
    minted = mint_set([first, second])
    rims = [
        data
        for data in minted.endorsements.all(Role.NVIDIA_RIM)
        if b'colloquialVersion="550.144.03"' not in data
    ]
    appraisal = judge(exchanged(minted, Role.NVIDIA_RIM, rims), by=SET)
    assert ("G6", Finding.MISSING) in findings(appraisal)
    assert ("G6", Found.RIM_VERSION) not in findings(appraisal)
    assert appraisal.verdict is Verdict.INDETERMINATE


def test_a_set_is_bound_by_the_nonce_of_its_devices() -> None:
    mine = Binding(nonce=b"\x0a" * 32)
    minted = mint_set(machine(gpus=2, switches=1, nonce=mine.gpu_nonce()))
    assert judge(minted, by=SET, question=Question(stated=mine, expected=mine)).verdict is (
        Verdict.VALID
    )
    other = Binding(nonce=b"\x0b" * 32)
    appraisal = judge(minted, by=SET, question=Question(stated=other, expected=other))
    assert findings(appraisal) == {("G11", "WRONG_COMMITMENT")}


@pytest.mark.parametrize(
    ("claim", "value"),
    [
        ("device_id", pdi(2).hex()),
        ("driver_manifest", "NV_GPU_DRIVER_GH100_550.144.03"),
        ("vbios_manifest", "NV_GPU_VBIOS_1010_0200_882_96009F0002"),
    ],
)
def test_a_distrusted_device_makes_the_set_distrusted(claim: str, value: str) -> None:
    entry = Entry(
        selector=Selector(family=Family.NVIDIA_SPDM, claims={claim: value}),
        effective_from="2026-01-01T00:00:00Z",
        reason="its key was read out",
    )
    second = Spec(number=2, driver="550.144.03", firmware="96.00.9F.00.02")
    appraisal = judge(mint_set([Spec(), second]), by=SET, question=Question(distrusted=(entry,)))
    assert findings(appraisal) == {("G2", Finding.DISTRUSTED)}
    assert appraisal.verdict is Verdict.INVALID
    assert judge(mint(Spec()), NOON, question=Question(distrusted=(entry,))).verdict is (
        Verdict.VALID
    )


def _about_strangers(count: int) -> list[bytes]:
    """Answers by the issuer of all devices about serial numbers that no device has."""
    issuer = authorities("nvidia", "GH100")[2]
    subject = boot_rom("nvidia", "HOPPER", 1)
    good = answer(subject, issuer)
    serial = subject.certificate.serial_number.to_bytes(9, "big")
    return [
        good.replace(serial, serial[:1] + number.to_bytes(8, "big"))
        for number in range(1, count + 1)
    ]


def test_much_that_speaks_of_nobody_costs_no_time() -> None:
    specs = [Spec(number=n, answers=dict.fromkeys((1, 2, 3)), rims=()) for n in range(1, 33)]
    minted = mint_set(specs)
    rims = [mint_rim(Rim(version=f"550.{number}")) for number in range(20)]
    more = [(Role.NVIDIA_OCSP, data) for data in _about_strangers(230)]
    more += [(Role.NVIDIA_RIM, data) for data in rims]
    hostile = replace(minted, endorsements=minted.endorsements.with_(more))
    began = time.process_time()
    appraisal = judge(hostile, by=SET)
    assert time.process_time() - began < 1
    assert {item for item in findings(appraisal) if item[0] != "G10"} >= {
        ("G5", Found.OCSP_OTHER_CERTIFICATE),
        ("G5", Finding.MISSING),
        ("G6", Found.RIM_VERSION),
    }


def test_a_manifest_that_nobody_needs_may_hold_what_it_likes() -> None:
    junk = mint_rim(Rim(version="1.0", key_info=lambda chain: [b"no certificate", *chain[1:]]))
    minted = mint_set([Spec()])
    more = minted.endorsements.with_([(Role.NVIDIA_RIM, junk)])
    assert judge(replace(minted, endorsements=more), by=SET).verdict is Verdict.VALID
    lacking = mint_set([Spec(answers={1: None})])
    more = lacking.endorsements.with_([(Role.NVIDIA_RIM, junk)])
    appraisal = judge(replace(lacking, endorsements=more), by=SET)
    assert findings(appraisal) == {("G5", Finding.MISSING)}


def test_a_machine_has_a_sane_number_of_devices() -> None:
    minted = mint_set([Spec(number=n, rims=()) for n in range(1, 34)])
    assert findings(judge(minted, by=SET)) == {("G1", Found.CONTAINER)}
