"""Whose log is believed: pinned, known, or met for the first time."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.signing.file import LogSigner
from tests.cli.conftest import Place, Shell
from tests.client.liar import Liar

STRANGER = str(LogSigner.generate("stranger.example").key)


@pytest.fixture
def known(tmp_path: Path) -> Path:
    """The file of known logs."""
    return tmp_path / "config" / "known_logs"


def test_the_first_contact_is_said_aloud_and_kept(shell: Shell, place: Place, known: Path) -> None:
    said = shell("--server", place.running.address, "log", "checkpoint")
    assert "first contact" in said.err
    assert place.vkey in said.err
    assert known.read_text() == f"{place.running.address} {place.vkey}\n"


def test_the_second_contact_is_silent(shell: Shell, place: Place) -> None:
    shell("--server", place.running.address, "log", "checkpoint")
    said = shell("--server", place.running.address, "log", "checkpoint")
    assert (said.status, said.err) == (0, "")


def test_another_key_for_a_known_server_is_refused(shell: Shell, place: Place, known: Path) -> None:
    known.parent.mkdir()
    known.write_text(f"{place.running.address} {STRANGER}\n")
    said = shell("--server", place.running.address, "log", "checkpoint", "--json")
    assert said.status == 1
    assert (said.error["reason"], said.error["expected"], said.error["actual"]) == (
        "WRONG_LOG",
        STRANGER,
        place.vkey,
    )
    assert str(known) in said.error["hint"]


@pytest.fixture
def liar(place: Place) -> Iterator[Liar]:
    """Stand in front of the registry."""
    with Liar(place.running.address) as liar:
        yield liar


def test_a_server_with_another_log_does_not_see_the_token(
    shell: Shell, place: Place, liar: Liar
) -> None:
    token_file = place.folder / "acme.token"
    said = shell(
        "--server", liar.address, "--token-file", token_file, "--log-key", STRANGER,
        "model", "list",
    )  # fmt: skip
    assert said.status == 1
    assert liar.seen == [("LogService/GetLogKey", "")]


def test_a_line_added_later_does_not_replace_a_key(shell: Shell, place: Place, known: Path) -> None:
    known.parent.mkdir()
    address = place.running.address
    known.write_text(f"{address} {STRANGER}\n{address} {place.vkey}\n")
    assert shell("--server", address, "log", "checkpoint").status == 1


def test_a_pinned_key_needs_no_first_contact(shell: Shell, place: Place, known: Path) -> None:
    said = shell("--server", place.running.address, "--log-key", place.vkey, "log", "checkpoint")
    assert (said.status, said.err) == (0, "")
    assert not known.exists()


def test_a_pinned_key_may_stand_in_a_file(shell: Shell, place: Place) -> None:
    file = f"@{place.running.data / 'log.vkey'}"
    said = shell("--server", place.running.address, "--log-key", file, "log", "checkpoint")
    assert said.status == 0


def test_a_pinned_key_may_stand_in_the_environment(
    shell: Shell, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROVREG_LOG_KEY", STRANGER)
    assert shell("--server", place.running.address, "log", "checkpoint").status == 1


@pytest.mark.parametrize(
    "given", ["nonsense", "@nowhere", STRANGER + "A"], ids=["words", "no-file", "too-long"]
)
def test_what_is_no_key_is_refused_as_a_setting(shell: Shell, place: Place, given: str) -> None:
    said = shell("--server", place.running.address, "--log-key", given, "log", "checkpoint")
    assert said.status == 2


@pytest.mark.parametrize("line", ["nonsense", "server", "server key", "\x00\xff"])
def test_a_damaged_file_of_known_logs_is_said(
    shell: Shell, place: Place, known: Path, line: str
) -> None:
    known.parent.mkdir()
    known.write_text(line + "\n")
    said = shell("--server", place.running.address, "log", "checkpoint", "--json")
    assert said.status == 2
    assert "line 1" in said.error["where"]


def test_a_token_may_stand_in_the_environment(
    shell: Shell, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROVREG_TOKEN", place.publisher.token)
    assert shell("--server", place.running.address, "model", "list").status == 0


def test_a_token_file_named_on_the_command_line_comes_first(
    shell: Shell, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROVREG_TOKEN", "provreg_wrong")
    said = shell(
        "--server", place.running.address, "--token-file", place.folder / "acme.token",
        "model", "list",
    )  # fmt: skip
    assert said.status == 0


def test_no_token_is_told_as_such(shell: Shell, place: Place) -> None:
    said = shell("--server", place.running.address, "model", "list")
    assert said.status == 1
    assert "NO_TOKEN" in said.err
    assert "--token-file" in said.err


def test_a_token_file_that_is_not_there_is_said(shell: Shell, place: Place) -> None:
    said = shell("--server", place.running.address, "--token-file", "nowhere", "model", "list")
    assert said.status == 2
