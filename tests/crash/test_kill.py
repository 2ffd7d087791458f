"""Killed at random moments, over and over: whatever was acknowledged is there, and proven.

Four clients write, two of them statements and two of them batches of inference records, while the
registry is killed as ``kill -9`` does it. A client that got no answer asks again after the restart,
with the same bytes, as the documentation tells it to.
"""

import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import grpc
import pytest

from registry.api.v1 import (
    log_service_pb2,
    log_service_pb2_grpc,
    statement_service_pb2,
    statement_service_pb2_grpc,
)
from registry.core.tlog import entry
from registry.core.tlog.checkpoint import SignedCheckpoint
from registry.core.tlog.merkle import verify_consistency
from registry.core.tlog.note import VerifierKey
from registry.core.tlog.receipt import Receipt
from registry.signing.file import StatementSigner
from registry.wire.log import receipt_from_proto
from registry.wire.status import from_rpc_error
from tests.crash.forked import Forks
from tests.mint import Journal, Logged, a_manifest, dataset_statement, release_statement
from tests.running import Caller

KILLS = 30
"""Kills while clients write."""

EARLY_KILLS = 8
"""Kills while the registry starts."""

STARTING_SECONDS = (0.0, 0.15)
"""How long a registry may start before such a kill; it is ready, or nearly, at the end."""

WRITING_SECONDS = (0.02, 0.5)
"""How long clients write before a kill."""

SECONDS = 30
"""How long one call may take."""

CALLS_PER_BATCH = 6
SEED = 20_260_901


@dataclass(frozen=True)
class Acknowledged:
    """Something that the registry said it has."""

    index: int
    body: bytes


@dataclass
class Memory:
    """Everything that clients were told, across all restarts."""

    key: VerifierKey
    items: list[Acknowledged] = field(default_factory=list)
    heads: dict[int, SignedCheckpoint] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def acknowledge(self, body: bytes, receipt: Receipt) -> None:
        """Check an answer and remember it."""
        receipt.verify(body, self.key)
        with self.lock:
            self.items.append(Acknowledged(receipt.index, body))
            self.see(receipt.head)

    def see(self, head: SignedCheckpoint) -> None:
        """Remember a checkpoint; a log shows one root for each size."""
        known = self.heads.setdefault(head.checkpoint.size, head)
        assert known.checkpoint == head.checkpoint


class Writer:
    """A client that writes one thing after the other, and asks again for what was not answered."""

    def __init__(self, memory: Memory, caller: Caller, number: int) -> None:
        self.memory = memory
        self.caller = caller
        self.number = number
        self.count = 0
        self.pending: tuple[bytes, bytes, list[bytes]] | None = None
        self.failure: BaseException | None = None

    def run(self, address: str) -> None:
        """Write until the registry is gone."""
        try:
            with grpc.insecure_channel(address) as channel:
                stub = statement_service_pb2_grpc.StatementServiceStub(channel)
                while True:
                    self.step(stub)
        except grpc.RpcError as error:
            refused = from_rpc_error(error)
            if refused.reason != "UNREACHABLE":
                self.failure = refused
        except BaseException as error:  # noqa: BLE001 - raised again by the test
            self.failure = error

    @staticmethod
    def stub(channel: grpc.Channel) -> statement_service_pb2_grpc.StatementServiceStub:
        """Whom statements are sent to."""
        return statement_service_pb2_grpc.StatementServiceStub(channel)

    def step(self, stub: statement_service_pb2_grpc.StatementServiceStub) -> None:
        """Send what is pending, or something new."""
        if self.pending is None:
            self.pending = self.next()
        envelope, body, records = self.pending
        if records:
            batch = statement_service_pb2.RegisterBatchRequest(envelope=envelope, records=records)
            receipt = stub.RegisterBatch(
                batch, metadata=self.caller.metadata, timeout=SECONDS
            ).receipt
        else:
            one = statement_service_pb2.RegisterRequest(envelope=envelope)
            receipt = stub.Register(one, metadata=self.caller.metadata, timeout=SECONDS).receipt
        self.memory.acknowledge(body, receipt_from_proto(receipt))
        self.pending = None
        self.count += 1

    def next(self) -> tuple[bytes, bytes, list[bytes]]:
        """The next envelope, its log entry, and the records that go with it."""
        said = dataset_statement(name=f"acme/d{self.number}", version=str(self.count))
        return *self.sign(said), []

    def sign(self, said: object) -> tuple[bytes, bytes]:
        """The envelope and the log entry of a statement."""
        signer = self.caller.signer
        envelope = signer.sign(said)  # type: ignore[arg-type]
        return envelope.to_bytes(), entry.write(
            envelope.record_id, envelope.signature, signer.public_key.der
        )


class BatchWriter(Writer):
    """A client with a journal."""

    def __init__(self, memory: Memory, caller: Caller, number: int) -> None:
        super().__init__(memory, caller, number)
        self.journal = Journal(shim_id=f"{number:032x}")
        self.last: str | None = None
        said = release_statement(a_manifest())
        self.release = Logged(said, StatementSigner.generate().sign(said), 0)

    def next(self) -> tuple[bytes, bytes, list[bytes]]:
        first = len(self.journal.records)
        if first == 0:
            self.journal.boot()
        for call in range(CALLS_PER_BATCH):
            self.journal.call(self.release, b"%d %d %d" % (self.number, self.count, call))
        members = {} if self.last is None else {"prev_batch": self.last}
        said = self.journal.batch_statement(first, **members)
        envelope, body = self.sign(said)
        self.last = f"sha256:{self.caller.signer.sign(said).record_id.hex()}"
        return envelope, body, self.journal.records[first:]


def check(
    address: str,
    memory: Memory,
    caller: Caller,
    items: list[Acknowledged],
    heads: list[SignedCheckpoint],
) -> None:
    """Ask for what was acknowledged, and whether the log still extends these checkpoints."""
    with grpc.insecure_channel(address) as channel:
        stub = log_service_pb2_grpc.LogServiceStub(channel)
        for item in items:
            answer = stub.GetProof(
                log_service_pb2.GetProofRequest(index=item.index),
                metadata=caller.metadata,
                timeout=SECONDS,
            )
            assert answer.body == item.body
            receipt_from_proto(answer.receipt).verify(item.body, memory.key)
        for old in heads:
            size = old.checkpoint.size
            extended = stub.GetConsistency(
                log_service_pb2.GetConsistencyRequest(size=size), timeout=SECONDS
            )
            new = SignedCheckpoint.open(extended.checkpoint, memory.key).checkpoint
            verify_consistency(size, new.size, extended.proof, old.checkpoint.root, new.root)
        newest = stub.GetCheckpoint(log_service_pb2.GetCheckpointRequest(), timeout=SECONDS)
        memory.see(SignedCheckpoint.open(newest.checkpoint, memory.key))


class Victim(Protocol):
    """A registry that can be killed."""

    @property
    def address(self) -> str:
        """Where it answers."""

    def kill(self) -> None:
        """Kill it as ``kill -9`` does."""


def write_until_killed(
    registry: Victim, writers: list[Writer], seconds: float, *, answered: bool = False
) -> None:
    """Write, and kill the registry after so long; if ``answered``, since each had an answer."""
    killed = threading.Event()

    def write(writer: Writer) -> None:
        # A busy machine may keep a connection from being made: only a kill ends the writing.
        while not killed.is_set() and writer.failure is None:
            writer.run(registry.address)

    before = [writer.count for writer in writers]
    threads = [threading.Thread(target=write, args=(writer,)) for writer in writers]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + SECONDS
    while answered and any(
        writer.count == count and writer.failure is None
        for writer, count in zip(writers, before, strict=True)
    ):
        assert time.monotonic() < deadline, "no answer"
        time.sleep(0.005)
    # A random moment is what this test is about: there is no event to wait for.
    time.sleep(seconds)
    killed.set()
    registry.kill()
    for thread in threads:
        thread.join(SECONDS)
    for writer in writers:
        if writer.failure is not None:
            raise writer.failure


@pytest.fixture
def forks(tmp_path: Path) -> Iterator[Forks]:
    """Have registries on one folder, one after the other."""
    with Forks(tmp_path / "data") as forks:
        yield forks


def test_whatever_was_acknowledged_survives_every_kill(tmp_path: Path, forks: Forks) -> None:
    chance = random.Random(SEED)  # noqa: S311 - a test's choices, repeatable
    data = tmp_path / "data"
    for _ in range(EARLY_KILLS // 2):
        forks.kill_early(chance.uniform(*STARTING_SECONDS))
    with forks.running() as registry:
        memory = Memory(VerifierKey.parse((data / "log.vkey").read_text().strip()))
        callers = [
            registry.admit("acme", "publisher", namespaces=["acme/*"]),
            registry.admit("node-1", "node"),
        ]
        registry.kill()
    writers = [Writer(memory, callers[0], 1), Writer(memory, callers[0], 2)]
    writers += [BatchWriter(memory, callers[1], 3), BatchWriter(memory, callers[1], 4)]
    checked_items = checked_heads = 0
    for number in range(KILLS):
        with forks.running() as registry:
            # What was checked after an earlier kill is checked again at the end: consistency
            # with the last of the older checkpoints is consistency with all of them.
            heads = list(memory.heads.values())[max(0, checked_heads - 1) :]
            check(registry.address, memory, callers[0], memory.items[checked_items:], heads)
            checked_items, checked_heads = len(memory.items), len(memory.heads)
            # In every other round a slow machine may be killed before anybody had an answer.
            seconds = chance.uniform(*WRITING_SECONDS)
            write_until_killed(registry, writers, seconds, answered=number % 2 == 0)
        if number % 8 == 0:
            forks.kill_early(chance.uniform(*STARTING_SECONDS))
    with forks.running() as registry:
        heads = list(memory.heads.values())
        check(registry.address, memory, callers[0], memory.items, heads)
        check_nothing_is_doubled(registry, memory, callers[0])
    assert min(writer.count for writer in writers) >= KILLS // 2


def check_nothing_is_doubled(registry: Victim, memory: Memory, caller: Caller) -> None:
    """Every entry is there once: acknowledged, or never answered because of a kill."""
    indices = {item.index for item in memory.items}
    assert len(indices) == len({item.body for item in memory.items})
    bodies = set()
    size = max(memory.heads)
    with grpc.insecure_channel(registry.address) as channel:
        stub = log_service_pb2_grpc.LogServiceStub(channel)
        for index in range(size):
            request = log_service_pb2.GetProofRequest(index=index)
            bodies.add(stub.GetProof(request, metadata=caller.metadata, timeout=SECONDS).body)
    assert len(bodies) == size
