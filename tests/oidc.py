"""An OpenID Connect issuer on this machine: real keys, a discovery document, a key set.

::

    with oidc_issuer() as issuer:
        token = issuer.token(sub="https://ci.example/acme", aud="provreg")
"""

import base64
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

AUDIENCE = "provreg"
"""For whom tokens are made, unless told otherwise."""

SUBJECT = "https://ci.example/acme/models"
"""Whom tokens name, unless told otherwise."""

LIFETIME_SECONDS = 600
"""How long tokens live, unless told otherwise."""


@cache
def rsa_key(number: int = 0) -> rsa.RSAPrivateKey:
    """One of a few RSA keys, which take long to make."""
    assert number >= 0
    return rsa.generate_private_key(65537, 2048)


@dataclass
class Issuer:
    """What the issuer answers, and what it signs.

    Attributes:
        url: The issuer's name and address.
        keys: Private keys by ``kid``.
        documents: What is served, by path; made anew for each request unless set here.
        asked: The paths that were asked for.
    """

    url: str
    keys: dict[str, Any] = field(default_factory=dict)
    documents: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    down: bool = False

    def jwks(self) -> bytes:
        """The key set."""
        return json.dumps({"keys": [jwk(key, kid) for kid, key in self.keys.items()]}).encode()

    def discovery(self) -> bytes:
        """The discovery document."""
        told = {
            "issuer": self.url,
            "jwks_uri": f"{self.url}/keys",
            # Stock clients insist on these, whether or not they send anybody there.
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
        }
        return json.dumps(told).encode()

    def answer(self, path: str) -> bytes | None:
        """What is served at ``path``."""
        self.asked.append(path)
        made = {"/.well-known/openid-configuration": self.discovery(), "/keys": self.jwks()}
        return None if self.down else (made | self.documents).get(path)

    def token(
        self,
        *,
        at: datetime | None = None,
        kid: str | None = "rsa",
        algorithm: str = "RS256",
        key: Any = None,
        leave_out: tuple[str, ...] = (),
        headers: dict[str, Any] | None = None,
        **claims: Any,
    ) -> str:
        """A token that holds, but for what the arguments change."""
        now = int((at or datetime.now(UTC)).timestamp())
        said = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": SUBJECT,
            "iat": now,
            "nbf": now,
            "exp": now + LIFETIME_SECONDS,
        }
        said |= claims
        for name in leave_out:
            said.pop(name)
        head = (headers or {}) | ({} if kid is None else {"kid": kid})
        signer = self.keys[kid or "rsa"] if key is None else key
        return jwt.encode(said, signer, algorithm, headers=head)


def jwk(key: Any, kid: str) -> dict[str, Any]:
    """The public half of a key as a JSON Web Key."""
    public = key.public_key()
    match key:
        case rsa.RSAPrivateKey():
            made = RSAAlgorithm.to_jwk(public, as_dict=True)
        case ec.EllipticCurvePrivateKey():
            made = ECAlgorithm.to_jwk(public, as_dict=True)
        case ed25519.Ed25519PrivateKey():
            made = OKPAlgorithm.to_jwk(public, as_dict=True)
        case _:
            raise TypeError(key)
    return {**made, "kid": kid, "use": "sig"}


def pem(key: Any) -> bytes:
    """The public half of a key as PEM."""
    data: bytes = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return data


def segment(value: Any) -> str:
    """A part of a token, however wrong."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@contextmanager
def oidc_issuer(tls: tuple[Path, Path] | None = None) -> Iterator[Issuer]:
    """Run an issuer with an RSA, a P-256 and an Ed25519 key.

    ``tls`` is a certificate and its key, if it answers over TLS.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = issuer.answer(self.path)
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_arguments: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
        # A handshake is read by the thread of its connection, not by the one that accepts.
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
        server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients hang up
    issuer = Issuer(
        f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}",
        {
            "rsa": rsa_key(),
            "ec": ec.generate_private_key(ec.SECP256R1()),
            "ed": ed25519.Ed25519PrivateKey.generate(),
        },
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.005})
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
