"""Every file operation of keeping a cosigned checkpoint fails, is cut short, or is the last one.

The witness's answer is held back until the trap is set, so that what is struck is the one
transaction that writes the second checkpoint slot. Afterwards the log has everything that was
acknowledged, the slot holds what a quorum signed and never less than was shown of it, and the
newest checkpoint finds its quorum again.
"""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import grpc
import pytest

from registry.api.v1 import log_service_pb2, log_service_pb2_grpc
from registry.core.tlog.checkpoint import SignedCheckpoint
from registry.core.tlog.note import Note, VerifierKey
from registry.core.tlog.policy import Policy
from registry.core.tlog.receipt import Receipt
from registry.errors import RegistryError
from registry.storage.sql import cosigned
from registry.storage.sql.engine import Database
from tests.crash import inject
from tests.crash.inject import Injector
from tests.crash.nursery import POLICY
from tests.crash.striking import CASES, HARMLESS, KILLED, Aim, durable, strike_each, trap
from tests.crash.test_faults import REFUSALS, Victim
from tests.crash.test_kill import SECONDS, Memory, Writer
from tests.running import REPOSITORY, running_registry
from tests.watched import Watching, watching

pytestmark = pytest.mark.skipif(
    inject.available() is not None, reason=f"no faults can be injected: {inject.available()}"
)

TICK_SECONDS = 0.005
"""From one look to the next."""


class Demanding(Memory):
    """Takes nothing for acknowledged that has no quorum, if the log promised that."""

    policy: Policy
    closed: bool

    def acknowledge(self, body: bytes, receipt: Receipt) -> None:
        if self.closed:
            self.policy.verify(receipt.head.note)
        super().acknowledge(body, receipt)


class Cosigned:
    """A registry that can be harmed, and the witness that cosigns its log when it is let."""

    def __init__(self, victim: Victim, witness: Watching, policy: Policy, *, closed: bool) -> None:
        self.victim = victim
        self.witness = witness
        self.policy = policy
        self.closed = closed
        self.shown = 0
        memory = Demanding(victim.memory.key)
        memory.policy, memory.closed = policy, closed
        victim.memory = memory

    def look(self, address: str) -> int:
        """The size of the checkpoint that is shown, if a quorum has signed it; otherwise 0."""
        with grpc.insecure_channel(address) as channel:
            answer = log_service_pb2_grpc.LogServiceStub(channel).GetCheckpoint(
                log_service_pb2.GetCheckpointRequest(), timeout=SECONDS
            )
        head = SignedCheckpoint.open(answer.checkpoint, self.victim.memory.key)
        self.victim.memory.see(head)
        met = self.policy.standing(Note.parse(head.note)).met
        assert met or not self.closed
        if not met:
            return 0
        self.shown = max(self.shown, head.checkpoint.size)
        return head.checkpoint.size

    def until_cosigned(self, address: str, size: int) -> bool:
        """Wait until so many entries are shown with a quorum (true), or something was struck."""
        ends = time.monotonic() + SECONDS
        while time.monotonic() < ends:
            if self.victim.injector.wait_for_hit(TICK_SECONDS):
                return False
            try:
                if self.look(address) >= size:
                    return True
            except grpc.RpcError:
                # Killed in this moment; anything else is not supposed to happen.
                assert self.victim.injector.hit is not None
                return False
        pytest.fail(f"{size} entries were not cosigned")

    def check_slot(self) -> None:
        """What is stored was signed by the log and a quorum, and is not less than was shown."""
        database = Database(f"sqlite:///{self.victim.data / 'registry.sqlite3'}")
        try:
            with database.read() as connection:
                note = cosigned.newest(connection)
        finally:
            database.close()
        assert note is not None or not self.shown
        if note is not None:
            self.policy.verify(note)
            head = SignedCheckpoint.open(note, self.victim.memory.key)
            assert head.checkpoint.size >= self.shown
            self.victim.memory.see(head)

    def settle(self, writer: Writer, address: str) -> None:
        """The next start finds the slot as it was shown, and a quorum for what came since."""
        assert writer.pending is None
        self.check_slot()
        assert self.until_cosigned(address, max(self.victim.memory.heads))

    def work(self, writer: Writer, address: str, aim: Aim) -> None:
        """Have one more checkpoint cosigned."""
        self.witness.hang()
        asked = len(self.witness.asked)
        refused: list[RegistryError | None] = []
        writing = threading.Thread(
            target=lambda: refused.append(self.victim.write(writer, address))
        )
        writing.start()
        if not self.closed:
            # Nobody waits for a witness.
            writing.join(SECONDS)
            assert refused == [None]
        ends = time.monotonic() + SECONDS
        while len(self.witness.asked) == asked:
            assert time.monotonic() < ends
            time.sleep(TICK_SECONDS)
        size = SignedCheckpoint.parse(self.witness.asked[-1].partition(b"\n\n")[2]).checkpoint.size
        trap(self.victim, aim, {"cosigning"})
        self.witness.go_on()
        kept = self.until_cosigned(address, size)
        assert kept or self.victim.injector.hit is not None
        writing.join(SECONDS)
        (answer,) = refused
        harmed = not kept and aim.case not in HARMLESS
        may = {*REFUSALS, "QUORUM"} if self.closed and harmed else set()
        assert answer is None or answer.reason in may
        if not kept and aim.case != KILLED:
            # Reads go on whatever happened, and writes go on or say why they do not.
            again = self.victim.write(writer, address)
            assert again is None or (harmed and again.reason in REFUSALS)
            self.look(address)


@pytest.fixture(scope="module", params=["fail-open", "fail-closed"])
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cosigned]:
    """One registry for all cases of a mode; each goes on where the last one ended."""
    home = tmp_path_factory.mktemp("cosigned")
    with running_registry(home / "data"):
        key = VerifierKey.parse((home / "data" / "log.vkey").read_text().strip())
    with watching(home, key) as witness:
        policy = home / "policy"
        policy.write_text(f"log {key}\n{witness.line}quorum {witness.name}\n")
        closed = request.param == "fail-closed"
        words = ["hasty", f"{POLICY}{policy}", *(["closed"] if closed else [])]
        with Injector(
            [sys.executable, "-u", "-m", "tests.crash.nursery", home / "data", *words],
            watch=home / "data",
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as injector:
            victim = Victim(home / "data", injector)
            yield Cosigned(victim, witness, Policy.parse(policy.read_bytes()), closed=closed)
            witness.go_on()


@pytest.mark.parametrize("case", CASES)
def test_no_failure_of_keeping_a_quorum_harms_the_log(place: Cosigned, case: str) -> None:
    writer = Writer(place.victim.memory, place.victim.acme, 1 + list(CASES).index(case))
    strike_each(place.victim, writer, case, place, wanted=durable(case))
    assert place.shown > 0
