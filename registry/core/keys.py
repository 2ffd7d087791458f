"""Public keys of statements: ECDSA P-256 with SHA-256, and nothing else.

Other algorithms verify in some Sigstore clients and not in others; P-256 verifies in all of them.
A key has one spelling, its canonical DER SubjectPublicKeyInfo, and is named by its SHA-256.
"""

from typing import Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    Prehashed,
    decode_dss_signature,
    encode_dss_signature,
)

from registry.core.digest import sha256
from registry.errors import MalformedError, Reason, VerificationError

MAX_KEY_BYTES = 1024
"""Bytes of a PEM or DER public key; a P-256 key takes 91 in DER and 178 in PEM."""

MAX_SIGNATURE_BYTES = 72
"""Bytes of a DER P-256 signature: two 33-byte integers and six bytes of framing."""

ALGORITHM = "PKIX_ECDSA_P256_SHA_256"
"""How Sigstore names the algorithm (``PublicKeyDetails``)."""

_ECDSA = ec.ECDSA(hashes.SHA256())
_ECDSA_OVER_DIGEST = ec.ECDSA(Prehashed(hashes.SHA256()))


class PublicKey:
    """A P-256 public key.

    Attributes:
        der: The canonical DER SubjectPublicKeyInfo (named curve, uncompressed point).
        key_id: Lowercase hexadecimal SHA-256 of ``der``.
    """

    __slots__ = ("_key", "der", "key_id")

    der: bytes
    key_id: str

    def __init__(self, key: ec.EllipticCurvePublicKey) -> None:
        if not isinstance(key.curve, ec.SECP256R1):
            raise MalformedError(
                Reason.KEY_ALGORITHM,
                "statements are signed with ECDSA on P-256 only",
                expected="a P-256 key",
                actual=f"an elliptic-curve key on {key.curve.name}",
                hint="run: provreg key generate",
            )
        self._key = key
        self.der = key.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.key_id = sha256(self.der).hex()

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a public key from DER, or from PEM, in its one canonical spelling.

        Raises:
            MalformedError: ``MALFORMED_KEY``, or ``KEY_ALGORITHM`` for RSA, P-384, Ed25519, …
        """
        if len(data) > MAX_KEY_BYTES:
            raise MalformedError(
                Reason.MALFORMED_KEY,
                "this is too long for a P-256 public key",
                expected=f"at most {MAX_KEY_BYTES} bytes",
                actual=f"{len(data)} bytes",
            )
        pem = data.startswith(b"-----BEGIN")
        try:
            if pem:
                key = serialization.load_pem_public_key(data)
            else:
                key = serialization.load_der_public_key(data)
        except (ValueError, UnsupportedAlgorithm) as error:
            private = b"PRIVATE KEY" in data
            raise MalformedError(
                Reason.MALFORMED_KEY,
                "this is not a public key",
                actual="a private key" if private else str(error),
                hint="give its public half: the file that ends in .pub" if private else "",
            ) from error
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise MalformedError(
                Reason.KEY_ALGORITHM,
                "statements are signed with ECDSA on P-256 only",
                expected="a P-256 key",
                actual=type(key).__name__.strip("_"),
                hint="run: provreg key generate",
            )
        parsed = cls(key)
        # Compressed points and explicit curve parameters are second spellings of the same key.
        if not pem and parsed.der != data:
            raise MalformedError(
                Reason.MALFORMED_KEY, "this key is not spelled as canonical DER", where="SPKI"
            )
        return parsed

    def verify(self, signature: bytes, message: bytes) -> None:
        """Check a DER signature over ``message`` (hashed here with SHA-256).

        Raises:
            VerificationError: ``BAD_SIGNATURE``.
            MalformedError: ``MALFORMED_SIGNATURE`` if the DER is not strict.
        """
        self._verify(signature, message, _ECDSA)

    def verify_digest(self, signature: bytes, digest: bytes) -> None:
        """Check a DER signature over a message of which only the SHA-256 is known.

        Raises:
            VerificationError: ``BAD_SIGNATURE``.
            MalformedError: ``MALFORMED_SIGNATURE`` if the DER is not strict.
        """
        self._verify(signature, digest, _ECDSA_OVER_DIGEST)

    def _verify(self, signature: bytes, data: bytes, algorithm: ec.ECDSA) -> None:
        parse_signature(signature)
        try:
            self._key.verify(signature, data, algorithm)
        except (InvalidSignature, ValueError) as error:
            raise VerificationError(
                Reason.BAD_SIGNATURE,
                "the signature does not verify",
                where=f"key {self.key_id[:16]}…",
            ) from error

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and self.der == other.der

    def __hash__(self) -> int:
        return hash(self.der)

    def __repr__(self) -> str:
        return f"PublicKey({self.key_id[:16]}…)"


def parse_signature(signature: bytes) -> tuple[int, int]:
    """Read a DER ECDSA signature into (r, s), refusing every spelling but the strict one.

    Raises:
        MalformedError: ``MALFORMED_SIGNATURE``.
    """
    if len(signature) > MAX_SIGNATURE_BYTES:
        raise MalformedError(
            Reason.MALFORMED_SIGNATURE,
            "this is too long for a P-256 signature",
            expected=f"at most {MAX_SIGNATURE_BYTES} bytes",
            actual=f"{len(signature)} bytes",
        )
    try:
        r, s = decode_dss_signature(signature)
    except ValueError as error:
        raise MalformedError(
            Reason.MALFORMED_SIGNATURE, "this is not a DER ECDSA signature"
        ) from error
    if encode_dss_signature(r, s) != signature:
        raise MalformedError(Reason.MALFORMED_SIGNATURE, "this signature is not strict DER")
    return r, s
