"""From the sequencer's thread back to the loop, one wake-up for a whole group of answers.

``asyncio.wrap_future`` wakes the loop once for each answer: under load that costs more than
everything else that happens to a statement.
"""

import asyncio
from collections import deque
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")


class Waiting(Generic[T]):
    """Futures of another thread that coroutines of one loop wait for."""

    def __init__(self) -> None:
        self._done: deque[asyncio.Future[None]] = deque()
        self._awake = False

    async def result(self, future: "Future[T]") -> T:
        """Wait for ``future`` and give its result, or raise its error."""
        if not future.done():
            loop = asyncio.get_running_loop()
            waiter: asyncio.Future[None] = loop.create_future()
            future.add_done_callback(lambda _: self._arrived(waiter, loop))
            await waiter
        return future.result()

    def _arrived(self, waiter: "asyncio.Future[None]", loop: asyncio.AbstractEventLoop) -> None:
        self._done.append(waiter)
        # Set before it is read again by the loop, which clears it before it looks at the queue: an
        # answer is either seen by the wake-up that is under way, or causes its own.
        if not self._awake:
            self._awake = True
            loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._awake = False
        while self._done:
            waiter = self._done.popleft()
            if not waiter.done():
                waiter.set_result(None)
