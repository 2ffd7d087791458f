"""Following a log from the command line."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from registry.cli import main
from registry.core.digest import text as digest_text
from registry.core.tlog.merkle import leaf_hash
from registry.core.tlog.note import Note
from registry.signing.cosigner import Cosigner
from tests.cli.conftest import Said, Shell
from tests.core.tlog.trees import StaticLog
from tests.static_server import StaticServer, serving

NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)


@pytest.fixture
def log() -> StaticLog:
    log = StaticLog()
    log.grow(5)
    return log


@pytest.fixture
def server(log: StaticLog) -> Iterator[StaticServer]:
    with serving(log) as server:
        yield server


Watch = Callable[..., Said]


@pytest.fixture
def watch(shell: Shell, server: StaticServer, log: StaticLog) -> Watch:
    """Run ``provreg monitor`` on the served log."""

    def act(*arguments: object) -> Said:
        key = str(log.signer.key)
        return shell(
            "monitor", server.url, "--log-key", key, "--state", "state", "--json", *arguments
        )

    return act


def events(said: Said) -> list[dict[str, object]]:
    return [json.loads(line) for line in said.out.splitlines()]


@dataclass
class Clock:
    """A clock that stands still, unless the monitor sleeps."""

    at: datetime = NOON

    def now(self) -> datetime:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(main, "now", clock.now)
    monkeypatch.setattr("registry.cli.monitor.time.sleep", clock.sleep)
    return clock


def test_one_round_tells_of_every_entry_and_of_the_checkpoint(watch: Watch, log: StaticLog) -> None:
    said = watch("--once")
    assert said.status == 0
    *entries, last = events(said)
    assert [item["index"] for item in entries] == [0, 1, 2, 3, 4]
    assert entries[0]["leaf_hash"] == digest_text(leaf_hash(log.entries[0]))
    assert (last["event"], last["note"]) == ("checkpoint", log.head().note.decode())


def test_only_what_is_looked_for_is_told_of(watch: Watch, log: StaticLog) -> None:
    wanted = digest_text(leaf_hash(log.entries[3]))
    found = events(watch("--once", "--digest", wanted))
    assert [item.get("index") for item in found] == [3, None]


def test_without_json_there_are_lines_for_people(
    shell: Shell, server: StaticServer, log: StaticLog
) -> None:
    said = shell("monitor", server.url, "--log-key", log.signer.key, "--state", "state", "--once")
    assert said.out.splitlines()[-2:] == [
        "entry 4: entry 4",
        "log.example is verified up to 5 entries",
    ]


def test_a_fork_is_refused_with_both_checkpoints(
    watch: Watch, server: StaticServer, log: StaticLog, home: Path
) -> None:
    assert watch("--once").status == 0
    server.log = StaticLog(log.signer)
    server.log.grow(9, "forged")
    said = watch("--once")
    assert (said.status, said.error["reason"]) == (1, "FORK")
    kept = {file.read_bytes() for file in (home / "state").rglob("*.checkpoint")}
    assert kept == {log.head().note, server.log.head().note}


def test_a_rollback_is_refused(watch: Watch, server: StaticServer, log: StaticLog) -> None:
    watch("--once")
    server.shown = log.head(4)
    said = watch("--once")
    assert (said.status, said.error["reason"]) == (1, "LOG_ROLLBACK")


def test_a_log_that_does_not_answer_is_unavailable(watch: Watch, server: StaticServer) -> None:
    server.down = True
    said = watch("--once")
    assert (said.status, said.error["reason"]) == (3, "REMOTE_STATUS")


def test_a_monitor_fails_closed_after_its_time(
    watch: Watch, server: StaticServer, clock: Clock
) -> None:
    assert watch("--once").status == 0
    server.down = True
    said = watch("--interval", 60, "--max-age", 600)
    *waited, last = (json.loads(line)["error"]["reason"] for line in said.err.splitlines())
    assert (said.status, last) == (3, "LOG_STALE")
    assert set(waited) == {"REMOTE_STATUS"}
    assert clock.at - NOON == timedelta(seconds=660)


def test_a_monitor_fails_closed_if_witnesses_saw_nothing_new(
    watch: Watch, server: StaticServer, log: StaticLog, clock: Clock, home: Path
) -> None:
    witness = Cosigner.generate("w1.example")
    (home / "policy").write_text(f"witness w1 {witness.key}\nquorum w1\n")
    said = watch("--once", "--policy", "policy")
    assert (said.status, said.error["reason"]) == (3, "QUORUM")
    note = Note.parse(log.head().note)
    line = witness.cosign(log.checkpoint(), NOON)
    server.shown = replace(log.head(), note=str(Note(note.text, (*note.signatures, line))).encode())
    said = watch("--interval", 60, "--max-age", 600, "--policy", "policy")
    # It answers all the time, always the same.
    assert (said.status, said.error["reason"]) == (3, "LOG_STALE")
    assert clock.at - NOON == timedelta(seconds=660)


def test_a_monitor_goes_on_when_the_log_answers_again(
    watch: Watch, server: StaticServer, log: StaticLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.down = True
    nights = iter(range(3))

    def sleep(_seconds: float) -> None:
        if next(nights, None) is None:
            raise KeyboardInterrupt
        server.down = False
        log.grow(1)

    monkeypatch.setattr("registry.cli.monitor.time.sleep", sleep)
    said = watch()
    assert said.status == 130
    sizes = [item["size"] for item in events(said) if item["event"] == "checkpoint"]
    assert sizes == [6, 7, 8]


def test_the_log_key_comes_from_somebody_else_than_the_log(
    shell: Shell, server: StaticServer
) -> None:
    said = shell("monitor", server.url, "--state", "state", "--once", "--json")
    assert (said.status, said.error["reason"]) == (2, "BAD_SETTING")


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [("--digest", "sha256:x", "MALFORMED_DIGEST"), ("--key", "nonsense", "MALFORMED_HEX")],
)
def test_nobody_looks_for_nonsense(watch: Watch, option: str, value: str, reason: str) -> None:
    assert watch("--once", option, value).error["reason"] == reason


@pytest.mark.parametrize("option", ["--interval", "--max-age"])
@pytest.mark.parametrize("value", ["nan", "inf", "1e300", "0", "-1"])
def test_nobody_waits_for_ever_or_backwards(watch: Watch, option: str, value: str) -> None:
    assert watch("--once", option, value).status == 2
