"""One HTTP/1.1 connection of a client of the proxy: bounded heads, and trailers after an answer.

Trailers (RFC 9112 §7.1.2) carry what is known of a stream only at its end. The ASGI extension
``http.response.trailers`` asks for them; uvicorn does not have it.
"""

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

MAX_HEAD_BYTES = 64 * 1024
"""Bytes of a request line with its headers, and of what surrounds a chunked body at one time."""

HEAD_SECONDS = 30.0
"""How long the head of a request may take to arrive."""

TRAILERS: Final = "http.response.trailers"
"""The ASGI message that ends a chunked answer with further header fields."""

CUT: Final = "provreg.http.response.cut"
"""The message that breaks off an answer, so that nobody takes what went out for all of it."""


class _Cycle(RequestResponseCycle):
    """Adds trailers to uvicorn's answer."""

    async def send(self, message: Any) -> None:
        """Send a message of the application."""
        if message["type"] == CUT:
            self._cut()
            return
        if message["type"] != TRAILERS:
            await super().send(message)
            return
        if self.disconnected:
            return
        if not self.response_started or self.response_complete or not self.chunked_encoding:
            error = "trailers follow the body of a chunked answer"
            raise RuntimeError(error)
        lines = [b"0\r\n"]
        for name, value in message["headers"]:
            lines += [name, b": ", value, b"\r\n"]
        lines.append(b"\r\n")
        self.transport.write(b"".join(lines))
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()

    def _cut(self) -> None:
        """Close the connection before the answer is complete."""
        # Else uvicorn would say, with a traceback, that the application forgot to complete it.
        self.response_complete = True
        self.message_event.set()
        if not self.disconnected:
            self.transport.close()


class ProxyProtocol(HttpToolsProtocol):
    """Bounds what comes before a request, and offers trailers to the application."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._head_bytes = 0
        self._in_head = True
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn
        """Begin to wait for a head."""
        super().connection_made(transport)
        self._timer = self.loop.call_later(HEAD_SECONDS, self._slow)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        self._arrived()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, and count what belongs to no body."""
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The head of this request is too long.")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a line of the head; a trailer of a request is dropped (RFC 9110 §6.5.1)."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin a request that may be answered with trailers."""
        self._in_head = False
        self._head_bytes = 0
        self._arrived()
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > MAX_HEAD_BYTES:
            # Whatever is raised here, httptools makes one answer of it: 400, and closes.
            message = "too many bytes of headers"
            raise ValueError(message)
        super().on_headers_complete()
        if self.cycle is not None:
            self.cycle.__class__ = _Cycle

    def on_message_complete(self) -> None:
        """Wait for the next head."""
        self._in_head = True
        super().on_message_complete()

    def _arrived(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _slow(self) -> None:
        if not self.transport.is_closing():
            self.send_400_response("The head of this request took too long.")
