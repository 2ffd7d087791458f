"""Timestamp authorities with real keys, and every defect that an authority can have.

An :class:`Authority` signs with its own P-256 or RSA key under its own root. What it says is built
from the declarations of :mod:`registry.core.archive`, and each part can be replaced by a wrong one.
"""

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, TypeVar

from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from registry.core import der
from registry.core.archive import cms, tsp
from registry.core.archive.authority import Authority as Pinned

NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
"""When tokens are stamped, if a test does not say otherwise."""

START = NOON - timedelta(days=30)
END = NOON + timedelta(days=30)
POLICY = "1.3.6.1.4.1.57264.2"
OTHER_POLICY = "1.2.3.4.5"

_ECDSA = {
    "sha256": "1.2.840.10045.4.3.2",
    "sha384": "1.2.840.10045.4.3.3",
    "sha512": "1.2.840.10045.4.3.4",
}
_RSA = {"sha256": "1.2.840.113549.1.1.11"}
_HASHES: dict[str, hashes.HashAlgorithm] = {
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}

T = TypeVar("T")

_CURVES: dict[str, type[ec.EllipticCurve]] = {
    "P-256": ec.SECP256R1,
    "P-384": ec.SECP384R1,
    "secp256k1": ec.SECP256K1,
}

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@cache
def key(number: int, kind: str = "P-256") -> PrivateKey:
    """A key that stays the same within one run of the tests: making RSA keys takes long."""
    assert number >= 0
    if kind.startswith("RSA"):
        return rsa.generate_private_key(65537, int(kind.removeprefix("RSA").strip("-") or 2048))
    return ec.derive_private_key(100 + number, _CURVES[kind]())


def name(common: str) -> x509.Name:
    """A distinguished name."""
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "tests"),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )


@dataclass(frozen=True, kw_only=True)
class Certified:
    """How a certificate is made; every part can be wrong."""

    subject: str
    number: int
    kind: str = "P-256"
    ca: bool | None = False
    path_length: int | None = None
    start: datetime = START
    end: datetime = END
    purposes: tuple[x509.ObjectIdentifier, ...] | None = (ExtendedKeyUsageOID.TIME_STAMPING,)
    purposes_critical: bool = True
    signs: bool | None = True
    extra: tuple[tuple[x509.ExtensionType, bool], ...] = ()

    @property
    def key(self) -> PrivateKey:
        return key(self.number, self.kind)

    def issue(self, issuer: "Certified") -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(name(self.subject))
            .issuer_name(name(issuer.subject))
            .public_key(self.key.public_key())
            .serial_number(1000 + self.number)
            .not_valid_before(self.start)
            .not_valid_after(self.end)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), False
            )
        )
        if self.ca is not None:
            builder = builder.add_extension(
                x509.BasicConstraints(ca=self.ca, path_length=self.path_length), critical=True
            )
        if self.signs is not None:
            builder = builder.add_extension(
                x509.KeyUsage(
                    digital_signature=self.signs and not self.ca,
                    content_commitment=False,
                    key_encipherment=not self.signs,
                    data_encipherment=False,
                    key_agreement=False,
                    key_cert_sign=bool(self.signs and self.ca),
                    crl_sign=bool(self.ca),
                    encipher_only=False,
                    decipher_only=False,
                ),
                critical=True,
            )
        if self.purposes is not None:
            builder = builder.add_extension(
                x509.ExtendedKeyUsage(self.purposes), critical=self.purposes_critical
            )
        for extension, critical in self.extra:
            builder = builder.add_extension(extension, critical)
        deterministic = True if isinstance(issuer.key, ec.EllipticCurvePrivateKey) else None
        return builder.sign(issuer.key, hashes.SHA256(), ecdsa_deterministic=deterministic)


def root(subject: str = "root", number: int = 1, **parts: Any) -> Certified:
    """The recipe of a root."""
    defaults: dict[str, Any] = {"ca": True, "purposes": None}
    return Certified(subject=subject, number=number, **(defaults | parts))


def leaf(subject: str = "authority", number: int = 2, **parts: Any) -> Certified:
    """The recipe of an authority's own certificate."""
    return Certified(subject=subject, number=number, **parts)


@dataclass(frozen=True, kw_only=True)
class Authority:
    """Makes tokens, as the recipes of its chain (leaf first, root last) say."""

    recipes: tuple[Certified, ...] = field(default_factory=lambda: (leaf(), root()))

    @property
    def certificates(self) -> tuple[x509.Certificate, ...]:
        return _issue(self.recipes)

    @property
    def chain(self) -> tuple[bytes, ...]:
        return tuple(each.public_bytes(Encoding.DER) for each in self.certificates)

    def pinned(self, start: datetime | None = None, end: datetime | None = None) -> Pinned:
        """The authority as somebody pins it who believes it from ``start`` to ``end``."""
        return Pinned(self.chain, start, end)

    def token(
        self,
        message: bytes,
        *,
        at: datetime = NOON,
        algorithm: str = "sha256",
        digest_algorithm: str = "sha256",
        imprint: bytes | None = None,
        policy: str = POLICY,
        nonce: int | None = None,
        serial: int = 7,
        accuracy: tsp.Accuracy | None = None,
        embed: tuple[x509.Certificate, ...] = (),
        info: dict[str, Any] | None = None,
        signed: dict[str, Any] | None = None,
        signer: dict[str, Any] | None = None,
        attributes: dict[x509.ObjectIdentifier, bytes | None] | None = None,
        bound: dict[str, Any] | None = None,
        bind: x509.Certificate | None = None,
        key: PrivateKey | None = None,
    ) -> bytes:
        """A token over ``message``; the dictionaries replace parts of its structures."""
        own = self.certificates[0]
        digest = imprint if imprint is not None else hashlib.new(algorithm, message).digest()
        content = der.write(
            _made(
                tsp.TSTInfo,
                info,
                version=1,
                policy=x509.ObjectIdentifier(policy),
                message_imprint=tsp.MessageImprint(
                    hash_algorithm=identifier(algorithm), hashed_message=digest
                ),
                serial_number=serial,
                gen_time=asn1.GeneralizedTime(at),
                accuracy=accuracy,
                nonce=nonce,
            )
        )
        bound_digest = hashlib.sha256((bind or own).public_bytes(Encoding.DER)).digest()
        binding = cms.SigningCertificateV2(
            certs=[_made(cms.ESSCertIDv2, bound, cert_hash=bound_digest)]
        )
        values: dict[x509.ObjectIdentifier, bytes | None] = {
            cms.CONTENT_TYPE: der.write(tsp.TST_INFO),
            cms.MESSAGE_DIGEST: der.write(hashlib.new(digest_algorithm, content).digest()),
            cms.SIGNING_CERTIFICATE_V2: der.write(binding),
            **(attributes or {}),
        }
        signed_attributes = asn1.SetOf(
            [
                cms.Attribute(type=oid, values=asn1.SetOf([tlv(value)]))
                for oid, value in values.items()
                if value is not None
            ]
        )
        signature, oid = _sign(
            key or self.recipes[0].key, der.write(signed_attributes), digest_algorithm
        )
        signer_info = _made(
            cms.SignerInfo,
            signer,
            version=cms.SIGNER_VERSION,
            sid=cms.IssuerAndSerialNumber(
                issuer=tlv(own.issuer.public_bytes()), serial_number=own.serial_number
            ),
            digest_algorithm=identifier(digest_algorithm),
            signed_attributes=signed_attributes,
            signature_algorithm=cms.AlgorithmIdentifier(algorithm=oid),
            signature=signature,
        )
        embedded = [tlv(each.public_bytes(Encoding.DER)) for each in embed]
        signed_data = _made(
            cms.SignedData,
            signed,
            version=cms.SIGNED_DATA_VERSION,
            digest_algorithms=asn1.SetOf([identifier(digest_algorithm)]),
            content=cms.EncapsulatedContent(type=tsp.TST_INFO, content=content),
            certificates=embedded or None,
            signers=asn1.SetOf([signer_info]),
        )
        return der.write(cms.ContentInfo(type=cms.SIGNED_DATA, content=signed_data))


def _made(kind: type[T], changes: dict[str, Any] | None, **parts: Any) -> T:
    return kind(**(parts | (changes or {})))


def tlv(data: bytes) -> asn1.TLV:
    """One element of any type."""
    return asn1.decode_der(asn1.TLV, data)


@cache
def _issue(recipes: tuple[Certified, ...]) -> tuple[x509.Certificate, ...]:
    issuers = (*recipes[1:], recipes[-1])
    return tuple(recipe.issue(issuer) for recipe, issuer in zip(recipes, issuers, strict=True))


def _sign(key: PrivateKey, data: bytes, algorithm: str) -> tuple[bytes, x509.ObjectIdentifier]:
    if isinstance(key, rsa.RSAPrivateKey):
        signature = key.sign(data, padding.PKCS1v15(), _HASHES[algorithm])
        return signature, x509.ObjectIdentifier(_RSA[algorithm])
    signature = key.sign(data, ec.ECDSA(_HASHES[algorithm], deterministic_signing=True))
    return signature, x509.ObjectIdentifier(_ECDSA[algorithm])


def identifier(algorithm: str) -> cms.AlgorithmIdentifier:
    """The identifier of a digest algorithm; SHA-1 too, which nobody should take."""
    oid = {name: oid for oid, name in tsp.HASHES.items()} | {
        "sha1": x509.ObjectIdentifier("1.3.14.3.2.26")
    }
    return cms.AlgorithmIdentifier(algorithm=oid[algorithm])


def granted(token: bytes) -> bytes:
    """The response that grants ``token``."""
    shell = der.read(cms.ContentInfo, token, what="token")
    return der.write(tsp.TimeStampResp(status=tsp.PKIStatusInfo(status=0), token=shell))
