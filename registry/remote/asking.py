"""What the vendors must be asked about a piece of evidence, by what the evidence says of itself.

Evidence is read by the strict readers of its family; nothing in it is believed. What it names leads
to questions of a fixed form to addresses that the operator named.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from registry.core.evidence.azure.examine import hardware_evidence
from registry.core.evidence.claims import Family
from registry.core.evidence.endorsements import Role
from registry.core.evidence.intel import certificate as pck
from registry.core.evidence.intel.platform import read_platform
from registry.core.evidence.intel.quote import Quote
from registry.core.evidence.nitro.examine import distribution_points
from registry.core.evidence.nvidia import chain as gpu
from registry.core.evidence.nvidia import container, measurements, rim, spdm
from registry.core.evidence.sev_snp import report as snp
from registry.core.evidence.sev_snp.product import ProductLine, components
from registry.core.evidence.sev_snp.report import Report
from registry.errors import RegistryError
from registry.remote.amd_kds import AMDKDS, Key
from registry.remote.crl import CRLClient
from registry.remote.intel_pcs import CA, IntelPCS
from registry.remote.nvidia import NVIDIAServices
from registry.remote.vendor_cache import Items

Ask = Callable[[], Items]
"""One question to a vendor."""


@dataclass(frozen=True, slots=True)
class Vendors:
    """Everybody who can be asked."""

    intel: IntelPCS
    amd: AMDKDS
    nvidia: NVIDIAServices
    nitro: CRLClient


def questions(vendors: Vendors, family: Family, evidence: bytes) -> Iterator[Ask]:
    """Every question that this evidence leads to; later ones may rest on earlier answers.

    Raises:
        CheckError: The evidence cannot be read.
    """
    match family:
        case Family.INTEL_DCAP:
            yield from _intel(vendors.intel, Quote.parse(evidence))
        case Family.AMD_SNP:
            yield from _snp(vendors.amd, Report.parse(evidence))
        case Family.AZURE_SNP_VTPM:
            yield from _snp(vendors.amd, Report.parse(hardware_evidence(family, evidence)))
        case Family.AZURE_TDX_VTPM:
            yield from _intel(vendors.intel, Quote.parse(hardware_evidence(family, evidence)))
        case Family.AWS_NITRO:
            for url in distribution_points(evidence):
                yield _bound(vendors.nitro.fetch, url)
        case Family.NVIDIA_SPDM | Family.NVIDIA_SET:
            yield from _nvidia(vendors.nvidia, container.read(evidence))
        case Family.NVIDIA_EAT:
            if container.read(evidence).tokens is not None:
                yield vendors.nvidia.jwks
        case _:
            return


def _bound(ask: Callable[..., Items], *given: object, **named: object) -> Ask:
    return lambda: ask(*given, **named)


def _intel(intel: IntelPCS, quote: Quote) -> Iterator[Ask]:
    chain = pck.read_pem(quote.certification_data)
    platform, tdx = read_platform(chain[0]), quote.head.is_tdx
    issuer = pck.common_name(pck.load(chain[0]).issuer)
    ca: CA = "processor" if pck.AUTHORITIES.get(issuer) == "processor" else "platform"
    yield _bound(intel.tcb_info, platform.fmspc, tdx=tdx)
    yield _bound(intel.qe_identity, tdx=tdx)
    yield _bound(intel.pck_crl, ca)
    yield intel.root_crl


def _snp(amd: AMDKDS, report: Report) -> Iterator[Ask]:
    # A report of version 2 does not name the processor: the service knows the chip, or not.
    lines = (report.line,) if report.line else (ProductLine.MILAN, ProductLine.GENOA)
    key: Key = "vlek" if report.signing_key == snp.VLEK else "vcek"
    for line in lines:
        # A platform may withhold which chip it is.
        if key == "vcek" and any(report.chip_id):
            tcb = components(line, report.reported_tcb)
            yield _bound(amd.vcek, line, report.chip_id, tcb)
        yield _bound(amd.chain, line, key)
        yield _bound(amd.crl, line, key)


def _nvidia(nvidia: NVIDIAServices, submission: container.Submission) -> Iterator[Ask]:
    certified: dict[tuple[bytes, bytes], None] = {}
    names: dict[str, None] = {}
    for device in submission.devices:
        # Neither the leaf, which the device makes itself, nor the root has an answer.
        certified.update(dict.fromkeys(pairwise(device.chain[1:])))
        report = spdm.Report.parse(device.report)
        needed = measurements.needed(report, gpu.identity(device.chain))
        names.update(dict.fromkeys(item.name for item in needed))
    manifests: list[bytes] = []

    def fetch(name: str) -> Items:
        items = nvidia.rim(name)
        manifests.extend(data for role, data in items if role is Role.NVIDIA_RIM)
        return items

    for name in names:
        yield _bound(fetch, name)
    for manifest in manifests:
        try:
            certified.update(dict.fromkeys(pairwise(rim.read(manifest).certificates)))
        except RegistryError:
            # The examination says what is wrong with it, or that it cannot be read here.
            continue
    for subject, issuer in certified:
        yield _bound(nvidia.ocsp, subject, issuer)
