"""Whether an enclave or trust domain runs as production code should: checks I18 to I21.

What it measures is compared by the appraisal, with reference values; here is only what any policy
wants to know of: debugging, features, reserved bits, service domains.
"""

from collections.abc import Iterator

from registry.core.evidence.checks import Finding, Ledger
from registry.core.evidence.claims import ClaimValue
from registry.core.evidence.intel.findings import Found
from registry.core.evidence.intel.report import (
    SGX_DEBUG,
    SGX_INIT,
    SGX_KSS,
    SGX_MODE64,
    TD_DEBUG,
    TD_KEY_LOCKER,
    TD_KNOWN,
    TD_PERFMON,
    TD_PKS,
    TD_SEPT_VE_DISABLE,
    TD_TUD,
    XFAM_FIXED,
    XFAM_LEGAL,
    EnclaveReport,
    TDReport,
)

_Finding = tuple[Found, str]


def examine_enclave(report: EnclaveReport, ledger: Ledger) -> dict[str, ClaimValue]:
    """Check how an enclave runs; its claims."""
    _record(ledger, "I18", _enclave_findings(report))
    for name in ("I15", "I19", "I20", "I21", "I24"):
        ledger.skip(name, Finding.NOT_APPLICABLE, "an SGX enclave has no such thing")
    return {
        "cpu_svn": report.cpu_svn,
        "misc_select": report.misc_select,
        "attributes": report.attributes,
        "mr_enclave": report.mr_enclave,
        "mr_signer": report.mr_signer,
        "isv_ext_prod_id": report.isv_ext_prod_id,
        "isv_prod_id": report.isv_prod_id,
        "isv_svn": report.isv_svn,
        "isv_family_id": report.isv_family_id,
        "config_id": report.config_id,
        "config_svn": report.config_svn,
        "kss": bool(report.flags & SGX_KSS),
        "debug": bool(report.flags & SGX_DEBUG),
        "report_data": report.report_data,
    }


def _enclave_findings(report: EnclaveReport) -> Iterator[_Finding]:
    if report.flags & SGX_DEBUG:
        yield Found.DEBUG, "the enclave can be debugged: its memory is open to the host"
    if not report.flags & SGX_INIT:
        yield Found.NOT_INITIALIZED, "the enclave was never initialized"
    if not report.flags & SGX_MODE64:
        yield Found.NOT_64_BIT, "the enclave does not run in 64-bit mode"
    if report.xfrm & XFAM_FIXED != XFAM_FIXED:
        yield Found.ILLEGAL_FEATURES, f"XFRM is {report.xfrm:#x}, without x87 or SSE"
    if any(report.reserved):
        yield Found.RESERVED_BITS, "reserved bytes of the report are set"


def examine_trust_domain(report: TDReport, ledger: Ledger) -> dict[str, ClaimValue]:
    """Check how a trust domain runs; its claims."""
    ledger.skip("I18", Finding.NOT_APPLICABLE, "a trust domain is no SGX enclave")
    attributes = int.from_bytes(report.td_attributes, "little")
    _record(ledger, "I19", _attribute_findings(attributes))
    xfam = int.from_bytes(report.xfam, "little")
    illegal = xfam & XFAM_FIXED != XFAM_FIXED or xfam & ~XFAM_LEGAL
    _record(ledger, "I20", [(Found.ILLEGAL_FEATURES, f"XFAM is {xfam:#x}")] if illegal else [])
    service = report.mr_service_td
    bound = service is not None and any(service)
    text = f"a service domain is bound to it: {service.hex() if service else ''}"
    _record(ledger, "I21", [(Found.SERVICE_TD, text)] if bound else [])
    claims: dict[str, ClaimValue] = {
        "tee_tcb_svn": report.tee_tcb_svn,
        "mr_seam": report.mr_seam,
        "mr_signer_seam": report.mr_signer_seam,
        "seam_attributes": report.seam_attributes,
        "td_attributes": report.td_attributes,
        "xfam": report.xfam,
        "mr_td": report.mr_td,
        "mr_config_id": report.mr_config_id,
        "mr_owner": report.mr_owner,
        "mr_owner_config": report.mr_owner_config,
        "debug": bool(attributes & TD_DEBUG),
        "report_data": report.report_data,
    }
    claims.update((f"rtmr{number}", value) for number, value in enumerate(report.rtmrs))
    if report.tee_tcb_svn_2 is not None and service is not None:
        claims["tee_tcb_svn_2"] = report.tee_tcb_svn_2
        claims["mr_service_td"] = service
    return claims


def _attribute_findings(attributes: int) -> Iterator[_Finding]:
    text = f"TDATTRIBUTES is {attributes:#x}"
    if attributes & TD_DEBUG:
        yield Found.DEBUG, "the trust domain can be debugged: its memory is open to the host"
    if attributes & TD_TUD & ~TD_DEBUG:
        yield Found.TD_UNDER_DEBUG, f"the trust domain is under debug in another way; {text}"
    if not attributes & TD_SEPT_VE_DISABLE:
        yield Found.SEPT_VE_ENABLED, "the host can make a page vanish without ending the domain"
    if attributes & TD_PKS:
        yield Found.PROTECTION_KEYS, "the domain may use supervisor protection keys"
    if attributes & TD_KEY_LOCKER:
        yield Found.KEY_LOCKER, "the domain may use Key Locker"
    if attributes & TD_PERFMON:
        yield Found.PERFORMANCE_MONITORING, "the domain may use performance monitoring"
    if attributes & ~TD_KNOWN:
        yield Found.RESERVED_BITS, f"reserved attributes are set; {text}"


def _record(ledger: Ledger, name: str, findings: Iterator[_Finding] | list[_Finding]) -> None:
    with ledger.check(name):
        for finding, text in findings:
            ledger.find(name, finding, text)
