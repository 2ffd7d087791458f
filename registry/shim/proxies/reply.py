"""An answer of a model server as it comes in: its head, then its body piece by piece, its trailers.

Whoever moves bytes from the connection puts them in; one coroutine takes them out. What came before
a failure is given out before it, so that a client gets all that the model server sent.
"""

import asyncio
from collections.abc import Callable, Collection
from typing import Final

from registry.errors import Reason

HIGH_BYTES = 128 * 1024
"""Bytes that may wait to be taken; above that nothing more is read from the connection."""

BODILESS: Final = (204, 304)
"""After these no body follows, whatever the head says (RFC 9110 §15.3.5, §15.4.5)."""

Headers = list[tuple[bytes, bytes]]


def is_framed(names: Collection[str], status: int) -> bool:
    """Whether HTTP/1.1 says where an answer ends; else only its connection does (RFC 9112 §6.3).

    Args:
        names: The names of its headers, in lower case.
        status: Its status.
    """
    return status in BODILESS or "content-length" in names or "transfer-encoding" in names


class NoAnswerError(Exception):
    """There is no whole answer.

    Attributes:
        kind: Of which kind the failure is: a reason, and never a word of the answer itself.
    """

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


def unfit(why: str) -> str:
    """The kind of an answer that no client could be given."""
    return f"{Reason.UNFIT_ANSWER}: {why}"


class Reply:
    """One answer; for one event loop.

    Attributes:
        status: Its status; 0 before its head has come.
        headers: The fields of its head, as they came.
        trailers: The fields after its body.
        ended: Whether all of it has come.
        failure: Why there is no more of it; empty as long as there may be.
        is_held_back: Whether more waits to be taken than may.
    """

    __slots__ = (
        *("_asked_head", "_loop", "_on_room", "_pieces", "_size", "_waiter"),
        *("ended", "failure", "headers", "is_held_back", "status", "trailers"),
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_room: Callable[[], None],
        *,
        asked_head: bool = False,
    ) -> None:
        """Begin with nothing.

        Args:
            loop: Where it is waited for.
            on_room: Called when what waited has been taken, after it was more than may wait.
            asked_head: Whether only a head was asked for: no body follows it.
        """
        self._loop = loop
        self._on_room = on_room
        self._asked_head = asked_head
        self.status = 0
        self.headers: Headers = []
        self.trailers: Headers = []
        self.ended = False
        self.failure = ""
        self.is_held_back = False
        self._pieces: list[bytes] = []
        self._size = 0
        self._waiter: asyncio.Future[None] | None = None

    @property
    def is_bodiless(self) -> bool:
        """Whether it ends with its head, whatever that says of a length (RFC 9112 §6.3)."""
        return self._asked_head or self.status in BODILESS

    @property
    def is_framed(self) -> bool:
        """Whether it says where it ends; else the end of the connection is its end."""
        return is_framed({name.decode("latin-1").lower() for name, _ in self.headers}, self.status)

    def begin(self, status: int) -> None:
        """Take note that its head has come."""
        self.status = status
        self._wake()

    def put(self, piece: bytes) -> None:
        """Add a piece of its body."""
        self._pieces.append(piece)
        self._size += len(piece)
        self.is_held_back = self._size > HIGH_BYTES
        self._wake()

    def end(self) -> None:
        """Take note that all of it has come, unless it failed before."""
        self.ended = not self.failure
        self._wake()

    def fail(self, kind: str, *, forget: bool = False) -> None:
        """Take note that no more of it comes; and ``forget`` what was not taken yet."""
        if forget:
            self._pieces = []
            self.ended = False
        if not self.ended:
            self.failure = self.failure or kind
        self._wake()

    async def begun(self) -> None:
        """Wait until its head has come.

        Raises:
            NoAnswerError: It never will.
        """
        while not self.status:
            if self.failure:
                raise NoAnswerError(self.failure)
            await self._more()

    async def piece(self) -> bytes:
        """The next bytes of its body, all that came; empty at its end.

        Raises:
            NoAnswerError: The end never comes.
        """
        while not self._pieces:
            if self.ended:
                return b""
            if self.failure:
                raise NoAnswerError(self.failure)
            await self._more()
        pieces, self._pieces = self._pieces, []
        self._size = 0
        if self.is_held_back:
            self.is_held_back = False
            self._on_room()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _more(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
