"""The command tree, exit statuses, and how failures are told."""

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from registry.cli import main, output
from registry.cli.main import provreg
from registry.errors import Reason
from tests.cli.conftest import COMMAND, Place, Shell
from tests.running import REPOSITORY


def commands(command: click.Command = provreg, *path: str) -> Iterator[tuple[str, ...]]:
    """Every command, with the words that lead to it."""
    yield path
    if isinstance(command, click.Group):
        context = click.Context(command)
        for word in command.list_commands(context):
            child = command.get_command(context, word)
            assert child is not None
            yield from commands(child, *path, word)


@pytest.mark.parametrize("path", list(commands()), ids=" ".join)
def test_every_command_explains_itself(shell: Shell, path: tuple[str, ...]) -> None:
    said = shell(*path, "--help")
    assert said.status == 0
    assert said.out.startswith(" ".join(("Usage: provreg", *path)))


def test_the_commands_are_those_that_are_promised() -> None:
    promised = {
        "serve", "key generate", "principal add", "principal revoke", "principal list",
        "model publish", "model fetch", "model show", "model list", "dataset register",
        "attribution register", "trace", "verify", "log checkpoint", "log prove", "log fsck",
        "db upgrade", "db rebuild",
    }  # fmt: skip
    assert promised <= {" ".join(path) for path in commands()}


READING = [
    "key show", "principal list", "model show", "model list", "trace", "verify",
    "log checkpoint", "log prove", "log fsck",
]  # fmt: skip


@pytest.mark.parametrize("command", READING)
def test_every_reading_command_speaks_json(shell: Shell, command: str) -> None:
    assert "--json" in shell(*command.split(), "--help").out


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["model", "nonsense"], ["model", "show"], ["log", "checkpoint", "--nonsense"]],
)
def test_a_command_that_is_not_understood_ends_with_2(shell: Shell, arguments: list[str]) -> None:
    said = shell(*arguments)
    assert said.status == 2
    assert "Usage" in said.err


def test_a_setting_that_cannot_be_used_ends_with_2(shell: Shell) -> None:
    said = shell("--server", "nonsense", "log", "checkpoint")
    assert said.status == 2
    assert "BAD_SETTING" in said.err


def test_a_registry_that_is_not_there_ends_with_3(shell: Shell) -> None:
    said = shell("--server", "127.0.0.1:1", "log", "checkpoint")
    assert said.status == 3
    assert "UNREACHABLE" in said.err
    assert "provreg serve" in said.err


def test_a_refusal_ends_with_1_and_says_everything(acme: Shell) -> None:
    said = acme("model", "show", "acme/nothing@1")
    assert said.status == 1
    for word in ("refused", "no such version", "UNKNOWN_VERSION", "acme/nothing@1", "model list"):
        assert word in said.err


def test_a_refusal_in_json_has_the_same_parts(acme: Shell) -> None:
    said = acme("model", "show", "acme/nothing@1", "--json")
    assert said.out == ""
    assert said.error["reason"] == "UNKNOWN_VERSION"
    assert set(said.error) == {"reason", "what", "where", "expected", "actual", "hint"}


def test_a_mistake_of_ours_is_no_traceback(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        message = "the mistake"
        raise ZeroDivisionError(message)

    monkeypatch.setattr(output, "say", lambda line: click.echo(line, err=True))
    monkeypatch.setattr("registry.cli.key.StatementSigner.generate", fail)
    said = shell("key", "generate", "k.pem")
    assert said.status == 3
    assert "INTERNAL" in said.err
    assert "ZeroDivisionError: the mistake" in said.err
    assert "Traceback" not in said.err


def test_a_disk_that_refuses_ends_with_3(shell: Shell, home: Path) -> None:
    (home / "file").touch()
    said = shell("key", "generate", "file/k.pem")
    assert said.status == 3
    assert "STORAGE_FAILED" in said.err


def test_a_user_who_interrupts_gets_130(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("registry.cli.key.StatementSigner.generate", interrupt)
    assert shell("key", "generate", "k.pem").status == 130


def test_names_from_elsewhere_do_not_drive_the_terminal(shell: Shell) -> None:
    said = shell("--server", "\x1b[2J\nfake", "log", "checkpoint")
    assert "\x1b" not in said.err


def test_names_that_are_no_unicode_can_be_told_in_json(shell: Shell) -> None:
    said = shell("--log-key", "@nowhere/\udcff", "log", "checkpoint", "--json")
    assert Reason(said.error["reason"]) is Reason.BAD_SETTING


@pytest.mark.parametrize(
    "words",
    [
        "principal revoke \udcff",
        "principal add \udcff --role auditor",
        "model publish m --name acme/x --version 1 --key KEY --description \udcff",
        "dataset register m --name acme/x --version 1 --licence x --key KEY --contributor \udcff=1",
    ],
)
def test_text_that_is_no_unicode_is_a_usage_error(
    acme: Shell, home: Path, key: Path, words: str
) -> None:
    (home / "m").mkdir()
    (home / "m" / "config.json").write_text("{}")
    said = acme(*words.replace("KEY", str(key)).split())
    assert said.status == 2
    assert "not valid UTF-8" in said.err
    assert "\\udcff" in said.err


def test_a_public_key_does_not_sign(acme: Shell, home: Path) -> None:
    assert acme("key", "generate", "k.pem").status == 0
    (home / "m").mkdir()
    (home / "m" / "config.json").write_text("{}")
    options = ("--name", "acme/x", "--version", "1", "--json", "--key", "k.pem.pub")
    said = acme("model", "publish", "m", *options)
    assert said.error["reason"] == "MALFORMED_KEY"
    assert said.error["what"] == "this is a public key"


def test_whoever_stops_reading_is_no_error(place: Place, home: Path) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(
        [*COMMAND, "--server", place.running.address, "log", "checkpoint"],
        stdout=write_end,
        stderr=subprocess.PIPE,
        cwd=REPOSITORY,
        check=False,
        text=True,
    )
    os.close(write_end)
    assert home.exists()
    assert done.returncode == 0
    assert "Broken pipe" not in done.stderr
    assert "Traceback" not in done.stderr


def test_the_clock_of_the_command_line_is_utc() -> None:
    assert main.now().tzname() == "UTC"


@pytest.mark.parametrize("terminal", [True, False])
def test_a_bar_is_drawn_for_terminals_only(terminal: bool) -> None:
    script = (
        "from registry.cli.output import progress\n"
        "with progress('moving', 100) as advance:\n"
        "    advance(100)\n"
    )
    ours, theirs = pty.openpty() if terminal else os.pipe()
    done = subprocess.run(
        [sys.executable, "-c", script],
        stderr=theirs,
        stdout=subprocess.PIPE,
        cwd=REPOSITORY,
        env={**os.environ, "TERM": "xterm"},
        check=True,
    )
    os.close(theirs)
    drawn = b""
    # A terminal whose other end is closed is at its end with an error.
    try:
        while data := os.read(ours, 4096):
            drawn += data
    except OSError:
        assert terminal
    os.close(ours)
    assert (b"moving" in drawn) is terminal
    assert done.stdout == b""
