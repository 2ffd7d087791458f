"""OpenID Connect issuers: their discovery documents and their key sets (RFC 7517).

Only keys that can sign tokens in one pinned way are kept: the algorithm follows from the kind of
the key and never from the token, so that a public key can never be taken for a shared secret.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from registry.core import encoding
from registry.errors import MalformedError, Reason, UnavailableError
from registry.remote.http import HTTPClient, check_private

MAX_DOCUMENT_BYTES = 256 * 1024
"""Bytes of a discovery document or a key set; large providers publish about 20 KiB."""

MAX_KEYS = 64
"""Keys of one issuer."""

MAX_KEY_ID_CHARACTERS = 256
"""Characters of a key's name (``kid``)."""

MIN_RSA_BITS = 2048
"""Bits of an RSA key."""

MAX_RSA_BITS = 8192
"""Bits of an RSA key: larger ones make each token expensive."""

WELL_KNOWN: Final = "/.well-known/openid-configuration"
"""Where an issuer says where its keys are (OpenID Connect Discovery §4)."""

_BY_CURVE: Final[Mapping[str, str]] = {
    "secp256r1": "ES256",
    "secp384r1": "ES384",
    "secp521r1": "ES512",
}


@dataclass(frozen=True, slots=True)
class TokenKey:
    """A key that signs tokens.

    Attributes:
        algorithm: The one algorithm that it signs with, as RFC 7518 names it.
        public: What PyJWT verifies with.
    """

    algorithm: str
    public: Any


def fetch_keys(client: HTTPClient, issuer: str) -> dict[str, TokenKey]:
    """Ask an issuer for its keys, by name.

    Raises:
        UnavailableError: ``UNREACHABLE``, ``DEADLINE`` or ``REMOTE_STATUS``.
        LimitExceededError: ``ANSWER_TOO_LARGE``.
        MalformedError: ``MALFORMED_KEY_SET``; ``BAD_SETTING`` for an address without TLS.
    """
    check_private(issuer)
    answer = client.get(issuer.rstrip("/") + WELL_KNOWN, max_bytes=MAX_DOCUMENT_BYTES).expect()
    document = _object(answer.body, "discovery document")
    # OpenID Connect Discovery §4.3: whoever answers must be the issuer that was asked.
    if document.get("issuer") != issuer:
        raise _malformed("the discovery document is another issuer's", str(document.get("issuer")))
    where = document.get("jwks_uri")
    if not isinstance(where, str):
        raise _malformed("the discovery document does not say where the keys are")
    check_private(where)
    return read_keys(client.get(where, max_bytes=MAX_DOCUMENT_BYTES).expect().body)


def load_keys(path: Path) -> dict[str, TokenKey]:
    """Read an issuer's keys from a file.

    Raises:
        UnavailableError: ``BAD_SETTING`` if the file cannot be read.
        MalformedError: ``MALFORMED_KEY_SET``.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_DOCUMENT_BYTES + 1)
    except OSError as error:
        raise UnavailableError(
            Reason.BAD_SETTING,
            "the key set of an issuer cannot be read",
            where=str(path),
            actual=error.strerror or "",
        ) from error
    if len(data) > MAX_DOCUMENT_BYTES:
        raise _malformed("the file is too large", f"more than {MAX_DOCUMENT_BYTES} bytes")
    return read_keys(data)


def read_keys(data: bytes) -> dict[str, TokenKey]:
    """Read a key set, leaving out keys that are for something else.

    Raises:
        MalformedError: ``MALFORMED_KEY_SET``.
    """
    listed = _object(data, "key set").get("keys")
    if not isinstance(listed, list) or len(listed) > MAX_KEYS:
        raise _malformed("it does not list keys, or too many", f"at most {MAX_KEYS} keys")
    found: dict[str, TokenKey] = {}
    for item in listed:
        if not isinstance(item, dict):
            raise _malformed("a key is not an object")
        name = item.get("kid")
        key = _read_key(item)
        if key is None or not isinstance(name, str) or len(name) > MAX_KEY_ID_CHARACTERS:
            continue
        if name in found:
            raise _malformed("two keys have one name", name[:80])
        found[name] = key
    return found


def _read_key(item: dict[str, Any]) -> TokenKey | None:
    """One key; None if it is for something else than signing tokens in a way that we know."""
    if item.get("use", "sig") != "sig" or item.get("kty") not in ("RSA", "EC", "OKP"):
        return None
    try:
        public = jwt.PyJWK(item).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    algorithm = _algorithm(public)
    if algorithm is None or item.get("alg", algorithm) != algorithm:
        return None
    return TokenKey(algorithm, public)


def _algorithm(public: object) -> str | None:
    match public:
        case rsa.RSAPublicKey() if MIN_RSA_BITS <= public.key_size <= MAX_RSA_BITS:
            return "RS256"
        case ec.EllipticCurvePublicKey():
            return _BY_CURVE.get(public.curve.name)
        case ed25519.Ed25519PublicKey():
            return "EdDSA"
        case _:
            return None


def _object(data: bytes, what: str) -> dict[str, Any]:
    try:
        value = encoding.read_foreign_json(data, what=what)
    except MalformedError as error:
        error.reason = Reason.MALFORMED_KEY_SET
        raise
    if not isinstance(value, dict):
        raise _malformed(f"a {what} is an object")
    return value


def _malformed(what: str, actual: str = "") -> MalformedError:
    return MalformedError(
        Reason.MALFORMED_KEY_SET,
        f"the keys of an identity issuer cannot be used: {what}",
        actual=ascii(actual[:200]) if actual else "",
    )
