"""The examination of an Intel quote: checks I1 to I24, in the order in which they build on another.

A check that fails does not end the examination: those that can still be made are made. What a check
needs and does not get leaves it ``NOT_REACHED``.
"""

from datetime import datetime

from registry.core.evidence import event_log
from registry.core.evidence.checks import CheckError, Finding, Ledger, Severity
from registry.core.evidence.claims import (
    ClaimValue,
    Examination,
    Family,
    check_size,
    evidence_id,
)
from registry.core.evidence.endorsements import Endorsements, Role
from registry.core.evidence.intel import quoting_enclave, statuses
from registry.core.evidence.intel.certificate import public_key, verify_signature
from registry.core.evidence.intel.certification import Certified, certify
from registry.core.evidence.intel.findings import TABLE, Found
from registry.core.evidence.intel.inputs import MAX_CANDIDATES, Inputs
from registry.core.evidence.intel.production import examine_enclave, examine_trust_domain
from registry.core.evidence.intel.quote import INTEL_QE_VENDOR, Head, Quote
from registry.core.evidence.intel.report import EnclaveReport, TDReport
from registry.core.evidence.roots import Roots
from registry.core.evidence.validity import appraised_at


def examine(evidence: bytes, endorsements: Endorsements, at: datetime, roots: Roots) -> Examination:
    """Examine an SGX or TDX quote.

    Raises:
        MalformedError: ``BAD_TIME``.
        LimitExceededError: ``EVIDENCE_SIZE``.
    """
    check_size(evidence)
    ledger = Ledger(TABLE, appraised_at(at), evidence)
    inputs = Inputs(endorsements, ledger, roots)
    quote = _read(evidence, ledger)
    claims = {} if quote is None else _examine_quote(quote, inputs)
    return Examination(
        family=Family.INTEL_DCAP,
        at=ledger.at,
        evidence_id=None if quote is None else evidence_id(Family.INTEL_DCAP, quote.regions),
        claims=claims,
        checks=ledger.results(),
        window=ledger.window,
        endorsements=tuple(sorted(inputs.used)),
        configured_roots=tuple(sorted(inputs.configured)),
    )


def _read(evidence: bytes, ledger: Ledger) -> Quote | None:
    head: Head | None = None
    with ledger.check("I1", evidence):
        head = Head.parse(evidence)
    if head is None:
        return None
    with ledger.check("I2", head.header):
        if head.qe_vendor_id != INTEL_QE_VENDOR:
            raise CheckError(
                Found.QE_VENDOR,
                "the quoting enclave is not Intel's",
                severity=Severity.IDENTITY,
                expected=INTEL_QE_VENDOR.hex(),
                actual=head.qe_vendor_id.hex(),
            )
    quote: Quote | None = None
    with ledger.check("I3", evidence):
        quote = Quote.follow(head, evidence)
    if quote is None:
        return None
    if any(quote.trailing):
        text = f"{len(quote.trailing)} unsigned bytes that are not all zero follow the quote"
        ledger.find("I3", Found.TRAILING_BYTES, text)
    return quote


def _examine_quote(quote: Quote, inputs: Inputs) -> dict[str, ClaimValue]:
    ledger, tdx = inputs.ledger, quote.head.is_tdx
    domain = TDReport.parse(quote.head.body) if tdx else None
    enclave = EnclaveReport.parse(quote.qe_report)
    chain = inputs.chain("I4", quote.certification_data, 3)
    certified = Certified() if chain is None else certify(chain, inputs, tdx=tdx)
    quoting_enclave.examine_report(quote, enclave, chain, ledger)
    level = None
    if certified.qe_identity is not None:
        looked = (quote.qe_report, *certified.qe_inputs)
        level = quoting_enclave.examine_identity(enclave, certified.qe_identity, ledger, *looked)
    with ledger.check("I13", quote.head.signed, quote.attestation_key):
        key = public_key(quote.attestation_key)
        if not verify_signature(key, quote.signature, quote.head.signed):
            raise CheckError(Found.QUOTE_SIGNATURE, "the quote is not signed by its key")
    claims: dict[str, ClaimValue] = {
        "tee": "tdx" if tdx else "sgx",
        "quote_version": quote.head.version,
        "qe_isv_svn": enclave.isv_svn,
        "qe_auth_data_bytes": len(quote.qe_auth_data),
        **certified.claims,
        **statuses.examine_tcb(certified, domain, level, ledger, quote.head.body),
    }
    if domain is None:
        claims |= examine_enclave(EnclaveReport.parse(quote.head.body), ledger)
    else:
        claims |= examine_trust_domain(domain, ledger)
        claims |= _event_logs(inputs, domain)
    ledger.skip("I22", Finding.NOT_APPLICABLE, "the appraisal compares it with what was stated")
    return claims


def _event_logs(inputs: Inputs, domain: TDReport) -> dict[str, ClaimValue]:
    """Replay every log at hand; what the logs say of what was started."""
    ledger = inputs.ledger
    logs = inputs.endorsements.all(Role.EVENT_LOG)[:MAX_CANDIDATES]
    if not logs:
        ledger.skip("I24", Finding.MISSING, f"no event log is at hand ({Role.EVENT_LOG})")
    claims: dict[str, ClaimValue] = {}
    for data in logs:
        inputs.use(data)
        with ledger.check("I24", data, *domain.rtmrs):
            claims |= event_log.replayed_claims(data, domain.rtmrs)
    return claims
