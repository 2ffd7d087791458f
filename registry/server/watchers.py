"""Everybody who watches the log: bounded in number, woken by new checkpoints, slowed by nobody.

A watcher has a position and no queue: it reads its next page when the last one was taken, so a slow
one costs a page of memory, and the sequencer never waits for any.
"""

import asyncio
from collections.abc import AsyncIterator

from registry.core.records.wanted import Wanted
from registry.core.tlog.checkpoint import SignedCheckpoint
from registry.errors import NotFoundError, Reason, UnavailableError
from registry.services.sequencing import Sequencer
from registry.services.watching import Progress, Watched, Watching

MAX_WATCHERS = 256
"""Watchers at once; a quarter of all calls that are answered at once."""


class Place:
    """One watcher's place among :data:`MAX_WATCHERS`; given back once."""

    def __init__(self, watchers: "Watchers") -> None:
        self._watchers: Watchers | None = watchers

    def leave(self, _call: object = None) -> None:
        """Give the place back."""
        if self._watchers is not None:
            self._watchers.count -= 1
            self._watchers = None


class Watchers:
    """All watchers of one log. But for :meth:`ring`, everything happens in one loop."""

    def __init__(self, watching: Watching, sequencer: Sequencer) -> None:
        self._watching = watching
        self._sequencer = sequencer
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed = asyncio.Event()
        self._awake = False
        self._closing = False
        self.count = 0
        sequencer.observe(self.ring)

    def ring(self, _head: SignedCheckpoint) -> None:
        """Wake everybody who waits; called by the sequencer, which goes on at once."""
        loop = self._loop
        # Set before it is read again by the loop, which clears it before it wakes anybody: a new
        # head is either seen by the wake-up that is under way, or causes its own.
        if loop is not None and not self._awake and not loop.is_closed():
            self._awake = True
            loop.call_soon_threadsafe(self._wake)

    def enter(self) -> Place:
        """Take a place.

        Raises:
            UnavailableError: ``WATCHERS`` if there is none, or the registry is stopping.
        """
        if self.count >= MAX_WATCHERS or self._closing:
            raise UnavailableError(
                Reason.WATCHERS,
                "nobody else can watch the log now",
                expected=f"at most {MAX_WATCHERS} watchers",
                hint="try again later, or read the log's tiles over HTTP",
            )
        self.count += 1
        return Place(self)

    async def follow(
        self, wanted: Wanted, start: int, *, until_newest: bool
    ) -> AsyncIterator[Watched | Progress]:
        """What matches from ``start`` on; ends at the newest checkpoint or when the server stops.

        Raises:
            NotFoundError: ``BEYOND_TREE`` if ``start`` is beyond the newest checkpoint.
            DamagedError: ``STORED_BYTES``.
        """
        self._loop = asyncio.get_running_loop()
        position, told = start, -1
        while not self._closing:
            # Taken before the head is read: what becomes public in between is not slept through.
            changed = self._changed
            head = self._sequencer.head
            size = 0 if head is None else head.checkpoint.size
            if position > size:
                raise NotFoundError(
                    Reason.BEYOND_TREE,
                    "the log does not have so many entries",
                    where=f"entry {position}",
                    expected=f"at most {size}",
                )
            while head is not None and position < size and not self._closing:
                page = await asyncio.to_thread(self._watching.page, wanted, position, head)
                for item in page.found:
                    yield item
                yield page.progress
                position = told = page.progress.next
            if head is not None and told != size and not self._closing:
                told = size
                yield Progress(size, head)
            if until_newest:
                return
            await changed.wait()

    def close(self) -> None:
        """Let everybody finish what they are being told, and go."""
        self._closing = True
        self._wake()

    def _wake(self) -> None:
        self._awake = False
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
