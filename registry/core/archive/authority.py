"""Timestamp authorities: whose tokens are believed, as a pinned chain of certificates.

The chain stands leaf first and root last, and is pinned as a whole (RFC 3161 §2.3, RFC 5280 §6): no
certificate that comes with a token can lengthen or replace it. Whether the certificates were valid
is asked for the moment of the stamp, never for today, so a token outlives them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import pairwise
from typing import Final, Self, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from registry.core import encoding
from registry.core.certificates.chain import load
from registry.core.digest import sha256
from registry.errors import MalformedError, Reason, VerificationError

MIN_CHAIN: Final = 2
"""Certificates of a chain at least: the authority's own, and a root."""

MAX_CHAIN: Final = 8
"""Certificates of a chain at most."""

MAX_CERTIFICATE_BYTES: Final = 8192
"""Bytes of one certificate in DER."""

MAX_PEM_BYTES: Final = 131_072
"""Bytes of a file with a chain in PEM, comments between the certificates included."""

MIN_RSA_BITS: Final = 2048
"""Bits of an RSA key of an authority at least."""

_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_UNDERSTOOD = frozenset(
    (ExtensionOID.BASIC_CONSTRAINTS, ExtensionOID.KEY_USAGE, ExtensionOID.EXTENDED_KEY_USAGE)
)
"""The extensions that are looked at; another one that is critical is refused (RFC 5280 §4.2)."""

_E = TypeVar("_E", bound=x509.ExtensionType)


@dataclass(frozen=True, slots=True)
class Authority:
    """A pinned authority.

    Attributes:
        chain: Certificates in DER, the authority's own first, the self-signed root last.
        start: From when on its tokens are believed; None if from ever.
        end: Until when, this moment included; None if there is no end.

    Raises:
        MalformedError: ``TIMESTAMP_AUTHORITY``: the certificates are no chain for timestamps.
    """

    chain: tuple[bytes, ...]
    start: datetime | None = None
    end: datetime | None = None

    def __post_init__(self) -> None:
        certificates(self.chain)

    @classmethod
    def parse_pem(cls, data: bytes) -> Self:
        """Read a chain from PEM, leaf first.

        Raises:
            MalformedError: ``TIMESTAMP_AUTHORITY``.
        """
        if len(data) > MAX_PEM_BYTES:
            raise _refused("this file is too long for a chain of certificates")
        try:
            read = x509.load_pem_x509_certificates(data)
        except (ValueError, x509.InvalidVersion, CryptographyDeprecationWarning) as error:
            raise _refused("these are no certificates in PEM", str(error)) from error
        return cls(tuple(certificate.public_bytes(Encoding.DER) for certificate in read))

    @property
    def pem(self) -> bytes:
        """The chain in PEM, leaf first."""
        return b"".join(each.public_bytes(Encoding.PEM) for each in certificates(self.chain))

    @property
    def chain_digest(self) -> bytes:
        """The SHA-256 of the chain's certificates in DER, one behind the other: names it."""
        return sha256(b"".join(self.chain))

    @property
    def subject(self) -> str:
        """Who the authority's own certificate says it is (RFC 4514)."""
        return certificates(self.chain)[0].subject.rfc4514_string()

    def check_validity(self, at: datetime) -> None:
        """Check that ``at`` is within the window and within the life of every certificate.

        All ends count as inside (RFC 5280 §4.1.2.5; Sigstore's ``validFor`` likewise).

        Raises:
            VerificationError: ``TIMESTAMP_VALIDITY``.
        """
        _check_within("the authority's window", self.start, self.end, at)
        for certificate in certificates(self.chain):
            name = certificate.subject.rfc4514_string()
            start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
            _check_within(f"the certificate of {name}", start, end, at)


def _check_within(what: str, start: datetime | None, end: datetime | None, at: datetime) -> None:
    if (start is not None and at < start) or (end is not None and at > end):
        opens = encoding.time_text(start) if start else "ever"
        closes = encoding.time_text(end) if end else "no end"
        raise VerificationError(
            Reason.TIMESTAMP_VALIDITY,
            "the timestamp lies outside the time in which its authority is believed",
            where=what,
            expected=f"{opens} to {closes}",
            actual=at.isoformat(),
        )


@lru_cache(maxsize=64)
def certificates(chain: tuple[bytes, ...]) -> tuple[x509.Certificate, ...]:
    """Read a chain and check all of it that does not depend on time.

    Raises:
        MalformedError: ``TIMESTAMP_AUTHORITY``.
    """
    if not MIN_CHAIN <= len(chain) <= MAX_CHAIN:
        raise _refused(f"a chain has {MIN_CHAIN} to {MAX_CHAIN} certificates", f"{len(chain)}")
    try:
        read = tuple(_load(der) for der in chain)
        _check_leaf(read[0])
        for below, issuer in enumerate(read[1:]):
            _check_issuer(issuer, below)
        for certificate, issuer in pairwise((*read, read[-1])):
            _check_issued(certificate, issuer)
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension) as error:
        raise _refused("this chain cannot be read", str(error)[:200]) from error
    return read


def _load(der: bytes) -> x509.Certificate:
    if len(der) > MAX_CERTIFICATE_BYTES:
        raise _refused("a certificate of this chain is too large", f"{len(der)} bytes")
    try:
        certificate = load(der)
    except MalformedError as error:
        raise _refused("a certificate of this chain cannot be read", str(error)[:200]) from error
    if certificate.version is not x509.Version.v3:
        raise _refused("a certificate is not of version 3")
    key = certificate.public_key()
    if isinstance(key, ec.EllipticCurvePublicKey):
        strong = isinstance(key.curve, _CURVES)
    else:
        strong = isinstance(key, rsa.RSAPublicKey) and key.key_size >= MIN_RSA_BITS
    if not strong:
        raise _refused("a key of this chain is of no accepted kind", type(key).__name__.strip("_"))
    for extension in certificate.extensions:
        if extension.critical and extension.oid not in _UNDERSTOOD:
            raise _refused("a critical extension is not understood", extension.oid.dotted_string)
    return certificate


def _check_leaf(leaf: x509.Certificate) -> None:
    # RFC 3161 §2.3: this purpose, only this purpose, and critical.
    usage = _extension(leaf, x509.ExtendedKeyUsage)
    if (
        usage is None
        or not usage.critical
        or list(usage.value) != [ExtendedKeyUsageOID.TIME_STAMPING]
    ):
        raise _refused(
            "the first certificate is not one for timestamps, and for nothing else",
            "no extended key usage" if usage is None else _usage_text(usage),
        )
    constraints = _extension(leaf, x509.BasicConstraints)
    if constraints is not None and constraints.value.ca:
        raise _refused("the first certificate is an authority over certificates")
    key_usage = _extension(leaf, x509.KeyUsage)
    if key_usage is not None and not (
        key_usage.value.digital_signature or key_usage.value.content_commitment
    ):
        raise _refused("the first certificate's key may not sign")


def _check_issuer(issuer: x509.Certificate, below: int) -> None:
    """``issuer`` may issue; ``below`` counts the issuers between it and the leaf."""
    constraints = _extension(issuer, x509.BasicConstraints)
    if constraints is None or not constraints.value.ca:
        raise _refused(
            "an issuer is no authority over certificates", issuer.subject.rfc4514_string()
        )
    if constraints.value.path_length is not None and constraints.value.path_length < below:
        raise _refused("the chain is longer than an issuer allows")
    key_usage = _extension(issuer, x509.KeyUsage)
    if key_usage is not None and not key_usage.value.key_cert_sign:
        raise _refused("an issuer's key may not sign certificates")
    usage = _extension(issuer, x509.ExtendedKeyUsage)
    if usage is not None and not {
        ExtendedKeyUsageOID.TIME_STAMPING,
        ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
    }.intersection(usage.value):
        raise _refused("an issuer is not one for timestamps", _usage_text(usage))


def _check_issued(certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    try:
        certificate.verify_directly_issued_by(issuer)
    except InvalidSignature as error:
        raise _refused(
            "a certificate's signature does not verify", certificate.subject.rfc4514_string()
        ) from error
    except ValueError as error:
        raise _refused(
            "each certificate must be issued by the next, and the last by itself", str(error)
        ) from error


def _extension(certificate: x509.Certificate, kind: type[_E]) -> x509.Extension[_E] | None:
    try:
        return certificate.extensions.get_extension_for_class(kind)
    except x509.ExtensionNotFound:
        return None


def _usage_text(usage: x509.Extension[x509.ExtendedKeyUsage]) -> str:
    purposes: Iterable[str] = (purpose.dotted_string for purpose in usage.value)
    return f"{'critical ' if usage.critical else ''}{' '.join(purposes)}"[:200]


def _refused(what: str, actual: str = "") -> MalformedError:
    return MalformedError(
        Reason.TIMESTAMP_AUTHORITY,
        what,
        actual=actual,
        hint="give the authority's certificate first, then its issuers, the root last",
    )
