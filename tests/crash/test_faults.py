"""Every file operation of one registration fails once: the log latches, and loses nothing.

Each case is one registry on the data that the case before it left behind. Before it is harmed it
must have everything that was ever acknowledged, so every case is checked by the next one.
"""

import errno
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
from tests.crash import inject
from tests.crash.inject import WRITES, Injector, Strike
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

    def write(self, writer: Writer, address: str) -> RegistryError | None:
        """Register one more thing; what came instead of an answer."""
        with grpc.insecure_channel(address) as channel:
            try:
                writer.step(writer.stub(channel))
            except grpc.RpcError as error:
                return from_rpc_error(error)
        return None


def fail_each(victim: Victim, writer: Writer, number: int, *, lasting: bool) -> list[str]:
    """Fail each operation of one registration in turn; what was hit."""
    injector = victim.injector
    hits: list[str] = []
    for nth in range(1, MOST_OPERATIONS):
        with victim.running() as address:
            victim.check(address)
            injector.arm(nth=nth, errno=number, lasting=lasting)
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


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Victim]:
    """A registry that can be harmed."""
    yield from a_victim(tmp_path / "data")


def a_victim(data: Path) -> Iterator[Victim]:
    """A registry in this folder, until the end."""
    injector = Injector(
        [sys.executable, "-u", "-m", "tests.crash.nursery", data],
        watch=data,
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with injector:
        yield Victim(data, injector)


@pytest.mark.parametrize(
    ("number", "lasting"),
    [(errno.EIO, False), (errno.ENOSPC, False), (errno.ENOSPC, True), (errno.EINTR, False)],
    ids=["EIO", "ENOSPC", "full-disk", "EINTR"],
)
@pytest.mark.parametrize("kind", [Writer, BatchWriter], ids=["statement", "batch"])
def test_no_failed_file_operation_loses_what_was_acknowledged(
    victim: Victim, kind: type[Writer], number: int, lasting: bool
) -> None:
    writer = kind(victim.memory, victim.node if kind is BatchWriter else victim.acme, 1)
    hits = fail_each(victim, writer, number, lasting=lasting)
    with victim.running() as address:
        victim.check(address)
        assert victim.write(writer, address) is None
    calls = {hit.split()[0].removesuffix("at2") for hit in hits}
    expected = {"pwrite64", "fdatasync"}
    if kind is BatchWriter:
        expected |= {"openat", "write", "fsync"}
        # A new name, or the new folder that it needs first: which one, the digest says.
        assert calls & {"rename", "mkdir"}
    assert calls >= expected


def kill_at_each(victim: Victim, writer: Writer) -> list[str]:
    """Kill the registry before each operation of one registration in turn; what was hit."""
    hits: list[str] = []
    for nth in range(1, MOST_OPERATIONS):
        with victim.running() as address:
            victim.check(address)
            hit, refused = strike_once(victim, writer, address, nth, Strike.KILL)
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


def strike_once(
    victim: Victim, writer: Writer, address: str, nth: int, strike: Strike
) -> tuple[str | None, RegistryError | None]:
    """Strike at the n-th operation of one registration; what was hit, and what came of it."""
    calls = WRITES if strike is Strike.SHORTEN else None
    victim.injector.arm(nth=nth, strike=strike, calls=calls)
    refused = victim.write(writer, address)
    victim.injector.disarm()
    hit = victim.injector.hit
    return hit and f"{hit.name} {os.path.relpath(hit.path, victim.data)}", refused


@pytest.mark.parametrize("strike", [Strike.KILL, Strike.STOP, Strike.SHORTEN])
@pytest.mark.parametrize("kind", [Writer, BatchWriter], ids=["statement", "batch"])
def test_whatever_happens_to_an_operation_loses_nothing(
    victim: Victim, kind: type[Writer], strike: Strike
) -> None:
    writer = kind(victim.memory, victim.node if kind is BatchWriter else victim.acme, 1)
    if strike is Strike.KILL:
        hits = kill_at_each(victim, writer)
    else:
        hits = disturb_each(victim, writer, strike)
    with victim.running() as address:
        victim.check(address)
        assert victim.write(writer, address) is None
    calls = {hit.split()[0] for hit in hits}
    assert calls >= ({"pwrite64"} if strike is Strike.SHORTEN else {"pwrite64", "fdatasync"})
