"""Rows 74 and 75 of the catalogue of bad evidence, minted: Azure's form, on AMD and on Intel."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core.evidence.appraisal import Appraisal, Question, appraise
from registry.core.evidence.azure.container import MAX_CONTAINER_BYTES, Submission
from registry.core.evidence.azure.findings import AzureFinding as F
from registry.core.evidence.azure.hcl import HCL_BYTES, HCLReport
from registry.core.evidence.azure.rules import SNP_RULES, TDX_RULES
from registry.core.evidence.azure.tpm import TPMQuote
from registry.core.evidence.binding import Binding, Mismatch
from registry.core.evidence.checks import CheckError, Finding, Severity
from registry.core.evidence.claims import Examination
from registry.core.evidence.endorsements import Endorsements
from registry.core.evidence.families import FAMILIES
from registry.core.evidence.policy import Policy
from registry.core.evidence.recognise import recognise
from registry.core.evidence.roots import Roots
from registry.core.evidence.rules import Rules
from registry.core.evidence.sev_snp.findings import SNPFinding
from registry.core.evidence.sev_snp.rules import RULES as SEV_SNP
from registry.core.verdict import Verdict
from registry.errors import MalformedError
from tools.fake_vendor import amd, intel
from tools.fake_vendor.azure import NOON, Form, Spec, attestation_key, mint, url

HARDWARE = {"amd": amd.Spec(), "intel": intel.Spec()}
both = pytest.mark.parametrize("hardware", HARDWARE.values(), ids=list(HARDWARE))


def rules_of(spec: Spec) -> Rules:
    return SNP_RULES if isinstance(spec.hardware, amd.Spec) else TDX_RULES


def examined(spec: Spec, at: datetime = NOON) -> Examination:
    minted = mint(spec)
    return rules_of(spec).examine(minted.evidence, minted.endorsements, at, minted.roots)


def judged(spec: Spec, question: Question | None = None, **policy: Any) -> Appraisal:
    rules = rules_of(spec)
    skip = tuple(
        name for name in rules.references if name not in policy.get("reference_values", {})
    )
    wanted = Policy(name="any", family=rules.family, skip=skip, **policy)
    return appraise(examined(spec), wanted, rules, question)


def refused(examination: Examination) -> list[tuple[str, str]]:
    return [
        (item.check, item.finding)
        for item in examination.checks
        if item.outcome == "fail" and item.severity in (Severity.CRYPTO, Severity.IDENTITY)
    ]


@both
@pytest.mark.parametrize("form", ["own", "version-1", "platform"])
def test_a_good_submission_has_nothing_wrong(hardware: amd.Spec | intel.Spec, form: Form) -> None:
    spec = Spec(hardware=hardware, form=form)
    examination = examined(spec)
    assert [item for item in examination.checks if item.outcome == "fail"] == []
    assert {item.check for item in examination.checks} == set(rules_of(spec).table)
    assert judged(spec).verdict is Verdict.VALID
    assert len(examination.configured_roots) == 1
    assert recognise(mint(spec).evidence, NOON) is rules_of(spec)


def test_every_form_is_the_same_evidence() -> None:
    forms: tuple[Form, ...] = ("own", "version-1", "platform", "numbers")
    submissions = [mint(Spec(form=form)).submission for form in forms]
    assert all(Submission.parse(mint(Spec(form=form)).evidence) for form in forms)
    names = {examined(Spec(form=form)).evidence_id for form in forms}
    assert len(names) == 1, submissions


# 74
@both
@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (
            {
                "runtime_after": lambda data: data.replace(
                    b'"secure-boot":true', b'"secure-boot":null'
                )
            },
            F.RUNTIME_DATA_MISMATCH,
        ),
        ({"commitment": lambda data: data[:32] + b"\x01" + data[33:]}, F.REPORT_DATA_TAIL),
        ({"commitment": lambda data: data[:63] + b"\x01"}, F.REPORT_DATA_TAIL),
        ({"signer": "another vTPM"}, F.TPM_QUOTE_SIGNATURE),
        ({"signature": lambda _: bytes(256)}, F.TPM_QUOTE_SIGNATURE),
        ({"signature": lambda _: b""}, F.TPM_QUOTE_SIGNATURE),
        ({"registers": lambda pcrs: (*pcrs[:-1], b"\x01" * 32)}, F.PCR_DIGEST_MISMATCH),
        ({"registers": lambda pcrs: pcrs[:-1]}, F.PCR_DIGEST_MISMATCH),
        ({"registers": lambda pcrs: (*pcrs[1:], pcrs[0])}, F.PCR_DIGEST_MISMATCH),
        ({"registers": lambda _: ()}, F.PCR_DIGEST_MISMATCH),
        ({"quote_after": lambda data: data[:-1] + b"\x00"}, F.TPM_QUOTE_SIGNATURE),
    ],
    ids=[
        *("JSON edited", "report data 32", "report data 63", "AK swapped", "zero signature"),
        *("no signature", "other PCR", "one PCR less", "PCRs turned", "no PCRs", "quote edited"),
    ],
)
def test_what_does_not_follow_from_the_hardware_is_refused(
    hardware: amd.Spec | intel.Spec, change: Mapping[str, Callable[[Any], Any]], finding: F
) -> None:
    examination = examined(Spec(hardware=hardware, **change))  # type: ignore[arg-type]  # out of a table
    assert ("S15", finding) in refused(examination)
    # Nothing but what Azure adds is refused.
    assert {check for check, _ in refused(examination)} == {"S15"}


@both
def test_an_attestation_key_that_is_swapped_in_the_runtime_data_is_refused(
    hardware: amd.Spec | intel.Spec,
) -> None:
    numbers = attestation_key("mine").public_key().public_numbers()
    mine = url(numbers.n.to_bytes(256, "big"))

    def swap(data: bytes) -> bytes:
        value = json.loads(data)
        value["keys"][0]["n"] = mine
        return json.dumps(value, separators=(",", ":")).encode()

    spec = Spec(hardware=hardware, runtime_after=swap, signer="mine")
    assert refused(examined(spec)) == [("S15", F.RUNTIME_DATA_MISMATCH)]


@both
@pytest.mark.parametrize("nonce", [b"", b"challeng", b"challenge\0", b"another"])
def test_another_or_no_nonce_in_the_quote_of_the_vtpm_is_refused(
    hardware: amd.Spec | intel.Spec, nonce: bytes
) -> None:
    binding = Binding(nonce=b"\x0e" * 32, model=b"\x0f" * 32)
    asked = Question(stated=binding, expected=binding)
    right = judged(Spec(hardware=hardware, nonce=binding.tpm_nonce()), asked)
    assert right.verdict is Verdict.VALID
    for bad in (nonce, binding.tpm_nonce()[:31], binding.tpm_nonce().hex().encode()):
        appraisal = judged(Spec(hardware=hardware, nonce=bad), asked)
        assert [(i.check, i.finding) for i in appraisal.findings()] == [
            ("S15", Mismatch.WRONG_COMMITMENT)
        ]
        assert appraisal.verdict is Verdict.INVALID


def test_a_report_that_the_paravisor_did_not_ask_for_is_refused() -> None:
    """Whoever runs at a lower level could commit to a key of its own."""
    spec = Spec(hardware=amd.Spec(vmpl=2))
    assert refused(examined(spec)) == [("S15", F.PARAVISOR_VMPL)]


def test_a_td_report_that_is_not_in_the_quote_is_refused() -> None:
    spec = Spec(hardware=intel.Spec(), td_report_data=lambda data: data[:63] + b"\x01")
    assert refused(examined(spec)) == [("S15", F.TD_REPORT_MISMATCH)]


def test_the_quote_of_an_enclave_is_no_trust_domain() -> None:
    spec = Spec(hardware=intel.Spec(version=3))
    assert ("S15", F.NOT_A_TD) in refused(examined(spec))


def test_hardware_of_the_other_kind_is_refused() -> None:
    for hardware, rules in ((amd.Spec(), TDX_RULES), (intel.Spec(), SNP_RULES)):
        minted = mint(Spec(hardware=hardware))
        examination = rules.examine(minted.evidence, minted.endorsements, NOON, minted.roots)
        assert refused(examination) == [("S15", F.HCL_REPORT_TYPE)]
        assert examination.evidence_id is None
    both_kinds = mint(Spec(td_quote=lambda _: b"quote"))
    examination = SNP_RULES.examine(
        both_kinds.evidence, both_kinds.endorsements, NOON, both_kinds.roots
    )
    assert refused(examination) == [("S15", F.HCL_REPORT_TYPE)]


def test_a_debug_guest_is_refused_in_this_form_too() -> None:
    appraisal = judged(Spec(hardware=amd.Spec(policy=0xB0000)))
    assert [item.finding for item in appraisal.findings()] == [SNPFinding.DEBUG]
    assert appraisal.verdict is Verdict.INVALID


# 75
@pytest.mark.parametrize(
    "hardware",
    [
        amd.Spec(policy=0xB0000),
        amd.Spec(policy=0x70000, platform_info=1),
        amd.Spec(signature="other-key"),
        amd.Spec(broken=True),
        amd.Spec(hwid=b"\x01" * 64),
        amd.Spec(forged=True),
        amd.Spec(signer_info=4),
        amd.Spec(version=6),
    ],
    ids=["debug", "agent", "signature", "certificate", "chip", "root", "key", "version"],
)
def test_both_paths_to_a_report_make_the_same_checks(hardware: amd.Spec) -> None:
    minted = mint(Spec(hardware=hardware))
    report = HCLReport.parse(minted.submission.hcl_report).hardware
    bare = SEV_SNP.examine(report, minted.endorsements, NOON, minted.roots)
    inside = SNP_RULES.examine(minted.evidence, minted.endorsements, NOON, minted.roots)
    assert set(SNP_RULES.table) - set(SEV_SNP.table) == {"S15"}
    assert bare.checks == tuple(item for item in inside.checks if item.check != "S15")
    assert SNP_RULES.weights == SEV_SNP.weights


@pytest.mark.parametrize("at", [0, 4, 8, 12, 16, 20, 24, 28, 1216, 1220, 1224, 1228, 1232], ids=hex)
def test_every_field_of_the_paravisors_report_is_checked(at: int) -> None:
    for value in (0xFFFFFFFF, 0x7F):
        spec = Spec(header={at: value})
        assert refused(examined(spec)) == [("S15", F.HCL_MALFORMED)]


@pytest.mark.parametrize(
    "edit",
    [
        lambda data: data[:-1],
        lambda data: data[:-1] + b"\x01",
        lambda _: b"",
    ],
    ids=["cut", "padding", "empty"],
)
def test_every_byte_of_the_paravisors_report_is_accounted_for(
    edit: Callable[[bytes], bytes],
) -> None:
    assert refused(examined(Spec(hcl=edit))) == [("S15", F.HCL_MALFORMED)]


def test_the_room_behind_a_td_report_is_empty() -> None:
    def fill(data: bytes) -> bytes:
        return data[: 32 + 1024] + b"\x01" + data[32 + 1025 :]

    spec = Spec(hardware=intel.Spec(), hcl=fill)
    assert refused(examined(spec)) == [("S15", F.HCL_MALFORMED)]


def without_ak(value: dict[str, Any]) -> dict[str, Any]:
    return value | {"keys": value["keys"][1:]}


def twice_ak(value: dict[str, Any]) -> dict[str, Any]:
    return value | {"keys": [value["keys"][0], *value["keys"]]}


def with_ak(**change: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda value: value | {"keys": [value["keys"][0] | change, *value["keys"][1:]]}


@pytest.mark.parametrize(
    ("runtime", "finding"),
    [
        (without_ak, F.ATTESTATION_KEY),
        (twice_ak, F.ATTESTATION_KEY),
        (with_ak(kty="EC"), F.ATTESTATION_KEY),
        (with_ak(key_ops=["encrypt"]), F.ATTESTATION_KEY),
        (with_ak(e="AQ"), F.ATTESTATION_KEY),
        (with_ak(e="Aw"), F.ATTESTATION_KEY),
        (with_ak(n="AQAB"), F.ATTESTATION_KEY),
        (with_ak(n="A" * 400), F.ATTESTATION_KEY),
        (with_ak(n="a+/b"), F.ATTESTATION_KEY),
        (with_ak(n=5), F.ATTESTATION_KEY),
        (lambda value: value | {"keys": {}}, F.RUNTIME_DATA_MALFORMED),
        (lambda value: [value], F.RUNTIME_DATA_MALFORMED),
        (lambda value: value | {"vm-configuration": []}, F.RUNTIME_DATA_MALFORMED),
        (lambda value: value | {"vm-configuration": {"secure-boot": 1}}, F.RUNTIME_DATA_MALFORMED),
        (lambda value: value | {"user-data": 1}, F.RUNTIME_DATA_MALFORMED),
    ],
    ids=[
        *("no AK", "two AKs", "EC", "for encryption", "e 1", "e 3", "17 bits", "zeros", "not url"),
        *("number", "no list", "no object", "configuration", "secure boot", "user data"),
    ],
)
def test_runtime_data_that_says_nothing_clear_is_refused(
    runtime: Callable[[dict[str, Any]], Any], finding: F
) -> None:
    assert refused(examined(Spec(runtime=runtime))) == [("S15", finding)]


def test_a_duplicate_key_in_the_runtime_data_is_refused() -> None:
    def twice(data: bytes) -> bytes:
        return data[:-1] + b',"keys":[]}'

    assert ("S15", F.RUNTIME_DATA_MALFORMED) in refused(examined(Spec(runtime_after=twice)))


@pytest.mark.parametrize(
    "edit",
    [
        lambda data: b"\x00" + data[1:],
        lambda data: data[:4] + b"\x80\x17" + data[6:],
        lambda data: data + b"\x00",
        lambda data: data[:-1],
        lambda data: data.replace(b"\x00\x00\x00\x01\x00\x0b\x03", b"\x00\x00\x00\x02\x00\x0b\x03"),
        lambda data: data.replace(b"\x00\x00\x00\x01\x00\x0b\x03", b"\x00\x00\x00\x01\x00\x04\x03"),
        lambda data: data[:6] + b"\xff\xff" + data[8:],
        lambda data: data + bytes(300),
        lambda _: b"",
    ],
    ids=[
        *("magic", "type", "trailing", "cut", "two selections", "SHA-1", "long name", "long"),
        "empty",
    ],
)
def test_a_quote_of_another_shape_is_refused(edit: Callable[[bytes], bytes]) -> None:
    examination = examined(Spec(quote=edit))
    assert refused(examination) == [("S15", F.TPM_QUOTE_MALFORMED)]
    assert examination.evidence_id is None


def test_a_nonce_has_at_most_64_bytes() -> None:
    assert refused(examined(Spec(nonce=b"n" * 64))) == []
    assert refused(examined(Spec(nonce=b"n" * 65))) == [("S15", F.TPM_QUOTE_MALFORMED)]


def test_a_policy_may_want_registers_and_secure_boot() -> None:
    wanted = {"pcr_7": ((b"\x77" * 32).hex(),)}
    assert judged(Spec(), reference_values=wanted).verdict is Verdict.VALID
    other = judged(Spec(pcrs={7: b"\x78" * 32}), reference_values=wanted)
    assert [(i.check, i.finding) for i in other.findings()] == [("S15", Finding.REFERENCE_MISMATCH)]
    unquoted = judged(Spec(selected=(0, 1, 4)), reference_values=wanted)
    assert [i.finding for i in unquoted.findings()] == [Finding.REFERENCE_MISMATCH]
    assert judged(Spec(), minimum={"secure_boot": 1}).verdict is Verdict.VALID

    def insecure(value: dict[str, Any]) -> dict[str, Any]:
        return value | {"vm-configuration": {"secure-boot": False}}

    low = judged(Spec(runtime=insecure), minimum={"secure_boot": 1})
    assert [(i.check, i.finding) for i in low.findings()] == [("S15", Finding.BELOW_MINIMUM)]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b'{"hcl_report":',
        b'{"quote":{}}',
        b'{"platform":"az-snp","evidence":{}}',
        b'{"version":1}',
        b"[" * 100_000,
        b" " * (MAX_CONTAINER_BYTES + 1),
    ],
    ids=["0", "1", "2", "3", "4", "5", "6", "7", "deep", "long"],
)
def test_what_is_no_submission_is_refused(data: bytes) -> None:
    for rules in (SNP_RULES, TDX_RULES):
        examination = rules.examine(data, Endorsements(), NOON, Roots())
        assert refused(examination) == [("S15", F.CONTAINER)]
        assert {item.check for item in examination.checks} == set(rules.table)


def test_our_own_form_has_one_spelling() -> None:
    good = mint().evidence
    value = json.loads(good)
    for bad in (
        json.dumps(value).encode(),
        good + b"\n",
        good.replace(b'"pcrs":["00', b'"pcrs":["0A'),
        good.replace(b"azure-vtpm/v1", b"azure-vtpm/v2"),
        good[:-1] + b',"vcek":""}',
    ):
        with pytest.raises(CheckError) as caught:
            Submission.parse(bad)
        assert caught.value.finding is F.CONTAINER


def test_a_part_that_is_too_long_is_refused() -> None:
    submission = mint().submission
    for change in (
        {"hcl_report": bytes(HCL_BYTES + 1)},
        {"quote": bytes(513)},
        {"signature": bytes(513)},
        {"td_quote": bytes(64 * 1024 + 1)},
    ):
        data = replace(submission, **change).to_bytes()  # type: ignore[arg-type]  # out of a table
        with pytest.raises(CheckError):
            Submission.parse(data)


@given(
    st.binary(max_size=100),
    st.binary(max_size=100),
    st.binary(max_size=100),
    st.lists(st.binary(min_size=32, max_size=32), max_size=24),
    st.binary(max_size=100),
)
def test_what_is_written_is_read_back(
    hcl: bytes, quote: bytes, signature: bytes, pcrs: list[bytes], td_quote: bytes
) -> None:
    submission = Submission(hcl, quote, signature, tuple(pcrs), td_quote)
    data = submission.to_bytes()
    assert Submission.parse(data) == submission
    assert Submission.parse(data).to_bytes() == data


@given(st.sets(st.integers(0, 23)), st.binary(max_size=64))
def test_a_quote_names_its_registers(selected: set[int], nonce: bytes) -> None:
    minted = mint(Spec(selected=tuple(sorted(selected)), nonce=nonce))
    quote = TPMQuote.parse(minted.submission.quote)
    assert quote.pcrs == tuple(sorted(selected))
    assert quote.nonce == nonce
    assert set(quote.check_registers(minted.submission.pcrs)) == selected


@given(st.integers(-1, 1), st.sampled_from([0, 1]))
def test_the_window_is_that_of_the_hardware(step: int, end: int) -> None:
    hardware = amd.Spec(start=NOON - timedelta(days=1), life=timedelta(days=2))
    edges = (NOON - timedelta(days=1), NOON + timedelta(days=1))
    at = edges[end] + timedelta(seconds=step)
    examination = examined(Spec(hardware=hardware), at)
    outside = step == (1 if end else -1)
    found = [item.finding for item in examination.checks if item.outcome == "fail"]
    assert found == (([Finding.EXPIRED] if end else [Finding.NOT_YET_VALID]) if outside else [])


def test_the_other_spelling_of_a_signature_is_the_same_evidence() -> None:
    good, high = Spec(), Spec(hardware=amd.Spec(signature="high-s"))
    assert mint(good).submission.hcl_report != mint(high).submission.hcl_report
    assert examined(good).evidence_id == examined(high).evidence_id


def test_both_families_are_known() -> None:
    assert FAMILIES[SNP_RULES.family] is SNP_RULES
    assert FAMILIES[TDX_RULES.family] is TDX_RULES
    with pytest.raises(MalformedError):
        recognise(b"{}", NOON)


@both
def test_every_reference_is_a_claim(hardware: amd.Spec | intel.Spec) -> None:
    spec = Spec(hardware=hardware)
    claims = set(examined(spec).claims)
    rules = rules_of(spec)
    only_some = {"csp_id", "tcb_fmc", "current_fmc", "committed_fmc", "launch_fmc"}
    assert (set(rules.references) | set(rules.minimums)) - claims - only_some <= {
        "mr_service_td",
        "tpm_persisted",
    }
    assert rules.binding[0] in claims
