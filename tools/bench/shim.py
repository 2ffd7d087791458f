"""The shim beside no shim: what recording adds to a call, to a stream, and to a session.

::

    python -m tools.bench.shim [ROUNDS]

A registry, a model server and two shims (gRPC and HTTP, mode ``stream``) run as processes of their
own on the same machine. Calls straight to the model server and through a shim take turns, so that
what else happens on the machine hits both. Promised: gRPC unary p50 at most 1.0 ms more and p99
5 ms, durable; first token p50 at most 1 ms more and 95 % of the tokens per second at 32 streams; a
session or an ``httpx`` client in process p50 at most 0.2 ms more; 15,000 durable records a second
on one journal.
"""

import asyncio
import contextlib
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from registry.core.digest import sha256
from registry.core.records import inference
from registry.shim.recorder.awaiting import Awaiting
from registry.shim.recorder.outcomes import Answered, Deployment, Open
from registry.shim.recorder.recorder import Recorder
from registry.shim.recorder.request_key import RequestKey
from registry.shim.recorder.sequence import Sequence, Started
from registry.shim.recorder.ticket import After
from tools.bench.in_process import async_clients, calls_of, clients, in_process, sessions
from tools.bench.model_server import METHOD, TOKENS
from tools.bench.node import Pair, World, world
from tools.bench.world import machine
from tools.free_ports import free_port

ROUNDS = 10
"""Turns of each kind."""

CALLS = 200
"""gRPC calls in one turn, one after the other."""

STREAMS = 32
"""Streams at once."""

APART = 0.01
"""Mean seconds between the starts of two streams. The starts fall by chance (seeded): people do not
ask in step with the tokens that others get."""

RECORDS = 40_000
"""Records written to one journal."""

WRITERS = 64
"""Coroutines that write them."""

_REQUEST = b"\n\x01m*\x0c\n\x01x\x12\x04FP32\x1a\x01\x04:\x10" + bytes(16)
_BODY = b'{"model":"m","stream":true,"messages":[]}'


@contextlib.contextmanager
def shim(world_: World, upstream: str, name: str) -> Iterator[int]:
    """``provreg shim`` in front of ``upstream``; gives its port."""
    words = [
        *(sys.executable, "-m", "registry", "--server", world_.running.address),
        *("--log-key", str(world_.log_key), "--token-file", "node.token"),
        *("shim", "--model", "acme/x@1", "--files", "files", "--key", "node.pem"),
        *("--upstream", upstream, "--listen", "127.0.0.1:0", "--folder", name),
    ]
    with subprocess.Popen(words, cwd=world_.folder, stderr=subprocess.PIPE, text=True) as process:
        port = next(
            int(found[1])
            for line in process.stderr or ()
            if (found := re.search(r"listening on \S+:(\d+)", line))
        )
        try:
            yield port
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate()


@contextlib.contextmanager
def model_server() -> Iterator[tuple[int, int]]:
    """The model server; gives its ports for gRPC and HTTP."""
    ports = (free_port(), free_port())
    words = [sys.executable, "-m", "tools.bench.model_server", *map(str, ports)]
    with subprocess.Popen(words) as process:
        for port in ports:
            while True:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.05)
        try:
            yield ports
        finally:
            process.kill()


async def unary(straight: int, recorded: int, rounds: int) -> Pair:
    """Calls one after the other, by turns."""
    pair = Pair()
    async with (
        grpc.aio.insecure_channel(f"127.0.0.1:{straight}") as one,
        grpc.aio.insecure_channel(f"127.0.0.1:{recorded}") as other,
    ):
        asks: list[tuple[Any, list[float]]] = [
            (one.unary_unary(METHOD), pair.straight),
            (other.unary_unary(METHOD), pair.recorded),
        ]
        for number in range(rounds + 1):
            for ask, values in asks:
                for _ in range(CALLS):
                    start = time.perf_counter()
                    await ask(_REQUEST)
                    if number:
                        values.append((time.perf_counter() - start) * 1e3)
    return pair


async def _stream(port: int, pause: float) -> tuple[float, float]:
    """One chat after a pause: milliseconds to its first token, and seconds to its end."""
    await asyncio.sleep(pause)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    start = time.perf_counter()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"
    writer.write(head % len(_BODY) + _BODY)
    await reader.readuntil(b" token")
    first = time.perf_counter() - start
    await reader.readuntil(b"[DONE]")
    whole = time.perf_counter() - start
    writer.close()
    return first * 1e3, whole


async def streams(straight: int, recorded: int, rounds: int) -> tuple[Pair, Pair]:
    """Many chats at once, by turns: times to the first token, and tokens per second."""
    firsts, rates = Pair(), Pair()
    chance = random.Random(0)  # noqa: S311 - no secret
    for number in range(rounds + 1):
        pauses = [chance.uniform(0, STREAMS * APART) for _ in range(STREAMS)]
        for port, first, rate in (
            (straight, firsts.straight, rates.straight),
            (recorded, firsts.recorded, rates.recorded),
        ):
            start = time.perf_counter()
            found = await asyncio.gather(*(_stream(port, pause) for pause in pauses))
            if number:
                first.extend(item[0] for item in found)
                rate.append(STREAMS * TOKENS / (time.perf_counter() - start))
    return firsts, rates


def journal() -> float:
    """Durable records a second on one journal, intents and completions alike."""
    with tempfile.TemporaryDirectory(prefix="provreg-bench-") as scratch:
        folder = Path(scratch)
        sequence = Sequence(folder / "journal", lambda: datetime.now(UTC))
        sequence.boot(Started("bench"))
        recorder = Recorder(sequence, RequestKey(folder / "request.key"))
        digest = sha256(b"x").hex()
        model = inference.Model(
            release=f"sha256:{digest}", manifest=digest, name="acme/x", version="1"
        )
        runtime = inference.Runtime(engine="none", version="1")
        deployment = Deployment(model, "artifact_verified", runtime, ("time",))
        answer = Answered(
            inference.Response(
                profile="output/bytes/v1", content_digest=digest, wire_digest=digest, complete=True
            )
        )

        async def writer(awaiting: Awaiting) -> None:
            for _ in range(RECORDS // WRITERS // 2):
                begun: list[Open] = []

                def begin(after: After, begun: list[Open] = begun) -> None:
                    begun.append(recorder.begin(deployment, sha256(b"q"), after))

                await awaiting.durable(begin)
                await awaiting.durable(
                    lambda after, begun=begun: recorder.answered(begun[0], answer, after)  # type: ignore[misc]
                )

        async def everybody() -> None:
            awaiting = Awaiting(asyncio.get_running_loop())
            await asyncio.gather(*(writer(awaiting) for _ in range(WRITERS)))

        start = time.perf_counter()
        asyncio.run(everybody())
        rate = sequence.journal.durable_n / (time.perf_counter() - start)
        sequence.journal.close()
    return rate


def measure(rounds: int) -> None:
    """Print one table."""
    out = sys.stdout.write
    out(f"{machine()}\n{'':32} {'without':>8} {'with':>8}\n")
    with world() as made, model_server() as (rpc, web):
        with shim(made, f"grpc://127.0.0.1:{rpc}", "grpc") as port:
            calls = asyncio.run(unary(rpc, port, rounds))
        out(calls.line("gRPC unary p50, ms", 50, "at most +1.0"))
        out(calls.line("gRPC unary p99, ms", 99, "at most +5.0"))
        with shim(made, f"http://127.0.0.1:{web}", "http") as port:
            firsts, rates = asyncio.run(streams(web, port, max(2, rounds // 3)))
        out(firsts.line(f"first token of {STREAMS} p50, ms", 50, "at most +1.0"))
        one, other = statistics.median(rates.straight), statistics.median(rates.recorded)
        out(f"{'tokens per second':32} {one:8,.0f} {other:8,.0f}  {other / one:.3f} (0.95)\n")
        with in_process(made) as (opened, release):
            runs = sessions(made.folder / "files", opened, release, rounds)
            out(runs.line("session in process p50, ms", 50, "at most +0.2"))
            asked = calls_of(opened, release, web)
            chats = clients(web, asked, rounds)
            out(chats.line("httpx in process p50, ms", 50, "at most +0.2"))
            chats = asyncio.run(async_clients(web, asked, rounds))
            out(chats.line("async httpx in process p50, ms", 50, "at most +0.2"))
    out(f"{'journal, durable records/s':32} {journal():8,.0f}           (at least 15,000)\n")


if __name__ == "__main__":
    measure(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
