"""Somebody who has evidence judged, in a process of its own that stands back behind all others.

What it needs of the processors is not the registry's doing. It is told on its standard input: the
address and the token, a file of requests to be refused and one of good ones; then ``judge`` or
``archive``, and an empty line when it is enough. It answers with how many pieces that were.
"""

import asyncio
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio

from registry.api.v1 import evidence_service_pb2, evidence_service_pb2_grpc
from tools.bench.world import bearer

NICENESS: Final = 19
"""How far this process stands back."""

SUBMITTERS: Final = 4
"""Who has evidence judged at once."""

ARCHIVED_PER_SECOND: Final = 10
"""Pieces of good evidence: some 860,000 a day."""

STOP_SECONDS: Final = 10
"""How long the process may take to end."""

_SIZE: Final = struct.Struct(">I")

Request = evidence_service_pb2.SubmitRequest
Submit = Callable[[Request], Coroutine[Any, Any, bool]]


@dataclass(frozen=True)
class EvidenceCaller:
    """The process, as who started it sees it."""

    process: "subprocess.Popen[str]"

    def start(self, load: str) -> None:
        """``judge`` as fast as is answered, or ``archive`` ten a second."""
        self._tell(load)

    def stop(self) -> int:
        """Enough; how many pieces that were."""
        self._tell("")
        if self.process.stdout is None:
            raise AssertionError("it is a pipe")
        return int(self.process.stdout.readline())

    def _tell(self, line: str) -> None:
        if self.process.stdin is None:
            raise AssertionError("it is a pipe")
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()


@contextmanager
def evidence_caller(
    address: str, token: str, folder: Path, refused: Sequence[Request], good: Sequence[Request]
) -> Iterator[EvidenceCaller]:
    """Start the process; it keeps what it needs in ``folder``."""
    for name, requests in (("refused", refused), ("good", good)):
        written = [request.SerializeToString() for request in requests]
        data = b"".join(_SIZE.pack(len(item)) + item for item in written)
        (folder / name).write_bytes(data)
    process = subprocess.Popen(
        [sys.executable, "-m", "tools.bench.evidence_caller"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    caller = EvidenceCaller(process)
    try:
        caller.start("\n".join((address, token, str(folder))))
        yield caller
    finally:
        if process.stdin is not None:
            process.stdin.close()
        process.wait(STOP_SECONDS)


def _read(path: Path) -> list[Request]:
    data, found, at = path.read_bytes(), [], 0
    while at < len(data):
        (size,) = _SIZE.unpack_from(data, at)
        at += _SIZE.size + size
        found.append(Request.FromString(data[at - size : at]))
    return found


async def _judge(submit: Submit, requests: Sequence[Request]) -> int:
    """Have evidence judged, and refused, until cancelled; how often that was done."""
    count = 0

    async def submitter(number: int) -> None:
        nonlocal count
        while True:
            number = (number + 1) % len(requests)
            if await submit(requests[number]):
                raise AssertionError("it is about something else than is said")
            count += 1

    try:
        await asyncio.gather(*(submitter(number) for number in range(SUBMITTERS)))
    except asyncio.CancelledError:
        return count
    return count


async def _archive(submit: Submit, requests: Iterator[Request]) -> int:
    """Submit good evidence until cancelled; how many pieces were logged."""
    count = 0
    try:
        for request in requests:
            count += await submit(request)
            await asyncio.sleep(1 / ARCHIVED_PER_SECOND)
    except asyncio.CancelledError:
        return count
    raise AssertionError("more evidence must be prepared")


async def _main() -> None:
    address, token, folder = (sys.stdin.readline().strip() for _ in range(3))
    refused = _read(Path(folder) / "refused")
    good = iter(_read(Path(folder) / "good"))
    async with grpc.aio.insecure_channel(address) as channel:
        stub = evidence_service_pb2_grpc.EvidenceServiceStub(channel)

        async def submit(request: Request) -> bool:
            try:
                await stub.Submit(request, metadata=bearer(token))
            except grpc.aio.AioRpcError as error:
                if "WRONG_COMMITMENT" not in (error.details() or ""):
                    raise
                return False
            return True

        while load := (await asyncio.to_thread(sys.stdin.readline)).strip():
            work = _judge(submit, refused) if load == "judge" else _archive(submit, good)
            task = asyncio.create_task(work)
            await asyncio.to_thread(sys.stdin.readline)
            task.cancel()
            sys.stdout.write(f"{await task}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    os.nice(NICENESS)
    asyncio.run(_main())
