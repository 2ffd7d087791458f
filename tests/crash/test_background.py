"""Every file operation of a background job fails, is cut short, or is the process's last.

The job is the one that publishes the log as files. Whatever happens to it, statements go on being
taken unless the process is gone; afterwards the published log is whole again, and was never wrong.
"""

import errno
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from registry.core.tlog import entry_bundle
from registry.core.tlog.checkpoint import Checkpoint, SignedCheckpoint
from registry.core.tlog.merkle import leaf_hash, root
from registry.core.tlog.note import VerifierKey
from registry.core.tlog.tile import TILE_WIDTH
from tests import postgres
from tests.crash import inject
from tests.crash.inject import WRITES, Injector, Strike
from tests.crash.nursery import DATABASE
from tests.crash.test_faults import MOST_OPERATIONS, Victim
from tests.crash.test_kill import Writer
from tests.running import REPOSITORY

pytestmark = pytest.mark.skipif(
    inject.available() is not None, reason=f"no faults can be injected: {inject.available()}"
)

SECONDS = 20
"""How long the job may take to do its next work."""


@pytest.fixture(scope="module")
def on_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    """A registry with its log in a file, for all cases."""
    with hasty(tmp_path_factory.mktemp("background") / "data") as victim:
        yield victim


@pytest.fixture(scope="module")
def on_postgresql(
    postgres_server: postgres.PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Victim]:
    """A registry with its log on PostgreSQL, for all cases."""
    url = postgres.fresh_database(postgres_server)
    with hasty(tmp_path_factory.mktemp("background") / "data", f"{DATABASE}{url}") as victim:
        yield victim
    postgres.drop_database(postgres_server, url)


# Not parametrized themselves: pytest would end a registry after each case, and begin another.
@pytest.fixture
def victim(request: pytest.FixtureRequest) -> Victim:
    """The registry of a case, which goes on where the last one ended."""
    found: Victim = request.getfixturevalue(f"on_{request.param}")
    return found


@contextmanager
def hasty(data: Path, *more: str) -> Iterator[Victim]:
    """A registry whose jobs do not pause for long."""
    words = ["hasty", "published", *more]
    with Injector(
        [sys.executable, "-u", "-m", "tests.crash.nursery", data, *words],
        watch=data,
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as injector:
        yield Victim(data, injector)


def published(static: Path, key: VerifierKey) -> Checkpoint | None:
    """The published checkpoint; whatever is shown must be proved by the bundles beside it."""
    try:
        note = (static / "checkpoint").read_bytes()
    except FileNotFoundError:
        return None
    shown = SignedCheckpoint.open(note, key).checkpoint
    entries: list[bytes] = []
    for index in range(-(-shown.size // TILE_WIDTH)):
        width = min(TILE_WIDTH, shown.size - index * TILE_WIDTH)
        file = static / entry_bundle.bundle_path(index, width)
        entries.extend(entry_bundle.split(file.read_bytes(), width))
    assert root([leaf_hash(entry) for entry in entries]) == shown.root
    return shown


def wait_for(victim: Victim, size: int) -> bool:
    """Wait until so many entries are published (true), or the armed operation was struck."""
    static = victim.data / "static"
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        try:
            shown = published(static, victim.memory.key)
        except FileNotFoundError:
            # A partial bundle was just dropped for a later one.
            shown = None
        if shown is not None and shown.size >= size:
            return True
        if victim.injector.wait_for_hit(0.02):
            return False
    pytest.fail(f"{size} entries were not published")


CASES = {
    "EIO": (Strike.FAIL, errno.EIO, False),
    "ENOSPC": (Strike.FAIL, errno.ENOSPC, False),
    "EINTR": (Strike.FAIL, errno.EINTR, False),
    "short write": (Strike.SHORTEN, 0, False),
    "SIGSTOP": (Strike.STOP, 0, False),
    "SIGKILL": (Strike.KILL, 0, True),
}


def strike_at(
    victim: Victim,
    writer: Writer,
    address: str,
    nth: int,
    case: str,
    *,
    calls: frozenset[str] | None = None,
) -> str | None:
    """Strike at the n-th operation that publishes one more statement; what was hit."""
    strike, number, dies = CASES[case]
    static = victim.data / "static"
    victim.injector.arm(
        nth=nth,
        errno=number,
        strike=strike,
        below=static,
        calls=WRITES if strike is Strike.SHORTEN else calls,
    )
    refused = victim.write(writer, address)
    assert refused is None or (dies and refused.reason == "UNREACHABLE")
    # Whoever dies at the first of all is known nothing of.
    heads = max(victim.memory.heads, default=0)
    is_published = wait_for(victim, heads + (refused is not None))
    victim.injector.disarm()
    hit = victim.injector.hit
    if hit is None:
        assert is_published
        victim.check(address)
        return None
    return f"{hit.name} {os.path.relpath(hit.path, static)}"


@pytest.mark.parametrize(
    ("victim", "case"),
    [
        *(pytest.param("sqlite", case, id=case) for case in CASES),
        # There it is killed by test_postgresql, before each message to the database as well.
        *(pytest.param("postgresql", c, id=f"{c}-postgresql") for c in CASES if c != "SIGKILL"),
    ],
    indirect=["victim"],
)
def test_no_failure_of_publishing_harms_the_log(victim: Victim, case: str) -> None:
    writer = Writer(victim.memory, victim.acme, 1 + list(CASES).index(case))
    dies = CASES[case][-1]
    hits: list[str] = []
    hit: str | None = ""
    while hit is not None:
        with victim.running() as address:
            # Whatever was left undone is done by the next start, and whatever was asked for and
            # not answered is there now.
            victim.injector.arm()
            assert writer.pending is None or victim.write(writer, address) is None
            assert wait_for(victim, max(victim.memory.heads, default=1))
            while hit is not None:
                hit = strike_at(victim, writer, address, len(hits) + 1, case)
                if hit is not None:
                    hits.append(hit)
                    assert len(hits) < MOST_OPERATIONS, hits
                if dies:
                    break
    wanted = {"write"} if case == "short write" else {"write", "fsync"}
    # What publishing does differs from entry to entry, so that counting may pass over a call.
    for missed in wanted - {hit.split()[0] for hit in hits}:
        with victim.running() as address:
            struck = strike_at(victim, writer, address, 1, case, calls=frozenset([missed]))
            assert struck is not None
            assert struck.split()[0] == missed
        with victim.running() as address:
            victim.injector.arm()
            assert writer.pending is None or victim.write(writer, address) is None
            assert wait_for(victim, max(victim.memory.heads))
            victim.check(address)
