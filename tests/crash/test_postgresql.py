"""On PostgreSQL the registry is killed at each step of each background job, by ``kill -9``.

A step is a file operation, or a message to the database or its answer. Before a message nothing of
its statement has arrived; before the answer the database has done what the process does not know
of. Where that makes no difference to anybody outside, because the job only reads, or nobody is told
of a commit, the next message is the same moment, and answers are not counted. What is counted are
the steps of the job's own threads, while all the other jobs go on.

After each kill the registry starts again, has everything that was acknowledged, under a log that
extends all that anybody saw of it, and the job makes up for what was lost. A witness of its own
sees every checkpoint, and never one that it cannot cosign.
"""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import grpc
import pytest
from sqlalchemy.engine import make_url

from registry.api.v1 import log_service_pb2, log_service_pb2_grpc
from registry.config import ServerSettings
from registry.core import encoding
from registry.core.archive.timestamp import open_token
from registry.core.tlog.checkpoint import SignedCheckpoint
from registry.core.tlog.note import Note, VerifierKey
from registry.core.tlog.policy import Policy
from registry.errors import RegistryError
from registry.server.app import open_services
from registry.server.offline import check_offline, make_lock
from registry.storage.sql import timestamps
from registry.storage.sql.engine import Connection, Database
from tests import postgres
from tests.crash import inject
from tests.crash.call_paths import OPERANDS
from tests.crash.inject import MESSAGES, Injector
from tests.crash.nursery import DATABASE, DONE, GATE, LOCK, POLICY
from tests.crash.striking import KILLED, Aim, strike_each, trap
from tests.crash.test_background import published
from tests.crash.test_certificates import ask, logged
from tests.crash.test_faults import Victim
from tests.crash.test_kill import SECONDS, Writer
from tests.crash.test_merged import Finder, Merged
from tests.running import REPOSITORY, address_in
from tests.stamping import Server, stamping
from tests.watched import Watching, watching

pytestmark = pytest.mark.skipif(
    inject.available() is not None, reason=f"no faults can be injected: {inject.available()}"
)

TICK_SECONDS = 0.005
"""From one look to the next."""


class Place:
    """A registry on PostgreSQL that does everything it can, and whom it asks."""

    def __init__(
        self, settings: ServerSettings, victim: Victim, witness: Watching, authority: Server
    ) -> None:
        self.settings = settings
        self.victim = victim
        self.witness = witness
        self.authority = authority
        self.policy = Policy.parse(
            f"log {victim.memory.key}\n{witness.line}quorum {witness.name}\n".encode()
        )
        self.looking = Database(settings.database or "")
        self.had: list[bytes] = []

    @property
    def url(self) -> str:
        """Where HTTP is answered since the last start."""
        child = self.victim.injector.child
        assert child.stdout is not None
        return address_in(child.stdout.readline())

    def is_stamped(self, size: int) -> bool:
        """Whether so many entries are stamped; whatever is stored must hold."""
        with self.looking.read() as connection:
            row = timestamps.newest(connection, self.authority.signer.authority.chain_digest)
        if row is None:
            return False
        assert open_token(row.token, row.note, self.authority.signer.authority).at == row.at
        self.victim.memory.see(SignedCheckpoint.open(row.note, self.victim.memory.key))
        return row.size >= size

    def is_published(self, size: int) -> bool:
        """Whether so many entries are published; nothing is ever wrong there."""
        try:
            shown = published(self.settings.data / "static", self.victim.memory.key)
        except FileNotFoundError:
            # A partial bundle was just dropped for a later one.
            return False
        return shown is not None and shown.size >= size

    def is_cosigned(self, size: int, address: str) -> bool:
        """Whether so many entries are shown with a quorum."""
        try:
            with grpc.insecure_channel(address) as channel:
                answer = log_service_pb2_grpc.LogServiceStub(channel).GetCheckpoint(
                    log_service_pb2.GetCheckpointRequest(), timeout=SECONDS
                )
        except grpc.RpcError:
            # Killed in this moment; anything else is not supposed to happen.
            assert self.victim.injector.wait_for_hit(SECONDS)
            return False
        head = SignedCheckpoint.open(answer.checkpoint, self.victim.memory.key)
        self.victim.memory.see(head)
        return head.checkpoint.size >= size and self.policy.standing(Note.parse(head.note)).met

    def is_indexed(self, size: int) -> bool:
        """Whether the sequencer has nothing left to do after so many entries."""
        done = self.settings.data.with_name(DONE)
        return done.exists() and done.read_text() == str(size)

    def until_witnessed(self) -> None:
        """The witness has seen the newest checkpoint, and never one that it could not cosign."""
        with self.victim.running() as address:
            size = max(self.victim.memory.heads)
            ends = time.monotonic() + SECONDS
            while not self.is_cosigned(size, address):
                assert time.monotonic() < ends
                time.sleep(TICK_SECONDS)
        # 409 is how a client that was started again learns what was cosigned last.
        assert set(self.witness.statuses) <= {200, 409}
        for asked in self.witness.asked:
            note = asked.partition(b"\n\n")[2]
            self.victim.memory.see(SignedCheckpoint.open(note, self.victim.memory.key))


@pytest.fixture(scope="module")
def place(
    postgres_server: postgres.PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    """One registry for all jobs; each goes on where the last one ended."""
    home = tmp_path_factory.mktemp("postgresql")
    (home / GATE).touch()
    urls = [postgres.fresh_database(postgres_server) for _ in range(2)]
    settings = ServerSettings(home / "data", database=urls[0], checkpoint_lock=urls[1])
    make_lock(settings, settings.checkpoint_lock)
    with open_services(settings) as (services, _):
        key: VerifierKey = services.signer.key
    with ExitStack() as resources:
        for url in urls:
            resources.callback(postgres.drop_database, postgres_server, url)
        witness = resources.enter_context(watching(home, key))
        authority = resources.enter_context(stamping())
        (home / "policy").write_text(f"log {key}\n{witness.line}quorum {witness.name}\n")
        (home / "chain.pem").write_bytes(authority.signer.authority.pem)
        words = [
            *("hasty", "published", "merging", "ca", f"{DATABASE}{urls[0]}", f"{LOCK}{urls[1]}"),
            *(f"{POLICY}{home / 'policy'}", f"{authority.url}={home / 'chain.pem'}"),
        ]
        injector = Injector(
            [sys.executable, "-u", "-m", "tests.crash.nursery", settings.data, *words],
            watch=settings.data,
            port=make_url(urls[0]).port,
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        resources.enter_context(injector)
        made = Place(settings, Victim(settings.data, injector), witness, authority)
        resources.callback(made.looking.close)
        yield made


class Growing:
    """A job that has work to do whenever the log has grown.

    Attributes:
        threads: Who does it.
        calls: What is counted of it.
    """

    threads: frozenset[str]
    calls = frozenset(OPERANDS) | MESSAGES

    def __init__(self, place: Place) -> None:
        self.place = place

    def is_done(self, size: int, address: str) -> bool:
        """Whether it has done all it can with so many entries."""
        raise NotImplementedError

    def settle(self, writer: Writer, address: str) -> None:
        """Wait until it has made up for what was lost."""
        assert writer.pending is None
        assert self.until_done(max(self.place.victim.memory.heads), address)

    def work(self, writer: Writer, address: str, aim: Aim) -> None:
        """Let the log grow, with a trap for this job."""
        victim = self.place.victim
        trap(victim, aim, self.threads, self.calls)
        refused = victim.write(writer, address)
        assert refused is None or refused.reason == "UNREACHABLE"
        assert refused is None or victim.injector.wait_for_hit(SECONDS)
        self.until_done(max(victim.memory.heads), address)

    def until_done(self, size: int, address: str) -> bool:
        """Wait until it is done (true), or killed."""
        ends = time.monotonic() + SECONDS
        while time.monotonic() < ends:
            if self.place.victim.injector.wait_for_hit(TICK_SECONDS):
                return False
            if self.is_done(size, address):
                return True
        pytest.fail(f"{type(self).__name__} did not come to {size} entries")


class Appending(Growing):
    """A statement is appended, the checkpoint lock replaced, and the index looked at."""

    threads = frozenset({"sequencer"})

    def settle(self, writer: Writer, address: str) -> None:
        # What was answered is there, which was asked for already. There is nothing to make up for.
        assert writer.pending is None
        assert address

    def is_done(self, size: int, address: str) -> bool:
        return self.place.is_indexed(size) and bool(address)


class Stamping(Growing):
    """Keeps timestamps."""

    threads = frozenset({"timestamps"})

    def is_done(self, size: int, address: str) -> bool:
        return self.place.is_stamped(size) and bool(address)


class Publishing(Growing):
    """Writes tiles, bundles and the checkpoint."""

    threads = frozenset({"publisher"})
    calls = frozenset(OPERANDS) | {"sendto"}

    def is_done(self, size: int, address: str) -> bool:
        return self.place.is_published(size) and bool(address)


class Cosigning(Growing):
    """Reads proofs for witnesses, and keeps what has a quorum."""

    threads = frozenset({"cosigning", "witness"})

    def is_done(self, size: int, address: str) -> bool:
        return self.place.is_cosigned(size, address)


class Certifying(Appending):
    """Looks up who asks, and logs a certificate before it is handed out."""

    threads = frozenset({"sequencer", "identity_0"})
    # Answers to the sequencer are counted when it appends anything else.
    calls = frozenset(OPERANDS) | {"sendto"}

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._url = ""
        self._address = ""

    def settle(self, writer: Writer, address: str) -> None:
        if address != self._address:
            self._address, self._url = address, self.place.url
        assert writer.pending is None

    def work(self, writer: Writer, address: str, aim: Aim) -> None:
        victim = self.place.victim
        trap(victim, aim, self.threads, self.calls)
        answers: list[bytes | RegistryError] = []
        asking = threading.Thread(target=lambda: answers.append(ask(self._url, victim.acme.token)))
        asking.start()
        asking.join(SECONDS)
        (answer,) = answers
        if isinstance(answer, bytes):
            self.place.had.append(answer)
        else:
            assert victim.injector.wait_for_hit(SECONDS), answer
        assert writer.pending is None
        assert address


class Merging(Merged):
    """Merges the index of outputs.

    Nobody sees more of it than what is committed, so that it is enough to kill before each message.
    """

    def __init__(self, place: Place, writer: Finder) -> None:
        super().__init__(place.victim, writer)
        self._looking = place.looking

    def trap(self, aim: Aim) -> None:
        trap(self.victim, aim, Appending.threads, {"sendto"})

    @contextmanager
    def read(self) -> Iterator[Connection]:
        with self._looking.read() as connection:
            yield connection


JOBS: dict[str, tuple[type[Growing], set[str]]] = {
    "appending": (Appending, {"sendto", "recvfrom"}),
    "stamping": (Stamping, {"sendto", "recvfrom"}),
    "cosigning": (Cosigning, {"sendto", "recvfrom"}),
    "publishing": (Publishing, {"sendto", "openat", "write", "fsync", "rename"}),
    "certifying": (Certifying, {"sendto"}),
}
"""Each job, and what the registry must have been killed at."""

MISSES = 2
"""Traps in a row that strike nothing: what one thread does differs little from time to time."""


@pytest.mark.parametrize("name", JOBS)
def test_no_kill_within_a_job_harms_a_log_on_postgresql(place: Place, name: str) -> None:
    job, wanted = JOBS[name]
    writer = Writer(place.victim.memory, place.victim.acme, 1 + list(JOBS).index(name))
    work = job(place)
    # But for publishing there is no other operation that could fail than a message.
    allowed = work.calls if name == "publishing" else MESSAGES
    each = [frozenset([call]) for call in sorted(wanted)]
    hits = strike_each(place.victim, writer, KILLED, work, most_misses=MISSES, wanted=each)
    assert [hit for hit in hits if hit.split()[0] not in allowed] == []
    place.until_witnessed()


@pytest.mark.parametrize("name", [name for name in JOBS if name != "publishing"])
def test_no_job_minds_being_stopped_at_a_message(place: Place, name: str) -> None:
    job, _ = JOBS[name]
    writer = Writer(place.victim.memory, place.victim.acme, 101 + list(JOBS).index(name))
    assert strike_each(place.victim, writer, "SIGSTOP", job(place), most_misses=MISSES, wanted=())
    place.until_witnessed()


def test_no_kill_while_merging_loses_an_output_on_postgresql(place: Place) -> None:
    writer = Finder(place.victim.memory, place.victim.node, 1 + len(JOBS))
    merging = Merging(place, writer)
    sent = [frozenset(["sendto"])]
    hits = strike_each(place.victim, writer, KILLED, merging, most_misses=MISSES, wanted=sent)
    assert {hit.split()[0] for hit in hits} == {"sendto"}
    with place.victim.running() as address:
        merging.settle(writer, address)
        merging.check_outputs(address, again=True)
    place.until_witnessed()


def test_after_all_those_kills_everything_is_whole(place: Place) -> None:
    assert {encoding.base64_text(der) for der in place.had} <= logged(place.settings)
    found = check_offline(place.settings, lambda _what, _count: None, repair=False)
    assert found.faults == ()
