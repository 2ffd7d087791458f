"""TCB levels: which one a platform reaches, and how statuses of its parts become one.

Source: Intel SGX and TDX PCS API version 4, and Intel's quote verification library at 7e5b2a1:
levels are taken from the highest down, ordered by SGX components, PCE SVN, TDX components; the
module's status and then the quoting enclave's are merged in; a trust domain whose module was
updated under it is advised to be launched again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgspec

from registry.core.evidence.checks import CheckError, Severity
from registry.core.evidence.intel.collateral import (
    EnclaveLevel,
    Module,
    ModuleIdentity,
    TCBInfo,
    TCBLevel,
)
from registry.core.evidence.intel.findings import Found


class Status(StrEnum):
    """What Intel says of a TCB."""

    UP_TO_DATE = "UpToDate"
    SW_HARDENING_NEEDED = "SWHardeningNeeded"
    CONFIGURATION_NEEDED = "ConfigurationNeeded"
    CONFIGURATION_AND_SW_HARDENING_NEEDED = "ConfigurationAndSWHardeningNeeded"
    OUT_OF_DATE = "OutOfDate"
    OUT_OF_DATE_CONFIGURATION_NEEDED = "OutOfDateConfigurationNeeded"
    TD_RELAUNCH_ADVISED = "TDRelaunchAdvised"
    TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED = "TDRelaunchAdvisedConfigurationNeeded"
    REVOKED = "Revoked"


FINDINGS: Final = {
    Status.SW_HARDENING_NEEDED: Found.SW_HARDENING_NEEDED,
    Status.CONFIGURATION_NEEDED: Found.CONFIGURATION_NEEDED,
    Status.CONFIGURATION_AND_SW_HARDENING_NEEDED: Found.CONFIGURATION_AND_SW_HARDENING_NEEDED,
    Status.OUT_OF_DATE: Found.OUT_OF_DATE,
    Status.OUT_OF_DATE_CONFIGURATION_NEEDED: Found.OUT_OF_DATE_CONFIGURATION_NEEDED,
    Status.TD_RELAUNCH_ADVISED: Found.TD_RELAUNCH_ADVISED,
    Status.TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED: (
        Found.TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED
    ),
    Status.REVOKED: Found.TCB_REVOKED,
}
"""Every status but the best, as a finding."""

_CONFIGURATION = (
    Status.CONFIGURATION_NEEDED,
    Status.CONFIGURATION_AND_SW_HARDENING_NEEDED,
    Status.OUT_OF_DATE_CONFIGURATION_NEEDED,
)
_OUT_OF_DATE = (Status.OUT_OF_DATE, Status.OUT_OF_DATE_CONFIGURATION_NEEDED)
_BASE = (
    Status.UP_TO_DATE,
    Status.SW_HARDENING_NEEDED,
    Status.CONFIGURATION_NEEDED,
    Status.CONFIGURATION_AND_SW_HARDENING_NEEDED,
    *_OUT_OF_DATE,
    Status.REVOKED,
)


@dataclass(frozen=True, slots=True)
class Reached:
    """The levels that a platform reaches.

    Attributes:
        sgx: The first whose SGX components and PCE SVN it has.
        level: For SGX the same; for TDX the first whose TDX components it has, too.
        newest: The first of all.
    """

    sgx: TCBLevel
    level: TCBLevel
    newest: TCBLevel


def status_of(level: TCBLevel | EnclaveLevel) -> Status:
    """The status that a level states.

    Raises:
        CheckError: ``UNKNOWN_STATUS``.
    """
    for status in _BASE:
        if status == level.status:
            return status
    raise CheckError(
        Found.UNKNOWN_STATUS,
        "Intel says something of this level that is not understood",
        severity=Severity.IDENTITY,
        expected=", ".join(_BASE),
        actual=level.status,
    )


def ordered(info: TCBInfo, *, tdx: bool) -> tuple[TCBLevel, ...]:
    """The levels from the highest down, in whatever order they came.

    Raises:
        CheckError: ``TDX_COMPONENTS`` if a level of TDX has none.
    """

    def key(level: TCBLevel) -> tuple[tuple[int, ...], int, tuple[int, ...]]:
        return (level.sgx(), level.tcb.pce_svn, level.tdx() if tdx else ())

    return tuple(sorted(info.levels, key=key, reverse=True))


def reach(
    levels: Sequence[TCBLevel],
    components: Sequence[int],
    pce_svn: int,
    tee_tcb_svn: bytes | None,
) -> Reached | None:
    """The levels that a platform reaches; None if it reaches none, and nothing is known of it.

    Args:
        levels: In order, from the highest down.
        components: The platform's SGX components.
        pce_svn: That of its provisioning certification enclave.
        tee_tcb_svn: The TDX components of a trust domain's report; None for SGX.
    """
    sgx: TCBLevel | None = None
    for level in levels:
        if pce_svn < level.tcb.pce_svn or not _covers(components, level.sgx()):
            continue
        sgx = sgx or level
        if tee_tcb_svn is None:
            return Reached(sgx, level, levels[0])
        # The version of a module that has an identity of its own is judged by that (I15).
        first = 2 if tee_tcb_svn[1] > 0 else 0
        if _covers(tee_tcb_svn[first:], level.tdx()[first:]):
            return Reached(sgx, level, levels[0])
    return None


def module_of(info: TCBInfo, version: int) -> Module:
    """The TDX module of a major version; version 0 is the one that TCB info has always had.

    Raises:
        CheckError: ``MODULE_MISSING``.
    """
    if version == 0:
        if isinstance(info.module, msgspec.UnsetType):
            raise _no_module("the TCB info describes no TDX module")
        return info.module
    name = f"TDX_{version:02X}"
    for identity in info.modules:
        if identity.id.upper() == name:
            return identity
    raise _no_module(f"the TCB info describes no TDX module {name}")


def check_module(module: Module, mr_signer_seam: bytes, seam_attributes: bytes) -> None:
    """Check that a trust domain's module is the one that is described, signed by Intel.

    Raises:
        CheckError: ``MODULE_SIGNER`` or ``MODULE_ATTRIBUTES``.
    """
    if mr_signer_seam != bytes.fromhex(module.mrsigner):
        raise CheckError(
            Found.MODULE_SIGNER,
            "the TDX module has another signer",
            severity=Severity.IDENTITY,
            expected=module.mrsigner.lower(),
            actual=mr_signer_seam.hex(),
        )
    # No attribute is defined, so that all must be zero whatever the mask says.
    if any(seam_attributes) or seam_attributes != bytes.fromhex(module.attributes):
        raise CheckError(
            Found.MODULE_ATTRIBUTES,
            "the TDX module has other attributes",
            severity=Severity.IDENTITY,
            expected=module.attributes.lower(),
            actual=seam_attributes.hex(),
        )


def enclave_level(levels: Sequence[EnclaveLevel], isv_svn: int) -> EnclaveLevel | None:
    """The highest level that an enclave or module reaches; None if it reaches none."""
    for level in _highest_first(levels):
        if isv_svn >= level.tcb.isv_svn:
            return level
    return None


def merge(platform: Status, part: Status) -> Status:
    """What a part does to the status of the platform: it can only get worse."""
    if Status.REVOKED in (platform, part):
        return Status.REVOKED
    if part in _OUT_OF_DATE:
        if platform in (Status.UP_TO_DATE, Status.SW_HARDENING_NEEDED):
            return Status.OUT_OF_DATE
        if platform in _CONFIGURATION:
            return Status.OUT_OF_DATE_CONFIGURATION_NEEDED
    return platform


def relaunch(
    info: TCBInfo,
    reached: Reached,
    merged: Status,
    *,
    module: Status | None,
    quoting_enclave: Status | None,
    tee_tcb_svn_2: bytes,
) -> Status:
    """Whether a trust domain that was launched under an old module runs under a current one.

    Args:
        info: The TCB info of TDX.
        reached: The levels that the platform reaches.
        merged: The status of the TDX level, the module's merged in.
        module: The status of the module at launch.
        quoting_enclave: The status of the quoting enclave; None if its version is unknown.
        tee_tcb_svn_2: What runs now.

    Raises:
        CheckError: ``MODULE_MISSING`` if nothing is known of the module that runs now.
    """
    sgx = status_of(reached.sgx)
    settled = (*_OUT_OF_DATE, Status.REVOKED)
    if (
        quoting_enclave is None
        or quoting_enclave in settled
        or sgx in settled
        or merged not in _OUT_OF_DATE
        or module is not Status.OUT_OF_DATE
    ):
        return merged
    newest = reached.newest.tdx()
    if tee_tcb_svn_2[1] == 0:
        least = newest[0]
    else:
        current = module_of(info, tee_tcb_svn_2[1])
        if not isinstance(current, ModuleIdentity) or not current.levels:
            return merged
        least = _highest_first(current.levels)[0].tcb.isv_svn
    if tee_tcb_svn_2[0] < least or tee_tcb_svn_2[2] < newest[2]:
        return merged
    if sgx in _CONFIGURATION or merged in _CONFIGURATION:
        return Status.TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED
    return Status.TD_RELAUNCH_ADVISED


def _covers(actual: Sequence[int], least: Sequence[int]) -> bool:
    return all(have >= need for have, need in zip(actual, least, strict=True))


def _highest_first(levels: Sequence[EnclaveLevel]) -> list[EnclaveLevel]:
    return sorted(levels, key=lambda level: level.tcb.isv_svn, reverse=True)


def _no_module(what: str) -> CheckError:
    return CheckError(Found.MODULE_MISSING, what, severity=Severity.IDENTITY)
