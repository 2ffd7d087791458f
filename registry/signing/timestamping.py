"""A timestamp authority of one's own: RFC 3161 answers, signed with a P-256 key under its own root.

Both keys are the authority's alone, never the log's. Who believes it pins its chain. The clock is
the caller's: an answer is made for a given time, and none for a time that goes backwards.
"""

import hashlib
import secrets
import threading
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Self

from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from registry.core import der
from registry.core.archive import cms, tsp
from registry.core.archive.authority import MAX_PEM_BYTES, Authority, certificates
from registry.core.archive.tsp import Failure, Request, Status
from registry.errors import LimitExceededError, MalformedError, Reason

ACCURACY: Final = timedelta(seconds=1)
"""How far a stamp may be from the clock: it says whole seconds."""

ROOT_LIFE: Final = timedelta(days=20 * 365)
"""How long the root is valid."""

LEAF_LIFE: Final = timedelta(days=10 * 365)
"""How long the authority's own certificate is valid."""

SERIAL_BYTES: Final = 16
"""Random bytes of a token's serial number: no two are alike, whatever crashes in between."""

MAX_NAME_CHARACTERS: Final = 64
"""Characters of a common name (RFC 5280, ub-common-name)."""

_ECDSA = ec.ECDSA(hashes.SHA256())
_ECDSA_WITH_SHA256: Final = x509.ObjectIdentifier("1.2.840.10045.4.3.2")
_SHA256: Final = next(oid for oid, name in tsp.HASHES.items() if name == "sha256")


class TimestampSigner:
    """Answers requests for timestamps. Any number of threads may use one."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, authority: Authority, policy: str) -> None:
        """Answer with ``key``, whose certificate stands first in ``authority``'s chain.

        Raises:
            MalformedError: ``TIMESTAMP_AUTHORITY`` if the certificate is for another key,
                ``BAD_SETTING`` if ``policy`` is no object identifier.
        """
        self._certificate = certificates(authority.chain)[0]
        if _spki(self._certificate.public_key()) != _spki(key.public_key()):
            raise MalformedError(
                Reason.TIMESTAMP_AUTHORITY, "the timestamp key is not the certificate's"
            )
        try:
            self._policy = x509.ObjectIdentifier(policy)
        except ValueError as error:
            raise MalformedError(
                Reason.BAD_SETTING,
                "a policy is named by an object identifier",
                actual=policy[:80],
                expected="such as 1.3.6.1.4.1.57264.2",
            ) from error
        self._key = key
        self.authority = authority
        self._lock = threading.Lock()
        self._latest: datetime | None = None

    @classmethod
    def generate(cls, name: str, policy: str, at: datetime) -> Self:
        """A new authority with new keys, in memory."""
        root, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        return cls(key, issue_chain(name, root, key, at), policy)

    def answer(self, request: bytes, at: datetime) -> tuple[bytes, bool]:
        """The response to a request that came at ``at``, and whether it grants a token."""
        try:
            asked = Request.parse(request)
        except (MalformedError, LimitExceededError) as error:
            return _rejection(Failure.BAD_DATA_FORMAT, error.what), False
        if not asked.algorithm:
            return _rejection(Failure.BAD_ALG, "the digest algorithm is not accepted"), False
        if asked.policy not in ("", self._policy.dotted_string):
            return _rejection(Failure.UNACCEPTED_POLICY, "there is one policy here"), False
        if asked.extensions:
            return _rejection(Failure.UNACCEPTED_EXTENSION, "no extension is understood"), False
        stamp = self._stamp(at)
        if stamp is None:
            return _rejection(Failure.TIME_NOT_AVAILABLE, "the clock cannot be believed"), False
        status = tsp.PKIStatusInfo(status=int(Status.GRANTED))
        return der.write(tsp.TimeStampResp(status=status, token=self._token(asked, stamp))), True

    def _stamp(self, at: datetime) -> datetime | None:
        """The time to put into a token; None if ``at`` cannot be the time."""
        stamp = at.replace(microsecond=0)
        start, end = self._certificate.not_valid_before_utc, self._certificate.not_valid_after_utc
        with self._lock:
            back = self._latest is not None and stamp + ACCURACY < self._latest
            if back or not start <= stamp <= end:
                return None
            # Clocks are set back a little all the time; the stamps of one process never go back.
            stamp = self._latest = max(stamp, self._latest or stamp)
            return stamp

    def _token(self, asked: Request, stamp: datetime) -> cms.ContentInfo:
        content = der.write(
            tsp.TSTInfo(
                version=1,
                policy=self._policy,
                message_imprint=asked.message_imprint(),
                serial_number=int.from_bytes(secrets.token_bytes(SERIAL_BYTES), "big"),
                gen_time=asn1.GeneralizedTime(stamp),
                accuracy=tsp.Accuracy(seconds=int(ACCURACY.total_seconds())),
                nonce=asked.nonce,
            )
        )
        certificate = self._certificate.public_bytes(Encoding.DER)
        binding = cms.SigningCertificateV2(
            certs=[cms.ESSCertIDv2(cert_hash=hashlib.sha256(certificate).digest())]
        )
        attributes = asn1.SetOf(
            [
                _attribute(cms.CONTENT_TYPE, der.write(tsp.TST_INFO)),
                _attribute(cms.MESSAGE_DIGEST, der.write(hashlib.sha256(content).digest())),
                _attribute(cms.SIGNING_CERTIFICATE_V2, der.write(binding)),
            ]
        )
        sha256 = cms.AlgorithmIdentifier(algorithm=_SHA256)
        signer = cms.SignerInfo(
            version=cms.SIGNER_VERSION,
            sid=cms.IssuerAndSerialNumber(
                issuer=_any(self._certificate.issuer.public_bytes()),
                serial_number=self._certificate.serial_number,
            ),
            digest_algorithm=sha256,
            signed_attributes=attributes,
            signature_algorithm=cms.AlgorithmIdentifier(algorithm=_ECDSA_WITH_SHA256),
            signature=self._key.sign(der.write(attributes), _ECDSA),
        )
        return cms.ContentInfo(
            type=cms.SIGNED_DATA,
            content=cms.SignedData(
                version=cms.SIGNED_DATA_VERSION,
                digest_algorithms=asn1.SetOf([sha256]),
                content=cms.EncapsulatedContent(type=tsp.TST_INFO, content=content),
                certificates=[_any(certificate)] if asked.with_certificate else None,
                signers=asn1.SetOf([signer]),
            ),
        )


def issue_chain(
    name: str, root: ec.EllipticCurvePrivateKey, key: ec.EllipticCurvePrivateKey, at: datetime
) -> Authority:
    """Certify ``key`` as the timestamp authority of ``name``, from ``at`` on."""
    root_name, leaf_name = _name(name, "timestamp root"), _name(name, "timestamp authority")
    root_certificate = (
        _certificate(root_name, root_name, root, at, ROOT_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(ca=True), critical=True)
        .add_extension(_subject_key(root), critical=False)
        .sign(root, hashes.SHA256())
    )
    leaf_certificate = (
        _certificate(leaf_name, root_name, key, at, LEAF_LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), critical=True)
        .add_extension(_subject_key(key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key()), critical=False
        )
        .sign(root, hashes.SHA256())
    )
    issued: Sequence[x509.Certificate] = (leaf_certificate, root_certificate)
    return Authority(tuple(each.public_bytes(Encoding.DER) for each in issued))


def _name(name: str, role: str) -> x509.Name:
    common = f"{name[: MAX_NAME_CHARACTERS - len(role) - 1]} {role}"
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, name[:MAX_NAME_CHARACTERS]),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    at: datetime,
    life: timedelta,
) -> x509.CertificateBuilder:
    start = at.replace(microsecond=0)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + life)
    )


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _subject_key(key: ec.EllipticCurvePrivateKey) -> x509.SubjectKeyIdentifier:
    return x509.SubjectKeyIdentifier.from_public_key(key.public_key())


def _spki(key: object) -> bytes:
    if not isinstance(key, ec.EllipticCurvePublicKey):
        return b""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _attribute(kind: x509.ObjectIdentifier, value: bytes) -> cms.Attribute:
    return cms.Attribute(type=kind, values=asn1.SetOf([_any(value)]))


def _any(data: bytes) -> asn1.TLV:
    return asn1.decode_der(asn1.TLV, data)


def _rejection(failure: Failure, words: str) -> bytes:
    size = failure // 8 + 1
    bits = bytearray(size)
    bits[-1] = 0x80 >> failure % 8
    status = tsp.PKIStatusInfo(
        status=int(Status.REJECTION),
        status_string=[words],
        fail_info=asn1.BitString(bytes(bits), 7 - failure % 8),
    )
    return der.write(tsp.TimeStampResp(status=status))


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A private key as it is kept in a file."""
    return key.private_bytes(
        Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def read_chain(path: Path) -> Authority:
    """A chain of certificates from a PEM file, the authority's own first.

    Raises:
        MalformedError: ``TIMESTAMP_AUTHORITY``, or ``BAD_SETTING`` if the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_PEM_BYTES + 1)
    except OSError as error:
        raise MalformedError(
            Reason.BAD_SETTING, "this file cannot be read", where=str(path), actual=str(error)
        ) from error
    return Authority.parse_pem(data)
