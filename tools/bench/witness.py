"""Witnesses and ingestion: promised that a witness which takes 2 s costs at most 5 % of the rate.

::

    python -m tools.bench.witness [ROUNDS]

Registries that differ in one thing only take turns, so that what else happens on the machine hits
all of them. Each round registers the same number of statements, with every proof checked by the
caller; rates are compared within a round, and the median over all rounds is printed. One registry
without witnesses runs twice: what the two differ by is noise. The server's processor time for each
statement depends less on who else uses the machine.
"""

import asyncio
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import grpc.aio

from registry.api.v1 import (
    access_pb2,
    statement_service_pb2,
    statement_service_pb2_grpc,
)
from registry.core.tlog import entry
from registry.core.tlog.note import VerifierKey
from registry.core.tlog.policy import NONE, Policy
from registry.server.http.face import Face
from registry.server.http.routing import Request, Response, Route, Routes
from registry.server.http.witness import Witnessing
from registry.services.witnessing import Witness
from registry.signing.cosigner import Cosigner
from registry.signing.file import StatementSigner
from registry.storage.sql.engine import Database
from tools.bench.statements import check, make
from tools.bench.world import Running, bearer, machine, registry

CLIENTS = 32
"""Callers at once."""

STATEMENTS = 600
"""Statements in one round."""

ROUNDS = 24
"""Rounds that are measured; one more comes before."""

SLOW_SECONDS = 2.0
"""How long the slow witness takes for each answer."""


@dataclass(slots=True)
class Variant:
    """One registry, and what was measured of it."""

    title: str
    running: Running
    token: str
    key: StatementSigner
    rates: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    def round(self, first: int) -> None:
        """Register statements from number ``first`` on."""
        before = self.running.processor_seconds()
        rate = asyncio.run(_register(self, first))
        self.rates.append(rate)
        self.processor.append((self.running.processor_seconds() - before) / STATEMENTS)


async def _register(variant: Variant, first: int) -> float:
    envelopes = [make(variant.key, first + number) for number in range(STATEMENTS)]
    der = variant.key.public_key.der
    work = [
        (item.to_bytes(), entry.write(item.record_id, item.signature, der)) for item in envelopes
    ]
    left = iter(work)
    async with grpc.aio.insecure_channel(variant.running.address) as channel:
        stub = statement_service_pb2_grpc.StatementServiceStub(channel)

        async def client() -> None:
            for envelope, body in left:
                answer = await stub.Register(
                    statement_service_pb2.RegisterRequest(envelope=envelope),
                    metadata=bearer(variant.token),
                )
                check(body, answer.receipt)

        start = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(CLIENTS)))
        return len(work) / (time.perf_counter() - start)


async def serve_witness(folder: Path, vkey: str, seconds: float) -> None:
    """Run a witness that takes ``seconds`` for each answer, until killed; print its policy line."""
    cosigner = Cosigner.generate("witness.example")
    policy = Policy.parse(f"log {VerifierKey.parse(vkey)}\n".encode(), quorum=NONE)
    database = Database(f"sqlite:///{folder / 'witness.sqlite3'}")
    honest = Witnessing(Witness(database, policy, [cosigner], lambda: datetime.now(UTC)))

    async def slowly(request: Request) -> Response:
        await asyncio.sleep(seconds)
        return await honest.add_checkpoint(request)

    route, _ = honest.routes()
    face = Face(
        Routes([Route(route.method, route.path, slowly, route.max_body_bytes)]), "127.0.0.1:0"
    )
    url = await face.start()
    sys.stdout.write(f"witness w {cosigner.key} {url}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


@contextmanager
def witness(folder: Path, vkey: str, seconds: float) -> Iterator[str]:
    """A witness in a process of its own; its line of a policy."""
    with subprocess.Popen(
        [sys.executable, "-m", "tools.bench.witness", "--witness", folder, vkey, str(seconds)],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process.stdout.readline() if process.stdout else ""
        finally:
            process.kill()


def opened(scratch: Path, resources: ExitStack) -> list[Variant]:
    """All registries, running."""
    found = []
    for number, (title, seconds, arguments) in enumerate(
        (
            ("no witness", None, ()),
            ("no witness, once more (noise)", None, ()),
            (f"a witness that takes {SLOW_SECONDS:g} s", SLOW_SECONDS, ()),
            ("a witness that answers at once", 0.0, ()),
            ("no witness, but post-quantum", None, ("--post-quantum",)),
        )
    ):
        data = scratch / f"data-{number}"
        given: list[str] = list(arguments)
        if seconds is not None:
            with registry(data):
                pass
            vkey = (data / "log.vkey").read_text().strip()
            folder = scratch / f"witness-{number}"
            folder.mkdir()
            line = resources.enter_context(witness(folder, vkey, seconds))
            policy = scratch / f"policy-{number}"
            policy.write_text(f"{line}quorum w\n")
            given += ["--witness-policy", str(policy)]
        running = resources.enter_context(registry(data, *given))
        token, key = running.add("acme", access_pb2.ROLE_PUBLISHER, "acme/*")
        found.append(Variant(title, running, token, key))
    return found


def measure(rounds: int) -> None:
    """Print one table."""
    with tempfile.TemporaryDirectory(prefix="provreg-bench-") as scratch, ExitStack() as resources:
        variants = opened(Path(scratch), resources)
        order = list(variants)
        shuffle = random.Random(1).shuffle  # noqa: S311 - who comes after whom
        for turn in range(rounds + 1):
            shuffle(order)
            for variant in order:
                variant.round(turn * STATEMENTS)
    base = variants[0]
    sys.stdout.write(f"{machine()}\n")
    sys.stdout.write(f"{'':34}{'median /s':>10}{'rate':>8}{'server CPU':>12}\n")
    for variant in variants:
        # The first round warms up.
        pairs = zip(variant.rates[1:], base.rates[1:], strict=True)
        ratio = statistics.median(rate / plain for rate, plain in pairs)
        spent = statistics.median(variant.processor[1:])
        relative = spent / statistics.median(base.processor[1:])
        sys.stdout.write(
            f"{variant.title:34}{statistics.median(variant.rates[1:]):10,.0f}{ratio:8.3f}"
            f"{relative:8.3f} ({spent * 1e3:.2f} ms)\n"
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--witness"]:
        asyncio.run(serve_witness(Path(sys.argv[2]), sys.argv[3], float(sys.argv[4])))
    else:
        measure(int(sys.argv[1]) if sys.argv[1:] else ROUNDS)
