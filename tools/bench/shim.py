"""The shim beside no shim: what recording adds to a call, to a stream, and to a session.

::

    python -m tools.bench.shim [ROUNDS]

A registry, a model server and two shims (gRPC and HTTP, mode ``stream``) run as processes of their
own on the same machine. Calls straight to the model server and through a shim take turns, so that
what else happens on the machine hits both. Promised: gRPC unary p50 at most 1.0 ms more and p99
5 ms, durable; first token p50 at most 1 ms more and 95 % of the tokens per second at 32 streams; an
in-process session p50 at most 0.2 ms more; 15,000 durable records a second on one journal.
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
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
from onnx import TensorProto, helper

from registry.api.v1 import access_pb2
from registry.client.channel import Connection, Target
from registry.client.registry import RegistryClient
from registry.core.digest import sha256
from registry.core.records import inference
from registry.core.tlog.note import VerifierKey
from registry.shim.app import open_shim
from registry.shim.proxies.onnx import RecordedSession
from registry.shim.recorder.awaiting import Awaiting
from registry.shim.recorder.recorder import Answered, Deployment, Open, Recorder
from registry.shim.recorder.request_key import RequestKey
from registry.shim.recorder.sequence import Sequence
from registry.shim.recorder.ticket import After
from registry.shim.release import PinnedRelease
from registry.signing.file import StatementSigner
from tools.bench.model_server import METHOD, TOKENS
from tools.bench.world import Running, machine, registry

ROUNDS = 10
"""Turns of each kind."""

CALLS = 200
"""gRPC calls in one turn, one after the other."""

STREAMS = 32
"""Streams at once."""

APART = 0.01
"""Mean seconds between the starts of two streams. The starts fall by chance (seeded): people do not
ask in step with the tokens that others get."""

RUNS = 500
"""Runs of a session in one turn."""

RECORDS = 40_000
"""Records written to one journal."""

WRITERS = 64
"""Coroutines that write them."""

_REQUEST = b"\n\x01m*\x0c\n\x01x\x12\x04FP32\x1a\x01\x04:\x10" + bytes(16)
_BODY = b'{"model":"m","stream":true,"messages":[]}'


@dataclass
class Pair:
    """The same thing without and with a shim, in milliseconds or per second."""

    straight: list[float] = field(default_factory=list)
    recorded: list[float] = field(default_factory=list)

    def line(self, title: str, quantile: int, promise: str) -> str:
        """One line of the table."""
        one, other = (_quantile(values, quantile) for values in (self.straight, self.recorded))
        return f"{title:32} {one:8.3f} {other:8.3f}  {other - one:+7.3f} ms  ({promise})\n"


def _quantile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100)[percent - 1]


def _port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def model_bytes() -> bytes:
    """A model that gives back what it gets: nothing but the overhead is measured."""
    kind = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 4])
    back = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 4])
    node = helper.make_node("Identity", ["x"], ["y"])
    graph = helper.make_graph([node], "g", [kind], [back])
    opsets = [helper.make_opsetid("", 17)]
    made: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
    onnx.load_model_from_string(made)
    return made


@dataclass(frozen=True)
class World:
    """A registry with one version of a model, and a node that has it."""

    running: Running
    folder: Path
    token: str
    key: StatementSigner

    @property
    def log_key(self) -> VerifierKey:
        """The log's key."""
        return VerifierKey.parse((self.running.folder / "log.vkey").read_text().strip())

    def run(self, *words: object, token: str) -> None:
        """Run ``provreg``."""
        command = [sys.executable, "-m", "registry", "--server", self.running.address]
        command += ["--log-key", str(self.log_key), "--token-file", token, *map(str, words)]
        subprocess.run(command, cwd=self.folder, check=True, capture_output=True)


@contextlib.contextmanager
def world() -> Iterator[World]:
    """A registry with a published model, and a node that fetched it."""
    with registry() as running, tempfile.TemporaryDirectory(prefix="provreg-bench-") as scratch:
        folder = Path(scratch)
        for name, role in (("acme", access_pb2.ROLE_PUBLISHER), ("node", access_pb2.ROLE_NODE)):
            token, key = running.add(name, role, "acme/*")
            (folder / f"{name}.token").write_text(token + "\n")
            key.save(folder / f"{name}.pem")
        made = World(running, folder, token, key)
        (folder / "model").mkdir()
        (folder / "model" / "model.onnx").write_bytes(model_bytes())
        words = ("model", "publish", "model", "--name", "acme/x", "--version", "1")
        made.run(*words, "--key", "acme.pem", token="acme.token")  # noqa: S106 - a file
        made.run("model", "fetch", "acme/x@1", "files", token="node.token")  # noqa: S106 - a file
        yield made


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
    ports = (_port(), _port())
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


def sessions(world_: World, rounds: int) -> Pair:
    """Runs of a session in this process, by turns."""
    pair = Pair()
    connection = Connection(Target.parse(world_.running.address), token=world_.token)
    with RegistryClient(connection, world_.log_key) as client:
        known = client.release("acme/x", "1")
        release = PinnedRelease(known.logged.envelope.record_id, "acme/x", "1", known.manifest)
        folder, files = world_.folder / "in-process", world_.folder / "files"
        with open_shim(folder, world_.key, client, release, files, log_key=world_.log_key) as made:
            recorded = RecordedSession.open(
                files, "model.onnx", release, made.recorder, mode="stream"
            )
            straight = onnxruntime.InferenceSession(files / "model.onnx")
            feed = {"x": np.zeros((1, 4), np.float32)}
            for number in range(rounds + 1):
                for session, values in ((straight, pair.straight), (recorded, pair.recorded)):
                    for _ in range(RUNS):
                        start = time.perf_counter()
                        session.run(None, feed)
                        if number:
                            values.append((time.perf_counter() - start) * 1e3)
    return pair


def journal() -> float:
    """Durable records a second on one journal, intents and completions alike."""
    with tempfile.TemporaryDirectory(prefix="provreg-bench-") as scratch:
        folder = Path(scratch)
        sequence = Sequence(folder / "journal", lambda: datetime.now(UTC))
        sequence.boot("bench")
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
    with world() as made:
        with model_server() as (rpc, web):
            with shim(made, f"grpc://127.0.0.1:{rpc}", "grpc") as port:
                calls = asyncio.run(unary(rpc, port, rounds))
            out(calls.line("gRPC unary p50, ms", 50, "at most +1.0"))
            out(calls.line("gRPC unary p99, ms", 99, "at most +5.0"))
            with shim(made, f"http://127.0.0.1:{web}", "http") as port:
                firsts, rates = asyncio.run(streams(web, port, max(2, rounds // 3)))
            out(firsts.line(f"first token of {STREAMS} p50, ms", 50, "at most +1.0"))
            one, other = statistics.median(rates.straight), statistics.median(rates.recorded)
            out(f"{'tokens per second':32} {one:8,.0f} {other:8,.0f}  {other / one:.3f} (0.95)\n")
        runs = sessions(made, rounds)
        out(runs.line("session in process p50, ms", 50, "at most +0.2"))
    out(f"{'journal, durable records/s':32} {journal():8,.0f}           (at least 15,000)\n")


if __name__ == "__main__":
    measure(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
