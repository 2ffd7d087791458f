"""Every file operation of one registration fails once: the log latches, and loses nothing.

Each case is one registry on the data that the case before it left behind. Before it is harmed it
must have everything that was ever acknowledged, so every case is checked by the next one.
"""

import errno
import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from registry.api.v1 import log_service_pb2, log_service_pb2_grpc
from registry.core.tlog.checkpoint import SignedCheckpoint
from registry.core.tlog.note import VerifierKey
from registry.errors import RegistryError
from registry.wire.status import from_rpc_error
from tests import postgres
from tests.crash import inject
from tests.crash.inject import WRITES, Injector, Strike
from tests.crash.nursery import DATABASE
from tests.crash.test_kill import BatchWriter, Memory, Writer, check
from tests.running import REPOSITORY, address_in, admin_token, admit

pytestmark = pytest.mark.skipif(
    inject.available() is not None, reason=f"no faults can be injected: {inject.available()}"
)

REFUSALS = {"LOG_LATCHED", "STORAGE_FAILED", "UNREACHABLE"}
"""How a registry may say that it could not write."""

MOST_OPERATIONS = 100
"""File operations of one registration, at most; more would be another design."""


class Victim:
    """A registry that can be harmed and killed, and clients that remember what they were told."""

    def __init__(self, data: Path, injector: Injector) -> None:
        self.data = data
        self.injector = injector
        self._checked_items = self._checked_heads = 0
        with self.running() as address:
            self.memory = Memory(VerifierKey.parse((data / "log.vkey").read_text().strip()))
            token = admin_token(data)
            self.acme = admit(address, token, "acme", "publisher", namespaces=["acme/*"])
            self.node = admit(address, token, "node-1", "node")

    @contextmanager
    def running(self) -> Iterator[str]:
        """The address of the registry, unharmed so far; killed at the end."""
        address = address_in(self.tell("start", "provreg is listening"))
        try:
            yield address
        finally:
            self.injector.disarm()
            self.tell("kill", "killed")

    def tell(self, order: str, awaited: str) -> str:
        """Give an order; the line that begins with what is awaited."""
        child = self.injector.child
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(f"{order}\n")
        child.stdin.flush()
        for line in child.stdout:
            assert not line.startswith("refused"), line
            if line.startswith(awaited):
                return line
        pytest.fail("the nursery died")

    def check(self, address: str) -> None:
        """Everything that was acknowledged is there, under a log that extends all it ever was."""
        check(address, self.memory, self.acme, self.memory.items, list(self.memory.heads.values()))

    def check_news(self, address: str) -> None:
        """What came since the last such check is there, under a log that extends the one before.

        Consistency with the last of the older heads is consistency with all of them. Whoever calls
        this calls :meth:`check` at the end.
        """
        items = self.memory.items[self._checked_items :]
        heads = list(self.memory.heads.values())[max(0, self._checked_heads - 1) :]
        check(address, self.memory, self.acme, items, heads)
        self._checked_items, self._checked_heads = len(self.memory.items), len(self.memory.heads)

    def forget_items(self) -> None:
        """Ask no more for what was acknowledged so far; the log's growth is watched on."""
        self.memory.items.clear()
        self._checked_items = 0

    def write(self, writer: Writer, address: str) -> RegistryError | None:
        """Register one more thing; what came instead of an answer."""
        with grpc.insecure_channel(address) as channel:
            try:
                writer.step(writer.stub(channel))
            except grpc.RpcError as error:
                return from_rpc_error(error)
        return None


NUMBERS = itertools.count(1)
"""Writers of one registry have numbers of their own."""

Calls = frozenset[str]


def fail_each(
    victim: Victim, writer: Writer, number: int, *, lasting: bool, calls: Calls | None = None
) -> list[str]:
    """Fail each operation of one registration in turn, or each of these calls; what was hit."""
    injector = victim.injector
    hits: list[str] = []
    for nth in range(1, MOST_OPERATIONS):
        with victim.running() as address:
            victim.check_news(address)
            injector.arm(nth=nth, errno=number, lasting=lasting, calls=calls)
            refused = victim.write(writer, address)
            injector.disarm()
            hit = injector.hit
            assert refused is None or refused.reason in REFUSALS
            # What failed once may be asked for again: acknowledged, or refused until a restart.
            if refused is not None:
                again = victim.write(writer, address)
                assert again is None or again.reason in REFUSALS
            with grpc.insecure_channel(address) as channel:
                head = log_service_pb2_grpc.LogServiceStub(channel).GetCheckpoint(
                    log_service_pb2.GetCheckpointRequest()
                )
            victim.memory.see(SignedCheckpoint.open(head.checkpoint, victim.memory.key))
        if hit is None:
            return hits
        hits.append(f"{hit.name} {os.path.relpath(hit.path, victim.data)}")
    pytest.fail(f"one registration takes more than {MOST_OPERATIONS} operations: {hits}")


@contextmanager
def harmed(data: Path, *words: str) -> Iterator[Victim]:
    """A registry in the hands of an injector."""
    with Injector(
        [sys.executable, "-u", "-m", "tests.crash.nursery", data, *words],
        watch=data,
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as injector:
        yield Victim(data, injector)


@pytest.fixture(scope="module")
def on_postgresql(
    postgres_server: postgres.PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Victim]:
    """A registry with its log on PostgreSQL, for all cases."""
    data = tmp_path_factory.mktemp("faults") / "data"
    url = postgres.fresh_database(postgres_server)
    with harmed(data, f"{DATABASE}{url}") as victim:
        # Without new folders each batch takes equally many operations, the lock's at the end.
        for number in range(256):
            (data / "blobs" / "sha256" / f"{number:02x}").mkdir(exist_ok=True)
        yield victim
    postgres.drop_database(postgres_server, url)


@pytest.fixture(scope="module")
def on_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    """A registry with its log in a file, for all cases."""
    with harmed(tmp_path_factory.mktemp("faults") / "data") as victim:
        yield victim


@pytest.fixture
def victim(request: pytest.FixtureRequest) -> Iterator[Victim]:
    """A registry that can be harmed, with its log in a file or on PostgreSQL."""
    shared: Victim = request.getfixturevalue(f"on_{request.param}")
    yield shared
    # All of it was asked for at the end of the case.
    shared.forget_items()


APPENDS = pytest.mark.parametrize(
    ("victim", "kind"),
    [
        pytest.param("sqlite", Writer, id="statement"),
        pytest.param("sqlite", BatchWriter, id="batch"),
        # Blobs and the checkpoint lock are files here, too. A statement has nothing more.
        pytest.param("postgresql", BatchWriter, id="batch-postgresql"),
    ],
    indirect=["victim"],
)


@pytest.mark.parametrize(
    ("number", "lasting"),
    [(errno.EIO, False), (errno.ENOSPC, False), (errno.ENOSPC, True), (errno.EINTR, False)],
    ids=["EIO", "ENOSPC", "full-disk", "EINTR"],
)
@APPENDS
def test_no_failed_file_operation_loses_what_was_acknowledged(
    victim: Victim, kind: type[Writer], number: int, lasting: bool
) -> None:
    writer = kind(victim.memory, victim.node if kind is BatchWriter else victim.acme, next(NUMBERS))
    expected = {"pwrite64", "fdatasync"}
    if kind is BatchWriter:
        expected |= {"openat", "write", "fsync"}
    hits = fail_each(victim, writer, number, lasting=lasting)
    # What is asked for again finds some of its blobs there, so that counting may pass over a call.
    for missed in expected - named(hits):
        hits += fail_each(victim, writer, number, lasting=lasting, calls=frozenset([missed]))
    with victim.running() as address:
        victim.check(address)
        assert victim.write(writer, address) is None
    assert named(hits) >= expected
    # A new name, or the new folder that it needs first: which one, the digest says.
    assert kind is Writer or named(hits) & {"rename", "mkdir"}


def named(hits: list[str]) -> set[str]:
    """The system calls that were hit."""
    return {hit.split()[0].removesuffix("at2") for hit in hits}


def kill_at_each(victim: Victim, writer: Writer, calls: Calls | None = None) -> list[str]:
    """Kill the registry before each operation, or each of these calls, in turn; what was hit."""
    hits: list[str] = []
    for nth in range(1, MOST_OPERATIONS):
        with victim.running() as address:
            victim.check_news(address)
            hit, refused = strike_once(victim, writer, address, nth, Strike.KILL, calls)
            assert refused is None or refused.reason == "UNREACHABLE"
        if hit is None:
            return hits
        hits.append(hit)
    pytest.fail(f"one registration takes more than {MOST_OPERATIONS} operations: {hits}")


def disturb_each(victim: Victim, writer: Writer, strike: Strike) -> list[str]:
    """Disturb each operation of one registration in turn, which must do no harm; what was hit."""
    hits: list[str] = []
    with victim.running() as address:
        for nth in range(1, MOST_OPERATIONS):
            hit, refused = strike_once(victim, writer, address, nth, strike)
            assert refused is None
            if hit is None:
                victim.check(address)
                return hits
            hits.append(hit)
    pytest.fail(f"one registration takes more than {MOST_OPERATIONS} operations: {hits}")


def strike_once(  # noqa: PLR0917 - private, and all of it says where to strike
    victim: Victim,
    writer: Writer,
    address: str,
    nth: int,
    strike: Strike,
    calls: Calls | None = None,
) -> tuple[str | None, RegistryError | None]:
    """Strike at the n-th operation of one registration; what was hit, and what came of it."""
    counted = WRITES if strike is Strike.SHORTEN else calls
    victim.injector.arm(nth=nth, strike=strike, calls=counted)
    refused = victim.write(writer, address)
    victim.injector.disarm()
    hit = victim.injector.hit
    return hit and f"{hit.name} {os.path.relpath(hit.path, victim.data)}", refused


@pytest.mark.parametrize("strike", [Strike.KILL, Strike.STOP, Strike.SHORTEN])
@APPENDS
def test_whatever_happens_to_an_operation_loses_nothing(
    victim: Victim, kind: type[Writer], strike: Strike
) -> None:
    writer = kind(victim.memory, victim.node if kind is BatchWriter else victim.acme, next(NUMBERS))
    expected = {"pwrite64"} if strike is Strike.SHORTEN else {"pwrite64", "fdatasync"}
    if strike is Strike.KILL:
        hits = kill_at_each(victim, writer)
        for missed in expected - named(hits):
            hits += kill_at_each(victim, writer, frozenset([missed]))
    else:
        hits = disturb_each(victim, writer, strike)
    with victim.running() as address:
        victim.check(address)
        assert victim.write(writer, address) is None
    assert named(hits) >= expected
