"""What recording adds within the process that runs a model, or that asks for it.

A session of ONNX Runtime, and clients of ``httpx``, with and without their wrappers, in mode
``stream``; calls of both take turns.
"""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import onnxruntime  # type: ignore[import-untyped]

from registry.client.channel import Connection, Target
from registry.client.registry import RegistryClient
from registry.shim.app import Shim, open_shim
from registry.shim.deployment import Description, Engine, Standing
from registry.shim.proxies.httpx import AsyncRecordedTransport, RecordedTransport
from registry.shim.proxies.onnx import RecordedSession
from registry.shim.recorder.calls import Calls
from registry.shim.release import PinnedRelease
from tools.bench.model_server import UNSTREAMED
from tools.bench.node import Pair, World

RUNS = 500
"""Runs of a session in one turn."""

ASKED = 200
"""Chats that a client asks for in one turn, one after the other."""

_BODY = b'{"model":"m",%b,"temperature":0.5,"messages":[]}' % UNSTREAMED
_CHAT = "/v1/chat/completions"


@contextlib.contextmanager
def in_process(world: World) -> Iterator[tuple[Shim, PinnedRelease]]:
    """A shim within this process."""
    connection = Connection(Target.parse(world.running.address), token=world.token)
    with RegistryClient(connection, world.log_key) as client:
        known = client.release("acme/x", "1")
        release = PinnedRelease(known.logged.envelope.record_id, "acme/x", "1", known.manifest)
        folder, files = world.folder / "in-process", world.folder / "files"
        with open_shim(folder, world.key, client, release, files, log_key=world.log_key) as made:
            yield made, release


def calls_of(made: Shim, release: PinnedRelease, port: int) -> Calls:
    """Where the calls of a client in this process are written down."""
    upstream = f"http://127.0.0.1:{port}"
    described = Description.of(release, Engine(), upstream=upstream, files_verified=0)
    standing = Standing(made.recorder, described)
    return Calls(made.recorder, made.unrecorded, standing, levels=made.levels)


def sessions(files: Path, made: Shim, release: PinnedRelease, rounds: int) -> Pair:
    """Runs of a session."""
    pair = Pair()
    recorded = RecordedSession.open(files, "model.onnx", release, made.recorder, mode="stream")
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


def clients(port: int, calls: Calls, rounds: int) -> Pair:
    """Chats of a client."""
    pair = Pair()
    url = f"http://127.0.0.1:{port}"
    transport: Any = RecordedTransport(httpx2.HTTPTransport(), calls)
    with (
        httpx2.Client(base_url=url) as straight,
        httpx2.Client(base_url=url, transport=transport) as recorded,
    ):
        for number in range(rounds + 1):
            for client, values in ((straight, pair.straight), (recorded, pair.recorded)):
                for _ in range(ASKED):
                    start = time.perf_counter()
                    client.post(_CHAT, content=_BODY)
                    if number:
                        values.append((time.perf_counter() - start) * 1e3)
    return pair


async def async_clients(port: int, calls: Calls, rounds: int) -> Pair:
    """Chats of a client that is asynchronous."""
    pair = Pair()
    url = f"http://127.0.0.1:{port}"
    transport: Any = AsyncRecordedTransport(httpx2.AsyncHTTPTransport(), calls)
    async with (
        httpx2.AsyncClient(base_url=url) as straight,
        httpx2.AsyncClient(base_url=url, transport=transport) as recorded,
    ):
        for number in range(rounds + 1):
            for client, values in ((straight, pair.straight), (recorded, pair.recorded)):
                for _ in range(ASKED):
                    start = time.perf_counter()
                    await client.post(_CHAT, content=_BODY)
                    if number:
                        values.append((time.perf_counter() - start) * 1e3)
    return pair
