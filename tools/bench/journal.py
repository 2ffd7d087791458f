"""Journal records in signed batches: promised 50,000/s, ≥ 60 % of it at the tenth million.

Intents and completions, one leaf each, through gRPC, durable, indexed by output digest; every
answer's proof is checked. Then outputs are traced at random: promised p99 ≤ 20 ms, a capsule of at
most 10 KB beside the model's statement, judged in ≤ 5 ms. The baseline is hashing the same records
with SHA-256 and SHA-512, which no registry can leave out.

``python -m tools.bench.journal [millions]``; one million by default, ten for the whole promise.
"""

import hashlib
import os
import random
import statistics
import sys
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc

from registry.api.v1 import (
    access_pb2,
    lineage_service_pb2,
    lineage_service_pb2_grpc,
    statement_service_pb2,
    statement_service_pb2_grpc,
)
from registry.core.attestation.statement import STATEMENT_TYPE, Statement, Subject
from registry.core.capsule.container import Capsule
from registry.core.capsule.walk import appraise
from registry.core.digest import DigestSet
from registry.core.digest import text as digest_text
from registry.core.records import batch, inference
from registry.core.tlog import entry
from registry.signing.file import StatementSigner
from tools.bench.statements import check
from tools.bench.world import Running, bearer, machine, registry

MILLION = 1_000_000
TRACES = 300
VERIFICATIONS = 50
SAMPLE = 2_000
"""Output digests that are remembered for tracing, spread over all millions."""

NODES = 2
"""Shims that send at once."""

_MARK = {"a": "a1" * 32, "b": "b2" * 32, "c": "c3" * 32, "d": "d4" * 32}
_NUMBER = 1_234_567_891


def _template(record: inference.Record, holes: dict[str, str]) -> bytes:
    """The record's bytes with printf holes, so that making a million takes seconds."""
    data = inference.write(record).replace(b"%", b"%%")
    for found, hole in holes.items():
        data = data.replace(found.encode(), hole.encode())
    return data


class Shim:
    """One shim's endless journal."""

    def __init__(self, key: StatementSigner) -> None:
        self._key = key
        self.shim_id = os.urandom(16).hex()
        self._n = 0
        self._previous = inference.FIRST_PREVIOUS
        self._last_batch: str | None = None
        sequence = inference.Sequence(
            shim_id=self.shim_id, boot_id=self.shim_id, n=_NUMBER, prev_digest=_MARK["a"]
        )
        release = "sha256:" + "0" * 64
        intent = inference.Intent(
            sequence=sequence,
            at="2026-01-01T00:00:00.000000Z",
            release=release,
            request=_MARK["b"],
            salt=_MARK["c"],
        )
        completion = inference.Completion(
            sequence=sequence,
            at="2026-01-01T00:00:00.000000Z",
            intent_n=_NUMBER + 1,
            model=inference.Model(
                release=release, manifest="0" * 64, name="acme/x", version="1.2.0"
            ),
            binding="artifact_verified",
            request=_MARK["b"],
            response=inference.Response(
                profile="output/tensor/v1",
                content_digest=_MARK["d"],
                wire_digest=_MARK["c"],
                complete=True,
            ),
            runtime=inference.Runtime(engine="onnxruntime", version="1.32.0", provider="CPU"),
            uncovered=("request.params",),
            salt=_MARK["c"],
        )
        holes = {_MARK["a"]: "%(p)s", _MARK["b"]: "%(r)s", _MARK["c"]: "%(s)s"}
        number = str(_NUMBER)
        self._intent = _template(intent, {**holes, number: "%(n)d"})
        self._completion = _template(
            completion,
            {**holes, _MARK["d"]: "%(d)s", str(_NUMBER + 1): "%(i)d", number: "%(n)d"},
        )

    def next_batch(
        self, count: int = batch.MAX_RECORDS
    ) -> tuple[bytes, bytes, list[bytes], list[bytes]]:
        """Envelope, log entry, records and the digests of their outputs."""
        records, digests = [], []
        first = self._n
        sha256 = hashlib.sha256
        for _ in range(count // 2):
            n = self._n
            salt = sha256(b"%d" % n).hexdigest().encode()
            data = self._intent % {b"p": self._previous.encode(), b"r": salt, b"s": salt, b"n": n}
            records.append(data)
            output = sha256(b"%s %d" % (self.shim_id.encode(), n)).digest()
            digests.append(output)
            data = self._completion % {
                b"p": sha256(b"\0" + data).hexdigest().encode(),
                b"r": salt,
                b"s": salt,
                b"d": output.hex().encode(),
                b"i": n,
                b"n": n + 1,
            }
            records.append(data)
            self._previous = sha256(b"\0" + data).hexdigest()
            self._n += 2
        hashed = batch.hash_records(records)
        said = batch.Batch(
            shim_id=self.shim_id,
            boot_id=self.shim_id,
            n_first=first,
            n_last=self._n - 1,
            count=len(records),
            tree="rfc6962-sha256",
            root=hashed.root.hex(),
            root_sha512=hashed.root_sha512.hex(),
            leaves=DigestSet.of(batch.join_leaves(records)),
            closed_at="2026-01-01T00:00:00Z",
            **({"prev_batch": self._last_batch} if self._last_batch else {}),
        )
        envelope = self._key.sign(
            Statement(
                type_=STATEMENT_TYPE,
                predicate=said,
                predicate_type=batch.PREDICATE_TYPE,
                subject=(Subject.of(batch.SUBJECT_NAME, DigestSet.of(hashed.hashes_file)),),
            )
        )
        self._last_batch = digest_text(envelope.record_id)
        body = entry.write(envelope.record_id, envelope.signature, self._key.public_key.der)
        return envelope.to_bytes(), body, records, digests


def _send(
    address: str, token: str, shim: Shim, batches: int, kept: "deque[bytes]"
) -> Iterator[int]:
    """Keep one batch under way while the next one is made."""
    options = [("grpc.max_send_message_length", 16 << 20)]
    with grpc.insecure_channel(address, options) as channel:
        stub = statement_service_pb2_grpc.StatementServiceStub(channel)
        under_way = None
        for _ in range(batches):
            envelope, body, records, digests = shim.next_batch()
            kept.append(random.choice(digests))  # noqa: S311 - which outputs to trace
            if under_way is not None:
                check(under_way[1], under_way[0].result().receipt)
                yield batch.MAX_RECORDS
            request = statement_service_pb2.RegisterBatchRequest(envelope=envelope, records=records)
            under_way = (stub.RegisterBatch.future(request, metadata=bearer(token)), body)
        if under_way is not None:
            check(under_way[1], under_way[0].result().receipt)
            yield batch.MAX_RECORDS


def _baseline() -> float:
    shim = Shim(StatementSigner.generate())
    _, _, records, _ = shim.next_batch()
    start = time.perf_counter()
    for _ in range(5):
        batch.hash_records(records)
    return 5 * len(records) / (time.perf_counter() - start)


def _verify(capsule: bytes) -> tuple[int, float]:
    """Bytes of a capsule, and milliseconds to read and judge it, warm."""
    times = []
    for _ in range(VERIFICATIONS):
        start = time.perf_counter()
        parsed = Capsule.parse(capsule)
        appraise(parsed, parsed.log)
        times.append(time.perf_counter() - start)
    return len(capsule), statistics.median(times) * 1e3


def _trace(address: str, token: str, digests: "deque[bytes]") -> tuple[list[float], bytes]:
    latencies = []
    capsule = b""
    with grpc.insecure_channel(address) as channel:
        stub = lineage_service_pb2_grpc.LineageServiceStub(channel)
        for digest in random.choices(list(digests), k=TRACES):  # noqa: S311
            start = time.perf_counter()
            answer = stub.Trace(
                lineage_service_pb2.TraceRequest(content_digests=[digest]), metadata=bearer(token)
            )
            latencies.append(time.perf_counter() - start)
            if answer.matches != 1:
                raise SystemExit("an output was not found exactly once")
            capsule = answer.capsule
    return latencies, capsule


def measure(running: Running, millions: int) -> None:
    """Print one table, a line for each million."""
    shims = [
        (running.add(f"node{number}", access_pb2.ROLE_NODE, "acme/*")) for number in range(NODES)
    ]
    journals = [(token, Shim(key)) for token, key in shims]
    kept: deque[bytes] = deque(maxlen=SAMPLE)
    baseline = _baseline()
    sys.stdout.write(
        f"{machine()}\nhashing alone, one thread      {baseline:10,.0f} /s (baseline)\n"
    )
    per_node = -(-MILLION // batch.MAX_RECORDS // NODES)
    rates = []
    for million in range(1, millions + 1):
        start = time.perf_counter()
        with ThreadPoolExecutor(NODES) as pool:
            sent = sum(
                pool.map(
                    lambda item: sum(_send(running.address, item[0], item[1], per_node, kept)),
                    journals,
                )
            )
        rates.append(sent / (time.perf_counter() - start))
        sys.stdout.write(
            f"million {million:3d}                    {rates[-1]:10,.0f} /s"
            f" = {rates[-1] / baseline:.2f} of baseline, {rates[-1] / rates[0]:.2f} of the first;"
            f" server {running.resident_mib():.0f} MiB\n"
        )
        sys.stdout.flush()
    latencies, capsule = _trace(running.address, journals[0][0], kept)
    quantiles = statistics.quantiles(latencies, n=100)
    size, verified = _verify(capsule)
    p50, p99 = quantiles[49] * 1e3, quantiles[98] * 1e3
    sys.stdout.write(
        f"trace p50 / p99                {p50:6.1f} / {p99:.1f} ms\n"
        f"capsule beside the model's     {size:6,d} bytes, verified in {verified:.1f} ms\n"
        f"server resident                {running.resident_mib():6.0f} MiB\n"
    )


if __name__ == "__main__":
    with registry() as running:
        measure(running, int(sys.argv[1]) if len(sys.argv) > 1 else 1)
