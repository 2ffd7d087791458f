"""Unary statement registration with proof: promised 1,500/s at p99 < 500 ms with 32 clients.

Every answer's proof is checked by the caller. The baseline is the same server's smallest call.
"""

import asyncio
import statistics
import sys
import time

import grpc.aio

from registry.api.v1 import (
    access_pb2,
    log_pb2,
    log_service_pb2,
    log_service_pb2_grpc,
    statement_service_pb2,
    statement_service_pb2_grpc,
)
from registry.core.attestation.dsse import Envelope
from registry.core.attestation.statement import STATEMENT_TYPE, Statement, Subject
from registry.core.digest import DigestSet
from registry.core.records import dataset
from registry.core.tlog import entry, merkle
from registry.core.tlog.checkpoint import Checkpoint
from registry.signing.file import StatementSigner
from tools.bench.world import Running, bearer, machine, registry

CLIENTS = 32
"""Callers at once."""

STATEMENTS = 12_000
"""Statements in one run."""


def make(key: StatementSigner, number: int) -> Envelope:
    """One dataset statement."""
    file = dataset.DatasetFile(
        path="train.csv", size=number, digest=DigestSet.of(str(number).encode())
    )
    said = dataset.Dataset(
        name=f"acme/d{number}",
        version="1",
        files=(file,),
        merkle_root=dataset.merkle_root([file]).hex(),
        licence="CC0-1.0",
        contributors=(dataset.Contributor(id="a", share=1),),
        issued_at="2026-01-01T00:00:00Z",
    )
    return key.sign(
        Statement(
            type_=STATEMENT_TYPE,
            predicate=said,
            predicate_type=dataset.PREDICATE_TYPE,
            subject=(Subject.of(f"{said.name}@1", DigestSet.of(dataset.files_bytes(said))),),
        )
    )


def check(body: bytes, receipt: log_pb2.Receipt) -> None:
    """The proof leads from the entry to the root of the checkpoint."""
    text = receipt.checkpoint.decode().partition("\n\n")[0] + "\n"
    head = Checkpoint.parse(text)
    leaf = merkle.leaf_hash(body)
    merkle.verify_inclusion(leaf, receipt.index, head.size, receipt.proof, head.root)


async def _pings(address: str, count: int) -> float:
    async with grpc.aio.insecure_channel(address) as channel:
        stub = log_service_pb2_grpc.LogServiceStub(channel)
        left = iter(range(count))

        async def client() -> None:
            for _ in left:
                await stub.GetLogKey(log_service_pb2.GetLogKeyRequest())

        start = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(CLIENTS)))
        return count / (time.perf_counter() - start)


async def _register(address: str, token: str, key: StatementSigner) -> tuple[float, list[float]]:
    envelopes = [make(key, number) for number in range(STATEMENTS)]
    work = [
        (item.to_bytes(), entry.write(item.record_id, item.signature, key.public_key.der))
        for item in envelopes
    ]
    latencies: list[float] = []
    async with grpc.aio.insecure_channel(address) as channel:
        stub = statement_service_pb2_grpc.StatementServiceStub(channel)
        left = iter(work)

        async def client() -> None:
            for envelope, body in left:
                start = time.perf_counter()
                answer = await stub.Register(
                    statement_service_pb2.RegisterRequest(envelope=envelope),
                    metadata=bearer(token),
                )
                latencies.append(time.perf_counter() - start)
                check(body, answer.receipt)

        start = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(CLIENTS)))
        return len(work) / (time.perf_counter() - start), latencies


def measure(running: Running) -> None:
    """Print one table."""
    token, key = running.add("acme", access_pb2.ROLE_PUBLISHER, "acme/*")
    idle = running.resident_mib()
    baseline = asyncio.run(_pings(running.address, 6_000))
    rate, latencies = asyncio.run(_register(running.address, token, key))
    quantiles = statistics.quantiles(latencies, n=100)
    p50, p99 = quantiles[49] * 1e3, quantiles[98] * 1e3
    sys.stdout.write(
        f"{machine()}\n"
        f"smallest call, {CLIENTS} clients     {baseline:10,.0f} /s   (baseline)\n"
        f"statement with proof           {rate:10,.0f} /s   = {rate / baseline:.2f} of baseline\n"
        f"latency p50 / p99              {p50:6.1f} / {p99:.1f} ms\n"
        f"server resident idle / after   {idle:6.0f} / {running.resident_mib():.0f} MiB\n"
    )


if __name__ == "__main__":
    with registry() as running:
        measure(running)
