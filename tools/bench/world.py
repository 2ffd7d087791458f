"""A real registry in a process of its own, and principals to call it, for benchmarks."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from registry.api.v1 import access_pb2, access_service_pb2, access_service_pb2_grpc
from registry.signing.file import StatementSigner

START_SECONDS = 30
"""How long a registry may take to start."""


@dataclass(frozen=True)
class Running:
    """A registry that answers."""

    address: str
    url: str
    folder: Path
    process: "subprocess.Popen[str]"

    @property
    def admin_token(self) -> str:
        """The first administrator's token."""
        return (self.folder / "admin.token").read_text().strip()

    def add(
        self,
        name: str,
        role: access_pb2.Role.ValueType,
        namespace: str,
        key: StatementSigner | None = None,
    ) -> tuple[str, StatementSigner]:
        """A new principal: its token and its key, which is made if none is given."""
        key = key or StatementSigner.generate()
        with grpc.insecure_channel(self.address) as channel:
            answer = access_service_pb2_grpc.AccessServiceStub(channel).AddPrincipal(
                access_service_pb2.AddPrincipalRequest(
                    name=name, roles=[role], namespaces=[namespace], keys=[key.public_key.der]
                ),
                metadata=bearer(self.admin_token),
            )
        return answer.token, key

    def resident_mib(self) -> float:
        """Resident memory of the server process, MiB."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        return 0.0

    def processor_seconds(self) -> float:
        """What the server process has used of the processors so far, in user and system mode."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        # utime and stime are fields 14 and 15 of proc(5), counted from before the name.
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """The metadata that authenticates a call."""
    return (("authorization", f"Bearer {token}"),)


@contextmanager
def registry(folder: Path | None = None, *arguments: str) -> Iterator[Running]:
    """Start ``provreg serve`` with these arguments on a free port; stop it at the end."""
    with tempfile.TemporaryDirectory(prefix="provreg-bench-") as scratch:
        data = folder or Path(scratch) / "data"
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "registry", "serve"),
                *("--data", str(data), "--listen", "127.0.0.1:0", *arguments),
            ],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        try:
            first, second = (process.stdout.readline() if process.stdout else "" for _ in range(2))
            yield Running(first.split()[-1], second.split()[-1], data, process)
        finally:
            process.terminate()
            process.wait(START_SECONDS)


def machine() -> str:
    """One line about where this runs."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        "unknown processor",
    )
    return (
        f"{os.cpu_count()} x {model}, Python {sys.version.split()[0]}, {time.strftime('%Y-%m-%d')}"
    )
