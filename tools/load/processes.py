"""The processes under load: a registry, a model server, and a shim in each mode, on fixed ports."""

import asyncio
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import grpc

from registry.api.v1 import access_pb2, access_service_pb2, access_service_pb2_grpc
from registry.client.channel import Connection, Target
from registry.client.publish import Publication, publish
from registry.client.registry import RegistryClient
from registry.core.tlog.note import VerifierKey
from registry.signing.file import StatementSigner
from tools.free_ports import free_port
from tools.load.nursery import MODEL_SERVER

MODES = ("strict", "stream")
"""A shim for each."""

START_SECONDS = 60.0
"""How long a process may take to answer."""

STOP_SECONDS = 60.0
"""How long it may take to end in good order."""

VERSION = "acme/load@1"
"""The model version that answers."""

_REPOSITORY = Path(__file__).parents[2]


class Nursery:
    """Forks a life for a command; see :mod:`tools.load.nursery`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-u", "-m", "tools.load.nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=_REPOSITORY,
            text=True,
        )
        self._mutex = threading.Lock()

    def start(self, words: list[str], said: Path) -> int:
        """The process id of a new life with these words."""
        with self._mutex:
            return self._start(words, said)

    def _start(self, words: list[str], said: Path) -> int:
        source, sink = self._process.stdout, self._process.stdin
        assert source is not None and sink is not None  # noqa: S101, PT018 - both are pipes
        sink.write(json.dumps([str(said), words]) + "\n")
        sink.flush()
        return int(source.readline())

    def close(self) -> None:
        """Start nothing any more."""
        self._process.communicate()


@dataclass
class Process:
    """A process that is started again on the same port, as often as it is killed.

    Attributes:
        begin: Begins a life; gives its process id.
        lives: How often it was started.
        ready_at: When this life answered first, on the monotonic clock; 0 before it did.
        pid: The process id of this life; 0 between two.

    A number may be another's as soon as its process is gone: signals go through a descriptor.
    """

    name: str
    port: int
    said: Path
    begin: Callable[[], int]
    lives: int = 0
    ready_at: float = 0.0
    pid: int = 0
    _life: int = field(default=-1, repr=False)

    async def start(self) -> None:
        """Start it, and return when it answers."""
        self.lives += 1
        self.pid = await asyncio.to_thread(self.begin)
        try:
            self._life = os.pidfd_open(self.pid)
        except ProcessLookupError as error:
            raise RuntimeError(self._ended()) from error
        async with asyncio.timeout(START_SECONDS):
            while not await self._answers():
                if not self._lives():
                    raise RuntimeError(self._ended())
                await asyncio.sleep(0.02)
        self.ready_at = time.monotonic()

    async def kill(self) -> None:
        """Kill it as ``kill -9`` does."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """Let it end in good order."""
        await self._end(signal.SIGTERM)

    async def _end(self, number: int) -> None:
        self.ready_at = 0.0
        if self.pid == 0:
            return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._life, number)
        async with asyncio.timeout(STOP_SECONDS):
            while self._lives():  # noqa: ASYNC110 - a process
                await asyncio.sleep(0.01)
        os.close(self._life)
        self.pid = 0

    def _lives(self) -> bool:
        ready, _, _ = select.select([self._life], [], [], 0)
        return not ready

    async def _answers(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        return True

    def _ended(self) -> str:
        return f"{self.name} ended: {self.last_words()}"

    def last_words(self) -> str:
        """The end of what it printed."""
        said = self.said.read_bytes() if self.said.exists() else b""
        return said[-2000:].decode(errors="replace")

    def resident_bytes(self) -> int:
        """Its resident memory; 0 between two lives."""
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * 1024
        return 0


@dataclass
class World:
    """Everything that runs, and what is needed to ask and to judge it."""

    folder: Path
    registry: Process
    model_server: Process
    shims: dict[str, Process] = field(default_factory=dict)
    health: dict[str, int] = field(default_factory=dict)

    @property
    def log_key(self) -> VerifierKey:
        """The log's key."""
        return VerifierKey.parse((self.folder / "registry" / "log.vkey").read_text().strip())

    def token(self, name: str) -> str:
        """Somebody's token."""
        return (self.folder / f"{name}.token").read_text().strip()

    def client(self, name: str) -> RegistryClient:
        """A client of the registry."""
        target = Target.parse(f"127.0.0.1:{self.registry.port}")
        return RegistryClient(Connection(target, token=self.token(name)), self.log_key)


@contextlib.asynccontextmanager
async def running(folder: Path) -> AsyncIterator[World]:
    """Start everything in an empty folder; whatever still runs at the end is killed."""
    nursery = Nursery()
    world = _world(folder, nursery)
    processes = [world.registry, world.model_server]
    try:
        await asyncio.gather(*(each.start() for each in processes))
        await asyncio.to_thread(_publish, world)
        for mode in MODES:
            world.shims[mode] = _shim(world, mode, nursery)
        processes += world.shims.values()
        await asyncio.gather(*(each.start() for each in world.shims.values()))
        yield world
    finally:
        for each in processes:
            await each.kill()
        nursery.close()


def _world(folder: Path, nursery: Nursery) -> World:
    ports = [free_port() for _ in range(3)]
    serve = [
        *("serve", "--data", str(folder / "registry")),
        *("--listen", f"127.0.0.1:{ports[0]}", "--http", f"127.0.0.1:{ports[1]}"),
    ]
    model = [MODEL_SERVER, str(ports[2])]
    one, other = folder / "registry.out", folder / "model.out"
    return World(
        folder,
        Process("registry", ports[0], one, lambda: nursery.start(serve, one)),
        Process("model server", ports[2], other, lambda: nursery.start(model, other)),
    )


def _shim(world: World, mode: str, nursery: Nursery) -> Process:
    port, health = free_port(), free_port()
    world.health[mode] = health
    words = [
        *("--server", f"127.0.0.1:{world.registry.port}", "--log-key", str(world.log_key)),
        *("--token-file", str(world.folder / "node.token")),
        *("shim", "--model", VERSION, "--files", str(world.folder / "model")),
        *("--key", str(world.folder / "node.pem"), "--mode", mode),
        *("--upstream", f"http://127.0.0.1:{world.model_server.port}"),
        *("--listen", f"127.0.0.1:{port}", "--health", f"127.0.0.1:{health}"),
        *("--folder", str(world.folder / mode)),
    ]
    said = world.folder / f"{mode}.out"
    return Process(f"{mode} shim", port, said, lambda: nursery.start(words, said))


def _publish(world: World) -> None:
    """Let a publisher, a node and an auditor in, and publish a model of one small file."""
    admin = (world.folder / "registry" / "admin.token").read_text().strip()
    roles = {
        "acme": access_pb2.ROLE_PUBLISHER,
        "node": access_pb2.ROLE_NODE,
        "auditor": access_pb2.ROLE_AUDITOR,
    }
    keys = {}
    with grpc.insecure_channel(f"127.0.0.1:{world.registry.port}") as channel:
        stub = access_service_pb2_grpc.AccessServiceStub(channel)
        for name, role in roles.items():
            keys[name] = key = StatementSigner.generate()
            key.save(world.folder / f"{name}.pem")
            answer = stub.AddPrincipal(
                access_service_pb2.AddPrincipalRequest(
                    name=name, roles=[role], namespaces=["acme/*"], keys=[key.public_key.der]
                ),
                metadata=(("authorization", f"Bearer {admin}"),),
                wait_for_ready=True,
            )
            (world.folder / f"{name}.token").write_text(answer.token + "\n")
    model = world.folder / "model"
    model.mkdir()
    (model / "model.gguf").write_bytes(b"weights of a model")
    name, _, version = VERSION.partition("@")
    with world.client("acme") as client:
        publish(client, model, Publication(name, version), keys["acme"], datetime.now(UTC))
