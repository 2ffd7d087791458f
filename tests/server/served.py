"""A registry that is served over real gRPC from a thread, so that tests can look behind it.

::

    with served(folder) as registry:
        before = registry.stored()
        reason = registry.refusal(lambda: registry.register(b"nonsense", registry.acme))
        assert registry.stored() == before
"""

import asyncio
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from registry.api.v1 import (
    access_service_pb2_grpc,
    artifact_pb2,
    artifact_service_pb2_grpc,
    journal_service_pb2_grpc,
    lineage_service_pb2_grpc,
    log_pb2,
    log_service_pb2_grpc,
    statement_service_pb2,
    statement_service_pb2_grpc,
)
from registry.api.v1.artifact_service_pb2 import UploadRequest
from registry.config import ServerSettings
from registry.core.attestation.statement import Statement
from registry.core.digest import sha256
from registry.errors import RegistryError
from registry.server.app import Services, build_server, http_routes, open_services
from registry.server.http.face import Face
from registry.signing.file import StatementSigner
from registry.storage.blobs.port import CHUNK_BYTES
from registry.storage.sql import log
from registry.wire.status import from_rpc_error
from tests.running import Caller, admin_token, admit

SECONDS = 30
"""How long a call may take."""

_numbers = itertools.count()


def fresh(stem: str = "x") -> str:
    """A version that nobody has used."""
    return f"{stem}.{next(_numbers)}"


@dataclass(frozen=True)
class Stored:
    """What a registry keeps: entries, and the digests of its blobs."""

    entries: int
    blobs: frozenset[bytes]
    arriving: int


class Served:
    """A registry, its stubs, and some principals."""

    def __init__(
        self, services: Services, folder: Path, address: str, url: str, prefix: str = ""
    ) -> None:
        self.services = services
        self.folder = folder
        self.address = address
        self.url = url
        self.channel = grpc.insecure_channel(address)
        self.artifacts = artifact_service_pb2_grpc.ArtifactServiceStub(self.channel)
        self.statements = statement_service_pb2_grpc.StatementServiceStub(self.channel)
        self.log = log_service_pb2_grpc.LogServiceStub(self.channel)
        self.lineage = lineage_service_pb2_grpc.LineageServiceStub(self.channel)
        self.journals = journal_service_pb2_grpc.JournalServiceStub(self.channel)
        self.access = access_service_pb2_grpc.AccessServiceStub(self.channel)
        self.admin = Caller("admin", admin_token(folder), StatementSigner.generate())
        self.acme = self.admit(f"{prefix}acme", "publisher", namespaces=["acme/*"])
        self.rival = self.admit(f"{prefix}rival", "publisher", namespaces=["rival/*"])
        self.node = self.admit(f"{prefix}node-1", "node")
        self.other_node = self.admit(f"{prefix}node-2", "node")
        self.auditor = self.admit(f"{prefix}auditor-1", "auditor")

    def admit(self, name: str, *roles: str, **members: Any) -> Caller:
        """Add a principal."""
        return admit(self.address, self.admin.token, name, *roles, **members)

    def stored(self) -> Stored:
        """What is kept now."""
        with self.services.database.read() as connection:
            entries = log.size(connection)
        arriving = len(list((self.folder / "blobs" / "incoming").iterdir()))
        return Stored(entries, frozenset(self.services.blobs), arriving)

    def refusal(self, call: Callable[[], object]) -> RegistryError:
        """The error that a call ends with, as a client reads it."""
        with pytest.raises(grpc.RpcError) as refused:
            call()
        return from_rpc_error(refused.value)

    def refused(self, call: Callable[[], object]) -> str:
        """The reason that a call is refused for, after which nothing more is stored."""
        before = self.stored()
        reason = self.refusal(call).reason
        assert self.stored() == before
        return reason

    def register(self, envelope: bytes, caller: Caller) -> log_pb2.Receipt:
        """Register an envelope."""
        request = statement_service_pb2.RegisterRequest(envelope=envelope)
        answer = self.statements.Register(request, metadata=caller.metadata, timeout=SECONDS)
        return answer.receipt

    def say(self, said: Statement[Any], caller: Caller) -> log_pb2.Receipt:
        """Sign a statement and register it."""
        return self.register(caller.signer.sign(said).to_bytes(), caller)

    def register_batch(
        self, said: Statement[Any], records: Iterable[bytes], caller: Caller
    ) -> log_pb2.Receipt:
        """Sign a batch and register it with its records."""
        request = statement_service_pb2.RegisterBatchRequest(
            envelope=caller.signer.sign(said).to_bytes(), records=records
        )
        answer = self.statements.RegisterBatch(request, metadata=caller.metadata, timeout=SECONDS)
        return answer.receipt

    def upload(self, *parts: UploadRequest, caller: Caller | None = None) -> None:
        """Send these parts."""
        metadata = (caller or self.acme).metadata
        self.artifacts.Upload(iter(parts), metadata=metadata, timeout=SECONDS)

    def put(self, data: bytes) -> bytes:
        """Upload a blob; its digest."""
        self.upload(header(sha256(data), len(data)), *chunks(data))
        return sha256(data)


def header(digest: bytes, size: int) -> UploadRequest:
    """The first part of an upload."""
    return UploadRequest(header=artifact_pb2.UploadHeader(sha256=digest, size=size))


def chunk(offset: int, data: bytes) -> UploadRequest:
    """A later part of an upload."""
    return UploadRequest(chunk=artifact_pb2.Chunk(offset=offset, data=data))


def chunks(data: bytes) -> Iterator[UploadRequest]:
    """The later parts of an honest upload."""
    for start in range(0, len(data), CHUNK_BYTES):
        yield chunk(start, data[start : start + CHUNK_BYTES])


class _ServerThread:
    """A gRPC server and an HTTP face with a loop and a thread of its own."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._ready = threading.Event()
        self.address = self.url = ""
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="server")
        self._thread.start()
        self._ready.wait(SECONDS)

    async def _serve(self) -> None:
        face = Face(http_routes(self._services), "127.0.0.1:0")
        server, _ = build_server(self._services, face.port)
        port = server.add_insecure_port("127.0.0.1:0")
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        await server.start()
        self.url = await face.start()
        self.address = f"127.0.0.1:{port}"
        self._ready.set()
        await self._stop.wait()
        await server.stop(None)
        await face.stop(0)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(SECONDS)


@contextmanager
def served(
    folder: Path, database: str | None = None, *, prefix: str = "", **settings: Any
) -> Iterator[Served]:
    """Serve the registry in ``folder`` until the end of the block.

    A registry that was served before needs a ``prefix`` for the names of its new principals.
    """
    with open_services(ServerSettings(folder, database=database, **settings)) as (services, _):
        thread = _ServerThread(services)
        try:
            registry = Served(services, folder, thread.address, thread.url, prefix)
            try:
                yield registry
            finally:
                registry.channel.close()
        finally:
            thread.close()
