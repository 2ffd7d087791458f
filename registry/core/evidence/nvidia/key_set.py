"""Key sets (RFC 7517) of NVIDIA's token service: which key signed a token, and whether it counts.

The service publishes its keys over TLS only: no root of NVIDIA's speaks for them. So a key set at
hand says nothing by itself. A key in it counts if whoever asks names it, by the SHA-256 of its
SubjectPublicKeyInfo, where roots are named.
"""

from typing import Annotated, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from registry.core.encoding import read_foreign_json
from registry.core.evidence import base64url
from registry.core.evidence.checks import CheckError
from registry.core.evidence.nvidia.findings import Found
from registry.errors import MalformedError

MAX_KEYS: Final = 64
"""Keys of one key set."""

COORDINATE_BYTES: Final = 48
"""Bytes of a coordinate of a key on P-384, and of half a signature."""

_Text = Annotated[str, msgspec.Meta(max_length=1024)]


class _Key(msgspec.Struct, frozen=True):
    """A public key; members that are not read here may be there."""

    kty: _Text
    kid: _Text
    crv: _Text = ""
    x: _Text = ""
    y: _Text = ""
    alg: _Text = "ES384"
    use: _Text = "sig"


class _KeySet(msgspec.Struct, frozen=True):
    keys: Annotated[tuple[_Key, ...], msgspec.Meta(max_length=MAX_KEYS)]


def key(jwks: bytes, kid: object) -> ec.EllipticCurvePublicKey:
    """The key of a set that a token names.

    Raises:
        CheckError: ``TOKEN_KEY`` if the set cannot be read, or has no such key or several, or one
            that cannot have signed a token.
    """
    try:
        keys = msgspec.convert(read_foreign_json(jwks, what="key set"), _KeySet).keys
        named = [item for item in keys if item.kid == kid]
        if len(named) != 1:
            raise CheckError(
                Found.TOKEN_KEY, "not just one key of the set has this name", actual=str(kid)[:80]
            )
        found = named[0]
        if (found.kty, found.crv, found.alg, found.use) != ("EC", "P-384", "ES384", "sig"):
            raise CheckError(Found.TOKEN_KEY, "the key of this name is no P-384 key for signatures")
        x, y = (base64url.read(part, padded=False) for part in (found.x, found.y))
        if len(x) != COORDINATE_BYTES or len(y) != COORDINATE_BYTES:
            raise CheckError(Found.TOKEN_KEY, "a coordinate of the key has another length")
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP384R1(), b"\x04" + x + y)
    except (MalformedError, msgspec.ValidationError, ValueError) as error:
        raise CheckError(Found.TOKEN_KEY, "the key set cannot be read") from error
