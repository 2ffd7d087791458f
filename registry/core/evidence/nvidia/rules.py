"""What NVIDIA evidence states of itself, so that the appraisal of all families can judge it."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from registry.core.evidence.claims import Family
from registry.core.evidence.nvidia.examine import examine_device, examine_set
from registry.core.evidence.nvidia.findings import Found
from registry.core.evidence.nvidia.tables import CHECKS
from registry.core.evidence.nvidia.token import examine_token
from registry.core.evidence.rules import Rules, TrustClaim, Weight

_WEIGHTS: Final[Mapping[StrEnum, Weight]] = {
    Found.CERTIFICATE_HOLD: Weight("fatal", {"hardware": 32}),
    Found.NOT_COMPARED: Weight("warning", {"executables": 33}),
    Found.TOKEN_ONLY: Weight("warning", {"hardware": 32, "executables": 33}),
    Found.TOKEN_DEBUG: Weight("fatal", {"configuration": 96, "runtime-opaque": 96}),
    Found.MODE_UNKNOWN: Weight("warning", {"configuration": 36}),
    # Contradictions, and fatal whatever a policy says; what differs is which claim they concern.
    Found.MEASUREMENT_MISMATCH: Weight("fatal", {"executables": 96}),
    Found.MEASUREMENT_MISSING: Weight("fatal", {"executables": 96}),
}
_OPTIONAL: Final = frozenset(("G5", "G6", "G7", "G8"))
_AFFIRMS: Final[Mapping[TrustClaim, int]] = {"hardware": 2, "executables": 3}
"""Genuine hardware that booted what its vendor signed. Whether confidential computing is switched
on, and developer tools off, is in no report, so configuration and memory are not affirmed."""

DEVICE_RULES: Final = Rules(
    family=Family.NVIDIA_SPDM,
    table=CHECKS,
    examine=examine_device,
    references={
        "driver_version": "G6",
        "vbios_version": "G6",
        "feature_flag": "G9",
        "protected_pcie": "G9",
    },
    minimums={},
    weights=_WEIGHTS,
    affirms=_AFFIRMS,
    binding=("nonce", "G11"),
    distrust=(
        (
            "product_line",
            "device_id",
            "driver_version",
            "driver_manifest",
            "vbios_version",
            "vbios_manifest",
            "fwid",
        ),
        "G2",
    ),
    optional=_OPTIONAL,
)
"""One GPU or switch."""

SET_RULES: Final = Rules(
    family=Family.NVIDIA_SET,
    table=CHECKS,
    examine=examine_set,
    references={
        "gpu_count": "G10",
        "switch_count": "G10",
        "driver_version": "G6",
        "vbios_version": "G6",
        "switch_bios_version": "G6",
        "feature_flag": "G9",
        "protected_pcie": "G9",
    },
    minimums={"gpu_count": "G10", "switch_count": "G10"},
    weights=_WEIGHTS,
    affirms=_AFFIRMS,
    binding=("nonce", "G11"),
    distrust=(("product_line", "driver_version", "vbios_version", "switch_bios_version"), "G2"),
    optional=_OPTIONAL,
)
"""The GPUs and switches of one machine."""

TOKEN_RULES: Final = Rules(
    family=Family.NVIDIA_EAT,
    table=CHECKS,
    examine=examine_token,
    references={
        "issuer": "G12",
        "device_count": "G10",
        "driver_version": "G6",
        "vbios_version": "G6",
    },
    minimums={"device_count": "G10", "issued_at": "G12"},
    weights=_WEIGHTS,
    affirms=_AFFIRMS,
    binding=("nonce", "G11"),
    distrust=(("issuer", "hardware_model", "driver_version", "vbios_version"), "G12"),
)
"""What NVIDIA's own verifier says of devices."""
