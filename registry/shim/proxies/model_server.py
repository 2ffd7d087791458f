"""A model server that speaks HTTP/1.1, and the connections to it: made ahead, kept, given back.

::

    with Way(server) as way:
        way.begin()
        ...                                      # the intent is written down meanwhile
        reply = await way.ask(b"POST", b"/v1/chat/completions", headers, body)

A request on a connection that is being closed in that moment fails, and is never repeated here:
nobody knows whether the model server saw it.
"""

import asyncio
import contextlib
import socket
import ssl
from functools import partial
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from registry.errors import Reason
from registry.shim.proxies.line import Line
from registry.shim.proxies.reply import Headers, NoAnswerError, Reply

CONNECT_SECONDS = 10.0
"""How long the model server may take to accept a connection."""

KEEP_SECONDS = 3.0
"""How long an idle connection is kept: most servers close theirs after five."""

MAX_IDLE = 256
"""Connections that are kept at one time."""

ATTEMPT_SECONDS = 0.25
"""After which the next address of a name is tried, beside the one before (RFC 8305 §5)."""


class ModelServer:
    """One model server; for one event loop."""

    def __init__(self, url: str, trust: ssl.SSLContext | None = None) -> None:
        """Take its address, and who to believe if that begins with ``https``."""
        parts = urlsplit(url)
        self._is_tls = parts.scheme == "https"
        self._trust = trust
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if self._is_tls else 80)
        self._name = parts.netloc.encode()
        self._address = _address(self._host, self._port)
        self.prefix = parts.path.rstrip("/")
        self._idle: dict[Line, asyncio.TimerHandle] = {}
        self._closed = False

    def kept(self) -> Line | None:
        """A connection that was kept, and is in order; the one that was used last."""
        while self._idle:
            line, timer = self._idle.popitem()
            timer.cancel()
            if line.is_usable:
                return line
        return None

    def head(self, method: bytes, target: bytes, headers: Headers, size: int | None) -> bytes:
        """The head of a request, as bytes.

        Args:
            method: The method.
            target: The path below the model server's, with its query.
            headers: Further headers.
            size: Bytes of the body; None if it has none.
        """
        lines = [method, b" ", self.prefix.encode(), target, b" HTTP/1.1\r\nhost: ", self._name]
        for name, value in headers:
            lines += [b"\r\n", name, b": ", value]
        if size is not None:
            lines.append(b"\r\ncontent-length: %d" % size)
        lines.append(b"\r\n\r\n")
        return b"".join(lines)

    def reach(self) -> socket.socket | None:
        """Begin to connect to a host that is said by its address; the system goes on by itself.

        None for one that has a name: to find its address takes waiting; and where the system gives
        no socket now.
        """
        if self._address is None:
            return None
        try:
            begun = socket.socket(self._address[0], socket.SOCK_STREAM)
        except OSError:
            return None
        begun.settimeout(0)
        # Whatever is wrong shows when it is waited for.
        begun.connect_ex(self._address[4])
        return begun

    async def connect(self, begun: socket.socket | None = None) -> Line:
        """A new connection; what was ``begun`` is made one, or closed.

        Raises:
            NoAnswerError: ``UNREACHABLE`` or ``PEER_CERTIFICATE``.
        """
        loop = asyncio.get_running_loop()
        line: Line
        make = partial(
            loop.create_connection,
            partial(Line, loop, self._forget),
            ssl=self._trust if self._is_tls else None,
        )
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                if begun is None:
                    delay = ATTEMPT_SECONDS if self._address is None else None
                    _, line = await make(self._host, self._port, happy_eyeballs_delay=delay)
                else:
                    assert self._address is not None  # noqa: S101 - or nothing was begun
                    await loop.sock_connect(begun, self._address[4])
                    name = self._host if self._is_tls else None
                    _, line = await make(sock=begun, server_hostname=name)
                    begun = None
        except ssl.SSLCertVerificationError:
            raise NoAnswerError(Reason.PEER_CERTIFICATE) from None
        except (OSError, TimeoutError, UnicodeError):
            raise NoAnswerError(Reason.UNREACHABLE) from None
        finally:
            if begun is not None:
                begun.close()
        return line

    def give_back(self, line: Line) -> None:
        """Keep a connection for the next request, if it is in order."""
        if self._closed or not line.is_usable or len(self._idle) >= MAX_IDLE:
            line.close()
            return
        loop = asyncio.get_running_loop()
        self._idle[line] = loop.call_later(KEEP_SECONDS, line.close)

    def close(self) -> None:
        """Close what is kept, and keep nothing any more."""
        self._closed = True
        for line in list(self._idle):
            line.close()

    def _forget(self, line: Line) -> None:
        if (timer := self._idle.pop(line, None)) is not None:
            timer.cancel()


def _address(host: str, port: int) -> Any:
    """The one address by which a host is said, as the system has it; None if it has a name."""
    try:
        return socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        )[0]
    except (OSError, UnicodeError):
        return None


class Way:
    """A connection for one request, or for none if it comes to none; for a ``with`` block."""

    def __init__(self, server: ModelServer) -> None:
        self._server = server
        self._line: Line | None = None
        self._begun: socket.socket | None = None
        self._connecting: asyncio.Task[Line] | None = None

    def begin(self) -> None:
        """Have a connection, or begin to make one: the loop may wait for the disk meanwhile."""
        self._line = self._server.kept()
        if self._line is None:
            self._begun = self._server.reach()
            if self._begun is None:
                self._connecting = asyncio.ensure_future(self._server.connect())

    async def ask(self, method: bytes, target: bytes, headers: Headers, body: bytes) -> Reply:
        """Ask; returns when the head of the answer has come.

        Raises:
            NoAnswerError: ``UNREACHABLE``, ``PEER_CERTIFICATE``, ``BROKEN_ANSWER`` or
                ``UNFIT_ANSWER``.
        """
        if self._connecting is not None:
            self._line, self._connecting = await self._connecting, None
        elif self._line is None and self._begun is None:
            self._line = self._server.kept()
        if self._line is None or not self._line.is_usable:
            # Or it was closed while it waited: the model server saw nothing on it.
            begun, self._begun = self._begun, None
            self._line = await self._server.connect(begun)
        size = len(body) if body or method in (b"POST", b"PUT", b"PATCH") else None
        head = self._server.head(method, target, headers, size)
        return await self._line.ask(head, body, asked_head=method == b"HEAD")

    def leave(self) -> None:
        """Take no more of the answer: whoever reads it is told at once."""
        if self._line is not None:
            self._line.leave()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the connection back; one whose answer was not taken to its end is closed."""
        if self._begun is not None:
            self._begun.close()
        elif self._connecting is not None:
            self._connecting.add_done_callback(_unneeded)
            self._connecting.cancel()
        elif self._line is not None:
            self._server.give_back(self._line)
        # From here on it may be another's.
        self._line = None


def _unneeded(connecting: "asyncio.Task[Line]") -> None:
    with contextlib.suppress(NoAnswerError, asyncio.CancelledError):
        connecting.result().close()
