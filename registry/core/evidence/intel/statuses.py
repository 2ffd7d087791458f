"""What platform, TDX module and quoting enclave make together: checks I14 to I17."""

from registry.core.evidence.checks import Ledger
from registry.core.evidence.claims import ClaimValue
from registry.core.evidence.intel import tcb
from registry.core.evidence.intel.certification import Certified
from registry.core.evidence.intel.collateral import EnclaveLevel, ModuleIdentity, TCBInfo
from registry.core.evidence.intel.findings import Found
from registry.core.evidence.intel.platform import Platform
from registry.core.evidence.intel.report import TDReport
from registry.core.evidence.intel.tcb import Reached, Status


def examine_tcb(
    certified: Certified,
    domain: TDReport | None,
    quoting_enclave: EnclaveLevel | None,
    ledger: Ledger,
    body: bytes,
) -> dict[str, ClaimValue]:
    """Find the levels that are reached and what they say together; the status as claims.

    Args:
        certified: What is known of the platform.
        domain: The trust domain; None for an SGX enclave.
        quoting_enclave: The level that the quoting enclave reaches; None if it is not known.
        ledger: Where the checks are recorded.
        body: What the quote signs of the domain or enclave.
    """
    platform, info = certified.platform, certified.tcb_info
    if platform is None or info is None:
        return {}
    looked = (*certified.tcb_inputs, body)
    reached = _reach(info, platform, domain, ledger, *looked)
    module: EnclaveLevel | None = None
    judged = True
    if domain is not None:
        module, judged = _module(info, domain, ledger, *looked)
    if reached is None or quoting_enclave is None or not judged:
        return {}
    status: Status | None = None
    looked += certified.qe_inputs
    with ledger.check("I16", *looked):
        merged = tcb.status_of(reached.level)
        part = None if module is None else tcb.status_of(module)
        engine = tcb.status_of(quoting_enclave)
        if part is not None:
            merged = tcb.merge(merged, part)
        if domain is not None and domain.tee_tcb_svn_2 is not None:
            merged = tcb.relaunch(
                info,
                reached,
                merged,
                module=part,
                quoting_enclave=engine,
                tee_tcb_svn_2=domain.tee_tcb_svn_2,
            )
        status = tcb.merge(merged, engine)
    if status is None:
        return {}
    levels = [level for level in (reached.level, module, quoting_enclave) if level is not None]
    advisories = tuple(sorted({item for level in levels for item in level.advisories}))
    text = f"{status}, as of {reached.level.date}"
    text += f"; {', '.join(advisories)}" if advisories else ""
    if status in tcb.FINDINGS:
        ledger.find("I16", tcb.FINDINGS[status], text)
    claims: dict[str, ClaimValue] = {}
    with ledger.check("I17", *looked):
        claims |= {
            "tcb_status": status.value,
            "tcb_date": reached.level.date,
            "tcb_level_status": reached.level.status,
            "qe_status": quoting_enclave.status,
            "advisory_ids": advisories,
        }
        if module is not None:
            claims["tdx_module_status"] = module.status
    return claims


def _reach(
    info: TCBInfo, platform: Platform, domain: TDReport | None, ledger: Ledger, *looked: bytes
) -> Reached | None:
    reached: Reached | None = None
    with ledger.check("I14", *looked):
        levels = tcb.ordered(info, tdx=domain is not None)
        svn = None if domain is None else domain.tee_tcb_svn
        reached = tcb.reach(levels, platform.components, platform.pce_svn, svn)
        if reached is None:
            text = f"no TCB level is reached by {platform.cpu_svn.hex()}, PCE {platform.pce_svn}"
            text += "" if svn is None else f", TDX {svn.hex()}"
            ledger.find("I14", Found.TCB_UNSUPPORTED, text)
    return reached


def _module(
    info: TCBInfo, domain: TDReport, ledger: Ledger, *looked: bytes
) -> tuple[EnclaveLevel | None, bool]:
    """The level of the TDX module, if it has levels; and whether the module is a known one."""
    level: EnclaveLevel | None = None
    known = False
    with ledger.check("I15", *looked):
        version = domain.tee_tcb_svn[1]
        module = tcb.module_of(info, version)
        tcb.check_module(module, domain.mr_signer_seam, domain.seam_attributes)
        if isinstance(module, ModuleIdentity):
            level = tcb.enclave_level(module.levels, domain.tee_tcb_svn[0])
            if level is None:
                text = f"nothing is known of version {domain.tee_tcb_svn[0]} of {module.id}"
                ledger.find("I15", Found.MODULE_UNSUPPORTED, text)
        known = level is not None or not isinstance(module, ModuleIdentity)
    return level, known
