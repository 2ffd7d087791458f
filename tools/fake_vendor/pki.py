"""Certificates and CRLs of the fake vendor: whatever a test wants signed, by real keys."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

Hash = hashes.SHA256 | hashes.SHA384 | hashes.SHA512

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

START: Final = datetime(2025, 1, 1, tzinfo=UTC)
"""When the fake vendor opened."""

FOREVER: Final = timedelta(days=25 * 365)
"""How long its roots live."""


@cache
def p256(name: str) -> ec.EllipticCurvePrivateKey:
    """The P-256 key of that name: the same in every process."""
    return ec.derive_private_key(_secret(name, 256), ec.SECP256R1())


@cache
def p384(name: str) -> ec.EllipticCurvePrivateKey:
    """The P-384 key of that name: the same in every process."""
    return ec.derive_private_key(_secret(name, 384), ec.SECP384R1())


def _secret(name: str, bits: int) -> int:
    """A number below the order of a curve of that size, which begins with 32 ones."""
    return int.from_bytes(hashlib.sha512(name.encode()).digest(), "big") >> (512 - bits + 32)


@cache
def rsa4096(_name: str) -> rsa.RSAPrivateKey:
    """The RSA-4096 key of that name; takes a second or so."""
    return rsa.generate_private_key(65537, 4096)


@dataclass(frozen=True)
class Holder:
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: PrivateKey

    @property
    def der(self) -> bytes:
        """The certificate as DER."""
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self) -> bytes:
        """The certificate as PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)


def name(common: str, **more: str) -> x509.Name:
    """A distinguished name: ``O`` and ``C`` by keyword, the common name last."""
    oids = {"O": NameOID.ORGANIZATION_NAME, "C": NameOID.COUNTRY_NAME, "L": NameOID.LOCALITY_NAME}
    parts = [x509.NameAttribute(oids[kind], value) for kind, value in more.items()]
    return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, common)])


def issue(
    subject: x509.Name,
    key: PrivateKey,
    issuer: Holder | None,
    *,
    start: datetime = START,
    life: timedelta = FOREVER,
    ca: bool = True,
    path_length: int | None = None,
    serial: int | None = None,
    hash_: Hash | None = None,
    pss: bool = False,
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
    usage: bool = True,
) -> Holder:
    """Issue a certificate, by itself if there is no issuer.

    Args:
        subject: Whose certificate it is.
        key: Their key.
        issuer: Who signs.
        start: ``notBefore``.
        life: From ``notBefore`` to ``notAfter``.
        ca: Whether it may issue.
        path_length: How many authorities may follow.
        serial: The serial number; random if not stated.
        hash_: The hash of the signature; SHA-256 for P-256 issuers, else SHA-384.
        pss: Whether an RSA issuer signs with PSS (salt as long as the hash).
        extensions: Further extensions, and whether each is critical.
        usage: Whether to state basic constraints and key usage at all.
    """
    signer = issuer.key if issuer is not None else key
    curve = signer.curve if isinstance(signer, ec.EllipticCurvePrivateKey) else None
    chosen: Hash = hash_ or (
        hashes.SHA256() if isinstance(curve, ec.SECP256R1) else hashes.SHA384()
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer is not None else subject)
        .public_key(key.public_key())
        .serial_number(serial if serial is not None else _serial(subject, key, issuer))
        .not_valid_before(start)
        .not_valid_after(start + life)
    )
    if usage:
        builder = builder.add_extension(x509.BasicConstraints(ca, path_length), critical=True)
        builder = builder.add_extension(
            x509.KeyUsage(
                digital_signature=not ca,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=ca,
                crl_sign=ca,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    salted = padding.PSS(padding.MGF1(chosen), chosen.digest_size) if pss else None
    signed = builder.sign(signer, chosen, rsa_padding=salted, ecdsa_deterministic=_fixed(signer))
    return Holder(signed, key)


def _serial(subject: x509.Name, key: PrivateKey, issuer: Holder | None) -> int:
    """The same number for the same certificate, whichever process makes it."""
    spki = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    by = issuer.certificate.subject.public_bytes() if issuer is not None else b""
    named = b"\0".join((subject.public_bytes(), by, spki))
    return int.from_bytes(hashlib.sha256(named).digest()[:16], "big") | 1 << 120


def _fixed(signer: PrivateKey) -> bool | None:
    """Whether the signature shall be the same every time; RSA does not ask."""
    return True if isinstance(signer, ec.EllipticCurvePrivateKey) else None


def revocation_list(
    issuer: Holder,
    revoked: Sequence[tuple[int, datetime, x509.ReasonFlags | None]] = (),
    *,
    this_update: datetime = START,
    life: timedelta = timedelta(days=30),
    hash_: Hash | None = None,
    pss: bool = False,
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
) -> bytes:
    """A CRL as DER: serial number, revocation date and reason of each entry."""
    curve = issuer.key.curve if isinstance(issuer.key, ec.EllipticCurvePrivateKey) else None
    chosen: Hash = hash_ or (
        hashes.SHA256() if isinstance(curve, ec.SECP256R1) else hashes.SHA384()
    )
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(this_update)
        .next_update(this_update + life)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    for serial, date, reason in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(date)
        if reason is not None:
            entry = entry.add_extension(x509.CRLReason(reason), critical=False)
        builder = builder.add_revoked_certificate(entry.build())
    salted = padding.PSS(padding.MGF1(chosen), chosen.digest_size) if pss else None
    signed = builder.sign(
        issuer.key, chosen, rsa_padding=salted, ecdsa_deterministic=_fixed(issuer.key)
    )
    return signed.public_bytes(serialization.Encoding.DER)
