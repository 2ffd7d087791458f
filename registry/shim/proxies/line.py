"""One connection to a model server, in HTTP/1.1: a request goes out, then its answer comes in.

The parser is httptools', as on the clients' side; it is strict. What it does not decide is decided
here: where an answer ends that says no length, that nothing may follow it, and how long a head may
be. One request at a time; a connection that is not in order after one is not used for another.
"""

import asyncio
from collections.abc import Callable
from typing import cast

import httptools

from registry.errors import Reason
from registry.shim.proxies.reply import NoAnswerError, Reply, unfit

MAX_HEAD_BYTES = 256 * 1024
"""Bytes that are no body, at one time: a head, what surrounds chunks, and trailers."""

PIECE_BYTES = 64 * 1024
"""Bytes of a request that are written at once: what is large goes out in pieces, so that others
have their turn meanwhile."""


class Line(asyncio.Protocol):
    """One connection.

    Attributes:
        is_usable: Whether a request may go out: nothing is under way, and nothing was wrong.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, on_lost: Callable[["Line"], None]) -> None:
        """Take whom to tell when the connection is gone."""
        self._loop = loop
        self._on_lost = on_lost
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._reply: Reply | None = None
        self._sending: asyncio.Task[None] | None = None
        self._room: asyncio.Event | None = None
        self._head_bytes = 0
        self._in_head = True
        self._complete = False
        self._keeps = True
        self.is_usable = False

    async def ask(self, head: bytes, body: bytes, *, asked_head: bool = False) -> Reply:
        """Send a request; returns when the head of its answer has come.

        Args:
            head: The request line and all headers, with the empty line that ends them.
            body: What follows.
            asked_head: Whether the method is HEAD: its answer has no body.

        Raises:
            NoAnswerError: ``BROKEN_ANSWER`` or ``UNFIT_ANSWER``. The request may have been seen.
        """
        transport = self._transport
        if transport is None or not self.is_usable:
            raise NoAnswerError(Reason.BROKEN_ANSWER)
        self.is_usable = False
        self._in_head, self._head_bytes, self._complete = True, 0, False
        self._reply = reply = Reply(self._loop, self._resume, asked_head=asked_head)
        if len(body) <= PIECE_BYTES:
            transport.write(head + body)
        else:
            transport.write(head)
            # Beside the answer, which may come before the model server has read everything.
            self._sending = self._loop.create_task(self._send(transport, body))
        await reply.begun()
        return reply

    def leave(self) -> None:
        """Take no more of the answer, whatever of it came."""
        if self._reply is not None:
            self._reply.fail(Reason.BROKEN_ANSWER, forget=True)
        self.close()

    def close(self) -> None:
        """Close the connection at once."""
        self.is_usable = False
        if self._sending is not None:
            self._sending.cancel()
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be ready for a request."""
        self._transport = cast("asyncio.Transport", transport)
        self.is_usable = True

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        reply = self._reply
        if reply is None or reply.ended or reply.failure:
            # Nobody asked for it.
            self.close()
            return
        self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Nobody asked for that, either; the status tells whoever waits for the head.
            self._keeps = False
        except httptools.HttpParserError as error:
            # A text of the parser's own, of a rule that was broken.
            self._fail(unfit(str(error)))
            return
        if self._complete:
            self._end(reply)
        elif self._head_bytes > MAX_HEAD_BYTES:
            self._fail(unfit("its head or its trailers are too long"))
        elif reply.is_held_back and self._transport is not None:
            self._transport.pause_reading()

    def eof_received(self) -> None:
        """Take note that nothing more comes; for an answer without a length that is its end."""
        self._over()

    def connection_lost(self, exc: Exception | None) -> None:
        """As an end, or as a failure if the connection broke."""
        self.is_usable = False
        if exc is None:
            self._over()
        elif self._reply is not None:
            self._reply.fail(Reason.BROKEN_ANSWER)
        if self._sending is not None:
            self._sending.cancel()
        self._transport = None
        self._on_lost(self)

    def pause_writing(self) -> None:
        """Write no further piece for now."""
        self._room = self._room or asyncio.Event()
        self._room.clear()

    def resume_writing(self) -> None:
        """Write on."""
        if self._room is not None:
            self._room.set()

    def on_message_begin(self) -> None:
        """Begin an answer; not a second one after the end of one."""
        if self._complete:
            error = "more follows an answer than it announced"
            raise ValueError(error)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field of the head or, after the body, of the trailers."""
        if (reply := self._reply) is not None:
            (reply.headers if self._in_head else reply.trailers).append((name, value))

    def on_headers_complete(self) -> None:
        """Tell that the head has come, unless the answer is still to follow (RFC 9110 §15.2)."""
        status, reply = self._parser.get_status_code(), self._reply
        if reply is None or self._is_interim(status):
            return
        self._in_head = False
        reply.begin(status)
        if reply.is_bodiless:
            # The parser does not know, and would wait for a body that was announced.
            self._complete, self._keeps = True, False

    def on_body(self, piece: bytes) -> None:
        """Take a piece of the body."""
        self._head_bytes = 0
        if (reply := self._reply) is not None and not reply.is_bodiless:
            reply.put(piece)

    def on_message_complete(self) -> None:
        """Take note of the end of an answer, or of what came before one."""
        if self._reply is not None and self._in_head:
            self._reply.headers.clear()
            return
        self._complete = True
        self._keeps = self._keeps and self._parser.should_keep_alive()

    @staticmethod
    def _is_interim(status: int) -> bool:
        return 100 <= status < 200 and status != 101  # noqa: PLR2004 - RFC 9110 §15.2.2

    async def _send(self, transport: asyncio.Transport, body: bytes) -> None:
        view = memoryview(body)
        for start in range(0, len(view), PIECE_BYTES):
            if self._room is not None:
                await self._room.wait()
            transport.write(view[start : start + PIECE_BYTES])
            await asyncio.sleep(0)

    def _resume(self) -> None:
        if self._transport is not None and self._reply is not None and not self._reply.ended:
            self._transport.resume_reading()

    def _end(self, reply: Reply) -> None:
        self.is_usable = self._keeps and (self._sending is None or self._sending.done())
        if not self.is_usable:
            self.close()
        self._reply = None
        reply.end()

    def _fail(self, kind: str) -> None:
        if self._reply is not None:
            self._reply.fail(kind)
        self.close()

    def _over(self) -> None:
        reply = self._reply
        if reply is None or reply.failure:
            return
        if reply.status and not reply.is_framed:
            self._keeps = False
            self._end(reply)
        else:
            reply.fail(Reason.BROKEN_ANSWER)
