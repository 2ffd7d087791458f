"""Tokens and key sets, for tests."""

import hashlib
import hmac
import json

from registry.core.encoding import base64_text
from tools.fake_vendor import pki
from tools.fake_vendor.nvidia import sign

_KEY = pki.p384("token issuer")
KID = "nv-eat-kid-1"


def _part(data: bytes) -> str:
    return base64_text(data).rstrip("=").replace("+", "-").replace("/", "_")


def token(claims: dict[str, object], algorithm: str, **header: object) -> str:
    """A token that says by what it is signed, and is if that can be."""
    said = {"alg": algorithm, "kid": KID, **header}
    signed = f"{_part(json.dumps(said).encode())}.{_part(json.dumps(claims).encode())}"
    if algorithm == "none":
        return f"{signed}."
    if algorithm == "HS256":
        return f"{signed}.{_part(hmac.digest(b'secret', signed.encode(), hashlib.sha256))}"
    return f"{signed}.{_part(sign(_KEY, signed.encode()))}"


def jwk_set(**changed: object) -> bytes:
    """The issuer's key set, with the first key changed."""
    numbers = _KEY.public_key().public_numbers()
    key = {
        "kty": "EC",
        "crv": "P-384",
        "kid": KID,
        "alg": "ES384",
        "use": "sig",
        "x": _part(numbers.x.to_bytes(48, "big")),
        "y": _part(numbers.y.to_bytes(48, "big")),
        **changed,
    }
    return json.dumps({"keys": [key]}).encode()
