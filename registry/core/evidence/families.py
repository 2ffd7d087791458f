"""Family → rules: which kinds of evidence are known here, and who examines each."""

from registry.core.evidence.azure.rules import SNP_RULES as AZURE_SNP
from registry.core.evidence.azure.rules import TDX_RULES as AZURE_TDX
from registry.core.evidence.claims import Family
from registry.core.evidence.intel.rules import RULES as INTEL
from registry.core.evidence.nitro.rules import RULES as NITRO
from registry.core.evidence.nvidia.rules import DEVICE_RULES as NVIDIA
from registry.core.evidence.nvidia.rules import SET_RULES as NVIDIA_SET
from registry.core.evidence.nvidia.rules import TOKEN_RULES as NVIDIA_EAT
from registry.core.evidence.rules import Rules
from registry.core.evidence.sev_snp.rules import RULES as SEV_SNP
from registry.errors import MalformedError, Reason

FAMILIES: dict[Family, Rules] = {
    rules.family: rules
    for rules in (INTEL, SEV_SNP, AZURE_SNP, AZURE_TDX, NITRO, NVIDIA, NVIDIA_SET, NVIDIA_EAT)
}
"""Every family that can be examined."""


def rules_of(name: str) -> Rules:
    """The rules of the family called ``name``.

    Raises:
        MalformedError: ``UNKNOWN_FAMILY``.
    """
    for family, rules in FAMILIES.items():
        if family == name:
            return rules
    raise MalformedError(
        Reason.UNKNOWN_FAMILY,
        "no such family of evidence is known here",
        expected=", ".join(FAMILIES),
        actual=name[:80],
    )
