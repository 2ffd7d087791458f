"""Entity attestation tokens (RFC 9711) of NVIDIA's services: what others made of evidence.

A token proves nothing unless its issuer signed it. Only ES384 by a key of a key set (JWKS) counts
that whoever asks got from the issuer itself: NVIDIA publishes it over TLS only, so it is no
endorsement that could be archived, and an examination has none. A token whose header says ``none``,
or that is signed with a shared secret, is refused outright.
"""

from dataclasses import dataclass
from typing import Annotated, Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from registry.core.encoding import base64_bytes, base64_text, read_foreign_json
from registry.core.evidence.checks import CheckError, Severity
from registry.core.evidence.nvidia.findings import Found
from registry.errors import MalformedError

MAX_TOKEN_CHARACTERS: Final = 64 * 1024
"""Characters of one token; that of a GPU takes about 3,000."""

MAX_KEYS: Final = 64
"""Keys of one key set."""

ALGORITHM: Final = "ES384"
"""The one algorithm that NVIDIA's tokens may be signed by (RFC 7518 §3.4)."""

_COORDINATE_BYTES = 48
_PARTS = 3
_Text = Annotated[str, msgspec.Meta(max_length=1024)]


class _Key(msgspec.Struct, frozen=True):
    """A public key (RFC 7517); members that are not read here may be there."""

    kty: _Text
    kid: _Text
    crv: _Text = ""
    x: _Text = ""
    y: _Text = ""


class _KeySet(msgspec.Struct, frozen=True):
    keys: Annotated[tuple[_Key, ...], msgspec.Meta(max_length=MAX_KEYS)]


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
                read_foreign_json(_url_bytes(part), what="token") for part in parts[:2]
            )
            signature = _url_bytes(parts[2])
        except MalformedError as error:
            raise _malformed(error.what) from error
        if not isinstance(header, dict) or not isinstance(claims, dict):
            raise _malformed("its parts are no JSON objects")
        return cls(f"{parts[0]}.{parts[1]}".encode("ascii"), header, claims, signature)


def verify(text: str, jwks: bytes | None) -> Token:
    """Check that a token was signed by a key of a key set.

    Args:
        text: The token.
        jwks: The key set, from the issuer itself; None if it is not at hand.

    Raises:
        CheckError: ``TOKEN_MALFORMED``, ``TOKEN_UNSIGNED``, ``TOKEN_ALGORITHM``, ``TOKEN_KEY``,
            ``TOKEN_SIGNATURE``, or ``TOKEN_UNVERIFIED`` without a key set.
    """
    token = Token.parse(text)
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
    if jwks is None:
        # Not MISSING, which a policy may waive: nothing at all is verified of a token alone.
        raise CheckError(
            Found.TOKEN_UNVERIFIED,
            "the keys of the token's issuer are not at hand, and no report is",
            severity=Severity.TIME,
        )
    key = _key(jwks, token.header.get("kid"))
    half = len(token.signature) // 2
    if half != _COORDINATE_BYTES or len(token.signature) % 2:
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
    return token


def _key(jwks: bytes, kid: object) -> ec.EllipticCurvePublicKey:
    try:
        keys = msgspec.convert(read_foreign_json(jwks, what="key set"), _KeySet).keys
        named = [key for key in keys if key.kid == kid]
        if len(named) != 1 or (named[0].kty, named[0].crv) != ("EC", "P-384"):
            raise CheckError(
                Found.TOKEN_KEY, "no P-384 key of the key set has this name", actual=str(kid)[:80]
            )
        x, y = (_url_bytes(part) for part in (named[0].x, named[0].y))
        point = b"\x04" + x + y
        if len(x) != _COORDINATE_BYTES or len(y) != _COORDINATE_BYTES:
            raise CheckError(Found.TOKEN_KEY, "a coordinate of the key has another length")
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP384R1(), point)
    except (MalformedError, msgspec.ValidationError, ValueError) as error:
        raise CheckError(Found.TOKEN_KEY, "the key set cannot be read") from error


def _url_bytes(text: str) -> bytes:
    """Base64url without padding (RFC 7515 §2), in its one spelling."""
    data = base64_bytes(
        text.replace("+", "!").replace("/", "!").replace("-", "+").replace("_", "/")
        + "=" * (-len(text) % 4)
    )
    again = base64_text(data).rstrip("=").replace("+", "-").replace("/", "_")
    if again != text:
        raise _malformed("a part of it is not base64url")
    return data


def _malformed(what: str) -> CheckError:
    return CheckError(Found.TOKEN_MALFORMED, f"this is no token: {what}")
