"""For coroutines: wait until a record is durable; one wake-up of the loop serves a whole group."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from registry.errors import UnavailableError
from registry.shim.recorder.ticket import After, Ticket

T = TypeVar("T")


class Awaiting:
    """Brings settled tickets from the journal's thread into one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._settled: deque[tuple[asyncio.Future[None], Ticket]] = deque()
        self._woken = False

    async def durable(self, write: Callable[[After], T]) -> T:
        """Write a record and return, with what ``write`` returned, once it is durable.

        Args:
            write: Appends the record with the :data:`After` that it is given. Runs in the loop.

        Raises:
            UnavailableError: ``JOURNAL_LATCHED``: it may or may not be on disk.
        """
        future: asyncio.Future[None] = self.loop.create_future()
        written = write(lambda ticket: self._settle(future, ticket))
        await future
        return written

    async def promised(self, promise: "Future[Any]", seconds: float) -> bool:
        """Wait for what another thread promises; whether it is there in time.

        Args:
            promise: Never cancelled here: others may wait for it, too.
            seconds: For how long.
        """
        waiter: asyncio.Future[None] = self.loop.create_future()

        def tell(_promise: object) -> None:
            # The loop may be closed: nobody waits any more.
            with contextlib.suppress(RuntimeError):
                self.loop.call_soon_threadsafe(_wake, waiter)

        promise.add_done_callback(tell)
        await asyncio.wait({waiter}, timeout=seconds)
        return promise.done()

    def _settle(self, future: asyncio.Future[None], ticket: Ticket) -> None:
        """In the journal's thread."""
        self._settled.append((future, ticket))
        if not self._woken:
            self._woken = True
            try:
                self.loop.call_soon_threadsafe(self._deliver)
            except RuntimeError:
                # The loop is closed: nobody waits any more.
                self._settled.clear()

    def _deliver(self) -> None:
        # First, so that a ticket that comes while this runs wakes the loop again.
        self._woken = False
        while self._settled:
            future, ticket = self._settled.popleft()
            if future.cancelled():
                continue
            try:
                ticket.wait()
            except UnavailableError as error:
                future.set_exception(error)
            else:
                future.set_result(None)


def _wake(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)
