"""Signing certificates: a P-256 key, who signs with it, and who vouches for that.

What Fulcio issues: short-lived, one critical SAN, the OIDC issuer as an extension
(https://github.com/sigstore/fulcio/blob/main/docs/oid-info.md).
"""

from dataclasses import dataclass
from typing import Final, Self

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from registry.core.certificates.chain import (
    CODE_SIGNING,
    Window,
    check_critical,
    check_usage,
    find,
    load,
    malformed,
)
from registry.core.keys import PublicKey

ISSUER_RAW: Final = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
"""Fulcio: the OIDC issuer as bare bytes."""

ISSUER: Final = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8")
"""Fulcio: the OIDC issuer as a DER UTF8String."""

OTHER_NAME: Final = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.7")
"""Fulcio: an identity that is neither a URI nor an e-mail address, as a DER UTF8String."""

_MAX_SHORT_LENGTH = 0x80
_UTF8_STRING = 0x0C


@dataclass(frozen=True, slots=True)
class SigningCertificate:
    """A signer's certificate.

    Attributes:
        der: The certificate as it was issued.
        key: The signer's P-256 key.
        identity: Who signs: a URI, an e-mail address, or another name.
        issuer: Who vouches for the identity: the URL of an OIDC issuer.
        window: When the key may have been used.
    """

    der: bytes
    key: PublicKey
    identity: str
    issuer: str
    window: Window

    @classmethod
    def parse(cls, der: bytes) -> Self:
        """Read a signing certificate without judging who issued it.

        Raises:
            MalformedError: ``MALFORMED_CERTIFICATE``, or ``KEY_ALGORITHM`` for other keys than
                P-256.
        """
        certificate = load(der)
        spki = certificate.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        key = PublicKey.parse(spki)
        check_critical(certificate)
        constraints = find(certificate, x509.BasicConstraints)
        if constraints is not None and constraints.ca:
            raise malformed("it is for an authority, not for a signer")
        check_usage(certificate, CODE_SIGNING)
        return cls(
            der,
            key,
            _identity(certificate),
            _issuer(certificate),
            Window(certificate.not_valid_before_utc, certificate.not_valid_after_utc),
        )


def _identity(certificate: x509.Certificate) -> str:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        raise malformed("it names nobody") from None
    names = list(extension.value)
    # RFC 5280 §4.2.1.6: a name that stands alone must not be overlooked.
    if len(names) != 1 or not (extension.critical or list(certificate.subject)):
        raise malformed("it must name exactly one identity, critically", f"{len(names)} names")
    name = names[0]
    if isinstance(name, x509.UniformResourceIdentifier | x509.RFC822Name):
        text = name.value
    elif isinstance(name, x509.OtherName) and name.type_id == OTHER_NAME:
        text = _utf8(name.value)
    else:
        raise malformed("its identity is of an unknown kind", type(name).__name__)
    if not text:
        raise malformed("its identity is empty")
    return text


def _issuer(certificate: x509.Certificate) -> str:
    found = []
    for oid in (ISSUER, ISSUER_RAW):
        try:
            value = certificate.extensions.get_extension_for_oid(oid).value
        except x509.ExtensionNotFound:
            continue
        raw = value.value if isinstance(value, x509.UnrecognizedExtension) else b""
        try:
            found.append(_utf8(raw) if oid == ISSUER else raw.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise malformed("its issuer is not UTF-8") from error
    if not found or not found[0] or found[0] != found[-1]:
        raise malformed("it does not say, in one way, who vouches for the identity")
    return found[0]


def _utf8(der: bytes) -> str:
    """The text of a DER UTF8String, in its one encoding."""
    size = len(der)
    # Lengths of one, two and three bytes are all that MAX_CERTIFICATE_BYTES leaves room for.
    for head in (2, 3, 4):
        body = der[head:]
        if utf8_string(body) == der and size >= head:
            try:
                return body.decode("utf-8")
            except UnicodeDecodeError as error:
                raise malformed("a text in it is not UTF-8") from error
    raise malformed("a text in it is not a DER UTF8String")


def utf8_string(text: bytes) -> bytes:
    """``text`` as a DER UTF8String (X.690 §8.1.3, §10.1: the shortest length)."""
    size = len(text)
    if size < _MAX_SHORT_LENGTH:
        return bytes((_UTF8_STRING, size)) + text
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((_UTF8_STRING, _MAX_SHORT_LENGTH | len(length))) + length + text
