"""Keys in files."""

import stat
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from registry.core.keys import PublicKey
from registry.signing.file import StatementSigner
from tests.cli.conftest import Shell


def test_a_new_key_has_a_private_and_a_public_half(shell: Shell, home: Path) -> None:
    assert shell("key", "generate", "k.pem").status == 0
    public = PublicKey.parse((home / "k.pem.pub").read_bytes())
    assert StatementSigner.load(home / "k.pem").public_key == public


def test_nobody_else_can_read_the_private_half(shell: Shell, home: Path) -> None:
    shell("key", "generate", "k.pem")
    assert stat.S_IMODE((home / "k.pem").stat().st_mode) == 0o600


def test_a_key_is_never_overwritten(shell: Shell, home: Path) -> None:
    shell("key", "generate", "k.pem")
    before = (home / "k.pem").read_bytes()
    said = shell("key", "generate", "k.pem")
    assert (said.status, "TARGET_EXISTS" in said.err) == (1, True)
    assert (home / "k.pem").read_bytes() == before


def test_a_public_half_is_never_overwritten(shell: Shell, home: Path) -> None:
    (home / "k.pem.pub").write_text("mine")
    assert shell("key", "generate", "k.pem").status == 1
    assert (home / "k.pem.pub").read_text() == "mine"
    assert not (home / "k.pem").exists()


def test_a_public_key_is_shown_by_its_id(shell: Shell, home: Path) -> None:
    shell("key", "generate", "k.pem")
    key_id = StatementSigner.load(home / "k.pem").public_key.key_id
    assert shell("key", "show", "k.pem.pub").out == f"{key_id}\n"
    assert shell("key", "show", "k.pem.pub", "--json").value == {"key_id": key_id}


def test_a_key_of_another_kind_is_refused(shell: Shell, home: Path) -> None:
    other = ec.generate_private_key(ec.SECP384R1()).public_key()
    (home / "p384.pub").write_bytes(
        other.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    said = shell("key", "show", "p384.pub", "--json")
    assert (said.status, said.error["reason"]) == (1, "KEY_ALGORITHM")


def test_the_public_half_of_a_key_behind_a_uri_is_written_for_the_operator(
    shell: Shell, home: Path
) -> None:
    shell("key", "generate", "k.pem")
    shown = shell("key", "show", "file:k.pem", "--out", "again.pub")
    assert (shown.status, shown.out) == (0, shell("key", "show", "k.pem.pub").out)
    assert (home / "again.pub").read_bytes() == (home / "k.pem.pub").read_bytes()
    assert shell("key", "show", "file:k.pem", "--out", "again.pub").status == 1


def test_a_public_key_that_is_not_there_is_a_mistake_in_the_command(shell: Shell) -> None:
    assert shell("key", "show", "nowhere.pub").status == 2
