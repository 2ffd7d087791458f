"""The exact bytes of one leaf: a Rekor v2 ``hashedrekord`` 0.0.2 over SHA-256(PAE).

Every Sigstore client derives these bytes from a bundle by itself, so one other byte breaks them.
What we have to say goes into the signed in-toto predicate, never into the entry. The signer is
named by a public key or by an X.509 certificate for one.
"""

from typing import Literal

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from registry.core import encoding
from registry.core.certificates.chain import load
from registry.core.digest import SHA256_SIZE
from registry.core.encoding import Value
from registry.core.keys import ALGORITHM, PublicKey, parse_signature
from registry.errors import MalformedError, Reason

MAX_ENTRY_BYTES = 65_535
"""Bytes of an entry: tlog-tiles prefixes each with a 16-bit length."""

_TEMPLATE = (
    b'{"apiVersion":"0.0.2","kind":"hashedrekord","spec":{"hashedRekordV002":{"data":'
    b'{"algorithm":"SHA2_256","digest":"%s"},"signature":{"content":"%s","verifier":'
    b'{"keyDetails":"%s","%s":{"rawBytes":"%s"}}}}}}'
)
_KEY, _CERTIFICATE = b"publicKey", b"x509Certificate"


class _RawBytes(Value, frozen=True):
    rawBytes: str  # noqa: N815 - the specification's spelling


class _Verifier(Value, frozen=True):
    keyDetails: Literal["PKIX_ECDSA_P256_SHA_256"]  # noqa: N815
    publicKey: _RawBytes | msgspec.UnsetType = msgspec.UNSET  # noqa: N815
    x509Certificate: _RawBytes | msgspec.UnsetType = msgspec.UNSET  # noqa: N815


class _Signature(Value, frozen=True):
    content: str
    verifier: _Verifier


class _Data(Value, frozen=True):
    algorithm: Literal["SHA2_256"]
    digest: str


class _HashedRekord(Value, frozen=True):
    data: _Data
    signature: _Signature


class _Spec(Value, frozen=True):
    hashedRekordV002: _HashedRekord  # noqa: N815


class _Body(Value, frozen=True):
    apiVersion: Literal["0.0.2"]  # noqa: N815
    kind: Literal["hashedrekord"]
    spec: _Spec


class Entry(Value, frozen=True):
    """What one leaf says: ``signature`` by ``key_der`` over the message with digest ``digest``.

    Attributes:
        digest: SHA-256 of the artifact, or of a DSSE envelope's PAE.
        signature: Strict DER ECDSA.
        key_der: Canonical SubjectPublicKeyInfo of the signer's P-256 key.
        certificate_der: The signer's certificate; empty if the leaf names the bare key.
    """

    digest: bytes
    signature: bytes
    key_der: bytes
    certificate_der: bytes = b""

    def to_bytes(self) -> bytes:
        """The leaf's preimage."""
        if self.certificate_der:
            return write_certified(self.digest, self.signature, self.certificate_der)
        return write(self.digest, self.signature, self.key_der)


def write(digest: bytes, signature: bytes, key_der: bytes) -> bytes:
    """Write the leaf that records ``signature`` by the key ``key_der`` over ``digest``."""
    return _write(digest, signature, _KEY, key_der)


def write_certified(digest: bytes, signature: bytes, certificate_der: bytes) -> bytes:
    """Write the leaf that records ``signature`` by a certificate's key over ``digest``."""
    return _write(digest, signature, _CERTIFICATE, certificate_der)


def _write(digest: bytes, signature: bytes, member: bytes, verifier: bytes) -> bytes:
    return _TEMPLATE % (
        encoding.base64_text(digest).encode(),
        encoding.base64_text(signature).encode(),
        ALGORITHM.encode(),
        member,
        encoding.base64_text(verifier).encode(),
    )


def parse(body: bytes) -> Entry:
    """Read a leaf exactly.

    Raises:
        MalformedError: ``MALFORMED_ENTRY``.
    """
    if len(body) > MAX_ENTRY_BYTES:
        raise MalformedError(
            Reason.MALFORMED_ENTRY,
            "this entry is too long",
            expected=f"at most {MAX_ENTRY_BYTES} bytes",
            actual=f"{len(body)} bytes",
        )
    try:
        record = encoding.read_json(body, _Body, what="log entry").spec.hashedRekordV002
        digest = encoding.base64_bytes(record.data.digest)
        signature = encoding.base64_bytes(record.signature.content)
        parse_signature(signature)
        key_der, certificate_der = _signer(record.signature.verifier)
    except MalformedError as error:
        raise MalformedError(
            Reason.MALFORMED_ENTRY, "this is not a hashedrekord 0.0.2 entry", actual=str(error)
        ) from error
    if len(digest) != SHA256_SIZE:
        raise MalformedError(Reason.MALFORMED_ENTRY, "the digest in the entry is not a SHA-256")
    return Entry(
        digest=digest, signature=signature, key_der=key_der, certificate_der=certificate_der
    )


def certified_key(certificate_der: bytes) -> PublicKey:
    """The key of a certificate, without judging the certificate.

    Raises:
        MalformedError: ``MALFORMED_KEY``, or ``KEY_ALGORITHM`` for anything but P-256.
    """
    try:
        key = load(certificate_der).public_key()
    except MalformedError as error:
        raise MalformedError(
            Reason.MALFORMED_KEY, "this is not an X.509 certificate", actual=str(error)[:200]
        ) from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise MalformedError(
            Reason.KEY_ALGORITHM,
            "entries are signed with ECDSA on P-256 only",
            actual=type(key).__name__.strip("_"),
        )
    return PublicKey(key)


def _signer(verifier: _Verifier) -> tuple[bytes, bytes]:
    """The signer's key, and its certificate if the leaf names one."""
    key, certificate = verifier.publicKey, verifier.x509Certificate
    if isinstance(key, _RawBytes) and not isinstance(certificate, _RawBytes):
        return PublicKey.parse(encoding.base64_bytes(key.rawBytes)).der, b""
    if isinstance(certificate, _RawBytes) and not isinstance(key, _RawBytes):
        der = encoding.base64_bytes(certificate.rawBytes)
        return certified_key(der).der, der
    raise MalformedError(
        Reason.MALFORMED_ENTRY,
        "an entry names its signer in one way",
        expected="publicKey or x509Certificate",
    )
