"""Stock sigstore-python and model-signing sign through our CA, TSA and log, and verify offline.

Everything is signed while a real registry runs; it is gone when everything is verified.
"""

import json
import shutil
from pathlib import Path

import pytest
from sigstore.models import Bundle, ClientTrustConfig

from registry.core.attestation.bundle import Bundle as OurBundle
from registry.core.attestation.identity import Identity
from registry.core.attestation.trusted_root import Trust
from registry.core.attestation.verify import open_bundle
from registry.core.digest import sha256
from tests.conformance.instance import run
from tests.conformance.signed import ARTIFACT, EMAIL, Signed
from tests.oidc import SUBJECT


@pytest.mark.parametrize(
    ("bundle", "identity"),
    [("message.json", SUBJECT), ("dsse.json", SUBJECT), ("email.json", EMAIL)],
)
def test_what_stock_sigstore_signed_it_verifies_offline(
    signed: Signed, bundle: str, identity: str
) -> None:
    done = signed.verify("weights", bundle, identity)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("bundle", ["message.json", "dsse.json"])
def test_stock_sigstore_refuses_what_was_tampered_with(signed: Signed, bundle: str) -> None:
    assert signed.verify("tampered", bundle).returncode != 0


def test_stock_sigstore_refuses_another_signer_or_issuer(signed: Signed) -> None:
    assert signed.verify("weights", "message.json", "https://ci.example/rival").returncode != 0
    issuer = "https://accounts.example"
    assert signed.verify("weights", "message.json", issuer=issuer).returncode != 0


def test_a_bundle_holds_one_entry_of_our_log_with_its_proof(signed: Signed) -> None:
    for name in ("message.json", "dsse.json"):
        told = json.loads(signed.path(name).read_text())["verificationMaterial"]
        (entry,) = told["tlogEntries"]
        assert entry["kindVersion"] == {"kind": "hashedrekord", "version": "0.0.2"}
        assert entry["inclusionProof"]["checkpoint"]["envelope"].startswith("localhost\n")
        assert len(told["timestampVerificationData"]["rfc3161Timestamps"]) == 1
        assert "certificate" in told


def test_our_verifier_agrees(signed: Signed) -> None:
    trust = Trust.parse((signed.trust / "trusted_root.json").read_bytes())
    expected = Identity(signed.issuer, SUBJECT)
    for name in ("message.json", "dsse.json"):
        bundle = OurBundle.parse(signed.path(name).read_bytes())
        assert open_bundle(bundle, trust, expected, artifact=sha256(ARTIFACT)).signer == expected


def test_stock_model_signing_verifies_a_model_folder(signed: Signed) -> None:
    done = signed.verify_model(signed.path("model"))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("change", ["change", "add", "remove"])
def test_stock_model_signing_refuses_a_folder_that_was_tampered_with(
    signed: Signed, tmp_path: Path, change: str
) -> None:
    copy = shutil.copytree(signed.path("model"), tmp_path / "model")
    match change:
        case "change":
            (copy / "weights.bin").write_bytes(ARTIFACT[:-1])
        case "add":
            (copy / "extra.bin").write_bytes(b"")
        case _:
            (copy / "config.json").unlink()
    assert signed.verify_model(copy).returncode != 0


def test_stock_model_signing_refuses_another_signer(signed: Signed) -> None:
    assert signed.verify_model(signed.path("model"), "https://ci.example/rival").returncode != 0


def test_the_trust_config_is_one_that_stock_clients_read(signed: Signed) -> None:
    text = signed.trust_config.read_text()
    assert len(ClientTrustConfig.from_json(text).signing_config.get_tsas()) == 1
    Bundle.from_json(signed.path("message.json").read_bytes())


@pytest.mark.parametrize("command", [("log", "fsck"), ("db", "rebuild")])
def test_a_log_of_such_entries_is_found_in_order_and_its_catalog_made_again(
    signed: Signed, command: tuple[str, str]
) -> None:
    done = run("registry", *command, "--data", signed.path("data"))
    assert done.returncode == 0, done.stdout + done.stderr
