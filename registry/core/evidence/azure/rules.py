"""The rules of both Azure families: those of the hardware, and the registers of the vTPM."""

from typing import Final

from registry.core.evidence.azure.examine import (
    S15,
    SNP_TABLE,
    TDX_TABLE,
    examine_snp,
    examine_tdx,
    hardware_evidence,
)
from registry.core.evidence.azure.tpm import PCR_COUNT
from registry.core.evidence.claims import Examination, Family
from registry.core.evidence.endorsements import Endorsements
from registry.core.evidence.intel import rules as intel
from registry.core.evidence.intel.second_engine import second_opinion
from registry.core.evidence.rules import Rules
from registry.core.evidence.sev_snp import rules as sev_snp
from registry.errors import RegistryError

_REGISTERS: Final = {f"pcr_{number}": S15 for number in range(PCR_COUNT)}
_MINIMUMS: Final = {
    "secure_boot": S15,
    "tpm_enabled": S15,
    "tpm_clock_safe": S15,
    "tpm_firmware": S15,
}
_ELSEWHERE: Final = frozenset(
    (
        *("mr_enclave", "mr_signer", "isv_prod_id", "config_id", "isv_svn", "config_svn"),
        *("dstack_app_id", "dstack_compose_hash"),
    )
)
"""Claims of Intel quotes that no trust domain on Azure makes."""


def _second_opinion(evidence: bytes, endorsements: Endorsements, examination: Examination) -> str:
    """What the second engine says of the TD quote inside."""
    try:
        quote = hardware_evidence(Family.AZURE_TDX_VTPM, evidence)
    except RegistryError:
        return ""
    return second_opinion(quote, endorsements, examination)


SNP_RULES: Final = Rules(
    family=Family.AZURE_SNP_VTPM,
    table=SNP_TABLE,
    examine=examine_snp,
    references={**sev_snp.LAUNCH, **_REGISTERS},
    minimums={**sev_snp.MINIMUMS, **_MINIMUMS},
    weights=sev_snp.WEIGHTS,
    affirms=sev_snp.AFFIRMS,
    binding=("tpm_nonce", S15),
    distrust=(
        (*sev_snp.RULES.distrust[0], "attestation_key", "vm_id"),
        sev_snp.RULES.distrust[1],
    ),
    optional=sev_snp.RULES.optional,
)
"""Azure confidential VMs on AMD: the privilege level is no reference value, it must be 0."""

TDX_RULES: Final = Rules(
    family=Family.AZURE_TDX_VTPM,
    table=TDX_TABLE,
    examine=examine_tdx,
    references={
        **{name: at for name, at in intel.RULES.references.items() if name not in _ELSEWHERE},
        **_REGISTERS,
    },
    minimums={
        **{name: at for name, at in intel.RULES.minimums.items() if name not in _ELSEWHERE},
        **_MINIMUMS,
    },
    weights=intel.RULES.weights,
    affirms=intel.RULES.affirms,
    binding=("tpm_nonce", S15),
    distrust=((*intel.RULES.distrust[0], "attestation_key", "vm_id"), intel.RULES.distrust[1]),
    optional=intel.RULES.optional,
    second_opinion=_second_opinion,
)
"""Azure confidential VMs on Intel."""
