"""The HTTP face: uvicorn and httptools in the loop that already runs, with everything bounded.

What a stranger may cost us: :data:`MAX_CONNECTIONS` connections, each with one head of at most
:data:`MAX_HEAD_BYTES` that arrives within :data:`HEAD_SECONDS`, one body as long as its route
allows that arrives within :data:`BODY_SECONDS`, and one answer that it takes without stalling. No
access log, no signal handlers: both belong to the process around it.
"""

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from registry.errors import (
    LimitExceededError,
    MalformedError,
    Reason,
    RegistryError,
    UnavailableError,
)
from registry.server.http.routing import Request, Response, Routes, answer, refusal

MAX_CONNECTIONS = 512
"""Connections that are answered at once; more are told to come back."""

MAX_HEAD_BYTES = 32 * 1024
"""Bytes of a request line with its headers."""

MAX_UNREAD_BYTES = 64 * 1024
"""Bytes of a refused body that are read and thrown away, so that its sender sees the refusal."""

HEAD_SECONDS = 10.0
"""How long the head of a request may take to arrive."""

BODY_SECONDS = 30.0
"""How long the body of a request may take to arrive."""

KEEP_ALIVE_SECONDS = 15
"""How long a connection may say nothing between two requests, or take nothing of an answer."""

_CONTINUE = b"HTTP/1.1 100 "

CLIENT_GONE = 499
"""The status of an answer that nobody waits for any more, as gateways have it."""

BACKLOG = 1024
"""Connections that the system holds until they are accepted."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the process."""
        yield


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


class _Protocol(HttpToolsProtocol):
    """Adds what uvicorn does not bound: sizes and times of requests, and readers that stall."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._head_bytes = 0
        self._heads = 0
        self._in_head = True
        self._timer: asyncio.TimerHandle | None = None
        self._unsent_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn
        self._joined = _Joined(transport)
        super().connection_made(self._joined)  # type: ignore[arg-type]  # all that is used of it
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._has_come()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        heads, in_head = self._heads, self._in_head
        super().data_received(data)
        # What comes with one read, as almost everything does, costs no timer.
        if self.transport.is_closing():
            return
        if not self._in_head and self._timer is None:
            self._timer = self.loop.call_later(BODY_SECONDS, self._refuse_slow_body)
        elif in_head and self._in_head and self._heads == heads:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse("The head of this request is too long.")
            elif self._timer is None:
                self._await_head()

    def on_headers_complete(self) -> None:
        self._heads += 1
        self._in_head = False
        self._head_bytes = 0
        self._has_come()
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > MAX_HEAD_BYTES:
            # Whatever is raised here, httptools makes one answer of it: 400, and closes.
            message = "too many bytes of headers"
            raise ValueError(message)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_head = True
        self._has_come()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self._joined.flush()
        super().on_response_complete()
        self._unsent_bytes = self.transport.get_write_buffer_size()
        if self._unsent_bytes and self.transport.is_closing():
            self._watch_reader()

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


class Face:
    """Answers HTTP on one address.

    ::

        face = Face(routes, "127.0.0.1:0")
        url = await face.start()
        …
        await face.stop(grace_seconds=10)
    """

    def __init__(
        self, routes: Routes, listen: str, *, cert: Path | None = None, key: Path | None = None
    ) -> None:
        """Take the address.

        ``listen`` is a host and a port, of which 0 takes any free one. With ``cert``, a PEM
        certificate chain, and ``key`` the face speaks TLS.

        Raises:
            MalformedError: ``BAD_SETTING`` if this is no address, or TLS cannot be set up.
            UnavailableError: ``BAD_SETTING`` if the address cannot be listened on.
        """
        self._routes = routes
        host, _, port = listen.rpartition(":")
        self._socket = _bind(host.strip("[]"), port, listen)
        scheme = "http" if cert is None else "https"
        self.url = f"{scheme}://{host}:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(
            self._answer,
            http=_Protocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level=logging.ERROR,
            access_log=False,
            workers=1,
            proxy_headers=False,
            forwarded_allow_ips="",
            server_header=False,
            date_header=True,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            ssl_certfile=cert,
            ssl_keyfile=key,
        )
        try:
            config.load()
        except (OSError, ssl.SSLError) as error:
            self._socket.close()
            raise MalformedError(
                Reason.BAD_SETTING,
                "TLS cannot be set up with these files",
                where=f"{cert}, {key}",
                actual=str(error),
            ) from error
        self._server = _Server(config)
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> str:
        """Answer from now on; the address as a URL without a path."""
        self._serving = asyncio.create_task(self._server.serve([self._socket]))
        while not self._server.started:
            if self._serving.done():
                await self._serving
            await asyncio.sleep(0)
        return self.url

    async def stop(self, grace_seconds: int) -> None:
        """Take no more requests, and let those go on for a while that run."""
        if self._serving is None:
            self._socket.close()
            return
        self._server.config.timeout_graceful_shutdown = grace_seconds
        self._server.should_exit = True
        await self._serving

    async def _answer(self, scope: Message, receive: Receive, send: Send) -> None:
        """One request, as ASGI has it."""
        response, close = await self._respond(scope, receive)
        headers = [
            (b"content-type", response.media_type.encode("latin-1")),
            (b"content-length", b"%d" % len(response.body)),
        ]
        headers += [(name.encode(), text.encode("latin-1")) for name, text in response.headers]
        if close:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": response.body})

    async def _respond(self, scope: Message, receive: Receive) -> tuple[Response, bool]:
        """The response, and whether it is the last one on this connection."""
        method, path = scope["method"], scope["raw_path"].decode("latin-1")
        headers = {
            name.decode("latin-1"): text.decode("latin-1") for name, text in scope["headers"]
        }
        try:
            route, parts = self._routes.find(method, path)
            limit = route.max_body_bytes
        except RegistryError as error:
            # A path that is not served says so after a short body.
            route, parts, limit, refused = None, {}, MAX_UNREAD_BYTES, refusal(error)
        body = b""
        if _has_body(headers):
            try:
                body = await _body(headers, receive, limit)
            except LimitExceededError as error:
                return refusal(error), True
            except ConnectionError:
                return Response(CLIENT_GONE), True
        if route is None:
            return refused, False
        query = scope["query_string"].decode("latin-1")
        return await answer(route, Request(method, path, query, headers, body, parts)), False


def _bind(host: str, port: str, listen: str) -> socket.socket:
    if not (host and port.isascii() and port.isdigit() and int(port) < 2**16):
        raise MalformedError(
            Reason.BAD_SETTING, "this is not an address", where=listen, expected="HOST:PORT"
        )
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        # A second process on the same port must fail, not share it: no SO_REUSEPORT.
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        raise UnavailableError(
            Reason.BAD_SETTING,
            "this address cannot be listened on",
            where=listen,
            actual=str(error),
            hint="is another server running there? --http takes another address, or none",
        ) from error


def _has_body(headers: Mapping[str, str]) -> bool:
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


async def _body(headers: Mapping[str, str], receive: Receive, limit: int) -> bytes:
    """Read the body.

    Raises:
        LimitExceededError: ``BODY_TOO_LARGE``.
        ConnectionError: The client went away, or was sent away for being too slow.
    """
    told = headers.get("content-length", "")
    if told.isdigit() and len(told) < 20 and int(told) > limit + MAX_UNREAD_BYTES:  # noqa: PLR2004
        raise _too_large(limit, told)
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise ConnectionAbortedError
        size += len(message["body"])
        if size > limit:
            parts.clear()
            if size > limit + MAX_UNREAD_BYTES:
                raise _too_large(limit, str(size))
        else:
            parts.append(message["body"])
        more = message.get("more_body", False)
    if size > limit:
        raise _too_large(limit, str(size))
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _too_large(limit: int, actual: str) -> LimitExceededError:
    return LimitExceededError(
        Reason.BODY_TOO_LARGE,
        "the body of this request is too long",
        expected=f"at most {limit} bytes",
        actual=f"{actual} bytes",
    )
