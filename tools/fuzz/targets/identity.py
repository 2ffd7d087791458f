"""Targets of the certificate authority: requests, signing requests, identity tokens, key sets."""

import base64
import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from registry.config import OIDCIssuer
from registry.core.digest import sha256
from registry.errors import MalformedError, Reason
from registry.remote.http import HTTPClient
from registry.remote.oidc import read_keys
from registry.server.http.identity import read_request
from registry.server.http.routing import Request
from registry.services.identity import Possession, requested_key
from registry.services.tokens import ALGORITHMS, Issuers
from tests.authorities import NOON
from tests.oidc import AUDIENCE, LIFETIME_SECONDS, SUBJECT, jwk, pem
from tools.fuzz.edits import Edit, inside_base64, lines, raw
from tools.fuzz.elements import der
from tools.fuzz.members import members
from tools.fuzz.target import Target

_FRAME_LINES: Final = 3
_ISSUER: Final = "https://accounts.example"
_KEY: Final = ec.derive_private_key(int.from_bytes(sha256(b"identity")), ec.SECP256R1())
_ECDSA: Final = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
_CSR: Final = (
    x509.CertificateSigningRequestBuilder()
    .subject_name(x509.Name([]))
    .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    .sign(_KEY, hashes.SHA256(), ecdsa_deterministic=True)
    .public_bytes(serialization.Encoding.PEM)
)
_KEYS: Final = json.dumps({"keys": [jwk(_KEY, "ec")]}).encode()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _segment(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def _token(**claims: object) -> bytes:
    now = int(NOON.timestamp())
    said = {"iss": _ISSUER, "aud": AUDIENCE, "sub": SUBJECT, "iat": now}
    said |= {"exp": now + LIFETIME_SECONDS, **claims}
    signed = f"{_segment({'alg': 'ES256', 'kid': 'ec'})}.{_segment(said)}"
    r, s = decode_dss_signature(_KEY.sign(signed.encode(), _ECDSA))
    raw = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    return f"{signed}.{base64.urlsafe_b64encode(raw).rstrip(b'=').decode()}".encode()


@cache
def _issuers() -> Issuers:
    file = Path(tempfile.mkdtemp()) / "keys.json"
    file.write_bytes(_KEYS)
    return Issuers([OIDCIssuer(_ISSUER, AUDIENCE, file)], HTTPClient())


def _authenticate(data: bytes) -> None:
    try:
        token = data.decode("ascii")
    except UnicodeDecodeError as error:
        # The face reads headers as Latin-1; no other character is base64url either.
        raise MalformedError(Reason.MALFORMED_IDENTITY_TOKEN, "this is not ASCII") from error
    found = _issuers().authenticate(token, NOON)
    if found.identity.issuer != _ISSUER or found.identity.name not in (SUBJECT, "ada@acme.example"):
        message = f"taken for {found.identity}"
        raise AssertionError(message)


def _request(data: bytes) -> None:
    _, shown = read_request(Request("POST", "/api/v2/signingCert", body=data))
    if not isinstance(shown, Possession):
        requested_key(shown)


def _signing_request(data: bytes) -> None:
    if requested_key(data).der != requested_key(_CSR).der:
        message = "a key that did not sign this"
        raise AssertionError(message)


def _token_parts(data: bytes, edit: Edit, donor: bytes) -> bytes:
    """Change the JSON in one part of a token."""
    parts = data.split(b".")
    others = donor.split(b".")
    at = edit.pick(len(parts))
    padded = parts[at] + b"=" * (-len(parts[at]) % 4)
    other = others[min(at, len(others) - 1)]
    try:
        inner = base64.urlsafe_b64decode(padded)
        given = base64.urlsafe_b64decode(other + b"=" * (-len(other) % 4))
    except ValueError:
        return data
    parts[at] = base64.urlsafe_b64encode(members(inner, edit, given)).rstrip(b"=")
    return b".".join(parts)


def _pem_parts(data: bytes, edit: Edit, donor: bytes) -> bytes:
    """Change the DER inside PEM."""
    parts = data.split(b"\n")
    if len(parts) <= _FRAME_LINES:
        return raw(data, edit, donor)
    inner = b"".join(donor.split(b"\n")[1:-2])
    changed = inside_base64(der)(b"".join(parts[1:-2]), edit, inner)
    return b"\n".join((parts[0], changed, *parts[-2:]))


def _key_set(data: bytes) -> None:
    for key in read_keys(data).values():
        if key.algorithm not in ALGORITHMS:
            message = f"a key signs with {key.algorithm}"
            raise AssertionError(message)


_POSSESSION: Final = {
    "credentials": {"oidcIdentityToken": _token().decode()},
    "publicKeyRequest": {
        "publicKey": {"algorithm": "ECDSA", "content": pem(_KEY).decode()},
        "proofOfPossession": _base64(_KEY.sign(SUBJECT.encode(), _ECDSA)),
    },
}

TARGETS: Final = (
    Target(
        "certificate-request",
        (
            json.dumps({"certificateSigningRequest": _base64(_CSR)}).encode(),
            json.dumps(_POSSESSION).encode(),
        ),
        _request,
        (members,),
    ),
    Target("signing-request", (_CSR,), _signing_request, (lines, _pem_parts)),
    Target(
        "identity-token",
        (_token(), _token(email="ada@acme.example", email_verified=True)),
        _authenticate,
        (_token_parts,),
        (b"none", b"HS256", b"."),
    ),
    Target("key-set", (_KEYS,), _key_set, (members,)),
)
"""What an authority is asked with."""
