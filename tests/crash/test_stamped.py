"""Every file operation of keeping a timestamp fails, is cut short, or is the process's last.

The authority's answer is held back until the trap is set, so that what is struck is the one
transaction that stores the token. Afterwards the log has everything that was acknowledged, what is
stored of timestamps is whole, and the newest checkpoint is stamped again if its token was lost.
"""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from registry.core.archive.timestamp import open_token
from registry.core.tlog.checkpoint import SignedCheckpoint
from registry.storage.sql import timestamps
from registry.storage.sql.engine import Database
from registry.storage.sql.timestamps import StoredTimestamp
from tests.crash import inject
from tests.crash.inject import Injector
from tests.crash.striking import CASES, HARMLESS, KILLED, Aim, durable, strike_each, trap
from tests.crash.test_background import published
from tests.crash.test_faults import REFUSALS, Victim
from tests.crash.test_kill import Writer
from tests.running import REPOSITORY
from tests.stamping import Server, stamping

pytestmark = pytest.mark.skipif(
    inject.available() is not None, reason=f"no faults can be injected: {inject.available()}"
)

SECONDS = 20.0
"""How long anything may take."""


class Stamped:
    """A registry that can be harmed, and the authority that stamps its log when it is let."""

    def __init__(self, victim: Victim, server: Server, gate: threading.Event) -> None:
        self.victim = victim
        self.server = server
        self.gate = gate

    def rows(self) -> list[StoredTimestamp]:
        """Everything that is stored; all of it must hold."""
        database = Database(f"sqlite:///{self.victim.data / 'registry.sqlite3'}")
        try:
            with database.read() as connection:
                found = list(timestamps.every(connection))
        finally:
            database.close()
        for row in found:
            head = SignedCheckpoint.open(row.note, self.victim.memory.key).checkpoint
            assert head.size == row.size
            assert open_token(row.token, row.note, self.server.signer.authority).at == row.at
        return found

    def newest(self) -> int:
        """The size of the largest checkpoint that is stamped."""
        return max((row.size for row in self.rows()), default=0)

    def until_stamped(self, size: int) -> bool:
        """Wait until so many entries are stamped (true), or the armed operation was struck."""
        ends = time.monotonic() + SECONDS
        while time.monotonic() < ends:
            if self.victim.injector.wait_for_hit(0.02):
                return False
            if self.newest() >= size:
                return True
        pytest.fail(f"{size} entries were not stamped")

    def until_published(self, size: int) -> None:
        """Wait until the other background job has nothing left to do."""
        ends = time.monotonic() + SECONDS
        while time.monotonic() < ends:
            try:
                shown = published(self.victim.data / "static", self.victim.memory.key)
            except FileNotFoundError:
                shown = None
            if shown is not None and shown.size >= size:
                return
            time.sleep(0.01)
        pytest.fail(f"{size} entries were not published")

    def settle(self, writer: Writer, address: str) -> None:
        """What was lost is stamped by the next start, and what was refused is taken."""
        assert writer.pending is None
        assert address
        assert self.until_stamped(max(self.victim.memory.heads))

    def work(self, writer: Writer, address: str, aim: Aim) -> None:
        """Have one more token stored."""
        self.gate.clear()
        self.server.asked.clear()
        assert self.victim.write(writer, address) is None
        size = max(self.victim.memory.heads)
        assert self.server.asked.wait(SECONDS)
        self.until_published(size)
        trap(self.victim, aim, {"timestamps"})
        self.gate.set()
        stored = self.until_stamped(size)
        assert stored or self.victim.injector.hit is not None
        if not stored and aim.case != KILLED:
            # Reads go on whatever happened, and writes go on or say why they do not.
            refused = self.victim.write(writer, address)
            assert refused is None or (aim.case not in HARMLESS and refused.reason in REFUSALS)


@pytest.fixture(scope="module")
def stamped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stamped]:
    """One registry for all cases; each goes on where the last one ended."""
    home = tmp_path_factory.mktemp("stamped")
    gate = threading.Event()
    gate.set()
    with stamping() as server:

        def hold() -> None:
            gate.wait(SECONDS)

        server.before = hold
        chain = home / "chain.pem"
        chain.write_bytes(server.signer.authority.pem)
        with Injector(
            [
                *(sys.executable, "-u", "-m", "tests.crash.nursery"),
                *(home / "data", "hasty", "published", f"{server.url}={chain}"),
            ],
            watch=home / "data",
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as injector:
            try:
                yield Stamped(Victim(home / "data", injector), server, gate)
            finally:
                gate.set()


@pytest.mark.parametrize("case", CASES)
def test_no_failure_of_keeping_a_timestamp_harms_the_log(stamped: Stamped, case: str) -> None:
    writer = Writer(stamped.victim.memory, stamped.victim.acme, 1 + list(CASES).index(case))
    strike_each(stamped.victim, writer, case, stamped, wanted=durable(case))
    stamped.rows()
