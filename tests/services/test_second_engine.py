"""The stock Sigstore verifier as a second opinion: it takes what is right, and nothing else."""

import json
from dataclasses import replace

import pytest

from registry.core.attestation.dsse import Envelope, pae
from registry.core.attestation.identity import Identity
from registry.core.digest import sha256
from registry.errors import Reason, VerificationError
from registry.services.second_engine import engine, verify_statement
from tests.private_certificates import CTLog, p256
from tests.private_sigstore import ECDSA, SIGNER, STATEMENT, Sigstore

OURS = Sigstore()
ROOT = OURS.root.to_bytes()
GOOD = OURS.attest().to_bytes()
OTHER_ROOT = replace(OURS, ct=CTLog(key=p256(81))).root.to_bytes()


def test_it_gives_the_statement_and_its_name() -> None:
    assert verify_statement(GOOD, ROOT, SIGNER) == STATEMENT
    assert engine().startswith("sigstore ")


def of_another_type() -> bytes:
    """A bundle in which everything is right, but it holds no statement."""
    signed = pae("text/plain", STATEMENT)
    envelope = Envelope(STATEMENT, OURS.signing_key.sign(signed, ECDSA), "")
    members = json.loads(OURS.bundle(envelope, sha256(signed)).to_bytes())
    members["dsseEnvelope"]["payloadType"] = "text/plain"
    return json.dumps(members).encode()


@pytest.mark.parametrize(
    ("data", "root", "expected"),
    [
        (b"", ROOT, SIGNER),
        (b"{}", ROOT, SIGNER),
        (b"\xff", ROOT, SIGNER),
        (OURS.sign().to_bytes(), ROOT, SIGNER),
        (OURS.attest(certified=False).to_bytes(), ROOT, SIGNER),
        (of_another_type(), ROOT, SIGNER),
        (GOOD, b"{}", SIGNER),
        (GOOD, OTHER_ROOT, SIGNER),
        (GOOD, ROOT, Identity(SIGNER.issuer, "mallory")),
        (GOOD, ROOT, Identity("https://other.example", SIGNER.name)),
    ],
    ids=[
        "nothing",
        "no members",
        "no UTF-8",
        "bytes",
        "a bare key",
        "another type",
        "no root",
        "another root",
        "another name",
        "another issuer",
    ],
)
def test_it_refuses(data: bytes, root: bytes, expected: Identity) -> None:
    with pytest.raises(VerificationError) as caught:
        verify_statement(data, root, expected)
    assert caught.value.reason is Reason.SIGSTORE_BUNDLE
