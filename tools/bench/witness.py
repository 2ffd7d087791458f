"""Witnesses and ingestion: promised that a witness which takes 2 s costs at most 5 % of the rate.

::

    python -m tools.bench.witness [ROUNDS]

Two registries are written to at the same time, each by a process of its own, so that whatever else
happens on the machine hits both at once. One of them asks a witness that takes 2 s for each answer,
the other asks nobody; then they change places. What is left of the rate in a round is the root of
both ratios: how much one registry is faster than the other in any case stands above the line once
and below it once. Every proof is checked by the caller.

It ends when the promise is shown or refuted, or after so many rounds. Exit status: 0 shown, 1
refuted, 4 not decided, since the machine was too busy for so few rounds.
"""

import asyncio
import math
import multiprocessing
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import grpc.aio

from registry.api.v1 import access_pb2, statement_service_pb2, statement_service_pb2_grpc
from registry.config import ServerSettings
from registry.core.tlog import entry
from registry.core.tlog.note import VerifierKey
from registry.core.tlog.policy import NONE, Policy
from registry.server import app
from registry.server.http.face import Face
from registry.server.http.routing import Request, Response, Route, Routes
from registry.server.http.witness import Witnessing
from registry.services.cosigning import Cosigning
from registry.services.witnessing import Witness
from registry.signing.cosigner import Cosigner
from registry.signing.file import StatementSigner, generate_p256
from registry.storage.sql.engine import Database
from tools.bench.paired import CONFIDENCE, FEWEST, Interval
from tools.bench.statements import check, make
from tools.bench.world import START_SECONDS, Running, bearer, machine, registry

CLIENTS = 16
"""Callers at once, of each registry."""

ROUNDS = 60
"""Rounds that are measured at most; one more comes before. A round takes about 14 s."""

STRETCH_SECONDS = 4.0
"""How long a stretch lasts, two of which are a round: longer than the witness takes."""

SLOW_SECONDS = 2.0
"""How long the witness takes for each answer."""

SETTLE_SECONDS = SLOW_SECONDS + 0.5
"""How long nothing is written between stretches: no answer of one falls into the other. Meanwhile
the statements of the next one are signed."""

FIRST_RATE = 1500.0
"""Statements per second for which the first stretch is prepared."""

PROMISED = 0.95
"""What is left of the rate, at least."""

ASKING, ALONE = "asking", "alone"
"""What a registry's switch says: ask the witness, or nobody."""


@dataclass(frozen=True, slots=True)
class Task:
    """What one caller's process does in a stretch: everything that it needs for it.

    Attributes:
        first: The number of the first statement.
        start_at: When to begin, by the machine's monotonic clock.
    """

    address: str
    token: str
    key_file: Path
    first: int
    count: int
    start_at: float


@dataclass(frozen=True, slots=True)
class Measured:
    """What came of a stretch: statements per second, and processor seconds for each."""

    rate: float
    processor: float


@dataclass(slots=True)
class Side:
    """One of the two registries.

    Attributes:
        switch: The file that says whether it asks.
    """

    running: Running
    token: str
    key_file: Path
    switch: Path
    number: int = 0
    fastest: float = FIRST_RATE

    def task(self, start_at: float) -> Task:
        """Its next stretch."""
        count = int(STRETCH_SECONDS * self.fastest * 1.3)
        first, self.number = self.number, self.number + count
        return Task(self.running.address, self.token, self.key_file, first, count, start_at)


def work(task: Task) -> tuple[int, float]:
    """Sign statements, and register them from the time on; how many, in how many seconds."""
    key = StatementSigner.load(task.key_file)
    der = key.public_key.der
    prepared = []
    for number in range(task.first, task.first + task.count):
        item = make(key, number)
        prepared.append((item.to_bytes(), entry.write(item.record_id, item.signature, der)))
    time.sleep(max(0.0, task.start_at - time.monotonic()))
    return asyncio.run(_register(task, prepared))


async def _register(task: Task, prepared: list[tuple[bytes, bytes]]) -> tuple[int, float]:
    left = iter(prepared)
    count = 0
    async with grpc.aio.insecure_channel(task.address) as channel:
        stub = statement_service_pb2_grpc.StatementServiceStub(channel)
        start = time.perf_counter()

        async def client() -> None:
            nonlocal count
            while time.perf_counter() < start + STRETCH_SECONDS:
                envelope, body = next(left, (b"", b""))
                if not envelope:
                    return
                request = statement_service_pb2.RegisterRequest(envelope=envelope)
                answer = await stub.Register(request, metadata=bearer(task.token))
                check(body, answer.receipt)
                count += 1

        await asyncio.gather(*(client() for _ in range(CLIENTS)))
        return count, time.perf_counter() - start


@dataclass(slots=True)
class Bench:
    """Both registries, and what was measured.

    Attributes:
        rates: What is left of the rate, in each round.
        costs: By what a statement costs more processor time, in each round.
        alone: Statements per second of a registry that asks nobody, beside the other one.
    """

    sides: tuple[Side, Side]
    callers: ProcessPoolExecutor
    rates: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)
    alone: list[float] = field(default_factory=list)

    def round(self, *, first_asks: bool) -> None:
        """Two stretches: each side asks in one of them."""
        rate = cost = 1.0
        for asks in (first_asks, not first_asks):
            asking, alone = self.sides if asks else self.sides[::-1]
            seen, plain = self._stretch(asking, alone)
            rate *= seen.rate / plain.rate
            cost *= seen.processor / plain.processor
            self.alone.append(plain.rate)
        self.rates.append(math.sqrt(rate))
        self.costs.append(math.sqrt(cost))

    def forget(self) -> None:
        """Measure from now on; whatever was before was to warm up."""
        for measured in (self.rates, self.costs, self.alone):
            measured.clear()

    def _stretch(self, asking: Side, alone: Side) -> list[Measured]:
        asking.switch.write_text(ASKING)
        alone.switch.write_text(ALONE)
        pair = (asking, alone)
        start_at = time.monotonic() + SETTLE_SECONDS
        before = [side.running.processor_seconds() for side in pair]
        done = list(self.callers.map(work, [side.task(start_at) for side in pair]))
        spent = [side.running.processor_seconds() for side in pair]
        found = []
        for number, side in enumerate(pair):
            count, seconds = done[number]
            side.fastest = max(side.fastest, count / seconds)
            found.append(Measured(count / seconds, (spent[number] - before[number]) / count))
        return found


async def serve_witness(folder: Path, vkey: str) -> None:
    """Be a witness until killed; print its policy line."""
    cosigner = Cosigner.generate("witness.example")
    policy = Policy.parse(f"log {VerifierKey.parse(vkey)}\n".encode(), quorum=NONE)
    database = Database(f"sqlite:///{folder / 'witness.sqlite3'}")
    honest = Witnessing(Witness(database, policy, [cosigner], lambda: datetime.now(UTC)))

    async def slowly(request: Request) -> Response:
        await asyncio.sleep(SLOW_SECONDS)
        return await honest.add_checkpoint(request)

    route, _ = honest.routes()
    face = Face(
        Routes([Route(route.method, route.path, slowly, route.max_body_bytes)]), "127.0.0.1:0"
    )
    url = await face.start()
    sys.stdout.write(f"witness w {cosigner.key} {url}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


def serve_registry(data: Path, policy: Path, switch: Path) -> None:
    """Be a registry that asks its witness while the switch says so."""
    begin = Cosigning._begin  # noqa: SLF001 - nobody else changes it while it runs

    def begin_as_told(self: Cosigning) -> None:
        if switch.read_text() == ASKING:
            begin(self)

    Cosigning._begin = begin_as_told  # type: ignore[method-assign] # noqa: SLF001 - as above
    app.run(ServerSettings(data, "127.0.0.1:0", witness_policy=policy))


@contextmanager
def started(*arguments: object) -> "Iterator[subprocess.Popen[str]]":
    """Run a part of this bench in a process of its own."""
    command = [sys.executable, "-u", "-m", "tools.bench.witness", *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(START_SECONDS)


def read_line(process: "subprocess.Popen[str]") -> str:
    """The next line that a process prints."""
    return process.stdout.readline() if process.stdout else ""


def opened(scratch: Path, resources: ExitStack) -> Side:
    """Open a registry and its witness in a folder."""
    data, switch, policy, key = (scratch / name for name in ("data", "switch", "policy", "key.pem"))
    scratch.mkdir()
    with registry(data):
        pass
    switch.write_text(ALONE)
    generate_p256(key)
    vkey = (data / "log.vkey").read_text().strip()
    line = read_line(resources.enter_context(started("--witness", scratch, vkey)))
    policy.write_text(f"{line}quorum w\n")
    process = resources.enter_context(started("--registry", data, policy, switch))
    address, url = (read_line(process).split()[-1] for _ in range(2))
    running = Running(address, url, data, process)
    signer = StatementSigner.load(key)
    token, _ = running.add("acme", access_pb2.ROLE_PUBLISHER, "acme/*", signer)
    return Side(running, token, key, switch)


def measure(rounds: int) -> int:
    """Print one table; whether the promise is shown."""
    with tempfile.TemporaryDirectory(prefix="provreg-bench-") as scratch, ExitStack() as resources:
        sides = [opened(Path(scratch, name), resources) for name in ("one", "two")]
        spawn = multiprocessing.get_context("spawn")
        callers = resources.enter_context(ProcessPoolExecutor(2, spawn))
        bench = Bench((sides[0], sides[1]), callers)
        chance = random.Random(1)  # noqa: S311 - who asks first
        bench.round(first_asks=True)
        bench.forget()
        for _ in range(rounds):
            bench.round(first_asks=chance.random() < 1 / 2)
            if decided(Interval.of(bench.rates)) is not None:
                break
    return report(bench)


def decided(left: Interval) -> bool | None:
    """Whether the promise is kept; None if that is not clear."""
    if left.low >= PROMISED:
        return True
    return False if left.high < PROMISED else None


def report(bench: Bench) -> int:
    """Print what was measured, and what it says of the promise."""
    rates = Interval.of(bench.rates)
    verdict = decided(rates)
    words = {
        True: f"shown: a witness that takes {SLOW_SECONDS:g} s leaves {PROMISED:.0%} or more",
        False: f"refuted: a witness that takes {SLOW_SECONDS:g} s leaves less than {PROMISED:.0%}",
        None: f"not decided: it takes more rounds (at least {FEWEST}), or a quieter machine",
    }
    lines = [
        machine(),
        f"{len(bench.rates)} rounds; in brackets the bounds at {CONFIDENCE:.0%} confidence",
        f"rate without a witness, two registries at once: {statistics.median(bench.alone):,.0f}/s",
        f"left of the rate with a slow witness:           {rates}",
        f"processor time of the registry, in proportion:  {Interval.of(bench.costs)}",
        words[verdict],
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    return {True: 0, False: 1, None: 4}[verdict]


def main(arguments: list[str]) -> int:
    """Be the bench, or a part of it."""
    match arguments:
        case ["--witness", folder, vkey]:
            asyncio.run(serve_witness(Path(folder), vkey))
        case ["--registry", data, policy, switch]:
            serve_registry(Path(data), Path(policy), Path(switch))
        case [rounds]:
            return measure(int(rounds))
        case _:
            return measure(ROUNDS)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
