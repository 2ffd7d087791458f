"""A request to log one signature, as clients of Rekor v2 send it.

Either the JSON body of ``POST /api/v2/log/entries`` or the same as protobuf. The checks and their
order are those of rekor-tiles, but for one: ECDSA on P-256 with SHA-256 is the only algorithm.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import msgspec
from msgspec import UNSET, UnsetType

from registry.core import encoding
from registry.core.certificates.signing import SigningCertificate
from registry.core.digest import SHA256_SIZE
from registry.core.encoding import Value
from registry.core.keys import ALGORITHM, PublicKey
from registry.core.tlog.entry import Entry
from registry.errors import MalformedError, Reason

MAX_REQUEST_BYTES = 4 * 1024 * 1024
"""Bytes of a request, as Rekor has it; ours take about 3 KiB with a certificate."""


KNOWN_SIGNERS = 1024
"""Keys and certificates that are kept read, at most."""

_STRINGS = 12


class _RawBytes(Value, frozen=True, rename="camel"):
    raw_bytes: str | UnsetType = UNSET


class _Verifier(Value, frozen=True):
    keyDetails: str | UnsetType = UNSET  # noqa: N815 - protobuf's spelling
    publicKey: _RawBytes | UnsetType = UNSET  # noqa: N815
    x509Certificate: _RawBytes | UnsetType = UNSET  # noqa: N815


class _Signature(Value, frozen=True):
    content: str | UnsetType = UNSET
    verifier: _Verifier | UnsetType = UNSET


class _HashedRekord(Value, frozen=True):
    digest: str | UnsetType = UNSET
    signature: _Signature | UnsetType = UNSET


class _Request(Value, frozen=True):
    hashedRekordRequestV002: _HashedRekord | UnsetType = UNSET  # noqa: N815


@dataclass(frozen=True, slots=True)
class EntryRequest:
    """What is asked for, field by field; what was left out is empty.

    Attributes:
        digest: SHA-256 of the artifact, or of a DSSE envelope's PAE.
        signature: DER ECDSA.
        key_details: How Sigstore names the signature's algorithm.
        key_der: The signer's SubjectPublicKeyInfo.
        certificate_der: The signer's certificate.
    """

    digest: bytes
    signature: bytes
    key_details: str
    key_der: bytes
    certificate_der: bytes

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read the JSON of a request: any spelling, but no member that is not known.

        Raises:
            MalformedError: ``MALFORMED_JSON``, ``MALFORMED_FIELD`` or ``MALFORMED_BASE64``.
        """
        request = _read(data)
        record = _required(request.hashedRekordRequestV002, "hashedRekordRequestV002")
        signature = _required(record.signature, "signature")
        verifier = _required(signature.verifier, "signature.verifier")
        return cls(
            _bytes(record.digest),
            _bytes(signature.content),
            "" if isinstance(verifier.keyDetails, UnsetType) else verifier.keyDetails,
            _raw(verifier.publicKey),
            _raw(verifier.x509Certificate),
        )

    def verified(self) -> "VerifiedRequest":
        """Check everything about a request that needs no policy and no log.

        Raises:
            MalformedError: ``MALFORMED_FIELD`` for what is missing or of another length,
                ``MALFORMED_KEY``, ``MALFORMED_CERTIFICATE``, ``KEY_ALGORITHM`` or
                ``MALFORMED_SIGNATURE``.
            VerificationError: ``BAD_SIGNATURE``.
        """
        for value, name in (
            (self.signature, "signature.content"),
            (self.digest, "digest"),
            (self.key_der + self.certificate_der, "signature.verifier"),
        ):
            if not value:
                raise _missing(name)
        if self.key_der and self.certificate_der:
            raise MalformedError(
                Reason.MALFORMED_FIELD,
                "a signature is by a key or by a certificate, not by both",
                where="signature.verifier",
            )
        certificate = None
        if self.certificate_der:
            certificate = _certificate(self.certificate_der)
            key = certificate.key
        else:
            key = _key(self.key_der)
        if self.key_details != ALGORITHM:
            raise MalformedError(
                Reason.KEY_ALGORITHM,
                "signatures are logged with ECDSA on P-256 and SHA-256 only",
                where="signature.verifier.keyDetails",
                expected=ALGORITHM,
                actual=self.key_details[:64],
            )
        if len(self.digest) != SHA256_SIZE:
            raise MalformedError(
                Reason.MALFORMED_FIELD,
                "the digest is not a SHA-256",
                where="digest",
                expected=f"{SHA256_SIZE} bytes",
                actual=f"{len(self.digest)} bytes",
            )
        key.verify_digest(self.signature, self.digest)
        entry = Entry(
            digest=self.digest,
            signature=self.signature,
            key_der=key.der,
            certificate_der=self.certificate_der,
        )
        return VerifiedRequest(entry, key, certificate)


@dataclass(frozen=True, slots=True)
class VerifiedRequest:
    """A signature that holds. Who may have it logged is another question.

    Attributes:
        certificate: The signer's certificate, not judged so far; None for a bare key.
    """

    entry: Entry
    key: PublicKey
    certificate: SigningCertificate | None


# The same few keys sign most of what comes.
_key = lru_cache(KNOWN_SIGNERS)(PublicKey.parse)
_certificate = lru_cache(KNOWN_SIGNERS)(SigningCertificate.parse)
_decoder = msgspec.json.Decoder(_Request)


def _read(data: bytes) -> _Request:
    """The members of a request: quickly if it can be seen that none of them stands there twice."""
    # A complete request has eight members and four texts. If all eight are there and these are all
    # the strings there are, then none is there twice, and no null, and nothing is escaped.
    if b"\\" not in data and data.count(b'"') == 2 * _STRINGS:
        try:
            request = _decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass
        else:
            if _is_complete(request):
                return request
    return encoding.read_proto_json(data, _Request, what="request to log a signature")


def _is_complete(request: _Request) -> bool:
    record = request.hashedRekordRequestV002
    if isinstance(record, UnsetType) or isinstance(record.signature, UnsetType):
        return False
    verifier = record.signature.verifier
    if isinstance(verifier, UnsetType):
        return False
    key, certificate = verifier.publicKey, verifier.x509Certificate
    signer = certificate if isinstance(key, UnsetType) else key
    texts = (record.digest, record.signature.content, verifier.keyDetails)
    return (
        isinstance(key, UnsetType) != isinstance(certificate, UnsetType)
        and not isinstance(signer, UnsetType)
        and not any(isinstance(text, UnsetType) for text in (*texts, signer.raw_bytes))
    )


def _required(value: encoding.T | UnsetType, name: str) -> encoding.T:
    if isinstance(value, UnsetType):
        raise _missing(name)
    return value


def _missing(name: str) -> MalformedError:
    return MalformedError(Reason.MALFORMED_FIELD, "a field of the request is missing", where=name)


def _bytes(text: str | UnsetType) -> bytes:
    return b"" if isinstance(text, UnsetType) else encoding.base64_bytes(text)


def _raw(value: _RawBytes | UnsetType) -> bytes:
    return b"" if isinstance(value, UnsetType) else _bytes(value.raw_bytes)
