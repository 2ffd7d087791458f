"""Blobs in and out: promised ≥ 0.35 (upload) and ≥ 0.55 (fetch) of one-thread SHA-256 speed.

Both ends share the machine; the registry hashes SHA-256 and SHA-512 and fsyncs what it stores, the
client hashes and fsyncs what it fetches, after checking release, manifest and proofs. Large files
go over HTTP; beside that stands what they take over gRPC, where HTTP is off. A whole publication,
which hashes the file twice before it sends it, inspects it, and registers the release, has a row of
its own. The baseline
is ``hashlib.file_digest`` in the same run; beside it stands what both digests cost in two threads,
which is the least that an upload can take. Times of processors are told as well: on a machine that
others use, they say more than the clock.

``python -m tools.bench.transfer [MiB]``; 512 by default.
"""

import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from registry.allocator import keep_memory
from registry.api.v1 import access_pb2
from registry.client.channel import Connection, Target
from registry.client.fetch import fetch
from registry.client.log import fetch_log_key
from registry.client.publish import Publication, publish
from registry.client.registry import RegistryClient
from tools.bench.world import Running, machine, registry

ROUNDS = 3
MIB = 1024 * 1024


def _file(path: Path, size_bytes: int) -> None:
    with path.open("wb") as file:
        for _ in range(size_bytes // MIB):
            file.write(os.urandom(MIB))
        file.flush()
        os.fsync(file.fileno())


def _change(path: Path) -> None:
    """Make other bytes of a file, so that nobody has them."""
    with path.open("r+b") as file:
        file.write(os.urandom(MIB))
        file.flush()
        os.fsync(file.fileno())


def _digest(path: Path, name: str) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, name).digest()


def _digests(path: Path) -> None:
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda name: _digest(path, name), ("sha256", "sha512")))


@dataclass(frozen=True)
class Cost:
    """What something took: seconds by the clock, of this process and of the registry's."""

    clock: float
    here: float
    there: float


def _cost(running: Running, act: Callable[[], object]) -> Cost:
    here, there, start = time.process_time(), running.processor_seconds(), time.perf_counter()
    act()
    clock = time.perf_counter() - start
    return Cost(clock, time.process_time() - here, running.processor_seconds() - there)


def measure(running: Running, size_bytes: int) -> None:
    """Print one table: some rounds, each beside its own baseline."""
    token, key = running.add("acme", access_pb2.ROLE_PUBLISHER, "acme/*")
    rows: dict[str, list[Cost]] = {}
    with tempfile.TemporaryDirectory(prefix="provreg-bench-") as scratch:
        folder, target = Path(scratch) / "model", Path(scratch) / "fetched"
        folder.mkdir()
        source = folder / "weights.bin"
        connection = Connection(Target.parse(running.address), token=token)
        client = RegistryClient(connection, fetch_log_key(connection))

        def take(name: str, act: Callable[[], object]) -> None:
            rows.setdefault(name, []).append(_cost(running, act))

        for number in range(ROUNDS):
            _file(source, size_bytes)
            sha256 = _digest(source, "sha256")
            what = Publication("acme/bench", str(number))
            take("sha256, one thread (baseline)", partial(_digest, source, "sha256"))
            take("sha256 and sha512, two threads", partial(_digests, source))
            # Over HTTP as always, and as where that is off; the second time the blob is known.
            for row, client.over_http in (("upload", True), ("upload, gRPC only", False)):
                take(row, partial(client.upload, source, size_bytes, sha256))
            _change(source)
            client.over_http = True
            published = partial(publish, client, folder, what, key, datetime.now(UTC))
            take("publish, hashing before", published)
            for row, client.over_http in (("fetch", True), ("fetch, gRPC only", False)):
                take(row, partial(fetch, client, what.name, what.version, target))
                shutil.rmtree(target)
        connection.close()
    sys.stdout.write(f"{machine()}\n{size_bytes // MIB} MiB, {ROUNDS} rounds\n")
    baseline = next(iter(rows.values()))
    for name, costs in rows.items():
        speeds = ", ".join(f"{size_bytes / MIB / cost.clock:,.0f}" for cost in costs)
        ratios = ", ".join(
            f"{base.clock / cost.clock:.2f}" for base, cost in zip(baseline, costs, strict=True)
        )
        processor = ", ".join(f"{cost.here:.2f}+{cost.there:.2f}" for cost in costs)
        sys.stdout.write(
            f"{name:31}{speeds:>22} MiB/s  of baseline {ratios}"
            f"  processor, here + registry: {processor} s\n"
        )
    sys.stdout.write(f"server resident {running.resident_mib():.0f} MiB\n")


if __name__ == "__main__":
    # As the command line does.
    keep_memory()
    with registry() as running:
        measure(running, int(sys.argv[1]) * MIB if len(sys.argv) > 1 else 512 * MIB)
