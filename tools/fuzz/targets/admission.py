"""Targets of the door for Sigstore clients: requests to log a signature, and who is admitted."""

import json
from contextlib import suppress
from typing import Final

from registry.core.attestation.admission import AdmissionPolicy
from registry.core.certificates.chain import Authority, Window
from registry.core.certificates.signing import SigningCertificate
from registry.core.digest import sha256
from registry.core.encoding import base64_text
from registry.core.tlog.entry_request import EntryRequest
from registry.errors import RegistryError
from tests.authorities import NOON
from tests.private_certificates import IDENTITY, OIDC_ISSUER
from tools.fuzz.edits import lines
from tools.fuzz.members import members
from tools.fuzz.sigstore import ARTIFACT, CA, CERTIFICATE, MESSAGE, TOLD_KEY
from tools.fuzz.target import Target

_AUTHORITY: Final = Authority(CA.chain, Window(NOON))


def _entry_request(data: bytes) -> None:
    read = EntryRequest.parse(data)
    with suppress(RegistryError):
        read.verified()


def _policy(data: bytes) -> None:
    policy = AdmissionPolicy.parse(data.decode("utf-8", "replace"), lambda _file: _AUTHORITY)
    policy.admits_key("0" * 64)
    with suppress(RegistryError):
        policy.verify_admitted(SigningCertificate.parse(CERTIFICATE), NOON)


def _asked(verifier: dict[str, object]) -> bytes:
    details: dict[str, object] = {"keyDetails": "PKIX_ECDSA_P256_SHA_256"}
    signature = {"content": base64_text(MESSAGE.signature), "verifier": details | verifier}
    digest = base64_text(sha256(ARTIFACT))
    said = {"hashedRekordRequestV002": {"digest": digest, "signature": signature}}
    return json.dumps(said).encode()


TARGETS: Final = (
    Target(
        "entry-request",
        (
            _asked({"x509Certificate": {"rawBytes": base64_text(CERTIFICATE)}}),
            _asked({"publicKey": {"rawBytes": base64_text(TOLD_KEY)}}),
        ),
        _entry_request,
        (members,),
    ),
    Target(
        "admission-policy",
        (
            f"# who\nauthority file.pem\nidentity {OIDC_ISSUER} {IDENTITY}\n".encode(),
            f"key {'0a' * 32}\n".encode(),
        ),
        _policy,
        (lines,),
        (b"authority ", b"identity ", b"key ", b"*", b"#"),
    ),
)
"""Every decoder at that door."""
