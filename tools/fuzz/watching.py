"""The process that tries inputs, and the one that watches it: for hangs, crashes and memory.

The trying process writes each input into a file in shared memory before it tries it. So whatever
happens to it, the input is known: after a crash of the interpreter, and when it must be killed.
"""

import mmap
import os
import resource
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MAX_MEMORY_BYTES: Final = 1024 * 1024 * 1024
"""Address space that trying inputs may take, beside what the process has when it starts."""

MAX_SILENCE_SECONDS: Final = 120.0
"""How long one input may take before the process is killed; on a busy machine it may only wait."""

MAX_INPUT_BYTES: Final = 4 * 1024 * 1024
"""Bytes of an input that are kept."""

PROGRAM: Sequence[str] = (sys.executable, "-m", "tools.fuzz")
"""What tries inputs."""

_HEAD: Final = struct.Struct("<QQ")
_POLL_SECONDS: Final = 0.2


class Slate:
    """Where the trying process writes which input it tries: its number, length and bytes."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        if create:
            path.write_bytes(b"")
            os.truncate(path, _HEAD.size + MAX_INPUT_BYTES)
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        self._number = 0

    def write(self, data: bytes) -> None:
        """Say that ``data`` is tried next."""
        self._number += 1
        kept = data[:MAX_INPUT_BYTES]
        self._map[_HEAD.size : _HEAD.size + len(kept)] = kept
        self._map[: _HEAD.size] = _HEAD.pack(self._number, len(kept))

    def read(self) -> tuple[int, bytes]:
        """The number and the bytes of the input that was tried last."""
        number, size = _HEAD.unpack_from(self._map)
        return number, self._map[_HEAD.size : _HEAD.size + size]


@dataclass(frozen=True, slots=True)
class Ended:
    """How the trying process ended.

    Attributes:
        status: Zero if nothing was found.
        said: What it said.
        last: The input that it tried last.
        hung: Whether it had to be killed.
    """

    status: int
    said: str
    last: bytes
    hung: bool


def limit_memory() -> None:
    """From now on, let this process fail rather than take more than it may. Linux only."""
    status = Path("/proc/self/statm")
    if status.exists():
        taken = int(status.read_text().split()[0]) * resource.getpagesize()
        limit = taken + MAX_MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def watched(arguments: Sequence[str], *, max_silence_seconds: float = MAX_SILENCE_SECONDS) -> Ended:
    """Run :data:`PROGRAM` with ``--slate FILE`` and these arguments, and watch it."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        path = Path(folder) / "slate"
        slate = Slate(path, create=True)
        command = [*PROGRAM, "--slate", str(path), *arguments]
        said = Path(folder) / "said"
        with said.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
            hung = _wait(process, slate, max_silence_seconds)
        text = said.read_text(errors="replace")
        return Ended(process.returncode, text, slate.read()[1], hung)


def _wait(process: "subprocess.Popen[bytes]", slate: Slate, max_silence_seconds: float) -> bool:
    """Wait for the end; whether it had to be brought about."""
    number, since = -1, time.monotonic()
    while True:
        try:
            process.wait(_POLL_SECONDS)
        except subprocess.TimeoutExpired:
            now = slate.read()[0]
            if now != number:
                number, since = now, time.monotonic()
            elif time.monotonic() - since > max_silence_seconds:
                process.kill()
                process.wait()
                return True
        else:
            return False
