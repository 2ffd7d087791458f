"""What a monitor remembers is durable, belongs to one log, and never goes back."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from registry.client.following_state import EVIDENCE_FOLDER, STATE_FILE, Followed, StateFolder
from registry.errors import (
    ConflictError,
    DamagedError,
    Reason,
    UnavailableError,
    VerificationError,
)
from registry.signing.file import LogSigner
from tests.core.tlog.trees import StaticLog

NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def log() -> StaticLog:
    log = StaticLog()
    log.grow(9)
    return log


def test_what_was_remembered_is_known_afterwards(log: StaticLog, tmp_path: Path) -> None:
    followed = Followed(log.head(7), 3, NOON)
    with StateFolder(tmp_path / "state", log.signer.key) as state:
        assert state.followed is None
        state.advance(followed)
    with StateFolder(tmp_path / "state", log.signer.key) as state:
        assert state.followed == followed


@pytest.mark.parametrize(("size", "position"), [(6, 5), (7, 4)])
def test_the_memory_never_goes_back(
    log: StaticLog, tmp_path: Path, size: int, position: int
) -> None:
    with StateFolder(tmp_path, log.signer.key) as state:
        state.advance(Followed(log.head(7), 5, NOON))
        with pytest.raises(ConflictError) as caught:
            state.advance(Followed(log.head(size), position, NOON))
        assert caught.value.reason is Reason.LOG_ROLLBACK
        assert state.followed == Followed(log.head(7), 5, NOON)


def test_one_monitor_at_a_time(log: StaticLog, tmp_path: Path) -> None:
    with StateFolder(tmp_path, log.signer.key):
        with pytest.raises(UnavailableError) as caught:
            StateFolder(tmp_path, log.signer.key)
        assert caught.value.reason is Reason.LOG_IN_USE


def test_the_memory_of_another_log_is_refused(log: StaticLog, tmp_path: Path) -> None:
    with StateFolder(tmp_path, log.signer.key) as state:
        state.advance(Followed(log.head(), 0, NOON))
    other = LogSigner.generate(log.signer.key.name)
    with pytest.raises(VerificationError) as caught:
        StateFolder(tmp_path, other.key)
    assert caught.value.reason is Reason.WRONG_LOG


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"position":0', '"position":-1'),
        ("2026-09-01", "2026-13-01"),
        ("9\\n", "8\\n"),
        ("{", "{ "),
        ("}", ""),
    ],
)
def test_a_damaged_memory_is_refused(log: StaticLog, tmp_path: Path, old: str, new: str) -> None:
    with StateFolder(tmp_path, log.signer.key) as state:
        state.advance(Followed(log.head(), 0, NOON))
    file = tmp_path / STATE_FILE
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(DamagedError) as caught:
        StateFolder(tmp_path, log.signer.key)
    assert caught.value.reason is Reason.STORED_BYTES
    file.write_text(text)
    StateFolder(tmp_path, log.signer.key).close()


def test_evidence_is_kept_whole_and_stops_the_monitor(log: StaticLog, tmp_path: Path) -> None:
    why = VerificationError(Reason.FORK, "two histories")
    with StateFolder(tmp_path, log.signer.key) as state:
        state.check_evidence()
        folder = state.keep_evidence(log.head(9), log.head(8), why)
        assert state.keep_evidence(log.head(9), log.head(8), why) == folder
        assert (folder / "seen.checkpoint").read_bytes() == log.head(9).note
        assert (folder / "shown.checkpoint").read_bytes() == log.head(8).note
        assert str(log.signer.key) in (folder / "why.txt").read_text()
        assert folder.parent == tmp_path / EVIDENCE_FOLDER
        with pytest.raises(VerificationError) as caught:
            state.check_evidence()
        assert caught.value.reason is Reason.FORK
