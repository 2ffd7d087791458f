"""Examines an AWS Nitro document: N1 to N9, and what the document says."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Final

from cryptography import x509

from registry.core.digest import sha256
from registry.core.evidence import crl as revocation
from registry.core.evidence.checks import CheckError, Finding, Ledger, Severity
from registry.core.evidence.claims import (
    ClaimValue,
    Examination,
    Family,
    check_size,
    evidence_id,
)
from registry.core.evidence.crl import RevocationList
from registry.core.evidence.endorsements import Endorsements, Role
from registry.core.evidence.nitro import chain as certificates
from registry.core.evidence.nitro.chain import Link
from registry.core.evidence.nitro.document import MAX_PCR, Document, Message
from registry.core.evidence.nitro.findings import TABLE, NitroFinding
from registry.core.evidence.roots import Roots
from registry.core.evidence.validity import Validity, appraised_at

MAX_AGE_SECONDS: Final = 3600
"""Seconds after which a document no longer shows what an enclave is like."""

MAX_SKEW_SECONDS: Final = 300
"""Seconds that the device's clock may be ahead."""

PRODUCT_LINE: Final = "Nitro Enclaves"
"""The one product line: claim ``product_line``."""

_IMAGE: Final = (0, 1, 2)
_FAMILY: Final = Family.AWS_NITRO


def examine(evidence: bytes, endorsements: Endorsements, at: datetime, roots: Roots) -> Examination:
    """Examine a document at a moment.

    CRLs (:attr:`Role.NITRO_CRL`, DER) are optional: without one for every certificate that names a
    distribution point, N9 is skipped as ``MISSING``.

    Raises:
        MalformedError: ``BAD_TIME``.
        LimitExceededError: ``EVIDENCE_SIZE``.
    """
    ledger = Ledger(TABLE, appraised_at(at), evidence)
    check_size(evidence)
    message: Message | None = None
    with ledger.check("N1", evidence):
        message = Message.parse(evidence)
    if message is None:
        return Examination(_FAMILY, ledger.at, None, {}, ledger.results(), None)
    name = evidence_id(_FAMILY, (message.protected, message.payload))
    document: Document | None = None
    with ledger.check("N2", message.payload):
        document = Document.parse(message.payload)
    if document is None:
        return Examination(_FAMILY, ledger.at, name, {}, ledger.results(), None)
    used: list[bytes] = []
    named: tuple[str, ...] = ()
    chain: tuple[Link, ...] = ()
    with ledger.check("N3", *document.cabundle, document.certificate):
        chain = certificates.read(document)
        if certificates.verify(chain, roots):
            named = (sha256(chain[0].der).hex(),)
    if chain:
        _check_windows(ledger, chain, document)
        with ledger.check("N5", message.payload, document.certificate):
            certificates.verify_signature(chain[-1], message.signed_bytes(), message.signature)
        used = _check_revocation(ledger, chain, endorsements.all(Role.NITRO_CRL))
    _look_at_content(ledger, document, message.payload)
    return Examination(
        _FAMILY,
        ledger.at,
        name,
        _claims(document),
        ledger.results(),
        ledger.window,
        endorsements=tuple(sorted({sha256(item).hex() for item in used})),
        configured_roots=named,
    )


def distribution_points(evidence: bytes) -> Mapping[str, x509.Name]:
    """Where a document says that CRLs are published, and whose: nobody vouches for either.

    Raises:
        CheckError: The document, or a certificate in it, cannot be read.
    """
    chain = certificates.read(Document.parse(Message.parse(evidence).payload))
    return {point: link.certificate.issuer for link in chain for point in link.distribution_points}


def _check_windows(ledger: Ledger, chain: Sequence[Link], document: Document) -> None:
    signed_at = document.signed_at
    for link in chain:
        with ledger.check("N4", link.der):
            ledger.within(link.name, link.window)
        if signed_at not in link.window:
            with ledger.check("N4", link.der):
                raise CheckError(
                    NitroFinding.SIGNED_OUTSIDE_CHAIN,
                    "the document says that it was signed when a certificate was not valid",
                    severity=Severity.IDENTITY,
                    where=link.name,
                    expected=str(link.window),
                    actual=Validity.text(signed_at),
                )


def _look_at_content(ledger: Ledger, document: Document, payload: bytes) -> None:
    if document.unknown:
        ledger.find("N2", NitroFinding.UNKNOWN_FIELD, ", ".join(document.unknown)[:400])
    with ledger.check("N6", payload):
        absent = [index for index in _IMAGE if index not in document.pcrs]
        if absent:
            raise CheckError(
                NitroFinding.PCR_MISSING,
                "a measurement of the enclave's image is missing",
                severity=Severity.IDENTITY,
                actual=", ".join(f"PCR{index}" for index in absent),
            )
        if _is_debug(document):
            ledger.find("N6", NitroFinding.DEBUG, "PCR0, PCR1 and PCR2 are zero: a debug enclave")
    ledger.skip("N7", Finding.NOT_APPLICABLE, "a policy says which measurements it expects")
    age = ledger.at - document.signed_at
    if age > MAX_AGE_SECONDS:
        ledger.find("N8", NitroFinding.TOO_OLD, f"it was signed {age} seconds before")
    elif age >= -MAX_SKEW_SECONDS:
        ledger.skip("N8", Finding.NOT_APPLICABLE, "fresh; what it is about, an appraisal compares")
    else:
        with ledger.check("N8", payload):
            raise CheckError(
                NitroFinding.SIGNED_LATER,
                "the document was signed later",
                severity=Severity.TIME,
                expected=f"at most {MAX_SKEW_SECONDS} s after {Validity.text(ledger.at)}",
                actual=Validity.text(document.signed_at),
            )


def _is_debug(document: Document) -> bool:
    return not any(any(document.pcrs.get(index, b"")) for index in _IMAGE)


def _check_revocation(ledger: Ledger, chain: Sequence[Link], data: Sequence[bytes]) -> list[bytes]:
    """N9: for each certificate the newest list of its issuer that is valid."""
    lists: list[RevocationList] = []
    failures: list[tuple[CheckError, bytes]] = []
    for der in data:
        try:
            lists.append(revocation.read(der))
        except CheckError as error:
            failures.append((error, der))
    used: list[bytes] = []
    absent: list[str] = []
    for issuer, link in pairwise(chain):
        own = [each for each in lists if each.issuer == link.certificate.issuer]
        if not own:
            absent += [link.name] if link.distribution_points else []
            continue
        crl = max(own, key=lambda each: (ledger.at in each.window, each.window.start))
        used.append(crl.der)
        try:
            crl.verify(issuer.der)
            ledger.within(f"the CRL by {issuer.name}", crl.window)
            revocation.check_not_revoked(crl, link.certificate, ledger.at)
        except CheckError as error:
            failures.append((error, crl.der))
    for failure, der in failures:
        with ledger.check("N9", der):
            raise failure
    if absent or not used:
        # Not a pass for what was checked: a policy that requires N9 requires all of it.
        text = f"no CRL at hand ({Role.NITRO_CRL}) for {'; '.join(absent)}"[:1000]
        ledger.skip("N9", Finding.MISSING, text)
    else:
        with ledger.check("N9", *used):
            pass
    return used


def _claims(document: Document) -> Mapping[str, ClaimValue]:
    said: dict[str, ClaimValue] = {
        "product_line": PRODUCT_LINE,
        "module_id": document.module_id,
        "timestamp": document.timestamp,
        "debug": _is_debug(document),
    }
    for index in range(MAX_PCR + 1):
        if index in document.pcrs:
            said[f"pcr{index}"] = document.pcrs[index]
    given = {
        "public_key": document.public_key,
        "user_data": document.user_data,
        "nonce": document.nonce,
    }
    return said | {name: value for name, value in given.items() if value is not None}
