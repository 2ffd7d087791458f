"""A monitor believes what extends what it has seen, and keeps evidence of everything else."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from registry.client.following_state import StateFolder
from registry.client.monitor import Found, Monitor, Verified
from registry.client.tiled_log import TiledLog
from registry.core.tlog.checkpoint import SignedCheckpoint
from registry.core.tlog.merkle import leaf_hash
from registry.core.tlog.note import Note
from registry.core.tlog.policy import Policy
from registry.core.tlog.selection import Selection
from registry.errors import Reason, RegistryError, UnavailableError, VerificationError
from registry.remote.http import HTTPClient
from registry.signing.cosigner import Cosigner
from registry.signing.file import LogSigner
from tests.core.tlog.trees import StaticLog
from tests.static_server import StaticServer, serving

NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Watcher:
    """A monitor of one served log, and what it told."""

    def __init__(self, server: StaticServer, folder: Path, selection: Selection) -> None:
        self.server = server
        self.folder = folder
        self.selection = selection
        self.told: list[Found | Verified] = []
        self.policy: Policy | None = None

    def round(self, at: datetime = NOON, *, only_new: bool = False) -> list[int]:
        """Run a monitor for one round; the indices that it told of."""
        self.told.clear()
        key = self.server.log.signer.key
        with StateFolder(self.folder, key) as state, HTTPClient() as http:
            monitor = Monitor(
                TiledLog(self.server.url, http),
                key,
                state,
                self.selection,
                started_at=NOON,
                max_age=HOUR,
                policy=self.policy,
            )
            monitor.round(at, self.told.append, only_new=only_new)
            monitor.verify_fresh(at)
        return [item.index for item in self.told if isinstance(item, Found)]

    def refusal(self) -> RegistryError:
        """How a round ends."""
        with pytest.raises(RegistryError) as caught:
            self.round()
        return caught.value

    @property
    def position(self) -> int:
        """How far the log was read."""
        with StateFolder(self.folder, self.server.log.signer.key) as state:
            assert state.followed is not None
            return state.followed.position

    def evidence(self) -> list[bytes]:
        """All signed checkpoints that were kept."""
        return [file.read_bytes() for file in sorted(self.folder.rglob("*.checkpoint"))]


@pytest.fixture
def log() -> StaticLog:
    log = StaticLog()
    log.grow(300)
    return log


@pytest.fixture
def watcher(log: StaticLog, tmp_path: Path) -> Iterator[Watcher]:
    with serving(log) as server:
        yield Watcher(server, tmp_path / "state", Selection())


def test_every_entry_is_told_of_once(watcher: Watcher, log: StaticLog) -> None:
    assert watcher.round() == list(range(300))
    assert watcher.round() == []
    log.grow(250)
    assert watcher.round() == list(range(300, 550))
    assert watcher.position == 550


def test_a_verified_checkpoint_is_told_last(watcher: Watcher, log: StaticLog) -> None:
    watcher.round()
    assert watcher.told[-1] == Verified(log.head(), 300)


def test_only_what_is_new_is_read_if_that_is_wanted(watcher: Watcher, log: StaticLog) -> None:
    assert watcher.round(only_new=True) == []
    log.grow(2)
    assert watcher.round(only_new=True) == [300, 301]


def test_only_entries_that_are_looked_for_are_told_of(watcher: Watcher, log: StaticLog) -> None:
    watcher.selection = Selection(digests=frozenset([leaf_hash(log.entries[7])]))
    assert watcher.round() == [7]


def test_a_monitor_that_died_reads_on_where_it_stopped(watcher: Watcher) -> None:
    watcher.server.gone = frozenset(["tile/entries/001.p/44"])
    assert watcher.refusal().reason is Reason.REMOTE_STATUS
    assert watcher.position == 256
    watcher.server.gone = frozenset()
    assert watcher.round() == list(range(256, 300))


def fork(log: StaticLog, size: int) -> StaticLog:
    other = StaticLog(log.signer, log.entries[: size - 1])
    other.grow(1, "forged")
    return other


def test_two_trees_of_one_size_are_a_fork(watcher: Watcher, log: StaticLog) -> None:
    watcher.round()
    other = watcher.server.log = fork(log, 300)
    assert watcher.refusal().reason is Reason.FORK
    assert watcher.evidence() == [log.head().note, other.head().note]


def test_a_larger_tree_that_does_not_extend_the_last_one_is_a_fork(
    watcher: Watcher, log: StaticLog
) -> None:
    watcher.round()
    other = watcher.server.log = fork(log, 20)
    other.grow(600)
    error = watcher.refusal()
    assert error.reason is Reason.FORK
    assert str(watcher.folder) in error.hint
    assert watcher.evidence() == [log.head().note, other.head().note]


def test_fewer_entries_are_a_rollback(watcher: Watcher, log: StaticLog) -> None:
    watcher.round()
    watcher.server.shown = log.head(299)
    assert watcher.refusal().reason is Reason.LOG_ROLLBACK
    assert watcher.evidence() == [log.head().note, log.head(299).note]


def test_a_log_that_contradicted_itself_is_not_followed_on(
    watcher: Watcher, log: StaticLog
) -> None:
    watcher.round()
    watcher.server.shown = log.head(299)
    watcher.refusal()
    watcher.server.shown = None
    log.grow(1)
    assert watcher.refusal().reason is Reason.FORK
    assert watcher.position == 300


def test_a_checkpoint_of_another_log_is_refused(watcher: Watcher, log: StaticLog) -> None:
    watcher.round()
    other = StaticLog(LogSigner.generate("other.example"), log.entries)
    watcher.server.shown = other.head()
    assert watcher.refusal().reason is Reason.WRONG_LOG
    assert watcher.evidence() == []


def test_a_checkpoint_that_the_log_did_not_sign_is_refused(watcher: Watcher) -> None:
    watcher.round()
    watcher.server.change = lambda path, body: (
        body.replace(b"300", b"301") if path == "checkpoint" else body
    )
    assert watcher.refusal().reason is Reason.LOG_SIGNATURE


def test_wrong_tiles_are_refused_and_prove_nothing(watcher: Watcher, log: StaticLog) -> None:
    watcher.round()
    log.grow(10)
    watcher.server.change = lambda path, body: (
        bytes([body[0] ^ 1]) + body[1:] if path.startswith("tile/0") else body
    )
    assert watcher.refusal().reason is Reason.TILE
    assert (watcher.evidence(), watcher.position) == ([], 300)


def test_tiles_are_verified_at_first_contact(watcher: Watcher) -> None:
    watcher.server.change = lambda path, body: (
        bytes([body[0] ^ 1]) + body[1:] if path.startswith("tile/0") else body
    )
    assert watcher.refusal().reason is Reason.TILE


def test_a_monitor_fails_closed_without_a_fresh_checkpoint(watcher: Watcher) -> None:
    watcher.round(NOON)
    key = watcher.server.log.signer.key
    with StateFolder(watcher.folder, key) as state, HTTPClient() as http:
        log = TiledLog(watcher.server.url, http)
        # Started late: what counts is when a checkpoint was verified.
        monitor = Monitor(log, key, state, Selection(), started_at=NOON + HOUR, max_age=HOUR)
        monitor.verify_fresh(NOON + HOUR)
        with pytest.raises(UnavailableError) as caught:
            monitor.verify_fresh(NOON + HOUR + timedelta(seconds=1))
        assert caught.value.reason is Reason.LOG_STALE


def test_a_monitor_that_never_saw_a_checkpoint_fails_closed_too(
    watcher: Watcher, tmp_path: Path
) -> None:
    key = watcher.server.log.signer.key
    with StateFolder(tmp_path, key) as state, HTTPClient() as http:
        log = TiledLog(watcher.server.url, http)
        monitor = Monitor(log, key, state, Selection(), started_at=NOON, max_age=HOUR)
        monitor.verify_fresh(NOON + HOUR)
        with pytest.raises(UnavailableError):
            monitor.verify_fresh(NOON + 2 * HOUR)


W1, W2 = Cosigner.generate("w1.example"), Cosigner.generate("w2.example")


def with_witnesses(watcher: Watcher) -> None:
    """From now on, ask for both witnesses."""
    watcher.policy = Policy.parse(
        f"witness w1 {W1.key}\nwitness w2 {W2.key}\ngroup both all w1 w2\nquorum both\n".encode()
    )


def seen(head: SignedCheckpoint, *by: Cosigner, at: datetime = NOON) -> SignedCheckpoint:
    """The same checkpoint, cosigned."""
    note = Note.parse(head.note)
    lines = tuple(each.cosign(head.checkpoint, at) for each in by)
    return replace(head, note=str(Note(note.text, (*note.signatures, *lines))).encode())


def test_only_what_a_quorum_has_seen_is_followed(watcher: Watcher, log: StaticLog) -> None:
    with_witnesses(watcher)
    for shown in (log.head(), seen(log.head(), W1)):
        watcher.server.shown = shown
        error = watcher.refusal()
        assert isinstance(error, UnavailableError)
        assert error.reason is Reason.QUORUM
        assert watcher.told == []
    watcher.server.shown = seen(log.head(), W1, W2)
    assert watcher.round() == list(range(300))


def test_the_cosigned_checkpoint_is_asked_for_where_the_log_has_one(
    watcher: Watcher, log: StaticLog
) -> None:
    with_witnesses(watcher)
    watcher.server.cosigned = seen(log.head(200), W1, W2).note
    assert watcher.round() == list(range(200))
    watcher.server.cosigned = seen(log.head(), W1, W2).note
    assert watcher.round() == list(range(200, 300))


def test_witnesses_that_are_behind_what_was_seen_before_are_waited_for(
    watcher: Watcher, log: StaticLog
) -> None:
    watcher.round()
    with_witnesses(watcher)
    watcher.server.cosigned = seen(log.head(200), W1, W2).note
    assert watcher.refusal().reason is Reason.QUORUM
    # But a log that takes back what it showed is told of.
    watcher.server.shown = log.head(250)
    assert watcher.refusal().reason is Reason.LOG_ROLLBACK
    assert len(watcher.evidence()) == 2


def test_a_fork_is_noticed_whether_or_not_witnesses_saw_it(
    watcher: Watcher, log: StaticLog
) -> None:
    with_witnesses(watcher)
    watcher.server.shown = seen(log.head(), W1, W2)
    watcher.round()
    other = StaticLog(log.signer)
    other.grow(300, "other")
    watcher.server.shown = other.head()
    assert watcher.refusal().reason is Reason.FORK


def test_a_checkpoint_is_as_old_as_its_cosignatures(watcher: Watcher, log: StaticLog) -> None:
    with_witnesses(watcher)
    watcher.server.shown = seen(seen(log.head(), W1), W2, at=NOON - HOUR)
    watcher.round(NOON)
    late = NOON + timedelta(seconds=1)
    with pytest.raises(UnavailableError) as caught:
        watcher.round(late)
    assert caught.value.reason is Reason.LOG_STALE
    # Witnesses saw the same tree once more: nothing new happened, and that is known now.
    watcher.server.shown = seen(log.head(), W1, W2, at=late + 2 * HOUR)
    assert watcher.round(late) == []


def test_a_known_witness_that_did_not_sign_is_told_of(watcher: Watcher, log: StaticLog) -> None:
    with_witnesses(watcher)
    wrong = W1.cosign(log.checkpoint(5), NOON)
    note = Note.parse(log.head().note)
    forged = str(Note(note.text, (*note.signatures, wrong))).encode()
    watcher.server.shown = replace(log.head(), note=forged)
    error = watcher.refusal()
    assert isinstance(error, VerificationError)
    assert error.reason is Reason.COSIGNATURE
