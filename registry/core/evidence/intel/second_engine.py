"""The second engine: dcap-qvl (extra ``dcap``) judges the same quote by the same collateral.

No single verifier is enough. Where both come to the same status and advisories they agree; where
one of its rules is known to differ from ours, the difference has a name here and needs both what it
says and what we found. Anything else is a dispute: both results are kept, and nothing is decided.

What it does otherwise, measured at 0.7.0: it compares no PCE id, no name of the PCK certificate and
no padding in the quoting enclave's report data; it takes a CRL of the future; to it every entry of
a CRL counts at once; it wants authentication data of 32 bytes, and refuses what our policies weigh.
It advises a launch by Intel's rule of 2026, which judges what runs now by itself; ours is the rule
before, which wants an old module at launch and nothing but current versions now.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from registry.core.digest import sha256
from registry.core.evidence.checks import CheckError, Finding, Severity
from registry.core.evidence.claims import Examination
from registry.core.evidence.endorsements import Endorsements, Role
from registry.core.evidence.intel.certificate import read_pem, write_pem
from registry.core.evidence.intel.collateral import read_qe_identity, read_tcb_info
from registry.core.evidence.intel.findings import Found
from registry.core.evidence.intel.quote import Quote
from registry.core.evidence.intel.tcb import Status
from registry.errors import Reason, UnsupportedError

VERSIONS: Final = ("0.7.",)
"""Beginnings of the versions whose differences are known. Before 0.3.9 it never verified the
identity of the quoting enclave (CVE-2026-22696)."""

_USUAL_AUTH_DATA_BYTES: Final = 32
_REFUSAL_CHARACTERS: Final = 400


class Difference(StrEnum):
    """Where the engines are known to differ."""

    PCE_ID = "PCE_ID"
    PCK_NAME = "PCK_NAME"
    QE_REPORT_PADDING = "QE_REPORT_PADDING"
    CRL_OF_THE_FUTURE = "CRL_OF_THE_FUTURE"
    REVOKED_LATER = "REVOKED_LATER"
    AUTH_DATA_SIZE = "AUTH_DATA_SIZE"
    ENCLAVE_IN_VERSION_5 = "ENCLAVE_IN_VERSION_5"
    DEBUG = "DEBUG"
    TD_UNDER_DEBUG = "TD_UNDER_DEBUG"
    SEPT_VE_ENABLED = "SEPT_VE_ENABLED"
    SERVICE_TD = "SERVICE_TD"
    TCB_REVOKED = "TCB_REVOKED"
    RELAUNCH_RULE = "RELAUNCH_RULE"
    RUNNING_TCB = "RUNNING_TCB"


@dataclass(frozen=True, slots=True)
class Opinion:
    """What the second engine says.

    Attributes:
        engine: Its name and version.
        status: The TCB status; empty if it refuses the quote.
        advisories: Those that apply.
        refusal: Why it refuses.
    """

    engine: str
    status: str = ""
    advisories: tuple[str, ...] = ()
    refusal: str = ""

    def __str__(self) -> str:
        if not self.status:
            return f"{self.engine} refuses: {self.refusal}"
        return f"{self.engine} says {' '.join((self.status, *self.advisories))}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two engines make of one quote.

    Attributes:
        opinion: The second engine's; None if it could not be asked.
        differences: Those of its known differences that were at work.
        dispute: In what they disagree; empty if they agree but for those.
    """

    opinion: Opinion | None
    differences: tuple[Difference, ...] = ()
    dispute: str = ""


def second_opinion(evidence: bytes, endorsements: Endorsements, examination: Examination) -> str:
    """In what the second engine disagrees; empty if it agrees, or is not there to be asked."""
    try:
        return compare(examination, ask(evidence, endorsements, examination)).dispute
    except UnsupportedError:
        return ""


def ask(evidence: bytes, endorsements: Endorsements, examination: Examination) -> Opinion | None:
    """Ask the second engine about a quote that was examined; None if a part of it is missing.

    It gets what the examination used, and the same moment and root.

    Raises:
        UnsupportedError: ``MISSING_EXTRA`` if no version of it is there whose differences are
            known.
    """
    qvl = _load()
    try:
        quote = Quote.parse(evidence)
        chain = read_pem(quote.certification_data)
        collateral = _collateral(qvl, chain, _used(endorsements, examination))
    except CheckError:
        return None
    if collateral is None:
        return None
    name = f"dcap-qvl {qvl.__version__}"
    root = chain[-1]
    try:
        if sha256(root).hex() in examination.configured_roots:
            said = qvl.verify_with_root_ca(evidence, collateral, root, examination.at)
        else:
            said = qvl.verify(evidence, collateral, examination.at)
    # All its errors are ValueError; whatever else it may raise is a refusal, too.
    except Exception as error:  # noqa: BLE001 - a foreign library on hostile bytes
        return Opinion(name, refusal=" ".join(str(error).split())[:_REFUSAL_CHARACTERS])
    return Opinion(name, str(said.status), tuple(sorted(str(item) for item in said.advisory_ids)))


def compare(examination: Examination, opinion: Opinion | None) -> Comparison:
    """Compare an opinion with our own."""
    if opinion is None:
        return Comparison(None)
    grave = [
        (item.check, item.finding)
        for item in examination.checks
        if item.outcome == "fail"
        # Event logs are nothing that it looks at.
        and item.severity is not Severity.POLICY
        and item.check != "I24"
    ]
    ours = "" if grave else str(examination.claims.get("tcb_status", ""))
    said = examination.claims.get("advisory_ids", ())
    advisories = said if isinstance(said, tuple) else ()
    if ours and opinion.status:
        agreed = (ours, advisories) == (opinion.status, opinion.advisories)
        known = _advised(examination, ours, opinion) if advisories == opinion.advisories else ()
    elif ours:
        agreed, known = False, _refused_by_rule(examination, opinion.refusal)
    else:
        agreed = not opinion.status
        overlooked = bool(grave) and all(item in _OVERLOOKED for item in grave)
        known = tuple(dict.fromkeys(_OVERLOOKED[item] for item in grave)) if overlooked else ()
    if agreed:
        return Comparison(opinion)
    if known:
        return Comparison(opinion, known)
    found = ", ".join(f"{check} {finding}" for check, finding in grave)
    own = f"we find {found}" if grave else f"we say {ours or 'that its TCB is unknown'}"
    return Comparison(
        opinion, dispute=" ".join((f"{opinion}; {own}", *(advisories if ours else ())))
    )


_OVERLOOKED: Final[Mapping[tuple[str, str], Difference]] = {
    ("I8", Found.PCEID_MISMATCH): Difference.PCE_ID,
    ("I5", Found.PCK_NAME): Difference.PCK_NAME,
    ("I10", Found.QE_REPORT_PADDING): Difference.QE_REPORT_PADDING,
    ("I6", Finding.NOT_YET_VALID): Difference.CRL_OF_THE_FUTURE,
}
"""What we refuse and it does not look at."""


def _finds(finding: Found) -> Callable[[Examination], bool]:
    return lambda examination: any(item.finding == finding for item in examination.checks)


def _updatable(examination: Examination) -> bool:
    return "tee_tcb_svn_2" in examination.claims


def _advised(examination: Examination, ours: str, opinion: Opinion) -> tuple[Difference, ...]:
    both = {ours, opinion.status} <= _OLD_OR_RELAUNCH and _updatable(examination)
    return (Difference.RELAUNCH_RULE,) if both else ()


_OLD_OR_RELAUNCH: Final = frozenset(
    (
        Status.OUT_OF_DATE.value,
        Status.OUT_OF_DATE_CONFIGURATION_NEEDED.value,
        Status.TD_RELAUNCH_ADVISED.value,
        Status.TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED.value,
    )
)

_RULES: Final[tuple[tuple[Difference, str, Callable[[Examination], bool]], ...]] = (
    (Difference.DEBUG, "Debug mode is enabled", _finds(Found.DEBUG)),
    (Difference.TD_UNDER_DEBUG, "Reserved bits in TD attributes", _finds(Found.TD_UNDER_DEBUG)),
    (Difference.SEPT_VE_ENABLED, "SEPT_VE_DISABLE is not", _finds(Found.SEPT_VE_ENABLED)),
    (Difference.SERVICE_TD, "Invalid MR service TD", _finds(Found.SERVICE_TD)),
    (Difference.TCB_REVOKED, "TCB status is invalid: Revoked", _finds(Found.TCB_REVOKED)),
    (Difference.REVOKED_LATER, "CertRevoked", _finds(Found.REVOKED_LATER)),
    (Difference.RUNNING_TCB, "evaluate the current TDX TCB", _updatable),
    (
        Difference.AUTH_DATA_SIZE,
        "Invalid QE auth data length",
        lambda said: said.claims.get("qe_auth_data_bytes") != _USUAL_AUTH_DATA_BYTES,
    ),
    (
        Difference.ENCLAVE_IN_VERSION_5,
        "SGX TEE quote must have version 3",
        lambda said: (said.claims.get("tee"), said.claims.get("quote_version")) == ("sgx", 5),
    ),
)
"""What it refuses, in its words, where our policies weigh what we found."""


def _refused_by_rule(examination: Examination, refusal: str) -> tuple[Difference, ...]:
    return tuple(
        difference for difference, words, found in _RULES if words in refusal and found(examination)
    )


def _load() -> Any:
    try:
        import dcap_qvl  # noqa: PLC0415 - an extra, which need not be there
    except ImportError as error:
        raise _unsupported("is not installed") from error
    if not dcap_qvl.__version__.startswith(VERSIONS):
        raise _unsupported(f"is there in version {dcap_qvl.__version__}, which is not known")
    return dcap_qvl


def _unsupported(what: str) -> UnsupportedError:
    return UnsupportedError(
        Reason.MISSING_EXTRA,
        f"the second engine for Intel quotes {what}",
        expected=f"dcap-qvl {' or '.join(VERSIONS)}*",
        hint="pip install 'provreg[dcap]'",
    )


def _used(endorsements: Endorsements, examination: Examination) -> dict[Role, bytes]:
    """What the examination used, by role."""
    return {
        item.role: item.data
        for item in endorsements.items
        if item.sha256 in examination.endorsements
    }


def _collateral(qvl: Any, chain: tuple[bytes, ...], used: Mapping[Role, bytes]) -> Any:
    needed = (
        Role.INTEL_TCB_INFO,
        Role.INTEL_TCB_CHAIN,
        Role.INTEL_QE_IDENTITY,
        Role.INTEL_QE_CHAIN,
        Role.INTEL_ROOT_CRL,
        Role.INTEL_PCK_CRL,
    )
    if not set(needed) <= set(used):
        return None
    info = read_tcb_info(used[Role.INTEL_TCB_INFO])
    identity = read_qe_identity(used[Role.INTEL_QE_IDENTITY])
    return qvl.QuoteCollateralV3(
        pck_crl_issuer_chain=_text(used.get(Role.INTEL_PCK_CRL_CHAIN, write_pem(chain[1:]))),
        root_ca_crl=used[Role.INTEL_ROOT_CRL],
        pck_crl=used[Role.INTEL_PCK_CRL],
        tcb_info_issuer_chain=_text(used[Role.INTEL_TCB_CHAIN]),
        tcb_info=_text(info.raw),
        tcb_info_signature=info.signature,
        qe_identity_issuer_chain=_text(used[Role.INTEL_QE_CHAIN]),
        qe_identity=_text(identity.raw),
        qe_identity_signature=identity.signature,
    )


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
