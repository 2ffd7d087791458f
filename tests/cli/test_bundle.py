"""``provreg bundle``: verifying offline, and registering by name instead of key."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from registry.core.encoding import write_json
from registry.signing.cosigner import Cosigner
from tests.cli.conftest import Said, Shell
from tests.mint import dataset_statement
from tests.private_certificates import IDENTITY, OIDC_ISSUER, p256
from tests.private_sigstore import ARTIFACT, Sigstore
from tests.server.served import Served, fresh, served

OURS = Sigstore()
WHO = ("--identity", OIDC_ISSUER, IDENTITY)


@pytest.fixture
def files(home: Path) -> Path:
    """What a verifier is given."""
    (home / "root.json").write_bytes(OURS.root.to_bytes())
    (home / "artifact").write_bytes(ARTIFACT)
    (home / "signed.json").write_bytes(OURS.sign().to_bytes())
    (home / "attested.json").write_bytes(OURS.attest().to_bytes())
    (home / "bare.json").write_bytes(OURS.sign(certified=False).to_bytes())
    pem = OURS.signing_key.public_key().public_bytes(
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    )
    (home / "key.pub").write_bytes(pem)
    return home


def verify(shell: Shell, *arguments: str) -> Said:
    return shell("bundle", "verify", *arguments, "--trusted-root", "root.json")


def test_a_bundle_is_verified_offline(shell: Shell, files: Path) -> None:
    assert files.exists()
    said = verify(shell, "signed.json", "artifact", *WHO, "--json")
    assert (said.status, said.value["times"]) == (0, ["2026-06-01T12:00:00Z"])
    assert IDENTITY in said.value["signer"]
    statement = verify(shell, "attested.json", *WHO, "--json").value["statement"]
    assert json.loads(statement)["subject"][0]["name"] == "weights"
    assert verify(shell, "attested.json", "artifact", *WHO).status == 0


def test_a_bare_key_is_named_by_its_file(shell: Shell, files: Path) -> None:
    assert files.exists()
    assert verify(shell, "bare.json", "artifact", "--key", "key.pub").status == 0
    assert verify(shell, "signed.json", "artifact", "--key", "key.pub").status == 1


def test_what_does_not_verify_is_refused(shell: Shell, files: Path) -> None:
    (files / "other").write_bytes(b"other")
    assert verify(shell, "signed.json", "other", *WHO).status == 1
    assert verify(shell, "signed.json", *WHO).status == 1
    said = verify(shell, "signed.json", "artifact", "--identity", OIDC_ISSUER, "mallory")
    assert (said.status, "IDENTITY_MISMATCH" in said.err) == (1, True)


def test_a_policy_asks_for_witnesses(shell: Shell, files: Path) -> None:
    witness = Cosigner.generate("one.example")
    lines = f"log {OURS.log.verifier}\nwitness one {witness.key}\n"
    (files / "policy").write_text(f"{lines}quorum one\n")
    said = verify(shell, "signed.json", "artifact", *WHO, "--policy", "policy")
    assert (said.status, "QUORUM" in said.err) == (1, True)
    (files / "policy").write_text(f"{lines}quorum none\n")
    assert verify(shell, "signed.json", "artifact", *WHO, "--policy", "policy").status == 0


def test_nobody_signs_for_everybody(shell: Shell, files: Path) -> None:
    assert files.exists()
    assert verify(shell, "signed.json", "artifact").status == 2
    assert verify(shell, "signed.json", "artifact", *WHO, "--key", "key.pub").status == 2


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A registry that takes bundles."""
    folder = tmp_path_factory.mktemp("bundles")
    (folder / "root.json").write_bytes(OURS.root.to_bytes())
    with served(folder / "data", sigstore_root=folder / "root.json") as registry:
        yield registry


def test_a_publisher_without_a_key_registers_a_bundle(
    shell: Shell, files: Path, registry: Served
) -> None:
    at = ("--server", registry.address)
    (files / "admin.token").write_text(registry.admin.token)
    added = shell(
        *(*at, "--token-file", "admin.token", "principal", "add", "builder"),
        *("--role", "publisher", "--namespace", "acme/*", *WHO, "--token-out", "builder.token"),
        "--json",
    )
    assert added.value["principal"]["identities"] == [{"issuer": OIDC_ISSUER, "name": IDENTITY}]
    listed = shell(*at, "--token-file", "admin.token", "principal", "list")
    assert f"{IDENTITY} by {OIDC_ISSUER}" in listed.out
    payload = write_json(dataset_statement(name="acme/corpus", version=fresh()))
    bundle = replace(OURS, leaf=replace(OURS.leaf, key=p256(2001))).attest(payload)
    (files / "statement.json").write_bytes(bundle.to_bytes())
    said = shell(
        *(*at, "--token-file", "builder.token", "bundle", "register", "statement.json", "--json")
    )
    assert said.status == 0
    proved = shell(
        *at, "--token-file", "builder.token", "log", "prove", said.value["record_id"], "--json"
    )
    assert proved.value["index"] == said.value["index"]
    said = shell(*at, "--token-file", "builder.token", "bundle", "register", "signed.json")
    assert (said.status, "MALFORMED_STATEMENT" in said.err) == (1, True)
