"""Examining a registry, and any static log, from the command line."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import delete

from registry.config import ServerSettings
from registry.server.app import open_services
from registry.server.offline import open_offline
from registry.storage.sql import tables as t
from tests.cli.conftest import Shell
from tests.core.tlog.trees import StaticLog
from tests.static_server import StaticServer, serving


@pytest.fixture
def stopped(home: Path) -> Path:
    """A registry with one entry and nothing else, stopped."""
    with open_services(ServerSettings(home / "data")) as (services, _):
        assert services.publisher.wait(30)
    return home / "data"


@pytest.fixture
def server() -> Iterator[StaticServer]:
    log = StaticLog()
    log.grow(300)
    with serving(log) as server:
        yield server


def test_a_good_registry_has_no_faults(shell: Shell, stopped: Path) -> None:
    said = shell("log", "fsck", "--data", stopped, "--json")
    assert (said.status, said.value) == (0, {"entries": 1, "faults": []})
    assert shell("log", "fsck", "--data", stopped).out == "1 entries checked, 0 faults\n"


def test_a_fault_is_named_and_mended_when_asked(shell: Shell, stopped: Path) -> None:
    with open_offline(ServerSettings(stopped)) as opened, opened.database.write() as connection:
        connection.execute(delete(t.statements))
    said = shell("log", "fsck", "--data", stopped, "--json")
    (fault,) = said.value["faults"]
    assert (said.status, fault["reason"], fault["where"]) == (1, "STATEMENT_ROW", "entry 0")
    assert (fault["mended"], "--repair" in fault["hint"]) == (False, True)
    said = shell("log", "fsck", "--data", stopped, "--repair", "--json")
    assert (said.status, said.value["faults"][0]["mended"]) == (0, True)
    assert shell("log", "fsck", "--data", stopped).status == 0


def test_what_is_no_blob_is_named_and_left_alone(shell: Shell, stopped: Path) -> None:
    blobs = stopped / "blobs" / "sha256"
    name = hashlib.sha256(b"x").hexdigest()
    for folder in (name[:2], "00", "a folder"):
        (blobs / folder).mkdir()
    (blobs / "notes.txt").touch()
    (blobs / "a folder" / "zz").touch()
    (blobs / "00" / name).write_bytes(b"x")
    (blobs / name[:2] / name.upper()).write_bytes(b"x")
    (blobs / name[:2] / name).mkdir()
    os.mkfifo(blobs / "00" / ("00" * 32))
    (blobs / "00" / os.fsdecode(b"\xff\n")).touch()
    said = shell("log", "fsck", "--data", stopped, "--repair", "--json")
    faults = said.value["faults"]
    assert (said.status, {fault["reason"] for fault in faults}) == (1, {"BLOB_STRAY"})
    assert not any(fault["mended"] for fault in faults)
    assert {fault["where"].removeprefix("blobs, ") for fault in faults} == {
        "notes.txt",
        "a folder/zz",
        f"00/{name}",
        f"{name[:2]}/{name.upper()}",
        f"{name[:2]}/{name}",
        f"00/{'00' * 32}",
        "00/\\udcff\\n",
    }
    assert shell("db", "rebuild", "--data", stopped).status == 0
    assert (blobs / "notes.txt").exists()


def test_a_folder_that_is_not_there_is_not_made(shell: Shell, home: Path) -> None:
    assert shell("log", "fsck", "--data", "nowhere").status == 2
    assert not (home / "nowhere").exists()


def test_a_new_log_may_have_its_lock_elsewhere(shell: Shell, home: Path) -> None:
    assert shell("log", "init", "--data", "new").status == 2
    assert not (home / "new").exists()
    lock = f"sqlite:///{home}/lock.sqlite3"
    assert shell("log", "init", "--data", "new", "--checkpoint-lock", lock).status == 0
    with open_services(ServerSettings(home / "new", checkpoint_lock=lock)) as (services, _):
        assert services.publisher.wait(30)
    assert not (home / "new" / "newest-checkpoint.sqlite3").exists()
    said = shell("log", "fsck", "--data", "new", "--checkpoint-lock", lock)
    assert said.out == "1 entries checked, 0 faults\n"


@pytest.mark.parametrize("name", ["registry.sqlite3", "newest-checkpoint.sqlite3"])
def test_a_damaged_database_file_is_named(shell: Shell, stopped: Path, name: str) -> None:
    (stopped / name).write_bytes(b"garbage" * 1000)
    for command in (("log", "fsck"), ("db", "rebuild"), ("serve", "--listen", "127.0.0.1:0")):
        if command == ("db", "rebuild") and name.startswith("newest"):
            continue
        said = shell(*command, "--data", stopped)
        assert said.status == 1
        assert "STORED_BYTES" in said.err
        assert name in said.err


@pytest.mark.parametrize("name", ["origin", "keys/log.pem", "keys/operator.pem"])
def test_what_a_log_cannot_go_on_without_is_not_made_again(
    shell: Shell, stopped: Path, name: str
) -> None:
    (stopped / name).rename(stopped / "elsewhere")
    for command in (("log", "fsck"), ("serve", "--listen", "127.0.0.1:0")):
        said = shell(*command, "--data", stopped)
        assert said.status == 1
        assert "KEY_LOST" in said.err
        assert name in said.err
    assert not (stopped / name).exists()
    (stopped / "elsewhere").rename(stopped / name)
    assert shell("log", "fsck", "--data", stopped).status == 0


def test_a_new_folder_does_not_take_the_database_of_another_log(
    shell: Shell, stopped: Path
) -> None:
    url = f"sqlite:///{stopped}/registry.sqlite3"
    said = shell("serve", "--listen", "127.0.0.1:0", "--data", "new", "--database", url)
    assert said.status == 1
    assert "WRONG_LOG" in said.err
    assert shell("log", "fsck", "--data", stopped).status == 0
    # Also not with the right key of the log and another operator.
    (stopped / "keys" / "operator.pem").unlink()
    assert shell("key", "generate", stopped / "keys" / "operator.pem").status == 0
    said = shell("serve", "--listen", "127.0.0.1:0", "--data", stopped)
    assert (said.status, "operator.pem" in said.err) == (1, True)


def test_a_damaged_published_checkpoint_says_what_mends_it(shell: Shell, stopped: Path) -> None:
    (stopped / "static" / "checkpoint").write_text("garbage")
    said = shell("serve", "--listen", "127.0.0.1:0", "--data", stopped)
    assert said.status == 1
    assert "static/checkpoint" in said.err
    assert "provreg log fsck --repair" in said.err
    assert shell("log", "fsck", "--data", stopped, "--repair").status == 0


def test_a_static_log_is_examined_over_http(shell: Shell, server: StaticServer) -> None:
    key = str(server.log.signer.key)
    said = shell("log", "fsck", "--url", server.url, "--log-key", key, "--json")
    assert (said.status, said.value["entries"], said.value["faults"]) == (0, 300, [])
    assert said.value["root"] == server.log.checkpoint().root.hex()


def test_every_fault_of_a_static_log_is_named(shell: Shell, server: StaticServer) -> None:
    server.log.grow(500)
    server.change = lambda path, body: (
        body.replace(b"entry 7\0", b"entry 8\0").replace(b"entry 600", b"entry 601")
        if "entries" in path
        else body
    )
    server.gone = frozenset(["tile/entries/001"])
    key = str(server.log.signer.key)
    said = shell("log", "fsck", "--url", server.url, "--log-key", key, "--json")
    assert said.status == 1
    assert [(fault["reason"], fault["where"]) for fault in said.value["faults"]] == [
        ("INCLUSION_PROOF", "entry 7"),
        ("REMOTE_STATUS", f"{server.url}tile/entries/001"),
        ("INCLUSION_PROOF", "entry 600"),
    ]


def test_a_static_log_needs_a_key_to_go_by(shell: Shell, server: StaticServer) -> None:
    said = shell("log", "fsck", "--url", server.url, "--json")
    assert (said.status, said.error["reason"]) == (2, "BAD_SETTING")


def test_a_checkpoint_that_the_log_did_not_sign_is_refused(
    shell: Shell, server: StaticServer
) -> None:
    other = StaticLog()
    key = str(other.signer.key)
    said = shell("log", "fsck", "--url", server.url, "--log-key", key, "--json")
    assert (said.status, said.error["reason"]) == (1, "WRONG_LOG")
