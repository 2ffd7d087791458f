"""Every storage operation of an append fails once, having persisted or not: nothing is lost.

A failure that persisted is a commit whose answer never came: the disk was written, and the process
was told that it was not. What must hold afterwards, on SQLite and on PostgreSQL: whatever was
acknowledged is there with a proof, a log that failed accepts nothing more until it is opened again,
and whoever followed the checkpoints saw them grow.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from registry.core.attestation.statement import Statement
from registry.core.tlog.checkpoint import Checkpoint, SignedCheckpoint
from registry.core.tlog.merkle import verify_consistency
from registry.errors import Reason, RegistryError, UnavailableError
from registry.server import app
from registry.services.sequencing import MAX_WAITING, Sequencer
from registry.signing.file import StatementSigner
from registry.storage.sql.engine import Connection, Database
from registry.storage.sql.lock import CheckpointLock
from tests.contracts.registry_under_test import SECONDS, UnderTest, opened
from tests.mint import dataset_statement


class InjectedError(Exception):
    """What a failed operation ends with."""


@dataclass
class LocalWitness:
    """Follows the log as a witness does: it never takes a checkpoint that contradicts the last."""

    seen: Checkpoint | None = None
    count: int = 0

    def follow(self, registry: UnderTest, head: SignedCheckpoint | None) -> None:
        """Take the newest checkpoint, if it extends the last one."""
        assert head is not None
        opened_head = SignedCheckpoint.open(head.note, registry.services.signer.key).checkpoint
        if self.seen is not None:
            assert opened_head.size >= self.seen.size
            proof, newest = registry.services.sequencer.consistency(self.seen.size)
            assert newest.checkpoint == opened_head
            verify_consistency(
                self.seen.size, opened_head.size, proof, self.seen.root, opened_head.root
            )
        self.seen = opened_head
        self.count += 1


@dataclass
class Story:
    """A registry through restarts, and everything that was acknowledged."""

    folder: Path
    url: str
    keys: dict[str, StatementSigner] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    witness: LocalWitness = field(default_factory=LocalWitness)
    acknowledged: list[tuple[int, Statement[Any]]] = field(default_factory=list)
    count: int = 0

    @contextmanager
    def running(self) -> Iterator[UnderTest]:
        """The registry; at both ends everything acknowledged must be there."""
        with opened(self.folder, self.url, self.keys, **self.settings) as registry:
            self.check(registry)
            yield registry
            self.check(registry)

    def check(self, registry: UnderTest) -> None:
        """Prove every acknowledged statement, and that the log grew."""
        for index, said in self.acknowledged:
            receipt = registry.services.sequencer.receipt(index)
            registry.verify(receipt, said)
        self.witness.follow(registry, registry.services.sequencer.head)

    def fresh(self) -> Statement[Any]:
        """A statement that was not registered before."""
        self.count += 1
        return dataset_statement(version=str(self.count))

    def register(self, registry: UnderTest, said: Statement[Any]) -> None:
        """Register, and remember that it was acknowledged."""
        receipt = registry.register(said)
        registry.verify(receipt, said)
        self.acknowledged.append((receipt.index, said))


@pytest.fixture
def story(tmp_path: Path, url: str) -> Story:
    """A registry that has a few entries."""
    story = Story(tmp_path / "data", url)
    with story.running() as registry:
        for _ in range(3):
            story.register(registry, story.fresh())
    return story


def fail_commit(registry: UnderTest, monkeypatch: pytest.MonkeyPatch, *, persisted: bool) -> None:
    """Let the next transaction of the log's database fail."""
    database: Database = registry.services.database
    write = database.write
    failures = [1]

    @contextmanager
    def failing() -> Iterator[Connection]:
        with write() as connection:
            yield connection
            fails = bool(failures) and bool(failures.pop())
            if fails and not persisted:
                raise InjectedError
        if fails:
            raise InjectedError

    monkeypatch.setattr(database, "write", failing)


def fail_lock(registry: UnderTest, monkeypatch: pytest.MonkeyPatch, *, persisted: bool) -> None:
    """Let the next replacement of the checkpoint in the lock fail."""
    sequencer: Sequencer = registry.services.sequencer
    lock: CheckpointLock = sequencer._lock
    replace = lock.replace

    def failing(new: Checkpoint) -> None:
        if persisted:
            replace(new)
        raise InjectedError

    monkeypatch.setattr(lock, "replace", failing)


def fail_signing(registry: UnderTest, monkeypatch: pytest.MonkeyPatch, *, persisted: bool) -> None:
    """Let the signature fail after the lock was replaced; persisted or not, nobody sees it."""
    assert persisted in (True, False)

    def failing(_checkpoint: Checkpoint) -> SignedCheckpoint:
        raise InjectedError

    monkeypatch.setattr(registry.services.signer, "sign", failing)


Fail = Callable[..., None]


@pytest.mark.parametrize("persisted", [False, True], ids=["not persisted", "persisted"])
@pytest.mark.parametrize("fail", [fail_commit, fail_lock, fail_signing])
def test_a_failed_operation_latches_and_loses_nothing(
    story: Story, monkeypatch: pytest.MonkeyPatch, fail: Fail, persisted: bool
) -> None:
    said = story.fresh()
    with story.running() as registry:
        head = registry.services.sequencer.head
        with monkeypatch.context() as patch:
            fail(registry, patch, persisted=persisted)
            with pytest.raises(UnavailableError) as refused:
                registry.register(said)
            assert refused.value.reason is Reason.LOG_LATCHED
        # The cause is gone, and still nothing is accepted: only a new start knows what is true.
        with pytest.raises(UnavailableError) as again:
            registry.register(story.fresh())
        assert again.value.reason is Reason.LOG_LATCHED
        assert registry.services.sequencer.head == head
    with story.running() as registry:
        was_stored = registry.size > (head.checkpoint.size if head else 0)
        assert was_stored == (persisted or fail is not fail_commit)
        story.register(registry, said)
        story.register(registry, story.fresh())
    assert story.witness.count >= 5


def test_a_log_that_latches_again_and_again_loses_nothing(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    for fail in (fail_lock, fail_commit, fail_signing, fail_lock):
        for persisted in (True, False):
            said = story.fresh()
            with story.running() as registry:
                story.register(registry, story.fresh())
                with monkeypatch.context() as patch:
                    fail(registry, patch, persisted=persisted)
                    with pytest.raises(UnavailableError):
                        registry.register(said)
            with story.running() as registry:
                story.register(registry, said)


def test_an_overloaded_log_pushes_back_and_keeps_what_it_took(story: Story) -> None:
    with story.running() as registry:
        sequencer = registry.services.sequencer
        said = registry.submission(story.fresh())
        with registry.services.database.write():
            # The sequencer waits for the database; whatever comes now must wait in the queue.
            taken = [sequencer.submit(said) for _ in range(MAX_WAITING)]
            with pytest.raises(UnavailableError) as refused:
                taken.extend(sequencer.submit(said) for _ in range(MAX_WAITING))
            assert refused.value.reason is Reason.LOG_BUSY
            assert not any(answer.done() for answer in taken)
        indices = {answer.result(SECONDS).index for answer in taken}
        assert len(indices) == 1
        story.register(registry, story.fresh())


def test_a_clock_that_goes_back_changes_nothing_in_the_log(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = app.now()
    for moved in (now.replace(year=now.year + 1), now.replace(year=now.year - 1), now):
        monkeypatch.setattr(app, "now", lambda moved=moved: moved)
        with story.running() as registry:
            story.register(registry, story.fresh())


def test_a_backup_that_was_restored_is_not_served(story: Story) -> None:
    with story.running() as registry, registry.services.database.write() as connection:
        size = registry.size
        # Back to an older state, as a restored backup is: fewer entries, checkpoints and rows.
        for table, column, first in (
            ("log_entries", "entry_index", size - 1),
            ("statements", "entry_index", size - 1),
            ("versions", "entry_index", size - 1),
            ("log_checkpoints", "size", size),
        ):
            connection.execute(
                text(f"DELETE FROM {table} WHERE {column} >= :first"),  # noqa: S608 - names from above
                {"first": first},
            )
    with pytest.raises(RegistryError) as refused, opened(story.folder, story.url, story.keys):
        pass
    assert refused.value.reason is Reason.LOG_ROLLBACK


def test_a_server_that_lost_its_database_to_another_can_add_nothing(
    tmp_path: Path, postgres_url: str
) -> None:
    """The advisory lock goes with its connection; the checkpoint lock stays with who took it."""
    story = Story(tmp_path / "data", postgres_url)
    with story.running() as registry:
        story.register(registry, story.fresh())
        lost = registry.services.database._exclusive
        assert lost is not None
        lost.invalidate()
        usurper = Database(postgres_url)
        usurper.lock_exclusively()
        lock = CheckpointLock(registry.services.sequencer._lock.url, registry.services.signer.key)
        lock.take()
        with pytest.raises(UnavailableError) as refused:
            registry.register(story.fresh())
        assert refused.value.reason is Reason.LOG_LATCHED
        lock.close()
        usurper.close()
    with story.running() as registry:
        story.register(registry, story.fresh())
