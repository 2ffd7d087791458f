"""Measurements against golden ones: which manifests a report needs, and whether it matches them."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from registry.core.evidence.checks import CheckError, Severity, missing
from registry.core.evidence.claims import ClaimValue
from registry.core.evidence.endorsements import Role
from registry.core.evidence.nvidia.chain import Architecture, Identity
from registry.core.evidence.nvidia.findings import Found
from registry.core.evidence.nvidia.rim import Manifest
from registry.core.evidence.nvidia.spdm import Opaque, Report

NVDEC0_OFF: Final = 0x55
"""The status of a video decoder that is not in use; its measurement then means nothing."""

NVDEC0_INDEX: Final = 35
"""The golden index of the video decoder's firmware."""

MAX_ISSUES: Final = 8
"""Issues of one manifest that are tried; each costs a signature."""

_FIRMWARE_VERSION = re.compile(r"[0-9A-F]{2}(\.[0-9A-F]{2}){4}")
_FIRMWARE_BYTES = 8
_SWITCH_PROJECT = "5612_0002_890"
_DEFAULT_BLACKWELL = "GB100"


@dataclass(frozen=True, slots=True)
class Needed:
    """A manifest that a report must be compared with.

    Attributes:
        name: What NVIDIA's service calls it.
        products: Chips that its signed content may name.
        version: The version that its signed content must name, in upper case.
    """

    name: str
    products: frozenset[str]
    version: str

    @property
    def is_firmware(self) -> bool:
        """Whether it is for what is in flash, rather than for the driver."""
        return _FIRMWARE_VERSION.fullmatch(self.version) is not None

    def claims(self) -> dict[str, ClaimValue]:
        """What the report says by naming it, under stable names."""
        if self.is_firmware:
            return {"vbios_version": self.version, "vbios_manifest": self.name}
        return {"driver_manifest": self.name}

    def is_met_by(self, manifest: Manifest) -> bool:
        """Whether a manifest is this one, by what its signer says."""
        return manifest.product in self.products and manifest.version.upper() == self.version

    def is_near(self, manifest: Manifest) -> bool:
        """Whether a manifest is for the same chip and kind of software, in whatever version."""
        firmware = _FIRMWARE_VERSION.fullmatch(manifest.version.upper()) is not None
        return manifest.product in self.products and firmware == self.is_firmware


def driver_version(report: Report) -> str | None:
    """The version of the driver, if there is one.

    Raises:
        CheckError: ``REPORT_NAMES``.
    """
    return report.text(Opaque.DRIVER_VERSION)


def firmware_version(report: Report, architecture: Architecture) -> str:
    """The version of the firmware in flash, as NVIDIA's tools show it.

    Raises:
        CheckError: ``REPORT_NAMES``.
    """
    raw = report.opaque.get(Opaque.VBIOS_VERSION, b"")
    if architecture.is_switch:
        text = (report.text(Opaque.VBIOS_VERSION) or "").upper()
    elif len(raw) == _FIRMWARE_BYTES:
        turned = raw[::-1]
        text = ".".join(f"{byte:02X}" for byte in (*turned[4:], turned[3]))
    else:
        text = ""
    if not _FIRMWARE_VERSION.fullmatch(text):
        raise CheckError(
            Found.REPORT_NAMES,
            "the report does not say which firmware runs",
            severity=Severity.IDENTITY,
            actual=raw[:32].hex(),
        )
    return text


def needed(report: Report, identity: Identity) -> tuple[Needed, ...]:
    """The manifests that a report must be compared with, named by the report alone.

    Raises:
        CheckError: ``REPORT_NAMES`` if it does not name them.
    """
    firmware = firmware_version(report, identity.architecture)
    bare = firmware.replace(".", "")
    chip_info = report.text(Opaque.CHIP_INFO)
    products = frozenset([identity.chip, *([chip_info] if chip_info else [])])
    if identity.architecture.is_switch:
        return (Needed(f"NV_SWITCH_BIOS_{_SWITCH_PROJECT}_{bare}", products, firmware),)
    driver = _named(driver_version(report), "driver version")
    parts = [
        _named(report.text(kind), kind.name.lower())
        for kind in (Opaque.PROJECT, Opaque.PROJECT_SKU, Opaque.CHIP_SKU)
    ]
    kind = (
        f"NV_GPU_DRIVER_{identity.chip}"
        if identity.architecture is Architecture.HOPPER
        else f"NV_GPU_CC_DRIVER_{chip_info or _DEFAULT_BLACKWELL}"
    )
    vbios = f"NV_GPU_VBIOS_{'_'.join(parts)}_{bare}".upper()
    return (
        Needed(f"{kind}_{driver}", products, driver.upper()),
        Needed(vbios, products, firmware),
    )


def choose(
    wanted: Needed, manifests: Sequence[Manifest], unclaimed: Sequence[Manifest]
) -> tuple[Manifest, ...]:
    """The manifests at hand that are the wanted one; NVIDIA signs some again when a signer ends.

    Args:
        wanted: What a report needs.
        manifests: What is at hand.
        unclaimed: Those of them that no report of this machine needs.

    Raises:
        CheckError: ``RIM_VERSION`` if what is at hand in its stead is for another version,
            ``MISSING`` if nothing is, ``RIM_ISSUES`` if there are too many.
    """
    found = tuple(item for item in manifests if wanted.is_met_by(item))
    if len(found) > MAX_ISSUES:
        raise CheckError(
            Found.RIM_ISSUES,
            "nobody signs one manifest this often",
            where=wanted.name,
            expected=f"at most {MAX_ISSUES}",
            actual=str(len(found)),
        )
    if found:
        return found
    near = [item for item in unclaimed if wanted.is_near(item)]
    if not near:
        raise missing(f"the manifest {wanted.name}", Role.NVIDIA_RIM)
    raise CheckError(
        Found.RIM_VERSION,
        "the manifest is for another version than the report",
        severity=Severity.IDENTITY,
        where=wanted.name,
        expected=wanted.version,
        actual=near[0].version,
    )


def compare(report: Report, manifests: Iterable[Manifest]) -> int:
    """Compare every active golden measurement; how many match.

    Raises:
        CheckError: ``MEASUREMENT_CLAIMED_TWICE``, ``NOTHING_TO_COMPARE``,
            ``MEASUREMENT_MISSING`` or ``MEASUREMENT_MISMATCH``.
    """
    golden = [
        (index, entry)
        for manifest in manifests
        for index, entry in sorted(manifest.golden.items())
        if entry.active
    ]
    indices = [index for index, _ in golden]
    twice = sorted({index for index in indices if indices.count(index) > 1})
    if twice:
        raise _contradiction(
            Found.MEASUREMENT_CLAIMED_TWICE, "two manifests claim one measurement", twice
        )
    if not golden:
        raise CheckError(
            Found.NOTHING_TO_COMPARE,
            "the manifests have no active measurement",
            severity=Severity.IDENTITY,
        )
    # A report counts from one, a manifest from zero.
    absent = [index for index in indices if index + 1 not in report.measurements]
    if absent:
        raise _contradiction(Found.MEASUREMENT_MISSING, "the report lacks measurements", absent)
    wrong = [
        index
        for index, entry in golden
        if len(report.measurements[index + 1]) != entry.size
        or report.measurements[index + 1] not in entry.values
    ]
    ignored = {NVDEC0_INDEX} if report.number(Opaque.NVDEC0_STATUS) == NVDEC0_OFF else set()
    if set(wrong) - ignored:
        raise _contradiction(
            Found.MEASUREMENT_MISMATCH,
            f"{len(golden) - len(wrong)} of {len(golden)} measurements match",
            wrong,
        )
    return len(golden) - len(wrong)


def _contradiction(finding: Found, what: str, indices: Sequence[int]) -> CheckError:
    return CheckError(
        finding,
        what,
        severity=Severity.IDENTITY,
        where="index " + ", ".join(str(index) for index in indices),
    )


def _named(value: str | None, what: str) -> str:
    if value is None:
        raise CheckError(
            Found.REPORT_NAMES,
            "the report does not say which software runs",
            severity=Severity.IDENTITY,
            where=what,
        )
    return value
