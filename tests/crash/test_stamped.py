"""Every file operation of keeping a timestamp fails, is cut short, or is the process's last.

The authority's answer is held back until the trap is set, so that what is struck is the one
transaction that stores the token. Afterwards the log has everything that was acknowledged, what is
stored of timestamps is whole, and the newest checkpoint is stamped again if its token was lost.
"""

import errno
import os
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
from tests.crash.inject import WRITES, Injector, Strike
from tests.crash.test_background import published
from tests.crash.test_faults import MOST_OPERATIONS, REFUSALS, Victim
from tests.crash.test_kill import Writer
from tests.running import REPOSITORY
from tests.stamping import Server, stamping

pytestmark = pytest.mark.skipif(
    inject.available() is not None, reason=f"no faults can be injected: {inject.available()}"
)

SECONDS = 20.0
"""How long anything may take."""

MISSES = 6
"""Traps in a row that strike nothing: some rows split a page, and take more operations."""

CASES = {
    "EIO": (Strike.FAIL, errno.EIO),
    "ENOSPC": (Strike.FAIL, errno.ENOSPC),
    "short write": (Strike.SHORTEN, 0),
    "SIGSTOP": (Strike.STOP, 0),
    "SIGKILL": (Strike.KILL, 0),
}


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

    def strike(self, writer: Writer, address: str, nth: int, case: str) -> str | None:
        """Strike at the n-th operation that stores one more token; what was hit."""
        strike, number = CASES[case]
        self.gate.clear()
        self.server.asked.clear()
        assert self.victim.write(writer, address) is None
        size = max(self.victim.memory.heads)
        assert self.server.asked.wait(SECONDS)
        self.until_published(size)
        self.victim.injector.arm(
            nth=nth,
            errno=number,
            strike=strike,
            calls=WRITES if strike is Strike.SHORTEN else None,
        )
        self.gate.set()
        stored = self.until_stamped(size)
        hit = self.victim.injector.hit
        if hit is not None and case != "SIGKILL":
            # Reads go on whatever happened, and writes go on or say why they do not.
            refused = self.victim.write(writer, address)
            assert refused is None or refused.reason in REFUSALS
        self.victim.injector.disarm()
        if hit is None:
            assert stored
            return None
        return f"{hit.name} {os.path.relpath(hit.path, self.victim.data)}"


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
                *(home / "data", "hasty", f"{server.url}={chain}"),
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
    victim = stamped.victim
    writer = Writer(victim.memory, victim.acme, 1 + list(CASES).index(case))
    hits: list[str] = []
    nth = misses = 0
    while misses < MISSES:
        nth += 1
        assert nth < MOST_OPERATIONS, hits
        with victim.running() as address:
            victim.injector.arm()
            victim.check(address)
            # What was lost is stamped by the next start, and what was refused is taken.
            assert writer.pending is None or victim.write(writer, address) is None
            assert stamped.until_stamped(max(victim.memory.heads))
            hit = stamped.strike(writer, address, nth, case)
        misses = 0 if hit else misses + 1
        hits += [hit] if hit else []
    stamped.rows()
    calls = {hit.split()[0] for hit in hits}
    assert "pwrite64" in calls, hits
    assert case == "short write" or calls & {"fsync", "fdatasync"}, hits
