"""From evidence to what the vendors say of it."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from registry.core.evidence.azure.rules import SNP_RULES, TDX_RULES
from registry.core.evidence.checks import CheckError, Severity
from registry.core.evidence.claims import Family
from registry.core.evidence.endorsements import Endorsements, Role
from registry.core.evidence.intel.rules import RULES as INTEL
from registry.core.evidence.nitro.rules import RULES as NITRO
from registry.core.evidence.nvidia.rules import DEVICE_RULES as NVIDIA
from registry.core.evidence.roots import Roots
from registry.core.evidence.rules import Rules
from registry.core.evidence.sev_snp.product import ProductLine
from registry.core.evidence.sev_snp.rules import RULES as SNP
from registry.errors import NotFoundError, Reason, UnavailableError
from registry.remote.endorser import VendorEndorser, gather
from registry.remote.vendor_cache import Items
from tools.fake_vendor import amd, azure, intel, nvidia, nvidia_token
from tools.fake_vendor.nitro import NOON, Spec, mint
from tools.fake_vendor.publishing import publish
from tools.fake_vendor.services import Services

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.fixture
def services() -> Iterator[Services]:
    with Services() as running:
        yield running


def test_a_nitro_document_gets_all_its_lists_and_passes(services: Services) -> None:
    minted = mint(Spec(crl_base=services.crl_base))
    publish(services, Family.AWS_NITRO, minted.evidence, minted.endorsements)
    endorser = VendorEndorser.open(services.settings(), lambda: NOON)
    fetched = Endorsements.of(endorser.endorse(Family.AWS_NITRO, minted.evidence, NOON))
    assert len(fetched.all(Role.NITRO_CRL)) == 2
    examination = NITRO.examine(minted.evidence, fetched, NOON, minted.roots)
    assert {item.outcome for item in examination.checks if item.check == "N9"} == {"pass"}


def test_a_document_that_leads_elsewhere_gets_nothing_and_asks_nobody(services: Services) -> None:
    minted = mint(Spec(crl_base="http://169.254.169.254"))
    endorser = VendorEndorser.open(services.settings(), lambda: NOON)
    with pytest.raises(Exception, match="FOREIGN_ADDRESS"):
        endorser.endorse(Family.AWS_NITRO, minted.evidence, NOON)
    assert services.asked == []


def test_one_list_that_is_not_to_be_had_is_a_gap(services: Services) -> None:
    minted = mint(Spec(crl_base=services.crl_base))
    publish(services, Family.AWS_NITRO, minted.evidence, minted.endorsements)
    services.edit("/nitro/crl/root.crl", status=500)
    endorser = VendorEndorser.open(services.settings(), lambda: NOON)
    assert len(list(endorser.endorse(Family.AWS_NITRO, minted.evidence, NOON))) == 1


def test_what_cannot_be_read_asks_nobody(services: Services) -> None:
    endorser = VendorEndorser.open(services.settings(), lambda: NOON)
    for family in Family:
        with pytest.raises(CheckError):
            endorser.endorse(family, b"no evidence", NOON)
    assert services.asked == []


def test_when_time_is_up_what_was_answered_is_kept() -> None:
    def answered() -> Items:
        return ((Role.AMD_CRL, b"a"),)

    assert gather([answered, answered], seconds=60) == answered()
    with pytest.raises(UnavailableError) as caught:
        gather([answered], seconds=-1)
    assert caught.value.reason is Reason.DEADLINE


def test_nothing_to_ask_is_nothing_missing() -> None:
    assert gather([]) == ()


NVIDIA_SPECS = (nvidia.Spec(), nvidia.Spec(number=2), nvidia.blackwell(number=3))


@pytest.mark.parametrize("spec", NVIDIA_SPECS, ids=["hopper", "another", "blackwell"])
def test_a_gpu_gets_its_manifests_and_an_answer_for_every_certificate(
    services: Services, spec: nvidia.Spec
) -> None:
    minted = nvidia.mint(spec)
    publish(services, Family.NVIDIA_SPDM, minted.evidence, minted.endorsements)
    endorser = VendorEndorser.open(services.settings(), lambda: NOON)
    fetched = Endorsements.of(endorser.endorse(Family.NVIDIA_SPDM, minted.evidence, NOON))
    assert fetched == minted.endorsements
    examination = NVIDIA.examine(minted.evidence, fetched, NOON, minted.roots)
    assert [item for item in examination.checks if item.outcome == "fail"] == []


def test_devices_of_one_machine_are_asked_about_once(services: Services) -> None:
    minted = nvidia.mint_set(nvidia.machine(gpus=2, switches=1))
    publish(services, Family.NVIDIA_SET, minted.evidence, minted.endorsements)
    endorser = VendorEndorser.open(services.settings(), lambda: NOON)
    fetched = Endorsements.of(endorser.endorse(Family.NVIDIA_SET, minted.evidence, NOON))
    assert fetched == minted.endorsements
    assert len(services.asked) == len(fetched.items)
    assert len(set(services.asked)) > 1
    again = Endorsements.of(endorser.endorse(Family.NVIDIA_SET, minted.evidence, NOON))
    assert (again, len(services.asked)) == (fetched, len(fetched.items))


def test_a_token_gets_the_keys_of_its_issuer(services: Services) -> None:
    minted = nvidia_token.mint()
    publish(services, Family.NVIDIA_EAT, minted.evidence, minted.endorsements)
    endorser = VendorEndorser.open(services.settings(), lambda: NOON)
    fetched = Endorsements.of(endorser.endorse(Family.NVIDIA_EAT, minted.evidence, NOON))
    assert fetched == minted.endorsements


def test_a_manifest_that_cannot_be_read_leads_to_no_further_question(services: Services) -> None:
    minted = nvidia.mint()
    publish(services, Family.NVIDIA_SPDM, minted.evidence, minted.endorsements)
    for target in list(services.replies):
        if target.startswith("/nvidia/rim/"):
            services.add_rim(target.rpartition("/")[2], b"<no manifest")
    endorser = VendorEndorser.open(services.settings(), lambda: NOON)
    fetched = list(endorser.endorse(Family.NVIDIA_SPDM, minted.evidence, NOON))
    assert Role.NVIDIA_OCSP in {role for role, _ in fetched}


@pytest.mark.parametrize(
    ("spec", "asked"),
    [
        (intel.Spec(), "tdx/certification/v4/tcb"),
        (intel.Spec(version=5), "tdx/certification/v4/qe"),
        (intel.Spec(version=3), "sgx/certification/v4/tcb"),
        (intel.Spec(authority="Processor"), "ca=processor"),
    ],
    ids=["TDX", "TDX 1.5", "SGX", "processor"],
)
def test_a_quote_gets_all_its_collateral(services: Services, spec: intel.Spec, asked: str) -> None:
    minted = intel.mint(spec)
    publish(services, Family.INTEL_DCAP, minted.evidence, minted.endorsements)
    endorser = VendorEndorser.open(services.settings(), lambda: NOON)
    fetched = Endorsements.of(endorser.endorse(Family.INTEL_DCAP, minted.evidence, NOON))
    assert fetched == minted.endorsements
    assert any(asked in question for question in services.asked)
    examination = INTEL.examine(minted.evidence, fetched, NOON, minted.roots)
    assert [item for item in examination.checks if item.outcome == "fail"] == []


def test_a_platform_that_intel_does_not_know_is_a_gap(services: Services) -> None:
    minted = intel.mint()
    publish(services, Family.INTEL_DCAP, minted.evidence, minted.endorsements)
    other = intel.mint(intel.Spec(fmspc="00806f050000"))
    endorser = VendorEndorser.open(services.settings(), lambda: NOON)
    fetched = Endorsements.of(endorser.endorse(Family.INTEL_DCAP, other.evidence, NOON))
    assert fetched.all(Role.INTEL_TCB_INFO) == ()
    assert len(fetched.all(Role.INTEL_PCK_CRL)) == 1


@pytest.mark.parametrize("line", ProductLine)
def test_a_report_gets_certificate_chain_and_list(services: Services, line: ProductLine) -> None:
    minted = amd.mint(amd.Spec(line=line), lists=[amd.revocation_list(line)])
    publish(services, Family.AMD_SNP, minted.evidence, minted.endorsements)
    endorser = VendorEndorser.open(services.settings(), lambda: NOON)
    fetched = Endorsements.of(endorser.endorse(Family.AMD_SNP, minted.evidence, NOON))
    assert fetched == minted.endorsements
    examination = SNP.examine(minted.evidence, fetched, NOON, amd.roots())
    assert [item for item in examination.checks if item.outcome == "fail"] == []


@pytest.mark.parametrize(
    ("spec", "rules"),
    [(azure.Spec(), SNP_RULES), (azure.Spec(hardware=intel.Spec()), TDX_RULES)],
    ids=["AMD", "Intel"],
)
def test_a_machine_on_azure_gets_what_its_hardware_gets(
    services: Services, spec: azure.Spec, rules: Rules
) -> None:
    minted = azure.mint(spec)
    publish(services, rules.family, minted.evidence, minted.endorsements)
    endorser = VendorEndorser.open(services.settings(), lambda: NOON)
    fetched = Endorsements.of(endorser.endorse(rules.family, minted.evidence, NOON))
    assert fetched == minted.endorsements
    examination = rules.examine(minted.evidence, fetched, NOON, minted.roots)
    assert [item for item in examination.checks if item.outcome == "fail"] == []


FOLDER = Path(os.environ.get("PROVREG_TEST_VECTORS", "/nonexistent")) / "tee" / "amd-snp"
REAL = {
    "Milan": ("oak/extracted_cb_report.bin", "oak/extracted_cb_vcek.der", 2025),
    "Genoa": (
        "attestation-rs/snp/live-report-v5-genoa.bin",
        "attestation-rs/snp/live-vcek-genoa.der",
        2027,
    ),
    "Turin": ("oak/extracted_turin_oc_report.bin", "oak/extracted_turin_oc_vcek.der", 2026),
}


@pytest.mark.skipif(not FOLDER.is_dir(), reason="PROVREG_TEST_VECTORS names no TEE vectors")
@pytest.mark.parametrize("line", list(REAL))
def test_a_real_report_gets_the_certificate_of_its_chip(services: Services, line: str) -> None:
    report, vcek, year = REAL[line]
    evidence = (FOLDER / report).read_bytes()
    chain = (FOLDER / f"trustee/{line.lower()}_ask_ark_asvk.pem").read_bytes()
    given = Endorsements.of([(Role.AMD_VEK, (FOLDER / vcek).read_bytes()), (Role.AMD_CHAIN, chain)])
    publish(services, Family.AMD_SNP, evidence, given)
    endorser = VendorEndorser.open(services.settings(), lambda: NOON)
    fetched = Endorsements.of(endorser.endorse(Family.AMD_SNP, evidence, NOON))
    assert fetched == given
    at = datetime(year, 6, 1, tzinfo=UTC)
    examination = SNP.examine(evidence, fetched, at, Roots())
    contradicted = [
        item.check
        for item in examination.checks
        if item.outcome == "fail" and item.severity in (Severity.CRYPTO, Severity.IDENTITY)
    ]
    assert contradicted == []


@pytest.mark.skipif(not FOLDER.is_dir(), reason="PROVREG_TEST_VECTORS names no TEE vectors")
def test_a_report_that_does_not_name_its_processor_is_looked_for_in_both_lines(
    services: Services,
) -> None:
    evidence = (FOLDER / "go-sev-guest/attestation.bin").read_bytes()
    endorser = VendorEndorser.open(services.settings(), lambda: NOON)
    with pytest.raises(NotFoundError):
        endorser.endorse(Family.AMD_SNP, evidence, NOON)
    asked = [question.split("?")[0] for question in services.asked]
    assert [question.split("/")[4] for question in asked] == ["Milan"] * 3 + ["Genoa"] * 3
    assert {question.split("/")[2] for question in asked} == {"vcek"}


@pytest.mark.skipif(not FOLDER.is_dir(), reason="PROVREG_TEST_VECTORS names no TEE vectors")
def test_a_key_that_the_cloud_holds_is_not_asked_for_but_its_chain_is(services: Services) -> None:
    evidence = (FOLDER / "trustee/test-vlek-report.bin").read_bytes()
    endorser = VendorEndorser.open(services.settings(), lambda: NOON)
    with pytest.raises(NotFoundError):
        endorser.endorse(Family.AMD_SNP, evidence, NOON)
    assert services.asked == [
        "GET /amd/vlek/v1/Milan/cert_chain",
        "GET /amd/vlek/v1/Milan/crl",
    ]
