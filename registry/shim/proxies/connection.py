"""One HTTP/1.1 connection of a client of the proxy: bounded heads, and trailers after an answer.

Trailers (RFC 9112 §7.1.2) carry what is known of a stream only at its end. The ASGI extension
``http.response.trailers`` asks for them; uvicorn does not have it, nor a way to break an answer off
without calling that a fault of the program. No protocol but HTTP/1 is spoken here: an offer to
change to another is declined (RFC 9110 §7.8), and what was asked beside it is answered.
"""

import asyncio
import math
import socket
import struct
from collections.abc import Callable
from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

MAX_HEAD_BYTES = 64 * 1024
"""Bytes of a request line with its headers, and of what surrounds a chunked body at one time."""

HEAD_SECONDS = 30.0
"""How long the head of a request may take to arrive."""

TRAILERS: Final = "http.response.trailers"
"""The ASGI message that ends a chunked answer with further header fields."""

CUT: Final = "provreg.http.response.cut"
"""The message that breaks off an answer, so that nobody takes what went out for all of it."""


CLIENT: Final = "provreg.http.client"
"""The ASGI extension that tells of the :class:`Client` of a request."""

WHOLE: Final = "provreg.http.whole"
"""The ASGI extension that says that all of a request has come: whoever reads it waits for nothing.
"""

_RESET = struct.pack("ii", 1, 0)


class Client:
    """Whoever is at the other end of one connection, and who wants to know when they leave."""

    __slots__ = ("_acts", "_is_gone")

    def __init__(self) -> None:
        self._acts: set[Callable[[], None]] = set()
        self._is_gone = False

    def watch(self, act: Callable[[], None]) -> None:
        """Have something done when they leave; at once if they did."""
        if self._is_gone:
            act()
        else:
            self._acts.add(act)

    def unwatch(self, act: Callable[[], None]) -> None:
        """Have it done no more."""
        self._acts.discard(act)

    def left(self) -> None:
        """Tell everybody."""
        self._is_gone = True
        acts, self._acts = self._acts, set()
        for act in acts:
            act()


class _Cycle(RequestResponseCycle):
    """Adds trailers, and an end that is none, to uvicorn's answer.

    A client of HTTP/1.0 knows no chunks (RFC 9112 §6.1): what has no length ends there with the
    connection, and has no trailers.
    """

    _unframed = False

    async def send(self, message: Any) -> None:
        """Send a message of the application."""
        kind = message["type"]
        if kind == CUT:
            self._cut()
        elif kind == TRAILERS:
            self._send_trailers(message["headers"])
        elif self._unframed and self.response_started:
            await self._send_unframed(message)
        else:
            if kind == "http.response.start" and self.scope["http_version"] == "1.0":
                self._unframed = all(name != b"content-length" for name, _ in message["headers"])
                # Neither: uvicorn then says nothing of how long the answer is.
                self.chunked_encoding = False if self._unframed else None
            await super().send(message)

    def _cut(self) -> None:
        """Close the connection before the answer is complete."""
        if self.disconnected or self.response_complete:
            return
        self.response_complete = self.disconnected = True
        self.message_event.set()
        if self._unframed:
            # Only a reset tells this client that what it has is not the whole.
            if (sock := self.transport.get_extra_info("socket")) is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.transport.abort()
        else:
            self.transport.close()

    def _send_trailers(self, headers: list[tuple[bytes, bytes]]) -> None:
        if self.disconnected:
            return
        if not self.response_started or self.response_complete:
            error = "trailers follow the body of an answer"
            raise RuntimeError(error)
        if self.chunked_encoding:
            lines = [b"0\r\n"]
            for name, value in headers:
                lines += [name, b": ", value, b"\r\n"]
            lines.append(b"\r\n")
            self.transport.write(b"".join(lines))
        self._complete()

    async def _send_unframed(self, message: Any) -> None:
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        self.transport.write(message.get("body", b""))
        if not message.get("more_body", False):
            self._complete()

    def _complete(self) -> None:
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()


class ProxyProtocol(HttpToolsProtocol):
    """Bounds what comes before a request, and offers trailers to the application."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._head_bytes = 0
        self._in_head = True
        self._idle_since = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._client = Client()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn
        """Begin to wait for a head; where there are too many, whoever waited longest must go."""
        super().connection_made(transport)
        self._idle_since = self.loop.time()
        if len(self.connections) >= (self.config.limit_concurrency or math.inf):
            idle = [each for each in self.connections if isinstance(each, ProxyProtocol)]
            idle = [each for each in idle if each.is_idle and each is not self]
            # If nobody waits for a head, this one is told that there are too many.
            if idle:
                min(idle, key=lambda each: each._idle_since).transport.close()  # noqa: SLF001 - its own kind
        self._await_head()

    @property
    def is_idle(self) -> bool:
        """Whether nothing was asked that is not answered."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is None or cycle.response_complete

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        self._arrived()
        super().connection_lost(exc)
        self._client.left()

    def data_received(self, data: bytes) -> None:
        """Parse what came, and count what belongs to no body."""
        self._unset_keepalive_if_required()
        if self._in_head:
            self._head_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._decline(data[offer.args[0] :])
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
        if not self._in_head or not self._head_bytes or self.transport.is_closing():
            return
        if self._head_bytes > MAX_HEAD_BYTES:
            self.send_400_response("The head of this request is too long.")
        elif self._timer is None:
            self._await_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a line of the head; a trailer of a request is dropped (RFC 9110 §6.5.1)."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin a request that may be answered with trailers."""
        if self.parser.should_upgrade():
            # Begun by :meth:`_decline`: here the parser takes its body for another protocol.
            return
        self._in_head = False
        self._head_bytes = 0
        self._arrived()
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > MAX_HEAD_BYTES:
            # Whatever is raised here, httptools makes one answer of it: 400, and closes.
            message = "too many bytes of headers"
            raise ValueError(message)
        self.scope["extensions"] = {CLIENT: self._client}  # type: ignore[dict-item]  # a name of ours
        super().on_headers_complete()
        if self.cycle is not None:
            self.cycle.__class__ = _Cycle

    def on_message_complete(self) -> None:
        """Wait for the next head."""
        if self.parser.should_upgrade():
            return
        self._in_head = True
        self._idle_since = self.loop.time()
        self.scope["extensions"][WHOLE] = {}
        super().on_message_complete()
        if not self.pipeline:
            # A long body may have stopped the reading, and nobody would see its client leave.
            self.flow.resume_reading()

    def _decline(self, rest: bytes) -> None:
        """Read a request again without its offer of another protocol, and go on from there."""
        if self.parser.get_method() == b"CONNECT":
            self.send_400_response("This is no proxy to other servers.")
            return
        version = self.parser.get_http_version().encode()
        lines = [self.parser.get_method(), b" ", self.url, b" HTTP/", version, b"\r\n"]
        for name, value in self.headers:
            if name == b"connection":
                tokens = [token.strip() for token in value.split(b",")]
                kept = b", ".join(token for token in tokens if token.lower() != b"upgrade")
                lines += [b"connection: ", kept, b"\r\n"] if kept else []
            elif name != b"upgrade":
                lines += [name, b": ", value, b"\r\n"]
        lines.append(b"\r\n")
        self.parser = httptools.HttpRequestParser(self)
        self._head_bytes = 0
        self.data_received(b"".join([*lines, rest]))

    def _await_head(self) -> None:
        self._timer = self.loop.call_later(HEAD_SECONDS, self._slow)

    def _arrived(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _slow(self) -> None:
        self._timer = None
        if self.transport.is_closing():
            return
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_complete:
            # What waits behind an answer must not end up in it.
            self._await_head()
            return
        self.send_400_response("The head of this request took too long.")
