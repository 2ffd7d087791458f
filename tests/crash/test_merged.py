"""Every file operation of merging the index of outputs fails, is cut short, or is the last one.

The registry merges after every other batch, and only when it is let, so that what is struck is the
merging and not the batch before it. Whatever happens to it, every output is found where its batch
was acknowledged, the next start merges again, and an examination finds nothing wrong.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from sqlalchemy import select

from registry.api.v1 import (
    lineage_service_pb2,
    lineage_service_pb2_grpc,
    statement_service_pb2_grpc,
)
from registry.config import ServerSettings
from registry.core.digest import sha256
from registry.server.offline import check_offline
from registry.storage.sql import tables as t
from registry.storage.sql.engine import Connection, Database
from tests.crash import inject
from tests.crash.inject import Injector
from tests.crash.nursery import DONE, GATE
from tests.crash.striking import CASES, HARMLESS, KILLED, Aim, durable, strike_each, trap
from tests.crash.test_faults import REFUSALS, Victim
from tests.crash.test_kill import CALLS_PER_BATCH, SECONDS, BatchWriter, Memory, Writer
from tests.running import REPOSITORY, Caller

pytestmark = pytest.mark.skipif(
    inject.available() is not None, reason=f"no faults can be injected: {inject.available()}"
)

TICK_SECONDS = 0.005
"""From one look to the next."""

LEVELS = 10
"""More levels than there are."""


class Finder(BatchWriter):
    """A node that remembers which of its outputs must be found in which entry."""

    def __init__(self, memory: Memory, caller: Caller, number: int) -> None:
        super().__init__(memory, caller, number)
        self.places: dict[int, list[bytes]] = {}

    def step(self, stub: statement_service_pb2_grpc.StatementServiceStub) -> None:
        number = self.count
        super().step(stub)
        self.places[self.memory.items[-1].index] = [
            sha256(b"%d %d %d" % (self.number, number, call)) for call in range(CALLS_PER_BATCH)
        ]


class Merged:
    """A registry that can be harmed while it merges, and what must be found in it."""

    def __init__(self, victim: Victim, writer: Finder) -> None:
        self.victim = victim
        self.writer = writer
        self._gate = victim.data.with_name(GATE)
        self._done = victim.data.with_name(DONE)
        self._found: set[int] = set()

    def settle(self, writer: Writer, address: str) -> None:
        """The next start merges again; one run is left, for the next batch to be merged with."""
        assert writer.pending is None
        self.check_outputs(address)
        self.write(address)
        while self.levels()[:2] != [1, 0]:
            self.write(address)

    def work(self, writer: Writer, address: str, aim: Aim) -> None:
        """Have one more batch, and then all that has to be merged because of it."""
        self._gate.unlink()
        assert self.victim.write(writer, address) is None
        self.trap(aim)
        self._gate.touch()
        self.until_merged(mortal=aim.case == KILLED)
        if self.victim.injector.hit is None:
            assert self.levels()[:2] == [0, 1]
        elif aim.case != KILLED:
            # Reads go on whatever happened, and writes go on or say why they do not.
            self.check_outputs(address)
            refused = self.victim.write(writer, address)
            assert refused is None or (aim.case not in HARMLESS and refused.reason in REFUSALS)

    def trap(self, aim: Aim) -> None:
        """From here, strike at what is aimed at."""
        trap(self.victim, aim, {"sequencer"})

    def write(self, address: str) -> None:
        """Have one more batch acknowledged, and merged if it has to be."""
        assert self.victim.write(self.writer, address) is None
        self.until_merged(mortal=False)

    def until_merged(self, *, mortal: bool) -> None:
        """Wait until there is nothing left to merge, or, if it is mortal, nobody to do it."""
        size = str(max(self.victim.memory.heads))
        ends = time.monotonic() + SECONDS
        while not self._done.exists() or self._done.read_text() != size:
            assert time.monotonic() < ends
            if self.victim.injector.wait_for_hit(TICK_SECONDS) and mortal:
                return
            time.sleep(TICK_SECONDS)

    def levels(self) -> list[int]:
        """How many runs each level has."""
        runs = t.output_runs.c
        with self.read() as connection:
            found = connection.execute(select(runs.level).where(runs.complete == 1))
            levels = list(found.scalars())
        return [levels.count(level) for level in range(LEVELS)]

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """What is stored."""
        database = Database(f"sqlite:///{self.victim.data / 'registry.sqlite3'}")
        try:
            with database.read() as connection:
                yield connection
        finally:
            database.close()

    def check_outputs(self, address: str, *, again: bool = False) -> None:
        """Every output is found, once, where its batch was acknowledged.

        Args:
            address: Of the registry.
            again: Whether to ask also for what was asked for before.
        """
        if again:
            self._found.clear()
        with grpc.insecure_channel(address) as channel:
            stub = lineage_service_pb2_grpc.LineageServiceStub(channel)
            for index, outputs in self.writer.places.items():
                if index in self._found:
                    continue
                found = stub.FindOutput(
                    lineage_service_pb2.FindOutputRequest(content_digests=outputs),
                    metadata=self.writer.caller.metadata,
                    timeout=SECONDS,
                )
                assert {place.batch_index for place in found.locations} == {index}
                positions = {place.position for place in found.locations}
                assert len(positions) == len(found.locations) == CALLS_PER_BATCH
                self._found.add(index)


@pytest.fixture
def merged(tmp_path: Path) -> Iterator[Merged]:
    """A registry that merges early."""
    (tmp_path / GATE).touch()
    with Injector(
        [sys.executable, "-u", "-m", "tests.crash.nursery", tmp_path / "data", "merging"],
        watch=tmp_path / "data",
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as injector:
        victim = Victim(tmp_path / "data", injector)
        yield Merged(victim, Finder(victim.memory, victim.node, 1))


@pytest.mark.parametrize("case", CASES)
def test_no_failure_of_merging_loses_an_output(merged: Merged, case: str) -> None:
    strike_each(merged.victim, merged.writer, case, merged, wanted=durable(case))
    with merged.victim.running() as address:
        merged.settle(merged.writer, address)
        merged.check_outputs(address, again=True)
    found = check_offline(
        ServerSettings(merged.victim.data), lambda _what, _count: None, repair=False
    )
    assert found.faults == ()
