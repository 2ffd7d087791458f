"""One HTTP/1.1 connection, with what uvicorn leaves unbounded bounded.

Heads of at most :data:`MAX_HEAD_BYTES` that arrive within :data:`HEAD_SECONDS`, bodies that arrive
within :data:`BODY_SECONDS` and bring as little as that around them, :data:`MAX_WAITING` requests
that wait for their turn, and answers that are taken without stalling.

Bodies that are too large to be held go to the socket itself and come from there, past uvicorn and
the transport of the loop, which would copy them. A connection whose body was taken past the parser
carries no other request.
"""

import asyncio
import contextlib
import functools
import logging
import socket
import time
from collections.abc import AsyncIterable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from registry.errors import Reason, UnavailableError
from registry.server.http.incoming import Pace, Sink, cut, put, receive, slow
from registry.server.http.routing import refusal
from registry.server.storing import OneThread

MAX_HEAD_BYTES = 32 * 1024
"""Bytes of a request line with its headers; also of chunk extensions and trailers in one piece."""

HEAD_SECONDS = 10.0
"""How long the head of a request may take to arrive."""

BODY_SECONDS = 30.0
"""How long the body of a request may take to arrive, if it is held."""

MAX_WAITING = 64
"""Requests of one connection that wait while an earlier one is answered."""

TAKEN_SECONDS = 30.0
"""How long the client may take for one piece of a large body, at most 2 MiB."""

STREAM = "provreg.stream"
"""The ASGI extension whose ``send`` sends the pieces of a body after the head of its response."""

TAKE = "provreg.take"
"""The ASGI extension whose ``take`` takes the whole body of a request, instead of ``receive``."""

TLS_BYTES = 256 * 1024
"""Bytes of a large body that are encrypted at once."""

_CONTINUE = b"HTTP/1.1 100 "
_GO_ON = _CONTINUE + b"Continue\r\n\r\n"

logger = logging.getLogger(__name__)


class _Joined:
    """A transport that sends the head of a response and its body as one piece."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Send with what follows; a client that waits for ``100 Continue`` sends nothing before."""
        self._parts.append(data)
        if data.startswith(_CONTINUE):
            self.flush()

    def flush(self) -> None:
        """Send what waits."""
        if self._parts:
            self._transport.write(b"".join(self._parts))
            self._parts.clear()

    def close(self) -> None:
        """Send what waits, and close."""
        self.flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class BoundedProtocol(HttpToolsProtocol):
    """Adds what uvicorn does not bound: sizes and times of requests, and readers that stall."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._head_bytes = 0
        self._heads = 0
        self._in_head = True
        self._timer: asyncio.TimerHandle | None = None
        self._unsent_bytes = 0
        self._idle_bytes = 0
        self._body_came = False
        self._taken = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn
        """Begin to wait for a head."""
        self._joined = _Joined(transport)
        super().connection_made(self._joined)  # type: ignore[arg-type]  # all that is used of it
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        super().connection_lost(exc)
        self._has_come()

    def data_received(self, data: bytes) -> None:
        """Parse what came, and count what the parser does not."""
        if self.transport.is_closing():
            return
        heads, in_head = self._heads, self._in_head
        self._body_came = False
        super().data_received(data)
        # What comes with one read, as almost everything does, costs no timer.
        if self.transport.is_closing():
            return
        if not self._in_head and not self._body_came and self._heads == heads:
            self._idle_bytes += len(data)
            if self._idle_bytes > MAX_HEAD_BYTES:
                self._refuse("There is too much around this body.")
                return
        if self._taken:
            return
        if not self._in_head and self._timer is None:
            self._timer = self.loop.call_later(BODY_SECONDS, self._refuse_slow_body)
        elif in_head and self._in_head and self._heads == heads:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse("The head of this request is too long.")
            elif self._timer is None:
                self._await_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a line of the head; a trailer is dropped."""
        # RFC 9110 §6.5.1: what comes after a body must not pass for a part of the head.
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin a request, or let it wait for those before it."""
        self._heads += 1
        self._in_head = False
        self._head_bytes = 0
        self._has_come()
        self._idle_bytes = 0
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > MAX_HEAD_BYTES:
            # Whatever is raised here, httptools makes one answer of it: 400, and closes.
            message = "too many bytes of headers"
            raise ValueError(message)
        if len(self.pipeline) >= MAX_WAITING:
            message = "too many requests before the first answer"
            raise ValueError(message)
        super().on_headers_complete()
        # By now there is a cycle, which runs later. It belongs to this request: when it runs, the
        # protocol may have come to the next one.
        send = functools.partial(self._send_stream, self.cycle)
        take = functools.partial(self._take_body, self.cycle)
        self.scope["extensions"] = {STREAM: {"send": send}, TAKE: {"take": take}}

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._body_came = True
        self._idle_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Wait for the next head."""
        self._in_head = True
        self._has_come()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Send the answer, and watch whether it is taken."""
        self._joined.flush()
        super().on_response_complete()
        self._unsent_bytes = self.transport.get_write_buffer_size()
        if self._unsent_bytes and self.transport.is_closing():
            self._watch_reader()

    async def _send_stream(
        self, cycle: RequestResponseCycle, pieces: AsyncIterable[memoryview]
    ) -> None:
        """Send pieces as fast as they are taken; whatever goes wrong drops the connection."""
        encrypted = self._joined.get_extra_info("ssl_object") is not None
        send = self._send_encrypted if encrypted else self._send_plain
        try:
            await send(cycle, pieces)
        except Exception as error:
            # The head was sent, so nobody can be told; that a client leaves is its own business.
            if not isinstance(error, ConnectionError | TimeoutError):
                logger.exception("an answer was broken off")
            cycle.disconnected = True
            self._joined.abort()

    async def _send_encrypted(
        self, cycle: RequestResponseCycle, pieces: AsyncIterable[memoryview]
    ) -> None:
        async for piece in pieces:
            for start in range(0, len(piece), TLS_BYTES):
                # A copy: what waits to be encrypted is kept.
                body = bytes(piece[start : start + TLS_BYTES])
                async with asyncio.timeout(TAKEN_SECONDS):
                    await cycle.send(
                        {"type": "http.response.body", "body": body, "more_body": True}
                    )
                    self._joined.flush()
                    await self.flow.drain()
                self._require_client()

    async def _send_plain(
        self, cycle: RequestResponseCycle, pieces: AsyncIterable[memoryview]
    ) -> None:
        # What was written before must have left the transport: nothing overtakes it.
        self._joined.set_write_buffer_limits(high=0)
        self._joined.flush()
        async with asyncio.timeout(TAKEN_SECONDS):
            await self.flow.drain()
        self._require_client()
        # The loop lets nobody else write to the socket of a transport, but to its double.
        with self._joined.get_extra_info("socket").dup() as connection:
            async for piece in pieces:
                async with asyncio.timeout(TAKEN_SECONDS):
                    await self.loop.sock_sendall(connection, piece)
                self._require_client()
                cycle.expected_content_length -= len(piece)
        self._joined.set_write_buffer_limits()

    async def _take_body(
        self, cycle: RequestResponseCycle, size: int, sink: Sink, thread: OneThread
    ) -> None:
        """Let a sink, which lives in a thread, take a body of ``size`` bytes as fast as it comes.

        Raises:
            VerificationError: ``TRUNCATED_UPLOAD``.
            UnavailableError: ``SLOW_REQUEST``.
            RegistryError, OSError: Why the sink takes no more.
        """
        self._taken = True
        self._has_come()
        # The parser will not see where this body ends.
        cycle.keep_alive = False
        if self._joined.get_extra_info("ssl_object") is not None:
            await _take_encrypted(cycle, size, sink, thread)
            return
        self.flow.pause_reading()
        # What the transport had read before it was stopped.
        early, cycle.body = bytes(cycle.body), bytearray()
        if cycle.waiting_for_100_continue:
            cycle.waiting_for_100_continue = False
            self._joined.write(_GO_ON)
        await thread.run(put, sink, early)
        left = size - len(early)
        if left and self._joined.is_closing():
            # The end came with the beginning.
            raise cut(left)
        connection = self._joined.get_extra_info("socket")
        try:
            await thread.run(receive, connection.dup(), left, sink)
        except asyncio.CancelledError:
            # If nobody waits for it any more, the thread must not wait either.
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RD)
            raise

    def _require_client(self) -> None:
        if self._joined.is_closing():
            raise ConnectionAbortedError

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, and drop one that takes nothing of its answer."""
        unsent = self.transport.get_write_buffer_size()
        if unsent and unsent < self._unsent_bytes:
            self._unsent_bytes = unsent
            self._watch_reader()
        elif unsent:
            self.transport.abort()
        else:
            super().timeout_keep_alive_handler()

    def _watch_reader(self) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def _await_head(self) -> None:
        self._timer = self.loop.call_later(
            HEAD_SECONDS, self._refuse, "The head of this request took too long."
        )

    def _has_come(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, message: str) -> None:
        if not self.transport.is_closing():
            self.send_400_response(message)

    def _refuse_slow_body(self) -> None:
        """Answer for the route, which still waits for the body and will find the client gone."""
        self._timer = None
        if self.transport.is_closing():
            return
        if self.cycle.response_started:
            self.transport.close()
            return
        slow = UnavailableError(
            Reason.SLOW_REQUEST,
            "the body of this request took too long",
            expected=f"at most {BODY_SECONDS:g} seconds",
        )
        body = refusal(slow).body
        self.cycle.disconnected = True
        self.cycle.message_event.set()
        self.transport.write(
            b"HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\n"
            b"connection: close\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
        )
        self.transport.close()


async def _take_encrypted(
    cycle: RequestResponseCycle, left: int, sink: Sink, thread: OneThread
) -> None:
    """Take a body that uvicorn receives and decrypts."""
    pace = Pace()
    while left:
        began = time.monotonic()
        try:
            async with asyncio.timeout(pace.patience()):
                message = await cycle.receive()
        except TimeoutError:
            raise slow() from None
        if message["type"] != "http.request":
            raise cut(left)
        body = message["body"]
        pace.note(len(body), time.monotonic() - began)
        left -= len(body)
        await thread.run(put, sink, body)
