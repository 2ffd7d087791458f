"""One blob on its way in: stored whole and durably, or not at all, whichever way it comes."""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, Self, TypeVar

from registry.disk import BUFFER_BYTES
from registry.services.artifacts import Artifacts
from registry.storage.blobs.port import BlobInfo, BlobWriter

P = ParamSpec("P")
T = TypeVar("T")


class OneThread:
    """Runs the blocking steps of one upload, in their order, beside the loop."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "upload")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=False)

    def run(self, step: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        """Start a step; it happens even if nobody waits for it."""
        work = functools.partial(step, *args, **kwargs)
        future = asyncio.get_running_loop().run_in_executor(self._pool, work)
        # If nobody waits for it, because something else failed before, that is what is told.
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        return future


Receive = Callable[[BlobWriter, OneThread], Awaitable[None]]
"""Puts all that comes into a writer. If it fails, its last step ends by itself, and soon."""


async def store(
    artifacts: Artifacts,
    sha256: bytes,
    size: int,
    receive: Receive,
    buffer_bytes: int = BUFFER_BYTES,
) -> BlobInfo:
    """Store what comes, if it is what was announced; durable and listed on return.

    A large one gets buffers of ``buffer_bytes``.

    Raises:
        RegistryError, OSError: Why it is not stored; nothing of it is left.
    """
    writer = artifacts.create(sha256, size, buffer_bytes)
    # One thread for all that happens to the writer: what was begun ends before the next.
    with OneThread() as thread:
        try:
            await receive(writer, thread)
            return await thread.run(artifacts.finish, writer)
        except BaseException:
            # Also when the client goes away.
            await asyncio.shield(thread.run(writer.abort))
            raise
