"""A certificate authority with a CT log of its own, whose certificates can be wrong on purpose."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from registry.core.certificates.chain import Authority, Window
from registry.core.certificates.sct import CTKey, signed_bytes
from registry.core.certificates.signing import ISSUER, ISSUER_RAW, utf8_string
from registry.core.keys import PublicKey
from tests.authorities import NOON

IDENTITY = "https://ci.example/acme/scorer/release.yml@refs/heads/main"
OIDC_ISSUER = "https://token.ci.example"

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
PublicKeys = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey
Change = Callable[[x509.CertificateBuilder], x509.CertificateBuilder]

_SCT_LIST = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")


def spki(key: Key) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def p256(number: int) -> ec.EllipticCurvePrivateKey:
    """The same key in every run."""
    return ec.derive_private_key(number, ec.SECP256R1())


def name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def usage(*, sign: bool = False, certify: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certify,
        crl_sign=certify,
        encipher_only=False,
        decipher_only=False,
    )


def signed(builder: x509.CertificateBuilder, key: Key) -> x509.Certificate:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return builder.sign(key, None)
    deterministic = True if isinstance(key, ec.EllipticCurvePrivateKey) else None
    return builder.sign(key, hashes.SHA256(), ecdsa_deterministic=deterministic)


@dataclass
class CA:
    """One authority: its key, its certificate, and the certificates above it."""

    key: Key
    certificate: x509.Certificate
    above: tuple[bytes, ...] = ()

    @classmethod
    def root(
        cls,
        common: str = "root",
        *,
        key: Key | None = None,
        path_length: int | None = 1,
        days: int = 400,
    ) -> "CA":
        own = key or p256(11)
        return cls(own, _authority(common, own, name(common), own, path_length, days))

    def below(
        self,
        common: str,
        *,
        key: Key | None = None,
        path_length: int | None = 0,
        days: int = 300,
        change: Change = lambda builder: builder,
    ) -> "CA":
        """An authority that this one vouches for."""
        own = key or p256(12)
        made = _authority(
            common, own, self.certificate.subject, self.key, path_length, days, change
        )
        return CA(own, made, self.chain)

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def chain(self) -> tuple[bytes, ...]:
        return (self.der, *self.above)

    def authority(self, window: Window | None = None) -> Authority:
        return Authority(self.chain, window or Window(NOON - timedelta(days=365)))


def _authority(  # noqa: PLR0917 - private, and each is a part of the certificate
    common: str,
    key: Key,
    issuer: x509.Name,
    issuer_key: Key,
    path_length: int | None,
    days: int,
    change: Change = lambda builder: builder,
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(common))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOON - timedelta(days=days))
        .not_valid_after(NOON + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(usage(certify=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
    )
    return signed(change(builder), issuer_key)


@dataclass
class Leaf:
    """What a signing certificate shall say; the defaults are what Fulcio would."""

    key: Key = field(default_factory=lambda: p256(21))
    names: tuple[x509.GeneralName, ...] = (x509.UniformResourceIdentifier(IDENTITY),)
    names_critical: bool = True
    subject: x509.Name = field(default_factory=lambda: x509.Name([]))
    issuer: bytes | None = utf8_string(OIDC_ISSUER.encode())
    issuer_raw: bytes | None = OIDC_ISSUER.encode()
    purpose: x509.ObjectIdentifier = ExtendedKeyUsageOID.CODE_SIGNING
    sign: bool = True
    start: datetime = NOON - timedelta(minutes=5)
    end: datetime = NOON + timedelta(minutes=5)
    change: Change = lambda builder: builder

    def builder(self, ca: CA) -> x509.CertificateBuilder:
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.subject)
            .issuer_name(ca.certificate.subject)
            .public_key(self.key.public_key())
            .serial_number(4711)
            .not_valid_before(self.start)
            .not_valid_after(self.end)
            .add_extension(usage(sign=self.sign), critical=True)
            .add_extension(x509.ExtendedKeyUsage([self.purpose]), critical=False)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.key.public_key()),
                critical=False,
            )
        )
        if self.names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName(self.names), critical=self.names_critical
            )
        for oid, value in ((ISSUER, self.issuer), (ISSUER_RAW, self.issuer_raw)):
            if value is not None:
                builder = builder.add_extension(x509.UnrecognizedExtension(oid, value), False)
        return self.change(builder)

    def plain(self, ca: CA) -> bytes:
        """The certificate without an SCT."""
        return signed(self.builder(ca), ca.key).public_bytes(serialization.Encoding.DER)


@dataclass
class CTLog:
    """A certificate transparency log that promises whatever it is asked to."""

    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: p256(31))
    made_at: datetime = NOON - timedelta(minutes=5)
    extensions: bytes = b""
    count: int = 1

    def trusted(self, window: Window | None = None) -> CTKey:
        return CTKey(PublicKey.parse(spki(self.key)), window or Window(NOON - timedelta(days=365)))

    def certify(self, ca: CA, leaf: Leaf) -> bytes:
        """The certificate with this log's SCT (or ``count`` of them)."""
        body = signed(leaf.builder(ca), ca.key).tbs_certificate_bytes
        signature = self.key.sign(
            signed_bytes(self.made_at, spki(ca.key), body, self.extensions),
            ec.ECDSA(hashes.SHA256(), deterministic_signing=True),
        )
        milliseconds = (self.made_at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(
            milliseconds=1
        )
        sct = b"".join(
            (
                b"\x00",
                self.trusted().log_id,
                milliseconds.to_bytes(8, "big"),
                len(self.extensions).to_bytes(2, "big"),
                self.extensions,
                b"\x04\x03",
                len(signature).to_bytes(2, "big"),
                signature,
            )
        )
        items = (len(sct).to_bytes(2, "big") + sct) * self.count
        listed = len(items).to_bytes(2, "big") + items
        # A DER OCTET STRING within the extension's own.
        value = b"\x04" + utf8_string(listed)[1:]
        builder = leaf.builder(ca).add_extension(
            x509.UnrecognizedExtension(_SCT_LIST, value), critical=False
        )
        return signed(builder, ca.key).public_bytes(serialization.Encoding.DER)
