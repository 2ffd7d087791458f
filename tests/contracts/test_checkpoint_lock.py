"""The checkpoint lock: what keeps a log from ever showing two histories."""

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.config import ServerSettings
from registry.core.tlog.checkpoint import Checkpoint
from registry.core.tlog.merkle import EMPTY_ROOT
from registry.errors import (
    ConflictError,
    DamagedError,
    NotFoundError,
    Reason,
    RegistryError,
    UnavailableError,
    VerificationError,
)
from registry.server.app import open_services
from registry.server.folder import CHECKPOINT_LOCK_FILE
from registry.server.offline import make_lock
from registry.signing.file import LogSigner, StatementSigner
from registry.storage.sql.lock import CheckpointLock
from tests.contracts.registry_under_test import opened
from tests.mint import dataset_statement

KEY = LogSigner.generate("log.example").key
EMPTY = Checkpoint("log.example", 0, EMPTY_ROOT)


def checkpoint(size: int, fill: bytes = b"\x01") -> Checkpoint:
    return Checkpoint("log.example", size, fill * 32)


@pytest.fixture
def lock(url: str) -> Iterator[CheckpointLock]:
    """A lock of a new log, taken."""
    lock = CheckpointLock.create(url, KEY)
    lock.take()
    yield lock
    lock.close()


def test_the_lock_of_a_new_log_holds_the_empty_tree(lock: CheckpointLock) -> None:
    assert lock.newest == EMPTY


def test_what_was_replaced_is_there_afterwards(lock: CheckpointLock, url: str) -> None:
    lock.replace(checkpoint(3))
    lock.close()
    again = CheckpointLock(url, KEY)
    assert again.newest == checkpoint(3)
    again.close()


def test_a_lock_is_never_made_by_opening_it(tmp_path: Path) -> None:
    path = tmp_path / "mistyped.sqlite3"
    with pytest.raises(NotFoundError) as refused:
        CheckpointLock(f"sqlite:///{path}", KEY)
    assert (refused.value.reason, path.exists()) == (Reason.LOCK_MISSING, False)


def test_a_store_without_this_log_is_refused(lock: CheckpointLock, url: str) -> None:
    assert lock.newest == EMPTY
    with pytest.raises(NotFoundError) as refused:
        CheckpointLock(url, LogSigner.generate("other.example").key)
    assert refused.value.reason is Reason.LOCK_MISSING


def test_a_database_without_the_table_is_refused(url: str) -> None:
    if url.startswith("sqlite"):
        sqlite3.connect(url.removeprefix("sqlite:///")).close()
    with pytest.raises(NotFoundError) as refused:
        CheckpointLock(url, KEY)
    assert refused.value.reason is Reason.LOCK_MISSING


def test_a_lock_of_another_key_with_this_name_is_refused(lock: CheckpointLock, url: str) -> None:
    assert lock.newest == EMPTY
    with pytest.raises(VerificationError) as refused:
        CheckpointLock(url, LogSigner.generate("log.example").key)
    assert refused.value.reason is Reason.WRONG_LOG


def test_a_lock_is_never_made_twice(lock: CheckpointLock, url: str) -> None:
    assert lock.newest == EMPTY
    with pytest.raises(ConflictError) as refused:
        CheckpointLock.create(url, KEY)
    assert refused.value.reason is Reason.TARGET_EXISTS


def test_a_process_that_was_overtaken_can_replace_nothing(lock: CheckpointLock, url: str) -> None:
    other = CheckpointLock(url, KEY)
    other.take()
    with pytest.raises(DamagedError) as refused:
        lock.replace(checkpoint(1))
    assert refused.value.reason is Reason.LOCK_MOVED
    other.replace(checkpoint(2))
    assert other.newest == checkpoint(2)
    other.close()


def test_a_lock_that_was_not_taken_replaces_nothing(lock: CheckpointLock, url: str) -> None:
    other = CheckpointLock(url, KEY)
    with pytest.raises(DamagedError):
        other.replace(checkpoint(2))
    other.close()
    assert lock.newest == EMPTY


# --- The log and its lock. ---


class Log:
    """A registry in a folder, with a database beside it that can be restored from a backup."""

    def __init__(self, folder: Path, database: Path) -> None:
        self.folder = folder
        self.database = database
        self.keys: dict[str, StatementSigner] = {}

    def grow(self, version: str) -> Checkpoint:
        """Register one more statement; the head afterwards."""
        with opened(self.folder, f"sqlite:///{self.database}", self.keys) as registry:
            return registry.register(dataset_statement(version=version)).head.checkpoint

    def copy(self, source: Path, target: Path) -> None:
        """Copy a SQLite file that nobody has open, and nothing beside it."""
        for name in (target, Path(f"{target}-wal"), Path(f"{target}-shm")):
            name.unlink(missing_ok=True)
        shutil.copy(source, target)

    def refusal(self, checkpoint_lock: str | None = None) -> RegistryError:
        """Why the registry does not start."""
        settings = ServerSettings(
            self.folder, database=f"sqlite:///{self.database}", checkpoint_lock=checkpoint_lock
        )
        with pytest.raises(RegistryError) as refused, open_services(settings):
            pass
        return refused.value

    @property
    def lock(self) -> Path:
        """The file of the checkpoint lock."""
        return self.folder / CHECKPOINT_LOCK_FILE


@pytest.fixture
def log(tmp_path: Path) -> Log:
    """A registry with a few entries, stopped."""
    log = Log(tmp_path / "data", tmp_path / "registry.sqlite3")
    log.grow("first")
    return log


def test_a_restored_backup_is_refused(log: Log, tmp_path: Path) -> None:
    log.copy(log.database, tmp_path / "backup")
    log.grow("lost-with-the-backup")
    log.copy(tmp_path / "backup", log.database)
    assert log.refusal().reason is Reason.LOG_ROLLBACK


def test_another_database_is_refused(log: Log, tmp_path: Path) -> None:
    log.database = tmp_path / "mistyped.sqlite3"
    assert log.refusal().reason is Reason.LOG_ROLLBACK


def test_another_history_of_the_same_log_is_refused(log: Log, tmp_path: Path) -> None:
    log.copy(log.database, tmp_path / "database")
    log.copy(log.lock, tmp_path / "lock")
    log.grow("seen-by-others")
    log.copy(log.database, tmp_path / "seen database")
    seen = tmp_path / "seen lock"
    log.copy(log.lock, seen)
    log.copy(tmp_path / "database", log.database)
    log.copy(tmp_path / "lock", log.lock)
    # What was published would tell, too; here it is as lost as the rest.
    shutil.rmtree(log.folder / "static")
    log.grow("another-history")
    log.copy(seen, log.lock)
    assert log.refusal().reason is Reason.FORK


def test_a_log_that_died_before_its_lock_knew_goes_on(log: Log, tmp_path: Path) -> None:
    log.copy(log.lock, tmp_path / "lock")
    head = log.grow("committed")
    log.copy(tmp_path / "lock", log.lock)
    assert log.grow("after").size == head.size + 1


def test_a_log_whose_lock_is_gone_is_refused(log: Log) -> None:
    log.lock.unlink()
    assert log.refusal().reason is Reason.LOCK_MISSING


def test_a_log_whose_lock_is_gone_gets_one_only_when_told(log: Log) -> None:
    head = log.grow("second")
    log.lock.unlink()
    settings = ServerSettings(log.folder, database=f"sqlite:///{log.database}")
    assert make_lock(settings, None) == head
    assert log.grow("after").size == head.size + 1


def test_a_lock_elsewhere_must_be_there_before_the_first_start(tmp_path: Path) -> None:
    log = Log(tmp_path / "data", tmp_path / "registry.sqlite3")
    where = f"sqlite:///{tmp_path / 'elsewhere.sqlite3'}"
    assert log.refusal(where).reason is Reason.LOCK_MISSING
    make_lock(ServerSettings(log.folder), where)
    settings = ServerSettings(
        log.folder, database=f"sqlite:///{log.database}", checkpoint_lock=where
    )
    with open_services(settings) as (services, _):
        assert services.sequencer.head is not None


def test_a_second_registry_on_one_lock_is_overtaken(log: Log, tmp_path: Path) -> None:
    """Two copies of a data folder share a lock elsewhere: the first can sign nothing more."""
    where = f"sqlite:///{tmp_path / 'shared.sqlite3'}"
    database = f"sqlite:///{log.database}"
    make_lock(ServerSettings(log.folder, database=database), where)
    shutil.copytree(log.folder, tmp_path / "copy")
    log.copy(log.database, tmp_path / "copy.sqlite3")
    first = ServerSettings(log.folder, database=database, checkpoint_lock=where)
    second = ServerSettings(
        tmp_path / "copy",
        database=f"sqlite:///{tmp_path / 'copy.sqlite3'}",
        checkpoint_lock=where,
    )
    with open_services(first) as (services, _), open_services(second):
        size = services.sequencer.head
        with pytest.raises(UnavailableError) as refused:
            services.access.add(
                "late", ("publisher",), ("late/*",), [StatementSigner.generate().public_key], None
            )
        assert refused.value.reason is Reason.LOG_LATCHED
        assert "LOCK_MOVED" in refused.value.actual
        assert services.sequencer.head == size
