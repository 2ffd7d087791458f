"""Certificate revocation lists (RFC 5280 §5): genuine, current, and silent about a certificate.

The rule for an entry: its date counts, so that a certificate revoked later was good before. A key
that was stolen was never good: for the reasons ``keyCompromise`` and ``cACompromise`` the date does
not matter. Delta, indirect and partial lists are refused, since their silence says nothing.
"""

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import CRLEntryExtensionOID, ExtensionOID

from registry.core.certificates.chain import UNREADABLE, find, load
from registry.core.evidence.checks import CheckError, Finding, Severity
from registry.core.evidence.validity import Validity, seconds
from registry.errors import MalformedError

MAX_CRL_BYTES: Final = 1024 * 1024
"""Bytes of one list; the largest of a processor vendor takes some 10 KiB."""

_RETROACTIVE: Final = (x509.ReasonFlags.key_compromise, x509.ReasonFlags.ca_compromise)
_UNDERSTOOD: Final = (
    ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
    ExtensionOID.CRL_NUMBER,
    ExtensionOID.ISSUING_DISTRIBUTION_POINT,
)


class CRLFinding(StrEnum):
    """What may be wrong with a revocation list itself."""

    CRL_MALFORMED = "CRL_MALFORMED"
    CRL_SCOPE = "CRL_SCOPE"
    CRL_ISSUER = "CRL_ISSUER"
    CRL_SIGNATURE = "CRL_SIGNATURE"


@dataclass(frozen=True, slots=True)
class Entry:
    """One revoked certificate.

    Attributes:
        date: When it was revoked, in Unix seconds.
        reason: Why; None if the list does not say.
    """

    date: int
    reason: x509.ReasonFlags | None

    def counts(self, at: int) -> bool:
        """Whether it counts at a moment."""
        return self.date <= at or self.reason in _RETROACTIVE


@dataclass(frozen=True, slots=True)
class RevocationList:
    """A list that can be read, of a scope that we understand; not verified yet.

    Attributes:
        der: Its bytes.
        issuer: Who signed it, it says.
        window: From ``thisUpdate`` to the second before ``nextUpdate``.
        authorities_only: Whether it is silent about all certificates but those of authorities.
    """

    der: bytes
    issuer: x509.Name
    window: Validity
    authorities_only: bool
    _crl: x509.CertificateRevocationList

    def entry(self, serial: int) -> Entry | None:
        """What it says of the certificate with that serial number.

        Raises:
            CheckError: ``CRL_MALFORMED``.
        """
        try:
            found = self._crl.get_revoked_certificate_by_serial_number(serial)
            if found is None:
                return None
            return Entry(seconds(found.revocation_date_utc), _reason(found))
        except UNREADABLE as error:
            raise _malformed("an entry cannot be read", str(error)) from error

    def verify(self, issuer: bytes) -> None:
        """Check that the authority with this certificate signed it.

        Raises:
            CheckError: ``CRL_ISSUER`` or ``CRL_SIGNATURE``.
        """
        _verify(self.der, issuer)


@lru_cache(maxsize=64)
def read(der: bytes) -> RevocationList:
    """Read a list, all but its entries.

    Raises:
        CheckError: ``CRL_MALFORMED`` or ``CRL_SCOPE``.
    """
    if len(der) > MAX_CRL_BYTES:
        raise _malformed("it is too long", f"{len(der)} bytes")
    try:
        crl = x509.load_der_x509_crl(der)
        extensions = crl.extensions
        begins, ends = crl.last_update_utc, crl.next_update_utc
        issuer = crl.issuer
    except UNREADABLE as error:
        raise _malformed("it cannot be read", str(error)) from error
    authorities_only = False
    for extension in extensions:
        if extension.critical and extension.oid not in _UNDERSTOOD:
            raise _scope("a critical extension is not understood", extension.oid.dotted_string)
        if isinstance(extension.value, x509.IssuingDistributionPoint):
            _check_scope(extension.value)
            authorities_only = extension.value.only_contains_ca_certs
    if ends is None:
        raise _malformed("it does not say until when it holds")
    window = Validity.until_next(begins, ends)
    return RevocationList(der, issuer, window, authorities_only, crl)


def check_not_revoked(crl: RevocationList, certificate: x509.Certificate, at: int) -> None:
    """Check that a verified list does not say that the certificate was revoked at a moment.

    Raises:
        CheckError: ``REVOKED``, ``CRL_SCOPE`` or ``CRL_MALFORMED``.
    """
    constraints = find(certificate, x509.BasicConstraints)
    if crl.authorities_only and (constraints is None or not constraints.ca):
        raise _scope("it is about authorities only", certificate.subject.rfc4514_string()[:200])
    entry = crl.entry(certificate.serial_number)
    if entry is None or not entry.counts(at):
        return
    reason = entry.reason.value if entry.reason is not None else "no reason given"
    raise CheckError(
        Finding.REVOKED,
        "a certificate was revoked",
        severity=Severity.IDENTITY,
        where=certificate.subject.rfc4514_string()[:200],
        actual=f"since {Validity.text(entry.date)}, {reason}",
    )


@lru_cache(maxsize=256)
def _verify(der: bytes, issuer_der: bytes) -> None:
    crl = read(der)._crl  # noqa: SLF001 - of the same room
    try:
        issuer = load(issuer_der)
    except MalformedError as error:
        raise _by_other(f"the issuer's certificate cannot be read: {error.what}") from error
    usage = find(issuer, x509.KeyUsage)
    if crl.issuer != issuer.subject:
        raise _by_other(crl.issuer.rfc4514_string())
    if usage is not None and not usage.crl_sign:
        raise _by_other("an authority whose key may not sign lists")
    key = issuer.public_key()
    weak = not isinstance(
        crl.signature_hash_algorithm, hashes.SHA256 | hashes.SHA384 | hashes.SHA512
    )
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey) or weak:
        raise _unsigned("its algorithm is weak or unknown")
    try:
        signed = crl.is_signature_valid(key)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _unsigned(str(error)) from error
    if not signed:
        raise _unsigned("it does not verify")


def _reason(entry: x509.RevokedCertificate) -> x509.ReasonFlags | None:
    reason = None
    for extension in entry.extensions:
        if isinstance(extension.value, x509.CRLReason):
            reason = extension.value.reason
        elif extension.critical or extension.oid == CRLEntryExtensionOID.CERTIFICATE_ISSUER:
            raise _scope("an entry is about a certificate of somebody else")
    return reason


def _check_scope(point: x509.IssuingDistributionPoint) -> None:
    if (
        point.only_contains_user_certs
        or point.only_contains_attribute_certs
        or point.indirect_crl
        or point.only_some_reasons is not None
    ):
        raise _scope("it is not about all certificates and all reasons")


def _malformed(what: str, actual: str = "") -> CheckError:
    return CheckError(
        CRLFinding.CRL_MALFORMED, f"a revocation list is not accepted: {what}", actual=actual
    )


def _scope(what: str, actual: str = "") -> CheckError:
    return CheckError(
        CRLFinding.CRL_SCOPE, f"a revocation list says too little: {what}", actual=actual
    )


def _by_other(actual: str) -> CheckError:
    return CheckError(
        CRLFinding.CRL_ISSUER,
        "a revocation list is by another authority than the certificate",
        actual=actual,
    )


def _unsigned(actual: str) -> CheckError:
    return CheckError(
        CRLFinding.CRL_SIGNATURE, "the signature of a revocation list is not good", actual=actual
    )
