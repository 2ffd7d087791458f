"""Chains of X.509 certificates, checked against pinned authorities at a stated time.

RFC 5280 §6 without revocation: signing certificates live minutes. Checked are names, key
identifiers, signatures, CA flags, path lengths, key usages, validity and critical extensions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Final, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

from registry.errors import MalformedError, Reason, VerificationError

MAX_CERTIFICATE_BYTES = 32 * 1024
"""Bytes of one DER certificate; Fulcio's take about 2,100."""

MAX_CHAIN_CERTIFICATES = 10
"""Certificates from a leaf's issuer to its root."""

CODE_SIGNING: Final = ExtendedKeyUsageOID.CODE_SIGNING
"""What a signer's certificate is for."""

TIME_STAMPING: Final = ExtendedKeyUsageOID.TIME_STAMPING
"""What a timestamp authority's certificate is for."""

UNREADABLE: Final = (
    ValueError,
    TypeError,  # a name of another ASN.1 type than its attribute may have
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
    UnsupportedAlgorithm,
    # A serial number that is not positive: a warning today, an error in a later release.
    CryptographyDeprecationWarning,
    UserWarning,  # a name of a length that it may not have
)
"""What is raised while a certificate or a list of revoked ones is read, much of it as late as
something is asked of it."""

E = TypeVar("E", bound=x509.ExtensionType)

_MIN_RSA_BITS = 2048
_MAX_RSA_BITS = 8192
_MIN_RSA_EXPONENT = 3
_LENGTHS = {
    NameOID.COUNTRY_NAME: range(2, 3),
    NameOID.JURISDICTION_COUNTRY_NAME: range(2, 3),
    NameOID.COMMON_NAME: range(1, 65),
}
"""How many characters a name may have (RFC 5280 appendix A.1, CA/Browser Forum)."""
_UNDERSTOOD = frozenset(
    (
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER,
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
    )
)


@dataclass(frozen=True, slots=True)
class Window:
    """A time span, closed at both ends; without ``end`` it has not ended yet."""

    start: datetime
    end: datetime | None = None

    def __contains__(self, at: datetime) -> bool:
        return self.start <= at and (self.end is None or at <= self.end)

    def __str__(self) -> str:
        return f"{self.start.isoformat()} to {self.end.isoformat() if self.end else 'now'}"


@dataclass(frozen=True, slots=True)
class Authority:
    """Whom we believe: certificates from the one that signs to the pinned root, and when.

    Attributes:
        chain: DER, the signing certificate first, the root last.
        window: When it may have been used.
    """

    chain: tuple[bytes, ...]
    window: Window


def load(der: bytes) -> x509.Certificate:
    """Read one DER certificate of any kind, whole: every extension must be readable.

    Raises:
        MalformedError: ``MALFORMED_CERTIFICATE``.
    """
    if len(der) > MAX_CERTIFICATE_BYTES:
        raise malformed("it is too long", f"{len(der)} bytes")
    try:
        certificate = x509.load_der_x509_certificate(der)
        # All are parsed lazily: a certificate that fails here must not fail later, elsewhere.
        certificate.extensions  # noqa: B018
        certificate.public_key()
        for name in (certificate.subject, certificate.issuer):
            name.rfc4514_string()
        _ = (certificate.not_valid_before_utc, certificate.not_valid_after_utc)
        _ = certificate.signature_hash_algorithm
    except UNREADABLE as error:
        raise malformed("it cannot be read", str(error)[:200]) from error
    for attribute in (*certificate.subject, *certificate.issuer):
        if attribute.oid in _LENGTHS and len(attribute.value) not in _LENGTHS[attribute.oid]:
            raise malformed("a name in it is too short or too long", attribute.oid.dotted_string)
    if certificate.serial_number <= 0:
        # RFC 5280 §4.1.2.2.
        raise malformed("its serial number is not positive", str(certificate.serial_number)[:80])
    if certificate.public_bytes(serialization.Encoding.DER) != der:
        raise malformed("it is not in canonical DER")
    _check_key(certificate)
    return certificate


def _check_key(certificate: x509.Certificate) -> None:
    """Refuse keys in another spelling (a curve by its parameters), useless and costly ones."""
    key = certificate.public_key()
    spki = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    if spki not in certificate.tbs_certificate_bytes:
        raise malformed("its key is not spelled as RFC 5280 and RFC 5480 spell it")
    if isinstance(key, rsa.RSAPublicKey):
        exponent = key.public_numbers().e
        if exponent < _MIN_RSA_EXPONENT or key.key_size > _MAX_RSA_BITS:
            raise malformed("its RSA key is unusable", f"{key.key_size} bits, exponent {exponent}")


def verify_path(
    chain: Sequence[bytes], at: datetime, purpose: x509.ObjectIdentifier, *, leaf: bool = True
) -> None:
    """Check that each certificate issued the one before it, and that all were valid at a time.

    Args:
        chain: DER, leaf first; the last one is the pinned root, which nobody vouches for.
        at: The moment that counts.
        purpose: The extended key usage that the leaf must have and no authority may exclude.
        leaf: Whether the first certificate is the end of the chain, or itself an authority.

    Raises:
        MalformedError: ``MALFORMED_CERTIFICATE``.
        VerificationError: ``CERTIFICATE_CHAIN`` or ``CERTIFICATE_TIME``.
    """
    if not 1 <= len(chain) <= MAX_CHAIN_CERTIFICATES + 1:
        raise _broken("the chain is empty or too long", f"{len(chain)} certificates")
    path = [load(der) for der in chain]
    for depth, certificate in enumerate(path):
        check_critical(certificate)
        window = Window(certificate.not_valid_before_utc, certificate.not_valid_after_utc)
        if at not in window:
            raise VerificationError(
                Reason.CERTIFICATE_TIME,
                "a certificate was not valid at that time",
                where=certificate.subject.rfc4514_string() or f"certificate {depth}",
                expected=str(window),
                actual=at.isoformat(),
            )
        if leaf and depth == 0:
            check_usage(certificate, purpose)
        else:
            _check_authority(certificate, purpose, below=depth - 1 if leaf else depth)
    for child, parent in pairwise(path):
        _check_issued(child, parent)


def issuing_authority(leaf: bytes, authorities: Sequence[Authority], at: datetime) -> Authority:
    """The pinned authority that issued the signing certificate ``leaf``, valid at a time.

    Both the time ``at`` and the beginning of the certificate must be in the authority's window.
    The direct issuer is the first of the authority's chain.

    Raises:
        MalformedError: ``MALFORMED_CERTIFICATE``.
        VerificationError: ``UNKNOWN_AUTHORITY``, ``CERTIFICATE_CHAIN`` or ``CERTIFICATE_TIME``.
    """
    certificate = load(leaf)
    refusal = VerificationError(
        Reason.UNKNOWN_AUTHORITY,
        "no trusted authority issued this certificate",
        actual=certificate.issuer.rfc4514_string(),
    )
    for authority in authorities:
        if not authority.chain:
            continue
        if load(authority.chain[0]).subject != certificate.issuer:
            continue
        try:
            verify_path((leaf, *authority.chain), at, CODE_SIGNING)
        except VerificationError as error:
            refusal = error
            continue
        if at in authority.window and certificate.not_valid_before_utc in authority.window:
            return authority
        refusal = VerificationError(
            Reason.CERTIFICATE_TIME,
            "the authority was not trusted when the certificate was issued or used",
            expected=str(authority.window),
            actual=f"{certificate.not_valid_before_utc.isoformat()} and {at.isoformat()}",
        )
    raise refusal


def check_critical(certificate: x509.Certificate) -> None:
    """Check that no critical extension goes unread (RFC 5280 §4.2).

    Raises:
        MalformedError: ``MALFORMED_CERTIFICATE``.
    """
    for extension in certificate.extensions:
        if extension.critical and extension.oid not in _UNDERSTOOD:
            raise malformed("a critical extension is not understood", extension.oid.dotted_string)


def check_usage(certificate: x509.Certificate, purpose: x509.ObjectIdentifier) -> None:
    """Check that a leaf's key may sign, and for this purpose.

    Raises:
        MalformedError: ``MALFORMED_CERTIFICATE``.
    """
    usage = find(certificate, x509.KeyUsage)
    if usage is None or not usage.digital_signature:
        raise malformed("its key is not for signatures")
    extended = find(certificate, x509.ExtendedKeyUsage)
    if extended is None or purpose not in extended:
        raise malformed("its key is for another purpose", purpose.dotted_string)


def _check_authority(
    certificate: x509.Certificate, purpose: x509.ObjectIdentifier, *, below: int
) -> None:
    name = certificate.subject.rfc4514_string()
    constraints = find(certificate, x509.BasicConstraints)
    usage = find(certificate, x509.KeyUsage)
    if constraints is None or not constraints.ca or usage is None or not usage.key_cert_sign:
        raise _broken("a certificate in the chain is not for an authority", name)
    if constraints.path_length is not None and constraints.path_length < below:
        raise _broken("the chain is longer than an authority allows", name)
    extended = find(certificate, x509.ExtendedKeyUsage)
    allowed = (purpose, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)
    if extended is not None and not any(usage in extended for usage in allowed):
        raise _broken("an authority is for another purpose", name)


def _check_issued(child: x509.Certificate, parent: x509.Certificate) -> None:
    name = child.subject.rfc4514_string() or f"serial {child.serial_number}"
    claimed = find(child, x509.AuthorityKeyIdentifier)
    actual = find(parent, x509.SubjectKeyIdentifier)
    named = claimed.key_identifier if claimed is not None else None
    if named is not None and actual is not None and named != actual.digest:
        raise _broken("a certificate names another issuer's key", name)
    if not isinstance(
        child.signature_hash_algorithm, hashes.SHA256 | hashes.SHA384 | hashes.SHA512
    ):
        raise _broken("a certificate is signed with a weak or unknown hash", name)
    key = parent.public_key()
    strong = isinstance(key, ec.EllipticCurvePublicKey) and isinstance(
        key.curve, ec.SECP256R1 | ec.SECP384R1 | ec.SECP521R1
    )
    if not strong and not (isinstance(key, rsa.RSAPublicKey) and key.key_size >= _MIN_RSA_BITS):
        raise _broken("an authority's key is of a weak or unknown kind", name)
    try:
        child.verify_directly_issued_by(parent)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as error:
        raise _broken("a certificate was not issued by the next one", name) from error


def find(certificate: x509.Certificate, kind: type[E]) -> E | None:
    """The extension of one kind, or nothing."""
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def malformed(what: str, actual: str = "") -> MalformedError:
    """The error that says what is wrong with a certificate."""
    return MalformedError(
        Reason.MALFORMED_CERTIFICATE,
        f"this certificate is not accepted: {what}",
        actual=actual,
    )


def _broken(what: str, where: str) -> VerificationError:
    return VerificationError(Reason.CERTIFICATE_CHAIN, what, where=where)
