"""The rules of AMD SEV-SNP: what a policy must say, what it may, and what findings weigh."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from registry.core.evidence.claims import Family
from registry.core.evidence.rules import Rules, TrustClaim, Weight
from registry.core.evidence.sev_snp.content import GUEST_LIMITS, PLATFORM_LIMITS, TCB_CLAIMS
from registry.core.evidence.sev_snp.examine import TABLE, examine
from registry.core.evidence.sev_snp.findings import SNPFinding
from registry.core.evidence.sev_snp.product import COMPONENTS

LAUNCH: Final[Mapping[str, str]] = {
    "measurement": "S12",
    "host_data": "S12",
    "family_id": "S12",
    "image_id": "S12",
    "id_key_digest": "S13",
    "author_key_digest": "S13",
    "chip_id": "S6",
    "csp_id": "S6",
}
"""Claims of any report that a policy must give values for or skip by name, and where they count."""

MINIMUMS: Final[Mapping[str, str]] = {
    "report_version": "S1",
    "guest_svn": "S12",
    "guest_abi": "S9",
    **dict.fromkeys(GUEST_LIMITS, "S9"),
    **dict.fromkeys(PLATFORM_LIMITS, "S10"),
    **{f"{prefix}_{name}": "S7" for prefix in TCB_CLAIMS for name in COMPONENTS},
    "firmware_current": "S7",
    "firmware_committed": "S7",
}
"""Claims that a policy may set a floor for; the floor 1 demands what is true or false."""

WEIGHTS: Final[Mapping[StrEnum, Weight]] = {
    SNPFinding.CHIP_ID_MASKED: Weight("fatal", {"instance-identity": 97}),
    SNPFinding.PROVISIONAL_FIRMWARE: Weight("warning", {"hardware": 32}),
    SNPFinding.DEBUG: Weight("fatal", {"configuration": 96, "runtime-opaque": 96}),
    SNPFinding.MIGRATION_AGENT: Weight("fatal", {"configuration": 96}),
    SNPFinding.UNKNOWN_POLICY_BITS: Weight("warning", {"configuration": 36}),
    SNPFinding.ALIAS_CHECK_CLEAR: Weight("warning", {"hardware": 32}),
    SNPFinding.UNKNOWN_PLATFORM_BITS: Weight("warning", {"configuration": 36}),
    SNPFinding.MITIGATION_LOST: Weight("warning", {"hardware": 32}),
    SNPFinding.MITIGATION_SINCE_LAUNCH: Weight("warning", {"hardware": 32}),
}
"""What a policy makes of each finding that it does not speak of."""

AFFIRMS: Final[Mapping[TrustClaim, int]] = {"hardware": 2, "configuration": 3, "runtime-opaque": 2}
"""AR4SI values of a report about which nothing was found."""

RULES: Final = Rules(
    family=Family.AMD_SNP,
    table=TABLE,
    examine=examine,
    references={"vmpl": "S11", **LAUNCH},
    minimums=MINIMUMS,
    weights=WEIGHTS,
    affirms=AFFIRMS,
    binding=("report_data", "S12"),
    distrust=(
        (
            *("product_line", "cpu_model", "cpu_stepping", "chip_id"),
            *(f"tcb_{name}" for name in COMPONENTS),
        ),
        "S16",
    ),
    optional=frozenset(("S5",)),
)
"""AMD SEV-SNP reports under VCEK or VLEK."""
