"""Stock ``cosign`` verifies what was signed through our CA, TSA and log, where Go is present."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from cryptography.hazmat.primitives import serialization

from tests.conformance.go_programs import CHEAP, program
from tests.conformance.instance import SECONDS
from tests.conformance.signed import Signed
from tests.oidc import SUBJECT
from tools.fuzz.sigstore import ARTIFACT, BY_KEY, KEY, TRUST

Cosign = Callable[..., "CompletedProcess[str]"]


MODULE = "github.com/sigstore/cosign/v3/cmd/cosign"
VERSION = "v3.1.3"

BUILD_SECONDS = 200
"""How long building may take: 150 seconds of processor time from nothing, seconds from a cache.

A test that takes longer than ``faulthandler_timeout`` ends the whole run.
"""


@pytest.fixture(scope="session")
def binary() -> str:
    """Find ``cosign``, or build it where Go is present."""
    found = os.environ.get("PROVREG_TEST_COSIGN") or shutil.which("cosign")
    if found is not None:
        return found
    return str(
        program(
            f"cosign-{VERSION}",
            ["install", *CHEAP, f"{MODULE}@{VERSION}"],
            seconds=BUILD_SECONDS,
            environment={"GOBIN": "{folder}"},
        )
    )


@pytest.fixture
def cosign(binary: str, signed: Signed, tmp_path: Path) -> Cosign:
    """Run ``cosign``, which finds no cache and no network configuration of its own."""

    def run(
        verb: str, bundle: Path, artifact: Path, *more: str, identity: str = SUBJECT
    ) -> "CompletedProcess[str]":
        return subprocess.run(
            [
                *(binary, verb, "--bundle", str(bundle), *more),
                *("--trusted-root", str(signed.trust / "trusted_root.json")),
                *("--certificate-identity", identity, "--certificate-oidc-issuer", signed.issuer),
                *("--use-signed-timestamps", str(artifact)),
            ],
            env={**os.environ, "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    return run


ATTESTATION = ("--type", "slsaprovenance1")


def test_cosign_verifies_a_message(signed: Signed, cosign: Cosign) -> None:
    done = cosign("verify-blob", signed.path("message.json"), signed.path("weights"))
    assert done.returncode == 0, done.stderr


def test_cosign_verifies_an_attestation(signed: Signed, cosign: Cosign) -> None:
    bundle, artifact = signed.path("dsse.json"), signed.path("weights")
    done = cosign("verify-blob-attestation", bundle, artifact, *ATTESTATION)
    assert done.returncode == 0, done.stderr


def test_cosign_refuses_bytes_that_were_tampered_with(signed: Signed, cosign: Cosign) -> None:
    bundle, artifact = signed.path("message.json"), signed.path("tampered")
    assert cosign("verify-blob", bundle, artifact).returncode != 0
    bundle = signed.path("dsse.json")
    assert cosign("verify-blob-attestation", bundle, artifact, *ATTESTATION).returncode != 0


def test_cosign_refuses_another_signer(signed: Signed, cosign: Cosign) -> None:
    bundle, artifact = signed.path("message.json"), signed.path("weights")
    done = cosign("verify-blob", bundle, artifact, identity="https://ci.example/rival")
    assert done.returncode != 0


def test_cosign_refuses_a_proof_that_was_tampered_with(
    signed: Signed, cosign: Cosign, tmp_path: Path
) -> None:
    told = json.loads(signed.path("message.json").read_text())
    proof = told["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]
    proof["hashes"] = proof["hashes"][1:]
    (tmp_path / "bundle.json").write_text(json.dumps(told))
    done = cosign("verify-blob", tmp_path / "bundle.json", signed.path("weights"))
    assert done.returncode != 0


def test_cosign_verifies_a_signature_by_a_bare_key(binary: str, tmp_path: Path) -> None:
    pem = KEY.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    files = {
        "bundle": BY_KEY.to_bytes(),
        "root": TRUST.root.to_bytes(),
        "key.pem": pem,
        "artifact": ARTIFACT,
        "tampered": ARTIFACT + b"!",
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    command = [*(binary, "verify-blob", "--bundle", "bundle"), *("--trusted-root", "root")]
    for artifact, status in (("artifact", 0), ("tampered", 1)):
        done = subprocess.run(
            [*command, "--key", "key.pem", artifact],
            cwd=tmp_path,
            env={**os.environ, "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert min(done.returncode, 1) == status, done.stderr
