"""Servers of this suite in a thread of their own, for clients that wait."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager

SOON = 20.0
"""Seconds within which a server listens."""


@contextlib.contextmanager
def threaded(serve: Callable[[], AbstractAsyncContextManager[str]]) -> Iterator[str]:
    """Serve while the block runs; gives the server's address."""
    ready, told = threading.Event(), []
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def run() -> None:
        async with serve() as address:
            told.append(address)
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    try:
        assert ready.wait(SOON)
        yield told[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
