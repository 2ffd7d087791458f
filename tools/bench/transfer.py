"""Blobs in and out: promised ≥ 0.35 (upload) and ≥ 0.55 (fetch) of one-thread SHA-256 speed.

Both ends share the machine; the registry hashes SHA-256 and SHA-512 and fsyncs what it stores, the
client hashes and fsyncs what it fetches, after checking release, manifest and proofs. The baseline
is ``hashlib.file_digest`` in the same run.

``python -m tools.bench.transfer [MiB]``; 512 by default.
"""

import hashlib
import os
import shutil
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

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


def _digest(path: Path) -> tuple[bytes, float]:
    start = time.perf_counter()
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
    return digest, time.perf_counter() - start


def measure(running: Running, size_bytes: int) -> None:
    """Print one table: the best of some rounds, and the ratio of each round's own baseline."""
    token, key = running.add("acme", access_pb2.ROLE_PUBLISHER, "acme/*")
    rows = []
    with tempfile.TemporaryDirectory(prefix="provreg-bench-") as scratch:
        folder, target = Path(scratch) / "model", Path(scratch) / "fetched"
        folder.mkdir()
        source = folder / "weights.bin"
        connection = Connection(Target.parse(running.address), token=token)
        client = RegistryClient(connection, fetch_log_key(connection))
        for number in range(ROUNDS):
            _file(source, size_bytes)
            sha256, hashing = _digest(source)
            start = time.perf_counter()
            client.upload(source, size_bytes, sha256)
            upload = time.perf_counter() - start
            version = str(number)
            what = Publication("acme/bench", version)
            publish(client, folder, what, key, datetime.now(UTC))
            start = time.perf_counter()
            fetch(client, what.name, version, target)
            rows.append((hashing, upload, time.perf_counter() - start))
            shutil.rmtree(target)
        connection.close()
    sys.stdout.write(f"{machine()}\n{size_bytes // MIB} MiB, {ROUNDS} rounds\n")
    for name, column in (("sha256, one thread (baseline)", 0), ("upload", 1), ("fetch", 2)):
        speeds = ", ".join(f"{size_bytes / MIB / row[column]:,.0f}" for row in rows)
        ratios = ", ".join(f"{row[0] / row[column]:.2f}" for row in rows)
        sys.stdout.write(f"{name:31}{speeds:>22} MiB/s   of baseline: {ratios}\n")
    sys.stdout.write(f"server resident {running.resident_mib():.0f} MiB\n")


if __name__ == "__main__":
    with registry() as running:
        measure(running, int(sys.argv[1]) * MIB if len(sys.argv) > 1 else 512 * MIB)
