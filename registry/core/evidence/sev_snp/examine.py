"""Examines SEV-SNP reports: every check of the table at a stated time, and all they say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from registry.core.digest import sha256
from registry.core.evidence.checks import CheckError, Finding, Ledger, Severity, missing
from registry.core.evidence.claims import (
    ClaimValue,
    Examination,
    Family,
    check_size,
    evidence_id,
)
from registry.core.evidence.endorsements import Endorsements, Role
from registry.core.evidence.roots import Roots
from registry.core.evidence.sev_snp import content
from registry.core.evidence.sev_snp.certificate import (
    Endorsed,
    EndorsementKey,
    KeyKind,
    endorsed,
    endorsement_key,
)
from registry.core.evidence.sev_snp.chain import Path, authorities, find_path, signer_name
from registry.core.evidence.sev_snp.findings import SNPFinding
from registry.core.evidence.sev_snp.product import VENDORS, ProductLine, components
from registry.core.evidence.sev_snp.report import NO_KEY, VCEK, VLEK, Report
from registry.core.evidence.sev_snp.revocation import check_revocation, concerns
from registry.core.evidence.validity import appraised_at

TABLE: Final[Mapping[str, str]] = {
    "S1": "size, version, algorithm and every byte that must be zero",
    "S2": "the signing key is of the kind that its certificate and issuer say",
    "S3": "the processor is of the product line of its root",
    "S4": "chain to the pinned ARK, RSASSA-PSS with SHA-384, windows",
    "S5": "revocation list of the ARK: current, and the signer is not on it",
    "S6": "the certificate is for this chip, or for a named cloud",
    "S7": "the certificate is for the reported firmware; firmware versions agree",
    "S8": "signature of the report, ECDSA P-384 with SHA-384",
    "S9": "guest policy",
    "S10": "platform",
    "S11": "privilege level that asked for the report",
    "S12": "measurement, report data and other values of the guest",
    "S13": "keys of the identity block and its author",
    "S14": "mitigation vectors",
    "S16": "distrusted product lines, chips and firmware",
}
"""The checks of an SEV-SNP report, in order."""

_ORDER: Final = int(
    "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973",
    16,
)
_KINDS: Final = {VCEK: KeyKind.VCEK, VLEK: KeyKind.VLEK}
_NO_CHIP: Final = bytes(64)


@dataclass(slots=True)
class Seen:
    """What came out of the examination of a report, beside the results of the checks.

    Attributes:
        report: The report, if it can be read.
        claims: What it says.
        used: SHA-256 of every endorsement that was used.
        configured: SHA-256 of a root that counts only because it was named.
    """

    report: Report | None = None
    claims: dict[str, ClaimValue] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    configured: tuple[str, ...] = ()


def examine(evidence: bytes, endorsements: Endorsements, at: datetime, roots: Roots) -> Examination:
    """Examine a bare report of 1184 bytes.

    Endorsements that are used: ``amd-vek``, ``amd-chain`` and, if there is one, ``amd-crl``.

    Raises:
        MalformedError: ``BAD_TIME``.
        LimitExceededError: ``EVIDENCE_SIZE``.
    """
    check_size(evidence)
    ledger = Ledger(TABLE, appraised_at(at), evidence)
    seen = examine_report(ledger, evidence, endorsements, roots)
    name = None
    if seen.report is not None:
        name = evidence_id(Family.AMD_SNP, [seen.report.signed])
    return Examination(
        family=Family.AMD_SNP,
        at=ledger.at,
        evidence_id=name,
        claims=seen.claims,
        checks=ledger.results(),
        window=ledger.window,
        endorsements=tuple(sorted(seen.used)),
        configured_roots=seen.configured,
    )


def examine_report(
    ledger: Ledger,
    evidence: bytes,
    endorsements: Endorsements,
    roots: Roots,
) -> Seen:
    """Make all checks of a report but those of what carries it.

    Args:
        ledger: Where the results go.
        evidence: The report.
        endorsements: What AMD published.
        roots: Which roots count.
    """
    seen = Seen()
    with ledger.check("S1", evidence):
        seen.report = Report.parse(evidence)
    if seen.report is None:
        return seen
    report = seen.report
    _check_signed(ledger, report)
    path = _check_chain(ledger, report, endorsements, roots, seen)
    line = report.line
    if report.cpu is None and path is not None:
        line = path.line
    seen.claims = content.claims(report, line)
    if path is not None:
        _check_kind(ledger, report, path)
        said = _check_chip(ledger, report, path.key)
        _check_line(ledger, report, path, said)
        _check_certified_firmware(ledger, report, line, said)
        _check_signature(ledger, report, path.key)
        if said is not None and said.csp_id is not None:
            seen.claims["csp_id"] = said.csp_id
        content.check_firmware(ledger, report)
    content.check_guest(ledger, report)
    return seen


def _check_signed(ledger: Ledger, report: Report) -> None:
    """S2, as far as the report alone says it."""
    with ledger.check("S2"):
        if report.signing_key == NO_KEY or report.mask_chip_key:
            raise CheckError(
                SNPFinding.UNSIGNED,
                "the platform withheld the signature of this report",
                actual=f"signer information {report.signer_info:#x}",
            )
        if report.signing_key not in _KINDS:
            raise CheckError(
                SNPFinding.SIGNING_KEY_UNKNOWN,
                "the report is signed by a kind of key that is not known here",
                severity=Severity.IDENTITY,
                actual=str(report.signing_key),
            )


def _check_chain(
    ledger: Ledger, report: Report, endorsements: Endorsements, roots: Roots, seen: Seen
) -> Path | None:
    """S4 and S5."""
    path: Path | None = None
    chains = endorsements.all(Role.AMD_CHAIN)
    given = endorsements.all(Role.AMD_VEK)
    with ledger.check("S4", *given, *chains):
        key = _choose(report, given)
        found = find_path(key, (item for chain in chains for item in authorities(chain)))
        if roots.accept(VENDORS[found.line], found.root.der):
            seen.configured = (sha256(found.root.der).hex(),)
        path = found
    if path is None:
        return None
    with ledger.check("S4"):
        for what, window in (
            ("the endorsement key", path.key.validity),
            (path.signer.name, path.signer.validity),
            (path.root.name, path.root.validity),
        ):
            ledger.within(what, window)
    needed = {path.signer.der, path.root.der}
    used = [chain for chain in chains if needed & {item.der for item in authorities(chain)}]
    used.append(path.key.der)
    lists = [data for data in endorsements.all(Role.AMD_CRL) if concerns(data, path.root)]
    if lists:
        with ledger.check("S5", *lists):
            used.append(check_revocation(ledger, path, lists))
    else:
        ledger.skip(
            "S5",
            Finding.MISSING,
            f"no revocation list of {path.root.name} is at hand ({Role.AMD_CRL})",
        )
    seen.used.update(sha256(data).hex() for data in used)
    return path


def _choose(report: Report, given: Sequence[bytes]) -> EndorsementKey:
    """The endorsement key for this report, or any, so that what does not fit is named."""
    if not given:
        raise missing("the certificate of the endorsement key", Role.AMD_VEK)
    if len(given) == 1:
        return endorsement_key(given[0])
    first: EndorsementKey | None = None
    refusal: CheckError | None = None
    for data in given:
        try:
            key = endorsement_key(data)
            first = first or key
            said = endorsed(data)
        except CheckError as error:
            refusal = refusal or error
            continue
        same_chip = said.hwid is None or said.hwid == report.chip_id
        same_firmware = _differing(report, said.line, said) == []
        if key.kind is _KINDS.get(report.signing_key) and same_chip and same_firmware:
            return key
    if first is not None:
        return first
    raise refusal or missing("the certificate of the endorsement key", Role.AMD_VEK)


def _check_kind(ledger: Ledger, report: Report, path: Path) -> None:
    """S2: report, certificate and issuer agree on whose key it is."""
    with ledger.check("S2", path.key.der):
        wanted = _KINDS.get(report.signing_key)
        if path.key.kind is not wanted:
            raise CheckError(
                SNPFinding.SIGNING_KEY_MISMATCH,
                "the report names another kind of key than its certificate",
                severity=Severity.IDENTITY,
                expected=str(wanted),
                actual=path.key.kind,
            )
        issuer = signer_name(path.key.kind, path.line)
        if path.signer.name != issuer:
            raise CheckError(
                SNPFinding.SIGNING_KEY_MISMATCH,
                "this authority does not issue keys of this kind",
                severity=Severity.IDENTITY,
                expected=issuer,
                actual=path.signer.name,
            )


def _check_line(ledger: Ledger, report: Report, path: Path, said: Endorsed | None) -> None:
    """S3: report, certificate and root agree on the product line."""
    with ledger.check("S3", path.root.der):
        if report.cpu is not None and report.line is None:
            family, model, _ = report.cpu
            raise CheckError(
                SNPFinding.PRODUCT_UNKNOWN,
                "this processor is of no product line that is known here",
                severity=Severity.IDENTITY,
                actual=f"family {family:#x} model {model:#x}",
            )
        # Before version 3 only Milan and Genoa existed, and the root alone says which.
        stated = report.line or (path.line if path.line is not ProductLine.TURIN else None)
        if stated is not path.line or (said is not None and said.line is not path.line):
            raise CheckError(
                SNPFinding.PRODUCT_MISMATCH,
                "the processor is of another product line than the root of its key",
                severity=Severity.IDENTITY,
                expected=path.line,
                actual=f"report {stated}, certificate {said.line if said else 'unreadable'}",
            )


def _check_chip(ledger: Ledger, report: Report, key: EndorsementKey) -> Endorsed | None:
    """S6."""
    said = None
    with ledger.check("S6", key.der):
        said = endorsed(key.der)
        if said.hwid is None:
            return said
        if report.chip_id == _NO_CHIP:
            ledger.find(
                "S6",
                SNPFinding.CHIP_ID_MASKED,
                "the platform withholds the chip's name, so that nothing binds the report to the "
                "chip but its key",
            )
        elif report.chip_id != said.hwid:
            raise CheckError(
                SNPFinding.HWID_MISMATCH,
                "the certificate is for another chip",
                severity=Severity.IDENTITY,
                expected=said.hwid.hex(),
                actual=report.chip_id.hex(),
            )
    return said


def _check_certified_firmware(
    ledger: Ledger, report: Report, line: ProductLine | None, said: Endorsed | None
) -> None:
    """S7, as far as the certificate says it."""
    if said is None or line is None:
        return
    with ledger.check("S7", report.reported_tcb):
        different = _differing(report, line, said)
        if different:
            raise CheckError(
                SNPFinding.TCB_MISMATCH,
                "the certificate is for other firmware than the report names",
                severity=Severity.IDENTITY,
                actual=", ".join(different),
            )


def _differing(report: Report, line: ProductLine, said: Endorsed) -> list[str]:
    """Components in which the reported TCB is not the one that the key is for."""
    certified = dict(said.components)
    reported = components(line, report.reported_tcb)
    return [
        f"{name} {reported.get(name, 0)} is not {certified.get(name, 0)}"
        for name in sorted({*reported, *certified})
        if reported.get(name, 0) != certified.get(name, 0)
    ]


def _check_signature(ledger: Ledger, report: Report, key: EndorsementKey) -> None:
    """S8."""
    with ledger.check("S8", report.signed):
        if not (0 < report.r < _ORDER and 0 < report.s < _ORDER):
            raise CheckError(
                SNPFinding.SIGNATURE_RANGE, "the signature is not two numbers below the order"
            )
        try:
            key.key.verify(encode_dss_signature(report.r, report.s), report.signed, _algorithm())
        except InvalidSignature as error:
            raise CheckError(
                SNPFinding.REPORT_SIGNATURE, "the signature of the report does not verify"
            ) from error


@lru_cache(maxsize=1)
def _algorithm() -> ec.ECDSA:
    return ec.ECDSA(hashes.SHA384())
