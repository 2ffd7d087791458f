"""A registry, and somebody at a terminal."""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from registry.cli.main import run
from tests.running import Caller, Running, running_registry


@dataclass(frozen=True)
class Said:
    """What a command said, and its exit status."""

    status: int
    out: str
    err: str

    @property
    def value(self) -> Any:
        """Standard output, as JSON."""
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, str]:
        """Standard error, as JSON."""
        told: dict[str, str] = json.loads(self.err)["error"]
        return told


Shell = Callable[..., Said]
"""Runs ``provreg`` with these arguments."""

COMMAND = [sys.executable, "-m", "registry"]
"""How to run ``provreg`` in a process of its own."""


@dataclass(frozen=True)
class Place:
    """A registry and its callers, with their tokens and keys in files."""

    running: Running
    folder: Path
    publisher: Caller
    node: Caller

    @property
    def vkey(self) -> str:
        """The log's verifier key."""
        return (self.running.data / "log.vkey").read_text().strip()


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Run one registry for the whole session."""
    folder = tmp_path_factory.mktemp("place")
    with running_registry(folder / "data") as running:
        publisher = running.admit("acme", "publisher", namespaces=["acme/*"])
        node = running.admit("node-1", "node")
        for caller in (publisher, node):
            (folder / f"{caller.name}.token").write_text(caller.token + "\n")
            caller.signer.save(folder / f"{caller.name}.pem")
        yield Place(running, folder, publisher, node)


@pytest.fixture(scope="session")
def auditor(place: Place) -> Caller:
    """An auditor with a token and a key, in files beside those of the others."""
    caller = place.running.admit("auditor-cli", "auditor")
    (place.folder / "auditor.token").write_text(caller.token + "\n")
    caller.signer.save(place.folder / "auditor.pem")
    return caller


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sit in an empty folder, with an empty configuration."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    for name in ("SERVER", "TOKEN", "TOKEN_FILE", "LOG_KEY", "CA_FILE"):
        monkeypatch.delenv(f"PROVREG_{name}", raising=False)
    monkeypatch.setenv("PROVREG_CONFIG_DIR", str(tmp_path / "config"))
    return home


@pytest.fixture
def shell(home: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    """Run commands without any setting."""
    assert home.exists()

    def act(*arguments: object) -> Said:
        capsys.readouterr()
        status = run([str(item) for item in arguments])
        said = capsys.readouterr()
        return Said(status, said.out, said.err)

    return act


@pytest.fixture
def acme(shell: Shell, place: Place, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """Run commands as the publisher, who has met the registry before."""
    monkeypatch.setenv("PROVREG_SERVER", place.running.address)
    monkeypatch.setenv("PROVREG_TOKEN_FILE", str(place.folder / "acme.token"))
    assert shell("log", "checkpoint").status == 0
    return shell


@pytest.fixture
def admin(acme: Shell, place: Place, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """Run commands as the administrator."""
    monkeypatch.setenv("PROVREG_TOKEN_FILE", str(place.running.data / "admin.token"))
    return acme


@pytest.fixture
def key(place: Place) -> Path:
    """The publisher's private key."""
    return place.folder / "acme.pem"


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A name that no other test uses."""
    test = "".join(c if c.isalnum() else "-" for c in request.node.name.lower())
    return f"acme/{test[-60:].strip('-')}"


@pytest.fixture
def folder(home: Path) -> Path:
    """A small folder to publish."""
    folder = home / "model"
    folder.mkdir()
    (folder / "config.json").write_bytes(b"{}")
    (folder / "weights.bin").write_bytes(bytes(range(256)))
    return folder
