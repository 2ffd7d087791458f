"""Every file operation of a start fails, or is its last one; and the next start goes on.

A start makes a new registry, or it looks at what the last one left: it takes the lock, drops
what was half merged, and builds published tiles that are missing. Whatever happens to it, it serves
a log that has everything acknowledged, or it says why it does not, and the next start does.
"""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from registry.config import ServerSettings
from registry.core.tlog.note import COSIGNER_KEYS, VerifierKey
from registry.core.tlog.policy import Witness
from registry.remote.http import HTTPClient
from registry.remote.witness import WitnessClient
from registry.server.offline import check_offline
from tests.crash import inject
from tests.crash.inject import WRITES, Injector, Strike
from tests.crash.nursery import LOGS
from tests.crash.test_background import SECONDS, published, wait_for
from tests.crash.test_faults import Victim
from tests.crash.test_kill import BatchWriter, Writer
from tests.growing import GrowingLog
from tests.running import REPOSITORY, address_in

pytestmark = pytest.mark.skipif(
    inject.available() is not None, reason=f"no faults can be injected: {inject.available()}"
)

LOG = GrowingLog()

MOST_OPERATIONS = 200
"""File operations of one start that has nothing to make but tiles, at most."""

MOST_OF_FIRST_START = 1000
"""File operations of a first start, at most."""

STEP = 13
"""From one operation of a first start to the next one before which it is killed."""

WORDS = ("hasty", "published")
"""What the registries are told."""

MISSES = 3
"""Starts in a row in which nothing is struck: jobs of their own do some of the work."""


class Starter:
    """Starts a registry that is harmed while it starts.

    Attributes:
        hits: What was struck.
    """

    def __init__(self, injector: Injector) -> None:
        self.injector = injector
        self.hits: list[str] = []

    def read(self, *awaited: str) -> str:
        """The next line that begins with one of these."""
        assert self.injector.child.stdout is not None
        for line in self.injector.child.stdout:
            assert not line.startswith("broken"), line
            if line.startswith(awaited):
                return line
        pytest.fail("the nursery died")

    def tell(self, order: str) -> None:
        """Give an order."""
        assert self.injector.child.stdin is not None
        self.injector.child.stdin.write(f"{order}\n")
        self.injector.child.stdin.flush()

    @contextmanager
    def started(self) -> Iterator[str | None]:
        """The address of the registry; None if it died or refused, for what was done to it."""
        self.tell("start")
        line = self.read("provreg", "refused", "killed")
        try:
            yield address_in(line) if line.startswith("provreg") else None
        finally:
            self.injector.disarm()
            self.tell("kill")
            if line != "killed\n":
                self.read("killed")

    def note_hit(self) -> bool:
        """Remember what was struck; whether anything was."""
        hit = self.injector.hit
        if hit is not None:
            self.hits.append(f"{hit.name} {Path(hit.path).name}")
        return hit is not None


@contextmanager
def nursery(data: Path, *words: str) -> Iterator[Injector]:
    """Whoever starts registries, and whoever harms them."""
    with Injector(
        [sys.executable, "-u", "-m", "tests.crash.nursery", str(data), *words],
        watch=data,
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as injector:
        yield injector


@pytest.fixture
def injector(tmp_path: Path) -> Iterator[Injector]:
    """Nothing was started so far."""
    with nursery(tmp_path / "data", *WORDS) as injector:
        yield injector


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    """A registry with statements and batches."""
    data = tmp_path_factory.mktemp("starting") / "data"
    with nursery(data, *WORDS) as injector:
        victim = Victim(data, injector)
        with victim.running() as address:
            for writer in (
                Writer(victim.memory, victim.acme, 1),
                BatchWriter(victim.memory, victim.node, 2),
            ):
                for _ in range(3):
                    assert victim.write(writer, address) is None
        yield victim


def harm_start(
    victim: Victim,
    starter: Starter,
    strike: Strike,
    *,
    nth: int,
    calls: frozenset[str] | None = None,
) -> bool:
    """Strike at the n-th operation of a start, or of these calls; whether one was hit."""
    shutil.rmtree(victim.data / "static", ignore_errors=True)
    victim.injector.arm(nth=nth, strike=strike, calls=calls)
    with starter.started() as address:
        if address is not None and victim.injector.hit is None:
            # Tiles are built beside what is asked for.
            wait_for(victim, max(victim.memory.heads))
        if address is not None and strike is not Strike.KILL:
            victim.check(address)
        return starter.note_hit()


@pytest.mark.parametrize("strike", [Strike.FAIL, Strike.KILL])
def test_a_start_that_is_harmed_is_made_up_for_by_the_next(victim: Victim, strike: Strike) -> None:
    starter = Starter(victim.injector)
    size = max(victim.memory.heads)
    misses = 0
    while misses < MISSES:
        assert len(starter.hits) < MOST_OPERATIONS
        hit = harm_start(victim, starter, strike, nth=len(starter.hits) + misses + 1)
        misses = 0 if hit else misses + 1
    # Two starts do not do everything in one order, so that counting may pass over a call.
    for missed in {"openat", "pwrite64", "fdatasync", "link"} - {
        hit.split()[0] for hit in starter.hits
    }:
        assert harm_start(victim, starter, strike, nth=1, calls=frozenset([missed]))
    with victim.running() as address:
        victim.check(address)
        assert wait_for(victim, size)


@pytest.mark.parametrize("strike", [Strike.STOP, Strike.SHORTEN])
def test_a_start_that_is_held_up_at_every_operation_serves(victim: Victim, strike: Strike) -> None:
    shutil.rmtree(victim.data / "static", ignore_errors=True)
    victim.injector.arm(
        nth=1, strike=strike, lasting=True, calls=WRITES if strike is Strike.SHORTEN else None
    )
    with victim.running() as address:
        victim.check(address)
        deadline = time.monotonic() + SECONDS
        while not is_published(victim):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert victim.injector.hit is not None


def is_published(victim: Victim) -> bool:
    try:
        shown = published(victim.data / "static", victim.memory.key)
    except FileNotFoundError:
        return False
    return shown is not None and shown.size == max(victim.memory.heads)


@pytest.mark.parametrize("strike", [Strike.FAIL, Strike.KILL])
def test_a_first_start_that_is_harmed_again_and_again_goes_on(
    injector: Injector, tmp_path: Path, strike: Strike
) -> None:
    starter = Starter(injector)
    for nth in range(1, MOST_OF_FIRST_START, STEP):
        injector.arm(nth=nth, strike=strike)
        with starter.started():
            if not starter.note_hit():
                break
    assert len(starter.hits) > 1
    # What all of them have left is one registry, with one log, one key and one administrator.
    victim = Victim(tmp_path / "data", injector)
    writer = Writer(victim.memory, victim.acme, 1)
    with victim.running() as address:
        assert victim.write(writer, address) is None
        victim.check(address)
    found = check_offline(ServerSettings(victim.data), lambda _what, _count: None, repair=False)
    assert [str(fault) for fault in found.faults if "PUBLISHED" not in fault.kind] == []


@pytest.mark.parametrize("strike", [Strike.FAIL, Strike.KILL])
def test_a_witness_whose_first_start_is_harmed_again_and_again_goes_on(
    tmp_path: Path, strike: Strike
) -> None:
    (tmp_path / "logs").write_text(f"log {LOG.key}\n")
    data = tmp_path / "data"
    with nursery(data, f"{LOGS}{tmp_path / 'logs'}") as injector, HTTPClient() as http:
        starter = Starter(injector)
        hit = True
        while hit:
            injector.arm(nth=len(starter.hits) + 1, strike=strike)
            with starter.started():
                hit = starter.note_hit()
                assert len(starter.hits) < MOST_OPERATIONS
        key = VerifierKey.parse((data / "witness.vkey").read_text().strip(), COSIGNER_KEYS)
        with starter.started() as url:
            assert url is not None
            client = WitnessClient(http, Witness("w", key, url))
            # Its answer is checked by the key that it was the first to name.
            assert client.add_checkpoint(LOG.head(3), partial(LOG.proof, new=3))
    assert {hit.split()[0] for hit in starter.hits} >= {"mkdir", "openat", "write", "fsync"}
