"""Statements while evidence is appraised: promised that their rate falls by no more than 10 %.

One registry takes statements from 32 callers. In every other interval somebody else has evidence
judged as fast as the registry takes it; it is bound to something else than is said, so it goes all
the way through the pool, is refused and leaves nothing behind. In further intervals good evidence
is judged, archived and logged, ten pieces a second: what that costs is the price of storing files
durably, which uploads pay as well, and is shown beside it.

What is compared: the rate of statements in an interval with that of the two beside it, since a
machine that others use does not stay the same for longer. All that evidence costs is in it: taking
it in, workers on the same processors, answers. Only whoever submits it is a process of its own that
stands back behind all others, since elsewhere it would run on another machine. The second number
says the same without the clock, and so whatever else the machine does: what a statement took of the
registry's processor time without evidence, by what it took with it, evidence included.
"""

import asyncio
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import grpc
import grpc.aio

from registry.api.v1 import (
    access_pb2,
    evidence_pb2,
    evidence_service_pb2,
    evidence_service_pb2_grpc,
    statement_service_pb2,
    statement_service_pb2_grpc,
)
from registry.core.encoding import write_json
from registry.core.evidence.binding import Binding
from registry.core.evidence.nitro.rules import RULES
from registry.core.evidence.policy import NamedRoot, Policy
from registry.signing.file import StatementSigner
from tools.bench.evidence_caller import ARCHIVED_PER_SECOND, EvidenceCaller, evidence_caller
from tools.bench.statements import CLIENTS, make
from tools.bench.world import Running, bearer, registry
from tools.fake_vendor.nitro import Spec, mint

ROUNDS: Final = 5
"""Rounds of intervals: judging, without, archiving, without."""

INTERVAL_SECONDS: Final = 2.0
"""How long each interval lasts."""

MOST_PER_SECOND: Final = 6_000
"""Statements that are at hand for one second, more than a registry of today takes."""

REFUSED: Final = 100
"""Documents that are prepared to be refused."""

ARCHIVED: Final = int(2 * ROUNDS * INTERVAL_SECONDS * ARCHIVED_PER_SECOND)
"""Documents that are prepared to be archived."""

LEAST: Final = 0.9
"""The promised part of the rate that is left."""

Request = evidence_service_pb2.SubmitRequest


@dataclass(frozen=True)
class Interval:
    """What one interval came to: statements a second, and processor time of the server for each."""

    rate: float
    seconds_each: float


@dataclass
class Measured:
    """What intervals of one kind came to."""

    rates: list[float] = field(default_factory=list)
    rate_left: list[float] = field(default_factory=list)
    time_left: list[float] = field(default_factory=list)
    judged: list[float] = field(default_factory=list)

    def add(self, before: Interval, beside: Interval, after: Interval, judged: int) -> None:
        """One more interval, between two without evidence."""
        self.rates.append(beside.rate)
        # What the machine does meanwhile falls on both sides.
        self.rate_left.append(2 * beside.rate / (before.rate + after.rate))
        self.time_left.append((before.seconds_each + after.seconds_each) / 2 / beside.seconds_each)
        self.judged.append(judged / INTERVAL_SECONDS)

    def __str__(self) -> str:
        """The medians."""
        rate, judged, left, by_time = map(
            statistics.median, (self.rates, self.judged, self.rate_left, self.time_left)
        )
        return (
            f"{rate:6,.0f} statements/s beside {judged:4.0f} pieces/s   {left:5.1%} of the rate   "
            f"{by_time:5.1%} by processor time"
        )


class Publisher:
    """Registers statements from many callers at once."""

    def __init__(
        self, running: Running, channel: grpc.aio.Channel, token: str, key: StatementSigner
    ) -> None:
        self._running = running
        self._stub = statement_service_pb2_grpc.StatementServiceStub(channel)
        self._metadata = bearer(token)
        self._key = key
        self._numbers = itertools.count()
        self._envelopes: list[bytes] = []

    async def interval(self) -> Interval:
        """One interval, with statements that were signed before."""
        used = self._running.processor_seconds()
        start = time.perf_counter()
        counts = await asyncio.gather(
            *(self._caller(start + INTERVAL_SECONDS) for _ in range(CLIENTS))
        )
        taken = time.perf_counter() - start
        used = self._running.processor_seconds() - used
        return Interval(sum(counts) / taken, used / sum(counts))

    def prepare(self) -> None:
        """Sign what the next interval may need."""
        missing = int(MOST_PER_SECOND * INTERVAL_SECONDS) - len(self._envelopes)
        numbers = itertools.islice(self._numbers, missing)
        self._envelopes += [make(self._key, number).to_bytes() for number in numbers]

    async def _caller(self, ends: float) -> int:
        count = 0
        while time.perf_counter() < ends:
            request = statement_service_pb2.RegisterRequest(envelope=self._envelopes.pop())
            await self._stub.Register(request, metadata=self._metadata)
            count += 1
        return count


def meanwhile() -> bool:
    """Ingestion of statements while evidence is appraised."""
    with registry() as running, tempfile.TemporaryDirectory(prefix="provreg-bench-") as folder:
        judging, archiving = asyncio.run(_measure(running, Path(folder)))
    kept = statistics.median(judging.rate_left) >= LEAST
    print(
        f"judged on the pool     {judging}   promised {LEAST:.0%}: {'kept' if kept else 'BROKEN'}"
    )
    print(f"archived and logged    {archiving}")
    return kept


async def _measure(running: Running, folder: Path) -> tuple[Measured, Measured]:
    token, key = running.add("acme", access_pb2.ROLE_PUBLISHER, "acme/*")
    node, _ = running.add("node-1", access_pb2.ROLE_NODE, "acme/*")
    async with grpc.aio.insecure_channel(running.address) as channel:
        stub = evidence_service_pb2_grpc.EvidenceServiceStub(channel)
        made = [request async for request in _documents(stub, running, node)]
        # The first evidence starts the workers.
        await stub.Submit(made[0], metadata=bearer(node))
        refused = [_misstated(request) for request in made[1 : REFUSED + 1]]
        publisher = Publisher(running, channel, token, key)
        with evidence_caller(running.address, node, folder, refused, made[REFUSED + 1 :]) as caller:
            publisher.prepare()
            await publisher.interval()
            return await _rounds(publisher, caller)


async def _rounds(publisher: Publisher, caller: EvidenceCaller) -> tuple[Measured, Measured]:
    judging, archiving = Measured(), Measured()
    publisher.prepare()
    before = await publisher.interval()
    for load, measured in itertools.islice(
        itertools.cycle((("judge", judging), ("archive", archiving))), 2 * ROUNDS
    ):
        publisher.prepare()
        caller.start(load)
        beside = await publisher.interval()
        judged = caller.stop()
        publisher.prepare()
        after = await publisher.interval()
        measured.add(before, beside, after, judged)
        before = after
    return judging, archiving


def _misstated(request: Request) -> Request:
    """The same evidence, said to be about a model that it does not commit to."""
    changed = Request()
    changed.CopyFrom(request)
    changed.binding.model = os.urandom(32)
    return changed


async def _documents(
    stub: "evidence_service_pb2_grpc.EvidenceServiceAsyncStub", running: Running, token: str
) -> AsyncIterator[Request]:
    now = datetime.now(UTC).replace(microsecond=0)
    [(vendor, sha256)] = mint(Spec(signed_at=now)).roots.named
    policy = Policy(
        name="bench",
        family=RULES.family,
        skip=tuple(RULES.references),
        roots=(NamedRoot(vendor=vendor, sha256=sha256),),
    )
    await stub.PutPolicy(
        evidence_service_pb2.PutPolicyRequest(policy=write_json(policy)),
        metadata=bearer(running.admin_token),
    )
    for _ in range(1 + REFUSED + ARCHIVED):
        asked = await stub.Challenge(
            evidence_service_pb2.ChallengeRequest(), metadata=bearer(token)
        )
        binding = Binding(nonce=asked.nonce)
        document = mint(Spec(signed_at=now, user_data=binding.report_data(), nonce=asked.nonce))
        yield Request(
            family=RULES.family,
            evidence=document.evidence,
            binding=evidence_pb2.EvidenceBinding(nonce=asked.nonce),
            policy="bench",
        )
