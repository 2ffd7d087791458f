"""Requests as Sigstore's clients send them."""

import json
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from registry.core.digest import sha256
from registry.core.encoding import base64_text
from registry.signing.file import StatementSigner

MESSAGE = b"an artifact"
"""What is signed, unless told otherwise."""

NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)
"""When certificates are made, unless told otherwise."""

PATH = "/api/v2/log/entries"
"""Where signatures are logged."""


def sign(signer: StatementSigner, message: bytes = MESSAGE) -> bytes:
    """A fresh signature over a message."""
    return signer._key.sign(message, ec.ECDSA(hashes.SHA256()))


def body_of(
    signer: StatementSigner,
    certificate: bytes = b"",
    message: bytes = MESSAGE,
    signature: bytes = b"",
) -> Any:
    """The members of a request."""
    if certificate:
        verifier = {"x509Certificate": {"rawBytes": base64_text(certificate)}}
    else:
        verifier = {"publicKey": {"rawBytes": base64_text(signer.public_key.der)}}
    return {
        "hashedRekordRequestV002": {
            "digest": base64_text(sha256(message)),
            "signature": {
                "content": base64_text(signature or sign(signer, message)),
                "verifier": {"keyDetails": "PKIX_ECDSA_P256_SHA_256", **verifier},
            },
        }
    }


def request_of(
    signer: StatementSigner,
    certificate: bytes = b"",
    message: bytes = MESSAGE,
    signature: bytes = b"",
) -> bytes:
    """The JSON of a request."""
    return json.dumps(body_of(signer, certificate, message, signature)).encode()
