"""Each write of a background job fails once, having persisted or not: nothing is lost.

Cosigning, stamping and merging write to the log's database beside what callers wait for. A commit
that fails, whether or not it arrived, and, on PostgreSQL, a connection that is cut at any
statement, leave open what is stored. What must hold afterwards: the log accepts nothing more until
it is opened again, whatever was acknowledged is there, whoever followed the checkpoints saw them
grow, and the job makes up for what was lost.
"""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import event, select
from sqlalchemy.engine import make_url

from registry.config import TimestampAuthority
from registry.core.archive.timestamp import open_token
from registry.core.digest import sha256
from registry.core.tlog.checkpoint import SignedCheckpoint
from registry.core.tlog.note import VerifierKey
from registry.core.tlog.policy import Policy
from registry.errors import Reason, RegistryError
from registry.services import cosigning, sequencing
from registry.services.sequencing import Sequencer
from registry.storage.sql import cosigned, outputs, timestamps
from registry.storage.sql import tables as t
from registry.storage.sql.engine import Connection, Database
from tests.contracts.registry_under_test import UnderTest
from tests.contracts.test_storage_faults import InjectedError, Story
from tests.cosigned import SECONDS, eventually
from tests.mint import Journal, Logged, a_manifest, release_statement
from tests.stamping import stamping
from tests.watched import watching

MERGED_OUTPUTS = 16
"""How many of the newest outputs are in the runs that are merged, and some more."""

MOST_STATEMENTS = 60
"""Statements of one job's work, at most."""

LEVELS = 10
"""More levels of the index than there are."""


class Job(ABC):
    """Something that writes in the background."""

    thread: str
    """The thread that it runs in."""

    statements: int
    """Statements of its work, at least, the commit included."""

    def is_writing(self) -> bool:
        """Whether it is the job that asks the database."""
        return threading.current_thread().name == self.thread

    def settle(self, registry: UnderTest) -> None:
        """Wait until it has nothing to do, and is one trigger away from having some."""
        eventually(lambda: self.is_done(registry))

    def trigger(self, story: Story, registry: UnderTest) -> None:
        """Do what gives the job work; it is acknowledged before the job begins."""
        story.register(registry, story.fresh())

    @abstractmethod
    def is_done(self, registry: UnderTest) -> bool:
        """Whether there is nothing left to do; what is stored must hold in any case."""

    def check(self, registry: UnderTest) -> None:
        """Nothing is left to do, and whatever was ever stored holds."""
        assert self.is_done(registry)


class CosigningJob(Job):
    """Writes the second checkpoint slot."""

    thread, statements = "cosigning", 3

    def __init__(self, story: Story, resources: ExitStack, folder: Path) -> None:
        key = VerifierKey.parse((story.folder / "log.vkey").read_text().strip())
        witness = resources.enter_context(watching(folder, key))
        text = f"log {key}\n{witness.line}quorum {witness.name}\n"
        (folder / "policy").write_text(text)
        self._policy = Policy.parse(text.encode())
        self._size = 0
        story.settings["witness_policy"] = folder / "policy"

    def is_done(self, registry: UnderTest) -> bool:
        with registry.services.database.read() as connection:
            note = cosigned.newest(connection)
        if note is None:
            return False
        self._policy.verify(note)
        size = SignedCheckpoint.open(note, registry.services.signer.key).checkpoint.size
        assert size >= self._size
        self._size = size
        return size == registry.size


class StampingJob(Job):
    """Writes a row for each timestamp."""

    thread, statements = "timestamps", 2

    def __init__(self, story: Story, resources: ExitStack, folder: Path) -> None:
        self._server = resources.enter_context(stamping())
        (folder / "chain.pem").write_bytes(self._server.signer.authority.pem)
        authority = TimestampAuthority.parse(f"{self._server.url}={folder / 'chain.pem'}")
        story.settings["timestamp_authorities"] = (authority,)
        story.settings["timestamp_interval"] = timedelta(milliseconds=20)

    def is_done(self, registry: UnderTest) -> bool:
        newest = 0
        with registry.services.database.read() as connection:
            for row in timestamps.every(connection):
                stamp = open_token(row.token, row.note, self._server.signer.authority)
                assert stamp.at == row.at
                newest = max(newest, row.size)
        return newest == registry.size


class MergingJob(Job):
    """Merges runs of the index of outputs, each step in a transaction."""

    thread, statements = "sequencer", 20

    def __init__(self, _story: Story, resources: ExitStack, _folder: Path) -> None:
        patch = resources.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(outputs, "FAN_OUT", 2)
        patch.setattr(outputs, "STEP_ENTRIES", 4)
        patch.setattr(sequencing, "COMPACTION_STEPS", 1000)
        merge = Sequencer._compact_once
        self._merging = False
        self._idle = threading.Event()

        def watched(sequencer: Sequencer) -> bool:
            self._merging = True
            try:
                more = merge(sequencer)
            finally:
                self._merging = False
            if not more:
                self._idle.set()
            return more

        patch.setattr(Sequencer, "_compact_once", watched)
        self._batches: dict[bytes, int] = {}

    def is_writing(self) -> bool:
        return super().is_writing() and self._merging

    def settle(self, registry: UnderTest) -> None:
        # A new start merges with the next batch. What is merged at the trigger is of one level.
        while not self._batches or self._levels(registry)[:2] != [1, 0]:
            self._idle.clear()
            self._register(registry)
            assert self._idle.wait(SECONDS)

    def trigger(self, story: Story, registry: UnderTest) -> None:
        assert story.keys is registry.keys
        self._register(registry)

    def _register(self, registry: UnderTest) -> None:
        said = release_statement(a_manifest())
        released = Logged(said, registry.keys["acme"].sign(said), 0)
        number = len(self._batches)
        journal = Journal(shim_id=f"{number:032x}")
        journal.boot()
        answers = [b"%d %d" % (number, call) for call in range(4)]
        for answer in answers:
            journal.call(released, answer)
        batch = journal.batch_statement()
        receipt = registry.register_batch(batch, journal.records)
        registry.verify(receipt, batch, "node-1")
        self._batches |= dict.fromkeys(map(sha256, answers), receipt.index)

    def _levels(self, registry: UnderTest) -> list[int]:
        runs = t.output_runs.c
        with registry.services.database.read() as connection:
            found = connection.execute(select(runs.level).where(runs.complete == 1))
            levels = list(found.scalars())
        return [levels.count(level) for level in range(LEVELS)]

    def is_done(self, registry: UnderTest) -> bool:
        # Only runs of these are merged. An output that is lost stays so until the end.
        self._look_up(registry, list(self._batches)[-MERGED_OUTPUTS:])
        return max(self._levels(registry)) < 2

    def check(self, registry: UnderTest) -> None:
        assert self.is_done(registry)
        self._look_up(registry, list(self._batches))

    def _look_up(self, registry: UnderTest, digests: list[bytes]) -> None:
        for output in digests:
            found = registry.services.lineage.find([output])
            assert [place for place, _ in found] == [self._batches[output]]


JOBS: dict[str, Callable[[Story, ExitStack, Path], Job]] = {
    "cosigning": CosigningJob,
    "stamping": StampingJob,
    "merging": MergingJob,
}


@pytest.fixture
def story(tmp_path: Path, url: str) -> Story:
    """A registry that has a few entries."""
    story = Story(tmp_path / "data", url)
    with story.running() as registry:
        story.register(registry, story.fresh())
    return story


@pytest.fixture(params=JOBS)
def job(
    request: pytest.FixtureRequest,
    story: Story,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Job]:
    """A job that hardly pauses."""
    monkeypatch.setattr(cosigning, "PACE_SECONDS", 0.02)
    monkeypatch.setattr(cosigning, "TICK_SECONDS", 0.02)
    with ExitStack() as resources:
        yield JOBS[request.param](story, resources, tmp_path)


def check_latched(story: Story, registry: UnderTest) -> None:
    """The log says that it accepts nothing, and serves what it has."""
    eventually(lambda: registry.services.sequencer.latched is not None)
    with pytest.raises(RegistryError) as refused:
        registry.register(story.fresh())
    assert refused.value.reason is Reason.LOG_LATCHED
    story.check(registry)


@pytest.mark.parametrize("persisted", [False, True], ids=["not persisted", "persisted"])
def test_a_failed_commit_latches_and_loses_nothing(
    story: Story, job: Job, monkeypatch: pytest.MonkeyPatch, persisted: bool
) -> None:
    with story.running() as registry:
        job.settle(registry)
        with monkeypatch.context() as patch:
            fail_commits(registry.services.database, job, patch, persisted=persisted)
            job.trigger(story, registry)
            check_latched(story, registry)
        job.is_done(registry)
    with story.running() as registry:
        job.settle(registry)
        job.trigger(story, registry)
        eventually(lambda: job.is_done(registry))
        job.check(registry)
        assert registry.services.sequencer.latched is None


def fail_commits(
    database: Database, job: Job, monkeypatch: pytest.MonkeyPatch, *, persisted: bool
) -> None:
    """Let every transaction of the job fail."""
    write = database.write

    @contextmanager
    def failing() -> Iterator[Connection]:
        with write() as connection:
            yield connection
            if job.is_writing() and not persisted:
                raise InjectedError
        if job.is_writing():
            raise InjectedError

    monkeypatch.setattr(database, "write", failing)


class Cut:
    """Ends the connection of a job before its n-th statement; a commit is one as well."""

    def __init__(self, url: str, job: Job, nth: int) -> None:
        self._url = make_url(url).set(drivername="postgresql")
        self._job = job
        self._nth = nth
        self._count = 0
        self.is_armed = False

    def __call__(self, connection: Connection, *_: object) -> None:
        if not self.is_armed or not self._job.is_writing():
            return
        self._count += 1
        if self._count != self._nth:
            return
        driver = connection.connection.driver_connection
        assert isinstance(driver, psycopg.Connection)
        number = driver.info.backend_pid
        text = self._url.render_as_string(hide_password=False)
        with psycopg.connect(text, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s, 10000)", [number])

    def struck(self, is_done: Callable[[], bool]) -> bool:
        """Wait until it was used (true), or the job is done without."""
        eventually(lambda: self._count >= self._nth or is_done())
        return self._count >= self._nth


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_connection_that_is_cut_at_any_statement_latches_and_loses_nothing(
    story: Story, job: Job
) -> None:
    for nth in range(1, MOST_STATEMENTS):
        cut = Cut(story.url, job, nth)
        with story.running() as registry:
            # What the last cut left undone is done again.
            job.settle(registry)
            engine = registry.services.database._writer
            event.listen(engine, "before_cursor_execute", cut)
            event.listen(engine, "commit", cut)
            cut.is_armed = True
            job.trigger(story, registry)
            if cut.struck(partial(job.is_done, registry)):
                check_latched(story, registry)
                job.is_done(registry)
            else:
                assert nth > job.statements
                job.check(registry)
                return
    pytest.fail(f"one work takes more than {MOST_STATEMENTS} statements")
