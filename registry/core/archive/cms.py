"""Signed data (RFC 5652), as far as timestamps use it: one signer, named by issuer and serial.

Declarations only. What is not declared is refused: revocation lists, unsigned attributes, signers
named by key identifier, algorithm parameters other than NULL.
"""

from typing import Annotated, Final

from cryptography import x509
from cryptography.hazmat import asn1

SIGNED_DATA: Final = x509.ObjectIdentifier("1.2.840.113549.1.7.2")
"""The content type of signed data (RFC 5652 §5.1)."""

CONTENT_TYPE: Final = x509.ObjectIdentifier("1.2.840.113549.1.9.3")
"""The signed attribute that repeats the type of what is signed (RFC 5652 §11.1)."""

MESSAGE_DIGEST: Final = x509.ObjectIdentifier("1.2.840.113549.1.9.4")
"""The signed attribute with the digest of what is signed (RFC 5652 §11.2)."""

SIGNING_TIME: Final = x509.ObjectIdentifier("1.2.840.113549.1.9.5")
"""The signed attribute with the time by the signer's clock (RFC 5652 §11.3)."""

SIGNING_CERTIFICATE_V2: Final = x509.ObjectIdentifier("1.2.840.113549.1.9.16.2.47")
"""The signed attribute that binds the signer's certificate (RFC 5035 §3)."""

SIGNED_DATA_VERSION: Final = 3
"""RFC 5652 §5.1: the version, if what is signed is not plain data."""

SIGNER_VERSION: Final = 1
"""RFC 5652 §5.3: the version, if the signer is named by issuer and serial number."""


@asn1.sequence
class AlgorithmIdentifier:
    """An algorithm (RFC 5280 §4.1.1.2)."""

    algorithm: x509.ObjectIdentifier
    parameters: asn1.Null | None = None


@asn1.sequence
class Attribute:
    """One signed attribute; all that matter here have a single value."""

    type: x509.ObjectIdentifier
    values: asn1.SetOf[asn1.TLV]


@asn1.sequence
class IssuerAndSerialNumber:
    """Names a certificate."""

    issuer: asn1.TLV
    serial_number: int


@asn1.sequence
class SignerInfo:
    """One signature, over the DER set of its signed attributes."""

    version: int
    sid: IssuerAndSerialNumber
    digest_algorithm: AlgorithmIdentifier
    signed_attributes: Annotated[asn1.SetOf[Attribute], asn1.Implicit(0)]
    signature_algorithm: AlgorithmIdentifier
    signature: bytes


@asn1.sequence
class EncapsulatedContent:
    """What is signed, with its type."""

    type: x509.ObjectIdentifier
    content: Annotated[bytes, asn1.Explicit(0)]


@asn1.sequence
class SignedData:
    """Content and signatures; the certificates may stand in any order, or be missing."""

    version: int
    digest_algorithms: asn1.SetOf[AlgorithmIdentifier]
    content: EncapsulatedContent
    certificates: Annotated[list[asn1.TLV] | None, asn1.Implicit(0)] = None
    signers: asn1.SetOf[SignerInfo]


@asn1.sequence
class ContentInfo:
    """The outermost shell (RFC 5652 §3)."""

    type: x509.ObjectIdentifier
    content: Annotated[SignedData, asn1.Explicit(0)]


@asn1.sequence
class IssuerSerial:
    """Names a certificate once more (RFC 5035 §5); the issuer is a list of one directory name."""

    issuer: list[asn1.TLV]
    serial_number: int


@asn1.sequence
class ESSCertIDv2:
    """The digest of a certificate (RFC 5035 §4); no algorithm means SHA-256."""

    hash_algorithm: AlgorithmIdentifier | None = None
    cert_hash: bytes
    issuer_serial: IssuerSerial | None = None


@asn1.sequence
class SigningCertificateV2:
    """Which certificates the signer meant (RFC 5035 §3); the first is the signer's own."""

    certs: list[ESSCertIDv2]
    policies: list[asn1.TLV] | None = None
