"""What certifies the platform and the quoting enclave: checks I5 to I9, and I23."""

from dataclasses import dataclass, field
from enum import StrEnum

from registry.core.digest import sha256
from registry.core.evidence.checks import CheckError, Ledger, Severity
from registry.core.evidence.claims import ClaimValue
from registry.core.evidence.crl import CRLFinding, check_not_revoked
from registry.core.evidence.endorsements import Role
from registry.core.evidence.intel.certificate import AUTHORITIES, PCK_NAME, Chain, common_name
from registry.core.evidence.intel.collateral import (
    QEIdentity,
    TCBInfo,
    read_qe_identity,
    read_tcb_info,
)
from registry.core.evidence.intel.findings import Found
from registry.core.evidence.intel.inputs import Inputs, Vouched
from registry.core.evidence.intel.platform import Platform, read_platform
from registry.core.evidence.validity import Validity


@dataclass(frozen=True, slots=True)
class Certified:
    """What certificates and endorsements say, as far as they can be believed.

    Attributes:
        platform: What the PCK certificate says.
        tcb_info: That of this platform.
        qe_identity: That of this kind of quoting enclave.
        claims: What is kept of all of it.
        tcb_inputs: The PCK certificate and the TCB info, as they were signed.
        qe_inputs: The identity of the quoting enclave, as it was signed.
    """

    platform: Platform | None = None
    tcb_info: TCBInfo | None = None
    qe_identity: QEIdentity | None = None
    claims: dict[str, ClaimValue] = field(default_factory=dict)
    tcb_inputs: tuple[bytes, ...] = ()
    qe_inputs: tuple[bytes, ...] = ()


def certify(chain: Chain, inputs: Inputs, *, tdx: bool) -> Certified:
    """Check what stands behind a PCK chain that leads to a trusted root.

    Args:
        chain: The PCK certificate, its authority, the root.
        inputs: What is at hand.
        tdx: Whether a trust domain is attested.
    """
    claims: dict[str, ClaimValue] = {}
    platform = _platform(chain, inputs.ledger, claims)
    info = _tcb_info(chain, inputs, platform, wanted="TDX" if tdx else "SGX")
    identity = _qe_identity(chain, inputs, wanted="TD_QE" if tdx else "QE")
    signers = [item.chain for item in (info, identity) if item is not None]
    _revocation(chain, inputs, signers)
    ours = None
    if info is not None:
        claims["tcb_evaluation_data_number"] = info.value.evaluation
        claims["tcb_signer_sha256"] = sha256(info.chain.ders[0])
        if platform is not None and _is_for(info, platform, chain, inputs.ledger):
            ours = info.value
    if identity is not None:
        claims["qe_evaluation_data_number"] = identity.value.evaluation
    usable = ours is not None and ours.id == ("TDX" if tdx else "SGX")
    known = identity is not None and identity.value.id == ("TD_QE" if tdx else "QE")
    return Certified(
        platform=platform,
        tcb_info=ours if usable else None,
        qe_identity=identity.value if identity is not None and known else None,
        claims=claims,
        tcb_inputs=(chain.ders[0],) if info is None else (chain.ders[0], info.signed.raw),
        qe_inputs=() if identity is None else (identity.signed.raw,),
    )


def _platform(chain: Chain, ledger: Ledger, claims: dict[str, ClaimValue]) -> Platform | None:
    leaf, authority = (common_name(item.subject) for item in chain.certificates[:2])
    with ledger.check("I5", *chain.ders[:2]):
        _expect(Found.PCK_NAME, "name of the PCK certificate", leaf, PCK_NAME)
    with ledger.check("I5"):
        _expect(Found.PCK_AUTHORITY, "name of the PCK's authority", authority, *AUTHORITIES)
    platform: Platform | None = None
    with ledger.check("I5"):
        platform = read_platform(chain.ders[0])
    if platform is None:
        return None
    said: dict[str, ClaimValue | None] = {
        "fmspc": platform.fmspc,
        "ppid": platform.ppid,
        "piid": platform.piid,
        "pce_id": platform.pce_id,
        "pce_svn": platform.pce_svn,
        "pck_cpu_svn": platform.cpu_svn,
        "sgx_type": platform.sgx_type,
        "dynamic_platform": platform.dynamic_platform,
        "cached_keys": platform.cached_keys,
        "smt": platform.smt,
        "pck_authority": AUTHORITIES.get(authority, authority),
        "pck_authority_sha256": sha256(chain.ders[1]),
    }
    with ledger.check("I23", chain.ders[0]):
        claims.update({name: value for name, value in said.items() if value is not None})
    return platform


def _tcb_info(
    chain: Chain, inputs: Inputs, platform: Platform | None, wanted: str
) -> Vouched[TCBInfo] | None:
    def meant(info: TCBInfo) -> bool:
        fits = platform is None or bytes.fromhex(info.fmspc) == platform.fmspc
        return fits and info.id == wanted

    roles = (Role.INTEL_TCB_INFO, Role.INTEL_TCB_CHAIN)
    info = inputs.signed("I7", roles, read_tcb_info, meant, chain)
    if info is not None:
        with inputs.ledger.check("I7", info.signed.raw):
            _expect(Found.TCB_INFO_ID, "kind of TCB info", info.value.id, wanted)
        with inputs.ledger.check("I7"):
            _expect(Found.TCB_INFO_VERSION, "version of TCB info", str(info.value.version), "3")
    return info


def _qe_identity(chain: Chain, inputs: Inputs, wanted: str) -> Vouched[QEIdentity] | None:
    roles = (Role.INTEL_QE_IDENTITY, Role.INTEL_QE_CHAIN)

    def meant(identity: QEIdentity) -> bool:
        return identity.id == wanted

    identity = inputs.signed("I9", roles, read_qe_identity, meant, chain)
    if identity is not None:
        said = identity.value
        with inputs.ledger.check("I9", identity.signed.raw):
            _expect(Found.QE_IDENTITY_ID, "kind of QE identity", said.id, wanted)
        with inputs.ledger.check("I9"):
            _expect(Found.QE_IDENTITY_VERSION, "version of QE identity", str(said.version), "2")
    return identity


def _is_for(info: Vouched[TCBInfo], platform: Platform, chain: Chain, ledger: Ledger) -> bool:
    inputs = (info.signed.raw, chain.ders[0])
    value = info.value
    with ledger.check("I8", *inputs):
        fmspc = bytes.fromhex(value.fmspc).hex()
        _expect(Found.FMSPC_MISMATCH, "FMSPC of the TCB info", fmspc, platform.fmspc.hex())
    with ledger.check("I8", *inputs):
        pce_id = bytes.fromhex(value.pce_id).hex()
        _expect(Found.PCEID_MISMATCH, "PCE id of the TCB info", pce_id, platform.pce_id.hex())
    return not ledger.failed("I8")


def _revocation(chain: Chain, inputs: Inputs, signers: list[Chain]) -> None:
    """Check I6: the CRLs of root and authority, over everything that they could revoke."""
    ledger = inputs.ledger
    leaf, authority, _ = chain.certificates
    watched = [(authority, "the PCK's authority")]
    watched += [(item, "the signer of collateral") for item in {each.leaf for each in signers}]
    for role, what, issuer, certificates in (
        (Role.INTEL_ROOT_CRL, "the root CRL", chain.ders[2], watched),
        (Role.INTEL_PCK_CRL, "the PCK CRL", chain.ders[1], [(leaf, "the PCK certificate")]),
    ):
        crl = inputs.crl(role, what, issuer)
        if crl is None:
            continue
        for certificate, name in certificates:
            with ledger.check("I6", crl.der):
                check_not_revoked(crl, certificate, ledger.at)
                entry = crl.entry(certificate.serial_number)
                if entry is not None:
                    text = f"{name} is revoked from {Validity.text(entry.date)} on"
                    ledger.find("I6", Found.REVOKED_LATER, text)
    # The quote has the chain of the PCK CRL, too; what is handed in must not be another one.
    pem = inputs.crl_chain(authority)
    if pem is not None:
        inputs.use(pem)
        again = inputs.chain("I6", pem, 2, chain, authority=True)
        if again is not None:
            with ledger.check("I5", pem):
                name = again.leaf.subject.rfc4514_string()
                expected = authority.subject.rfc4514_string()
                _expect(CRLFinding.CRL_ISSUER, "authority of the PCK CRL", name, expected)


def _expect(found: StrEnum, what: str, actual: str, *allowed: str) -> None:
    if actual not in allowed:
        raise CheckError(
            found,
            f"the {what} is another one",
            severity=Severity.IDENTITY,
            expected=" or ".join(allowed),
            actual=actual,
        )
