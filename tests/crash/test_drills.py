"""Drills for what has ended logs elsewhere: a full disk, no memory, a log that failed."""

import os
import resource
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from registry.api.v1 import artifact_service_pb2_grpc
from registry.config import ServerSettings
from registry.core.digest import sha256
from registry.core.tlog.note import VerifierKey
from registry.errors import Reason, UnavailableError
from registry.server.app import open_services
from registry.server.folder import CHECKPOINT_LOCK_FILE
from registry.storage.sql.lock import CheckpointLock
from registry.wire.status import from_rpc_error
from tests.contracts.registry_under_test import opened
from tests.crash.test_kill import BatchWriter, Memory, Writer, check
from tests.mint import dataset_statement
from tests.running import Metadata, Running, running_registry
from tests.server.served import chunks, header

PRESSURE_BYTES = 48 * 1024 * 1024
"""Bytes of memory that a registry gets beyond what it has when it is idle."""

PRESSURE_SECONDS = 4
"""How long clients write under memory pressure."""

LARGE_BLOB_BYTES = 24 * 1024 * 1024
"""Bytes of the uploads that use memory up."""


# --- A disk that fills up. ---


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A registry with entries, stopped."""
    folder = tmp_path / "data"
    with opened(folder, f"sqlite:///{folder / 'registry.sqlite3'}") as registry:
        registry.register(dataset_statement())
    return folder


def free_bytes(folder: Path) -> int:
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


def test_a_nearly_full_disk_takes_nothing_new_and_serves_what_it_has(data: Path) -> None:
    with open_services(ServerSettings(data, least_free_bytes=free_bytes(data) * 2)) as (
        services,
        _,
    ):
        before = services.sequencer.head
        assert before is not None
        with pytest.raises(UnavailableError) as refused:
            services.artifacts.put(b"more")
        assert refused.value.reason is Reason.DISK_LOW
        with pytest.raises(UnavailableError) as refused:
            services.artifacts.create(b"\0" * 32, 1)
        assert refused.value.reason is Reason.DISK_LOW
        with pytest.raises(UnavailableError) as refused:
            services.access.introduce_operator()
        assert refused.value.reason is Reason.DISK_LOW
        assert services.sequencer.latched is None
        assert services.sequencer.receipt(0).head == before


def test_a_disk_with_room_again_takes_again(data: Path) -> None:
    nearly_full = ServerSettings(data, least_free_bytes=free_bytes(data) * 2)
    with open_services(nearly_full) as (services, _), pytest.raises(UnavailableError):
        services.artifacts.put(b"more")
    with open_services(ServerSettings(data, least_free_bytes=0)) as (services, _):
        assert services.artifacts.put(b"more").size == 4


# --- A log that failed. ---


def test_health_says_when_statements_are_no_longer_taken(tmp_path: Path) -> None:
    with running_registry(tmp_path / "data") as registry:
        name = "registry.api.v1.StatementService"
        with grpc.insecure_channel(registry.address) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            asked = health_pb2.HealthCheckRequest(service=name)
            serving = health_pb2.HealthCheckResponse.SERVING
            assert wait_for(lambda: stub.Check(asked).status == serving)
            acme = registry.admit("acme", "publisher", namespaces=["acme/*"])
            memory = Memory(VerifierKey.parse((registry.data / "log.vkey").read_text().strip()))
            writer = Writer(memory, acme, 1)
            overtake(registry)
            with pytest.raises(grpc.RpcError) as refused:
                writer.step(writer.stub(channel))
            assert from_rpc_error(refused.value).reason == Reason.LOG_LATCHED
            assert wait_for(lambda: stub.Check(asked).status != serving)
            everything = stub.Check(health_pb2.HealthCheckRequest(service=""))
            assert everything.status == serving
            check(registry.address, memory, acme, memory.items, list(memory.heads.values()))


def overtake(registry: Running) -> None:
    """Take the registry's checkpoint lock, as a second registry would."""
    key = VerifierKey.parse((registry.data / "log.vkey").read_text().strip())
    lock = CheckpointLock(f"sqlite:///{registry.data / CHECKPOINT_LOCK_FILE}", key)
    lock.take()
    lock.close()


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


# --- Memory that runs out. ---


def address_space(process: int) -> int:
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmSize:"):
            return int(line.split()[1]) * 1024
    raise AssertionError


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="limits memory as Linux does")
def test_nothing_acknowledged_is_lost_when_memory_runs_out(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running_registry(data) as registry:
        memory = Memory(VerifierKey.parse((data / "log.vkey").read_text().strip()))
        acme = registry.admit("acme", "publisher", namespaces=["acme/*"])
        node = registry.admit("node-1", "node")
        writers = [Writer(memory, acme, 1), BatchWriter(memory, node, 2)]
        # Under pressure nothing at all may be acknowledged.
        with grpc.insecure_channel(registry.address) as channel:
            for writer in writers:
                writer.step(writer.stub(channel))
        limit = address_space(registry.process.pid) + PRESSURE_BYTES
        resource.prlimit(registry.process.pid, resource.RLIMIT_AS, (limit, limit))
        threads = [
            threading.Thread(target=press, args=(writer, registry.address)) for writer in writers
        ]
        threads += [
            threading.Thread(target=upload, args=(registry.address, acme.metadata, number))
            for number in range(6)
        ]
        for thread in threads:
            thread.start()
        time.sleep(PRESSURE_SECONDS)
        registry.kill()
        for thread in threads:
            thread.join(60)
    with running_registry(data) as registry:
        heads = list(memory.heads.values())
        check(registry.address, memory, acme, memory.items, heads)


def press(writer: Writer, address: str) -> None:
    """Write, and go on after any refusal, until the registry is gone."""
    deadline = time.monotonic() + PRESSURE_SECONDS * 2
    with grpc.insecure_channel(address) as channel:
        while time.monotonic() < deadline:
            try:
                writer.step(writer.stub(channel))
            except grpc.RpcError as error:
                if from_rpc_error(error).reason == Reason.UNREACHABLE:
                    return


def upload(address: str, metadata: Metadata, number: int) -> None:
    """Upload what cannot be in memory six times."""
    data = number.to_bytes(4, "big") * (LARGE_BLOB_BYTES // 4)
    deadline = time.monotonic() + PRESSURE_SECONDS
    with grpc.insecure_channel(address) as channel:
        stub = artifact_service_pb2_grpc.ArtifactServiceStub(channel)
        while time.monotonic() < deadline:
            parts = iter([header(sha256(data), len(data)), *chunks(data)])
            try:
                stub.Upload(parts, metadata=metadata, timeout=10)
            except grpc.RpcError:
                time.sleep(0.1)
