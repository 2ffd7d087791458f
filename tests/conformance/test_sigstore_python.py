"""Stock sigstore-python and model-signing sign through our CA, TSA and log, and verify offline.

Everything is signed while a real registry runs; it is gone when everything is verified.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from sigstore.models import Bundle, ClientTrustConfig

from registry.core.attestation.bundle import Bundle as OurBundle
from registry.core.attestation.identity import Identity
from registry.core.attestation.trusted_root import Trust
from registry.core.attestation.verify import open_bundle
from registry.core.digest import sha256
from registry.errors import Reason, VerificationError
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


@pytest.fixture(scope="module")
def ended(signed: Signed, tmp_path_factory: pytest.TempPathFactory) -> Signed:
    """The same after the log was frozen, with a trust config that says so."""
    folder = tmp_path_factory.mktemp("ended")
    data = shutil.copytree(signed.path("data"), folder / "data")
    frozen = run("registry", "log", "freeze", "--yes", "--data", data)
    assert frozen.returncode == 0, frozen.stderr
    written = run(
        *("registry", "log", "trust-config", folder / "trust", "--url", "http://localhost:1"),
        *("--data", data, "--oidc-issuer", signed.issuer),
    )
    assert written.returncode == 0, written.stderr
    return replace(signed, trust=folder / "trust")


@pytest.mark.parametrize("bundle", ["message.json", "dsse.json"])
def test_what_was_signed_before_the_log_was_frozen_stays_good(ended: Signed, bundle: str) -> None:
    (log,) = json.loads((ended.trust / "trusted_root.json").read_text())["tlogs"]
    assert "end" in log["publicKey"]["validFor"]
    done = ended.verify("weights", bundle)
    assert done.returncode == 0, done.stderr
    assert ended.verify("tampered", bundle).returncode != 0
    trust = Trust.parse((ended.trust / "trusted_root.json").read_bytes())
    expected = Identity(ended.issuer, SUBJECT)
    ours = OurBundle.parse(ended.path(bundle).read_bytes())
    assert open_bundle(ours, trust, expected, artifact=sha256(ARTIFACT)).signer == expected


def test_stock_model_signing_takes_what_was_signed_before_the_log_was_frozen(ended: Signed) -> None:
    done = ended.verify_model(ended.path("model"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_without_a_time_nothing_of_a_frozen_log_is_believed(ended: Signed) -> None:
    trust = Trust.parse((ended.trust / "trusted_root.json").read_bytes())
    bundle = OurBundle.parse(ended.path("message.json").read_bytes())
    with pytest.raises(VerificationError) as refused:
        open_bundle(
            replace(bundle, timestamps=()),
            trust,
            Identity(ended.issuer, SUBJECT),
            artifact=sha256(ARTIFACT),
        )
    assert refused.value.reason is Reason.NO_TRUSTED_TIME
    assert "from before its end" in refused.value.hint
