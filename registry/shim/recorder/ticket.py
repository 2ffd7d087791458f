"""A ticket: the place of one record in the journal, and the promise to say when it is durable."""

import threading
from collections.abc import Callable
from typing import Literal

from registry.core.tlog.merkle import leaf_hash
from registry.errors import UnavailableError
from registry.shim.recorder.frames import MAX_GROUP_BYTES, payload_of


class Ticket:
    """A place in the journal, and the promise to say when it is durable."""

    __slots__ = ("_after", "_done", "_failure", "frame", "n")

    def __init__(self, n: int, framed: bytes, after: "After | None" = None) -> None:
        self.n = n
        self.frame = framed
        self._after = after
        self._failure: UnavailableError | None = None
        # A bare lock is the cheapest thing in Python that one thread waits for and another frees.
        self._done = threading.Lock()
        self._done.acquire()

    def settle(self, failure: UnavailableError | None = None) -> None:
        """Let go whoever waits; only the journal calls this, once."""
        self._failure = failure
        # First, so that whoever waited finds everything as it is afterwards.
        if self._after is not None:
            self._after(self)
        self._done.release()

    @property
    def leaf(self) -> bytes:
        """The leaf hash of the record."""
        return leaf_hash(payload_of(self.frame))

    @property
    def settled(self) -> bool:
        """Whether it is known what became of the record."""
        return not self._done.locked()

    @property
    def failed(self) -> bool:
        """Whether it never will be durable; known once the ticket is settled."""
        return self._failure is not None

    def wait(self) -> None:
        """Return when the record is durable.

        Raises:
            UnavailableError: ``JOURNAL_LATCHED``: it may or may not be on disk.
        """
        with self._done:
            if self._failure is not None:
                raise self._failure


Urgency = Literal["now", "soon", "mine"]
"""Who writes a record, and when; see :meth:`registry.shim.recorder.journal.Journal.append`."""

After = Callable[[Ticket], None]
"""Called by whoever wrote a record, once it is durable or never will be; must be quick."""


def take_group(queue: list[Ticket]) -> list[Ticket]:
    """Take from the front of ``queue`` what one commit may write."""
    size = 0
    for count, ticket in enumerate(queue):
        size += len(ticket.frame)
        if size > MAX_GROUP_BYTES:
            group, queue[:] = queue[:count], queue[count:]
            return group
    group, queue[:] = queue[:], []
    return group
