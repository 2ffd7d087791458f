"""Sigstore's way in over HTTP: promised 1,000 entries/s with proof at p99 < 500 ms, on two cores.

Every answer is checked afterwards: status 201, inclusion proof, and the log's public checkpoint
covers it. Then the same log is read: promised 5,000 tiles/s. Signatures are made before the clock
starts; client and server share the machine. The baseline is the server's smallest page.
"""

import asyncio
import json
import random
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

import httptools
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from registry.api.v1 import access_pb2
from registry.core.digest import sha256
from registry.core.encoding import base64_text
from registry.core.tlog.checkpoint import Checkpoint, SignedCheckpoint
from registry.core.tlog.merkle import leaf_hash, verify_inclusion
from registry.core.tlog.note import VerifierKey
from registry.core.tlog.rekor import TransparencyLogEntry
from registry.signing.file import StatementSigner
from tools.bench.world import Running, machine, registry

WRITERS = 192
"""Callers at once that log signatures, each on a connection that stays open."""

READERS = 32
"""Callers at once that read, each on a connection that stays open."""

ENTRIES = 12_000
"""Signatures that are logged in one run."""

READS = 20_000
"""Tiles that are read in one run."""

SEED = 20260901
"""Which tiles are read, the same in every run."""


class Caller(asyncio.Protocol):
    """Asks one thing after another on one connection, and notes how long each answer took."""

    def __init__(self, work: "Sequence[bytes]", taken: "list[int]", done: "Answers") -> None:
        self._work = work
        self._taken = taken
        self._done = done
        self._parser: Any = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self._number = -1
        self._since = 0.0
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport: Any = transport
        self._ask()

    def data_received(self, data: bytes) -> None:
        """Read on."""
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail, unless all is done."""
        if not self.finished.done():
            self.finished.set_exception(exc or ConnectionError("the server hung up"))

    def on_body(self, body: bytes) -> None:
        """Keep a part."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Note an answer, and ask for the next one."""
        self._done.note(
            self._number,
            self._parser.get_status_code(),
            b"".join(self._body),
            time.perf_counter() - self._since,
        )
        self._body.clear()
        self._ask()

    def _ask(self) -> None:
        if self._taken[0] == len(self._work):
            self.finished.set_result(None)
            self._transport.close()
            return
        self._number = self._taken[0]
        self._taken[0] += 1
        self._since = time.perf_counter()
        self._transport.write(self._work[self._number])


class Answers:
    """What came back."""

    def __init__(self) -> None:
        self.bodies: dict[int, bytes] = {}
        self.statuses: dict[int, int] = {}
        self.latencies: list[float] = []

    def note(self, number: int, status: int, body: bytes, seconds: float) -> None:
        """One answer."""
        self.bodies[number] = body
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.latencies.append(seconds)

    def milliseconds(self) -> tuple[float, float]:
        """Latency: p50 and p99."""
        quantiles = statistics.quantiles(self.latencies, n=100)
        return quantiles[49] * 1e3, quantiles[98] * 1e3


async def ask(url: str, work: Sequence[bytes], connections: int) -> tuple[float, Answers]:
    """Ask all of it over so many connections; how many per second, and the answers."""
    host, _, port = url.rpartition("//")[2].rpartition(":")
    answers, taken = Answers(), [0]
    loop = asyncio.get_running_loop()
    start = time.perf_counter()
    callers = [
        (await loop.create_connection(lambda: Caller(work, taken, answers), host, int(port)))[1]
        for _ in range(connections)
    ]
    await asyncio.gather(*(caller.finished for caller in callers))
    return len(work) / (time.perf_counter() - start), answers


def entry(key: StatementSigner, number: int) -> bytes:
    """The whole request that logs signature ``number``."""
    message = b"artifact %d" % number
    signature = key._key.sign(message, ec.ECDSA(hashes.SHA256()))  # noqa: SLF001 - not a statement
    verifier = {
        "keyDetails": "PKIX_ECDSA_P256_SHA_256",
        "publicKey": {"rawBytes": base64_text(key.public_key.der)},
    }
    record = {
        "digest": base64_text(sha256(message)),
        "signature": {"content": base64_text(signature), "verifier": verifier},
    }
    body = json.dumps({"hashedRekordRequestV002": record}).encode()
    return (
        b"POST /api/v2/log/entries HTTP/1.1\r\nHost: log\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    )


def page(path: str) -> bytes:
    """The whole request for a page."""
    return f"GET {path} HTTP/1.1\r\nHost: log\r\nAccept-Encoding: gzip\r\n\r\n".encode()


def check(answers: Answers, shown: bytes, key: VerifierKey) -> int:
    """Check every answer; how many entries the log has."""
    public = SignedCheckpoint.open(shown, key).checkpoint
    opened: dict[bytes, Checkpoint] = {}
    indices = set()
    for answer in answers.bodies.values():
        found = TransparencyLogEntry.parse(answer)
        if found.checkpoint not in opened:
            opened[found.checkpoint] = SignedCheckpoint.open(found.checkpoint, key).checkpoint
        head = opened[found.checkpoint]
        if head.size > public.size:
            sys.exit("an answer's checkpoint is larger than the public one")
        verify_inclusion(leaf_hash(found.body), found.index, head.size, found.proof, head.root)
        indices.add(found.index)
    if len(indices) != len(answers.bodies):
        sys.exit("two signatures have one index")
    return public.size


def run(
    running: Running, name: str, work: Sequence[bytes], status: int, connections: int = READERS
) -> Answers:
    """Ask all of it, and print one line: rate, latency, and what it took of the processors."""
    server, client = running.processor_seconds(), time.process_time()
    rate, answers = asyncio.run(ask(running.url, work, connections))
    server, client = running.processor_seconds() - server, time.process_time() - client
    if set(answers.statuses) != {status}:
        sys.exit(f"{name}: {answers.statuses}")
    p50, p99 = answers.milliseconds()
    print(
        f"{name:26}{rate:8,.0f} /s   p50 {p50:6.1f} ms   p99 {p99:6.1f} ms"
        f"   server {server / len(work) * 1e6:5.0f} us   client {client / len(work) * 1e6:5.0f} us",
        flush=True,
    )
    return answers


def measure(running: Running) -> None:
    """Print one table."""
    _, key = running.add("acme", access_pb2.ROLE_PUBLISHER, "acme/*")
    log_key = VerifierKey.parse((running.folder / "log.vkey").read_text().strip())
    work = [entry(key, number) for number in range(ENTRIES)]
    idle = running.resident_mib()
    print(f"{machine()}; {WRITERS} writers, {READERS} readers; processor time for each answer")
    run(running, "smallest page (baseline)", [page("/nothing-here")] * 6000, 404)
    logged = run(running, "log/entries with proof", work, 201, WRITERS)
    shown = run(running, "checkpoint", [page("/checkpoint")] * 6000, 200)
    full = check(logged, shown.bodies[0], log_key) // 256
    choose = random.Random(SEED)  # noqa: S311 - not a secret
    indices = [choose.randrange(full) for _ in range(READS)]
    run(running, "hash tiles", [page(f"/tile/0/{n:03d}") for n in indices], 200)
    bundles = [page(f"/tile/entries/{n:03d}") for n in indices[: READS // 4]]
    run(running, "entry bundles, gzip", bundles, 200)
    print(f"server resident idle / after   {idle:.0f} / {running.resident_mib():.0f} MiB")


if __name__ == "__main__":
    with registry() as running:
        measure(running)
