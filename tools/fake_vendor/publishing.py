"""Puts what the fake vendor says of some evidence where a client of the vendor would ask for it."""

from cryptography import x509
from cryptography.x509 import ocsp

from registry.core.evidence.azure.examine import hardware_evidence
from registry.core.evidence.claims import Family
from registry.core.evidence.endorsements import Endorsements, Role
from registry.core.evidence.intel import certificate as pck
from registry.core.evidence.intel.platform import read_platform
from registry.core.evidence.intel.quote import Quote
from registry.core.evidence.nitro.examine import distribution_points
from registry.core.evidence.nvidia import chain, container, measurements, rim, spdm
from registry.core.evidence.sev_snp import report as snp
from registry.core.evidence.sev_snp.product import ProductLine, components
from registry.core.evidence.sev_snp.report import Report
from tools.fake_vendor.services import Services


def publish(
    services: Services, family: Family, evidence: bytes, endorsements: Endorsements
) -> None:
    """Publish the endorsements of one piece of evidence."""
    match family:
        case Family.AZURE_SNP_VTPM:
            publish(services, Family.AMD_SNP, hardware_evidence(family, evidence), endorsements)
        case Family.AZURE_TDX_VTPM:
            publish(services, Family.INTEL_DCAP, hardware_evidence(family, evidence), endorsements)
        case Family.INTEL_DCAP:
            _intel(services, Quote.parse(evidence), endorsements)
        case Family.AMD_SNP:
            _snp(services, Report.parse(evidence), endorsements)
        case Family.AWS_NITRO:
            _nitro(services, evidence, endorsements)
        case Family.NVIDIA_SPDM | Family.NVIDIA_SET:
            _nvidia(services, container.read(evidence), endorsements)
        case Family.NVIDIA_EAT:
            for key_set in endorsements.all(Role.NVIDIA_JWKS):
                services.add_jwks(key_set)
        case _:
            message = f"nothing of {family} is published"
            raise ValueError(message)


def _intel(services: Services, quote: Quote, endorsements: Endorsements) -> None:
    leaf = pck.read_pem(quote.certification_data)[0]
    ca = pck.AUTHORITIES.get(pck.common_name(pck.load(leaf).issuer))
    tdx = quote.head.is_tdx
    fmspc = read_platform(leaf).fmspc
    for body, signer in _pairs(endorsements, Role.INTEL_TCB_INFO, Role.INTEL_TCB_CHAIN):
        services.add_tcb_info(fmspc, body, signer, tdx=tdx)
    for body, signer in _pairs(endorsements, Role.INTEL_QE_IDENTITY, Role.INTEL_QE_CHAIN):
        services.add_qe_identity(body, signer, tdx=tdx)
    for body, signer in _pairs(endorsements, Role.INTEL_PCK_CRL, Role.INTEL_PCK_CRL_CHAIN):
        services.add_pck_crl("processor" if ca == "processor" else "platform", body, signer)
    for der in endorsements.all(Role.INTEL_ROOT_CRL):
        services.add_root_crl(der)


def _pairs(endorsements: Endorsements, role: Role, chain: Role) -> list[tuple[bytes, bytes]]:
    return list(zip(endorsements.all(role), endorsements.all(chain), strict=True))


def _snp(services: Services, report: Report, endorsements: Endorsements) -> None:
    line = report.line or ProductLine.MILAN
    tcb = components(line, report.reported_tcb)
    names = (("bl", "blSPL"), ("tee", "teeSPL"), ("snp", "snpSPL"), ("ucode", "ucodeSPL"))
    fmc = (("fmc", "fmcSPL"),) if line is ProductLine.TURIN else ()
    query = "&".join(f"{name}={tcb[part]:02}" for part, name in (*fmc, *names))
    hwid = report.chip_id[:8] if line is ProductLine.TURIN else report.chip_id
    for der in endorsements.all(Role.AMD_VEK):
        services.add_vcek(line, hwid, query, der)
    for pem in endorsements.all(Role.AMD_CHAIN):
        services.add_amd_chain("vlek" if report.signing_key == snp.VLEK else "vcek", line, pem)
    for der in endorsements.all(Role.AMD_CRL):
        services.add_amd_crl("vlek" if report.signing_key == snp.VLEK else "vcek", line, der)


def _nitro(services: Services, evidence: bytes, endorsements: Endorsements) -> None:
    lists = {x509.load_der_x509_crl(der).issuer: der for der in endorsements.all(Role.NITRO_CRL)}
    for url, issuer in distribution_points(evidence).items():
        if issuer in lists:
            services.add_nitro_crl(url, lists[issuer])


def _nvidia(
    services: Services, submission: container.Submission, endorsements: Endorsements
) -> None:
    manifests = [rim.read(data) for data in endorsements.all(Role.NVIDIA_RIM)]
    for device in submission.devices:
        report = spdm.Report.parse(device.report)
        for wanted in measurements.needed(report, chain.identity(device.chain)):
            for manifest in manifests:
                if wanted.is_met_by(manifest):
                    services.add_rim(wanted.name, manifest.data)
    for der in endorsements.all(Role.NVIDIA_OCSP):
        services.add_ocsp(ocsp.load_der_ocsp_response(der).serial_number, der)
