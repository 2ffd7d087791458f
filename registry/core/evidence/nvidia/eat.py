"""Entity attestation tokens (RFC 9711) of NVIDIA's services: what others made of evidence.

A token proves nothing unless its issuer signed it: by ES384, with a key of the issuer's key set
(:mod:`registry.core.evidence.nvidia.key_set`). A token whose header says ``none``, or that is
signed with a shared secret, is refused outright.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from registry.core.encoding import read_foreign_json
from registry.core.evidence import base64url
from registry.core.evidence.checks import CheckError, Severity
from registry.core.evidence.nvidia import key_set
from registry.core.evidence.nvidia.findings import Found
from registry.core.evidence.roots import Roots, Vendor
from registry.errors import MalformedError

MAX_TOKEN_CHARACTERS: Final = 64 * 1024
"""Characters of one token; that of a GPU takes about 3,000."""

ALGORITHM: Final = "ES384"
"""The one algorithm that NVIDIA's tokens may be signed by (RFC 7518 §3.4)."""

_PARTS = 3


@dataclass(frozen=True, slots=True)
class Token:
    """A token, read but not believed.

    Attributes:
        signed: What its signature is over.
        header: The JOSE header.
        claims: What it says.
        signature: r ‖ s; empty if there is none.
    """

    signed: bytes
    header: dict[str, object]
    claims: dict[str, object]
    signature: bytes

    @classmethod
    def parse(cls, text: str) -> "Token":
        """Read the compact form (RFC 7515 §3.1).

        Raises:
            CheckError: ``TOKEN_MALFORMED``.
        """
        parts = text.split(".") if len(text) <= MAX_TOKEN_CHARACTERS else []
        if len(parts) != _PARTS:
            raise _malformed("it has another number of parts, or is too long")
        try:
            header, claims = (
                read_foreign_json(base64url.read(part, padded=False), what="token")
                for part in parts[:2]
            )
            signature = base64url.read(parts[2], padded=False)
        except MalformedError as error:
            raise _malformed(error.what) from error
        if not isinstance(header, dict) or not isinstance(claims, dict):
            raise _malformed("its parts are no JSON objects")
        return cls(f"{parts[0]}.{parts[1]}".encode("ascii"), header, claims, signature)


def verify(token: Token, key_sets: Sequence[bytes], roots: Roots) -> tuple[bytes, bytes]:
    """Check that a token was signed by a key that counts.

    Args:
        token: The token.
        key_sets: Key sets that are said to be its issuer's.
        roots: Which of their keys count.

    Returns:
        The key's SubjectPublicKeyInfo, DER, and the set that it is in.

    Raises:
        CheckError: ``TOKEN_UNSIGNED``, ``TOKEN_ALGORITHM``, ``TOKEN_KEY``, ``UNTRUSTED_ROOT``,
            ``TOKEN_SIGNATURE``, or ``TOKEN_UNVERIFIED`` without a key set.
    """
    check_header(token)
    key, used = _key(key_sets, token.header.get("kid"), roots)
    half = key_set.COORDINATE_BYTES
    if len(token.signature) != 2 * half:
        raise CheckError(Found.TOKEN_SIGNATURE, "the signature of the token has another length")
    r, s = (
        int.from_bytes(part, "big") for part in (token.signature[:half], token.signature[half:])
    )
    try:
        key.verify(encode_dss_signature(r, s), token.signed, ec.ECDSA(hashes.SHA384()))
    except InvalidSignature as error:
        raise CheckError(
            Found.TOKEN_SIGNATURE, "the signature of the token does not verify"
        ) from error
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo), used


def check_header(token: Token) -> None:
    """Check that a token is signed, and by the one algorithm.

    Raises:
        CheckError: ``TOKEN_UNSIGNED`` or ``TOKEN_ALGORITHM``.
    """
    algorithm = token.header.get("alg")
    if algorithm == "none" or not token.signature:
        raise CheckError(Found.TOKEN_UNSIGNED, "the token is not signed: what it says is no proof")
    if algorithm != ALGORITHM or "crit" in token.header or "b64" in token.header:
        raise CheckError(
            Found.TOKEN_ALGORITHM,
            "the token is signed by another algorithm",
            expected=ALGORITHM,
            actual=str(algorithm)[:40],
        )


def _key(
    key_sets: Sequence[bytes], kid: object, roots: Roots
) -> tuple[ec.EllipticCurvePublicKey, bytes]:
    """The key of that name that counts, and its set; whoever brings another set changes nothing."""
    # Not MISSING, which a policy may waive: nothing at all is verified of a token alone.
    failure = CheckError(
        Found.TOKEN_UNVERIFIED,
        "the keys of the token's issuer are not at hand, and no report is",
        severity=Severity.TIME,
    )
    for jwks in key_sets:
        try:
            key = key_set.key(jwks, kid)
            spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            roots.accept(Vendor.NVIDIA_TOKEN, spki)
        except CheckError as error:
            failure = error
        else:
            return key, jwks
    raise failure


def _malformed(what: str) -> CheckError:
    return CheckError(Found.TOKEN_MALFORMED, f"this is no token: {what}")
