"""What a report says of firmware, guest and platform, and which of it contradicts itself.

Values that somebody must want, such as the measurement, are claims here; a policy compares them.
"""

from typing import Final

from registry.core.evidence.checks import CheckError, Finding, Ledger, Severity
from registry.core.evidence.claims import ClaimValue
from registry.core.evidence.sev_snp.findings import SNPFinding
from registry.core.evidence.sev_snp.product import COMPONENTS, ProductLine, components
from registry.core.evidence.sev_snp.report import (
    PLATFORM_KNOWN,
    PLATFORM_SEEN,
    POLICY_KNOWN,
    VLEK,
    Report,
)

HOST_VMPL: Final = 0xFFFF_FFFF
"""The privilege level in a report that the hypervisor asked for, with report data of its own."""

LAST_VMPL: Final = 3
"""The lowest privilege level of a guest."""

_DEBUG = 1 << 19
_MIGRATE_MA = 1 << 18
_ALIAS_CHECK = 1 << 5

GUEST_LIMITS: Final = {
    "guest_no_smt": (16, False),
    "guest_single_socket": (20, True),
    "guest_no_cxl": (21, False),
    "guest_aes_256_xts": (22, True),
    "guest_rapl_disabled": (23, True),
    "guest_ciphertext_hiding": (24, True),
    "guest_page_swap_disabled": (25, True),
}
"""Claims that the guest policy demands something: the bit, and its value if it does."""

PLATFORM_LIMITS: Final = {
    "platform_no_smt": (0, False),
    "platform_tsme": (1, True),
    "platform_ecc": (2, True),
    "platform_rapl_disabled": (3, True),
    "platform_ciphertext_hiding": (4, True),
    "platform_alias_check": (5, True),
    "platform_tio": (7, True),
}
"""Claims that the platform has something: the bit, and its value if it does."""

TCB_CLAIMS: Final = ("tcb", "current", "committed", "launch")
"""What the claims of firmware components begin with; ``tcb`` is the one the key is bound to."""


def claims(report: Report, line: ProductLine | None) -> dict[str, ClaimValue]:
    """Everything that a report says, by stable names."""
    said: dict[str, ClaimValue] = {
        "report_version": report.version,
        "guest_svn": report.guest_svn,
        "guest_policy": report.policy,
        "guest_abi": report.policy & 0xFFFF,
        "family_id": report.family_id,
        "image_id": report.image_id,
        "vmpl": report.vmpl,
        "platform_info": report.platform_info,
        "signing_key": "vlek" if report.signing_key == VLEK else "vcek",
        "author_key_enabled": report.author_key,
        "report_data": report.report_data,
        "measurement": report.measurement,
        "host_data": report.host_data,
        "id_key_digest": report.id_key_digest,
        "author_key_digest": report.author_key_digest,
        "report_id": report.report_id,
        "report_id_ma": report.report_id_ma,
        "chip_id": report.chip_id,
        "firmware_current": report.current,
        "firmware_committed": report.committed,
    }
    for limits, bits in (
        (GUEST_LIMITS, report.policy),
        (PLATFORM_LIMITS, report.platform_info),
    ):
        said |= {name: bool(bits >> bit & 1) is wanted for name, (bit, wanted) in limits.items()}
    if report.cpu is not None:
        said["cpu_family"], said["cpu_model"], said["cpu_stepping"] = report.cpu
    if line is not None:
        said["product_line"] = line.value
        versions = (
            report.reported_tcb,
            report.current_tcb,
            report.committed_tcb,
            report.launch_tcb,
        )
        for prefix, version in zip(TCB_CLAIMS, versions, strict=True):
            named = components(line, version)
            said |= {f"{prefix}_{name}": named[name] for name in COMPONENTS if name in named}
    if report.mitigations is not None:
        said["mitigations_launch"], said["mitigations_current"] = report.mitigations
    return said


def check_firmware(ledger: Ledger, report: Report) -> None:
    """S7, as far as the report alone says it; the firmware is what the certificate is for."""
    with ledger.check("S7", report.current_tcb, report.committed_tcb):
        _check_below(
            SNPFinding.TCB_ABOVE_CURRENT, "reported", report.reported_tcb, report.current_tcb
        )
    with ledger.check("S7"):
        _check_below(
            SNPFinding.COMMITTED_ABOVE_CURRENT,
            "committed",
            report.committed_tcb,
            report.current_tcb,
        )
    if report.committed_tcb != report.current_tcb or report.committed != report.current:
        ledger.find(
            "S7",
            SNPFinding.PROVISIONAL_FIRMWARE,
            f"running firmware {report.current_tcb.hex()} ({report.current:#x}) may go back to "
            f"committed {report.committed_tcb.hex()} ({report.committed:#x})",
        )


def check_guest(ledger: Ledger, report: Report) -> None:
    """S9 to S13, and S16: what a policy weighs or compares, and what contradicts itself."""
    _check_policy(ledger, report)
    with ledger.check("S10"):
        if not report.platform_info & _ALIAS_CHECK:
            ledger.find(
                "S10",
                SNPFinding.ALIAS_CHECK_CLEAR,
                "no check for aliased memory was completed (AMD-SB-3015)",
            )
        unknown = report.platform_info & ~(PLATFORM_KNOWN | PLATFORM_SEEN)
        if unknown:
            ledger.find("S10", SNPFinding.UNKNOWN_PLATFORM_BITS, f"{unknown:#x}")
    with ledger.check("S11"):
        if report.vmpl == HOST_VMPL:
            raise CheckError(
                SNPFinding.HOST_REQUESTED,
                "the hypervisor asked for this report, and chose its report data",
                severity=Severity.IDENTITY,
            )
        if report.vmpl > LAST_VMPL:
            raise CheckError(
                SNPFinding.VMPL_RANGE,
                "there is no such privilege level",
                severity=Severity.IDENTITY,
                actual=str(report.vmpl),
            )
    ledger.skip("S12", Finding.NOT_APPLICABLE, "a policy compares these values")
    with ledger.check("S13"):
        if report.author_key != any(report.author_key_digest) or (
            report.author_key and not any(report.id_key_digest)
        ):
            raise CheckError(
                SNPFinding.AUTHOR_KEY_INCONSISTENT,
                "whether an author signed the identity key, and which, does not agree",
                severity=Severity.IDENTITY,
                expected=f"AUTHOR_KEY_EN {int(any(report.author_key_digest))}",
                actual=f"AUTHOR_KEY_EN {int(report.author_key)}",
            )
    _check_mitigations(ledger, report)
    ledger.skip("S16", Finding.NOT_APPLICABLE, "a policy applies the list of what is distrusted")


def _check_policy(ledger: Ledger, report: Report) -> None:
    with ledger.check("S9"):
        if report.policy & _DEBUG:
            ledger.find("S9", SNPFinding.DEBUG, "the host may read and write the guest's memory")
        if report.policy & _MIGRATE_MA:
            ledger.find("S9", SNPFinding.MIGRATION_AGENT, "an agent may move the guest elsewhere")
        unknown = report.policy & ~POLICY_KNOWN
        if unknown:
            ledger.find("S9", SNPFinding.UNKNOWN_POLICY_BITS, f"{unknown:#x}")


def _check_below(finding: SNPFinding, name: str, tcb: bytes, current: bytes) -> None:
    if any(one > other for one, other in zip(tcb, current, strict=True)):
        raise CheckError(
            finding,
            f"the {name} firmware is newer than the running firmware",
            severity=Severity.IDENTITY,
            expected=f"at most {current.hex()}",
            actual=tcb.hex(),
        )


def _check_mitigations(ledger: Ledger, report: Report) -> None:
    if report.mitigations is None:
        ledger.skip("S14", Finding.NOT_APPLICABLE, "reports before version 5 name no mitigations")
        return
    launch, current = report.mitigations
    with ledger.check("S14"):
        if launch & ~current:
            ledger.find(
                "S14",
                SNPFinding.MITIGATION_LOST,
                f"in force at launch and no longer: {launch & ~current:#x}",
            )
        if current & ~launch:
            ledger.find(
                "S14",
                SNPFinding.MITIGATION_SINCE_LAUNCH,
                f"in force now and not at launch: {current & ~launch:#x}",
            )
