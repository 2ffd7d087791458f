"""Statements while evidence is appraised: promised that their rate falls by no more than 10 %.

One registry takes statements from 32 callers. In every other interval somebody else has evidence
judged as fast as it is answered; it is bound to something else than is said, so it goes all the way
through the pool, is refused and leaves nothing behind. In further intervals good evidence is
judged, archived and logged, ten pieces a second: what that costs is the price of storing files
durably, which uploads pay as well, and is shown beside it. Neighbouring intervals of one run are
compared, since a machine that others use does not stay the same for longer.
"""

import asyncio
import os
import statistics
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

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
from tools.bench.statements import CLIENTS, make
from tools.bench.world import Running, bearer, registry
from tools.fake_vendor.nitro import Spec, mint

ROUNDS: Final = 6
"""Rounds of intervals: without, judging, without, archiving, without."""

INTERVAL_SECONDS: Final = 1.2
"""How long each interval lasts."""

STATEMENTS: Final = 90_000
"""Statements that are prepared."""

DOCUMENTS: Final = 150
"""Documents that are prepared to be archived, and as many to be refused."""

SUBMITTERS: Final = 4
"""Who has evidence judged at once."""

ARCHIVED_PER_SECOND: Final = 10
"""Pieces of good evidence: some 860,000 a day."""

LEAST: Final = 0.9
"""The promised part of the rate that is left."""

Request = evidence_service_pb2.SubmitRequest
Load = Callable[[], Coroutine[Any, Any, int]]


@dataclass
class Measured:
    """What intervals of one kind came to."""

    ratios: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    judged: list[float] = field(default_factory=list)

    def add(self, without: float, beside: float, judged: int) -> None:
        """One more interval."""
        self.ratios.append(beside / without)
        self.rates.append(beside)
        self.judged.append(judged / INTERVAL_SECONDS)

    def __str__(self) -> str:
        """The medians."""
        rate, judged = statistics.median(self.rates), statistics.median(self.judged)
        left = statistics.median(self.ratios)
        return f"{rate:6,.0f} statements/s beside {judged:4.0f} pieces/s   {left:5.0%} of the rate"


def meanwhile() -> bool:
    """Ingestion of statements while evidence is appraised."""
    with registry() as running:
        judging, archiving = asyncio.run(_measure(running))
    kept = statistics.median(judging.ratios) >= LEAST
    print(
        f"judged on the pool     {judging}   promised {LEAST:.0%}: {'kept' if kept else 'BROKEN'}"
    )
    print(f"archived and logged    {archiving}")
    return kept


async def _measure(running: Running) -> tuple[Measured, Measured]:
    token, key = running.add("acme", access_pb2.ROLE_PUBLISHER, "acme/*")
    node, _ = running.add("node-1", access_pb2.ROLE_NODE, "acme/*")
    envelopes = _envelopes(key)
    async with grpc.aio.insecure_channel(running.address) as channel:
        evidence = evidence_service_pb2_grpc.EvidenceServiceStub(channel)
        good = iter([request async for request in _documents(evidence, running, node)])
        bad = [_misstated(next(good)) for _ in range(DOCUMENTS)]
        stub = statement_service_pb2_grpc.StatementServiceStub(channel)

        async def statements() -> float:
            return await _statements(stub, token, envelopes)

        async def judge() -> int:
            return await _judge(evidence, node, bad)

        async def archive() -> int:
            return await _archive(evidence, node, good)

        # The first evidence starts the workers.
        await evidence.Submit(next(good), metadata=bearer(node))
        await statements()
        judging, archiving = Measured(), Measured()
        before = await statements()
        for _ in range(ROUNDS):
            for load, measured in ((judge, judging), (archive, archiving)):
                before = await _beside(statements, load, measured, before)
    return judging, archiving


async def _beside(
    statements: Callable[[], Coroutine[Any, Any, float]],
    load: Load,
    measured: Measured,
    before: float,
) -> float:
    """One interval with a load and one without; the rate of the latter."""
    loading = asyncio.create_task(load())
    rate = await statements()
    loading.cancel()
    judged = await loading
    after = await statements()
    # What the machine does meanwhile falls on both sides.
    measured.add((before + after) / 2, rate, judged)
    return after


def _envelopes(key: StatementSigner) -> Iterator[bytes]:
    made = [make(key, number).to_bytes() for number in range(STATEMENTS)]
    return iter(made)


async def _statements(
    stub: "statement_service_pb2_grpc.StatementServiceAsyncStub",
    token: str,
    envelopes: Iterator[bytes],
) -> float:
    """Statements a second in one interval."""
    start = time.perf_counter()
    count = 0

    async def client() -> None:
        nonlocal count
        while time.perf_counter() < start + INTERVAL_SECONDS:
            request = statement_service_pb2.RegisterRequest(envelope=next(envelopes))
            await stub.Register(request, metadata=bearer(token))
            count += 1

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return count / (time.perf_counter() - start)


async def _judge(
    stub: "evidence_service_pb2_grpc.EvidenceServiceAsyncStub", token: str, requests: list[Request]
) -> int:
    """Have evidence judged, and refused, until cancelled; how often that was done."""
    count = 0

    async def submitter(number: int) -> None:
        nonlocal count
        while True:
            number = (number + 1) % len(requests)
            try:
                await stub.Submit(requests[number], metadata=bearer(token))
            except grpc.aio.AioRpcError as error:
                if "WRONG_COMMITMENT" not in (error.details() or ""):
                    raise
                count += 1

    try:
        await asyncio.gather(*(submitter(number) for number in range(SUBMITTERS)))
    except asyncio.CancelledError:
        return count
    return count


async def _archive(
    stub: "evidence_service_pb2_grpc.EvidenceServiceAsyncStub",
    token: str,
    requests: Iterator[Request],
) -> int:
    """Submit good evidence until cancelled; how many pieces were logged."""
    count = 0
    try:
        for request in requests:
            await stub.Submit(request, metadata=bearer(token))
            count += 1
            await asyncio.sleep(1 / ARCHIVED_PER_SECOND)
    except asyncio.CancelledError:
        return count
    return count


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
    for _ in range(2 * DOCUMENTS):
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
