"""The HTTP face: uvicorn and httptools in the loop that already runs, with everything bounded.

What a stranger may cost us: :data:`MAX_CONNECTIONS` connections, each bounded by
:mod:`~registry.server.http.connection`, with bodies as long as their routes allow. No access log,
no signal handlers: both belong to the process around it.
"""

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvicorn

from registry.errors import (
    LimitExceededError,
    MalformedError,
    Reason,
    RegistryError,
    UnavailableError,
)
from registry.server.http.connection import STREAM, TAKE, BoundedProtocol
from registry.server.http.incoming import Sink
from registry.server.http.routing import Request, Response, Route, Routes, answer, refusal
from registry.server.storing import OneThread

MAX_CONNECTIONS = 512
"""Connections that are answered at once; more are told to come back."""

MAX_UNREAD_BYTES = 64 * 1024
"""Bytes of a refused body that are read and thrown away, so that its sender sees the refusal."""

KEEP_ALIVE_SECONDS = 15
"""How long a connection may say nothing between two requests, or take nothing of an answer."""

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
        self.port: int = self._socket.getsockname()[1]
        self.url = f"{scheme}://{host}:{self.port}"
        config = uvicorn.Config(
            self._answer,
            http=BoundedProtocol,
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
        stream = response.stream
        size = len(response.body) if stream is None else stream.size
        headers = [
            (b"content-type", response.media_type.encode("latin-1")),
            (b"content-length", b"%d" % size),
        ]
        headers += [(name.encode(), text.encode("latin-1")) for name, text in response.headers]
        if close:
            headers.append((b"connection", b"close"))
        start = {"type": "http.response.start", "status": response.status, "headers": headers}
        if stream is None:
            await send(start)
            await send({"type": "http.response.body", "body": response.body})
            return
        try:
            await send(start)
            if scope["method"] != "HEAD":
                await scope["extensions"][STREAM]["send"](stream)
            await send({"type": "http.response.body"})
        finally:
            await stream.close()

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
        query = scope["query_string"].decode("latin-1")
        if route is not None and route.takes_body:
            request = Request(method, path, query, headers, parts=parts)
            return await _streamed(route, request, scope, receive)
        if _has_body(headers):
            try:
                body = await _body(headers, receive, limit)
            except LimitExceededError as error:
                return refusal(error), True
            except ConnectionError:
                return Response(CLIENT_GONE), True
        if route is None:
            return refused, False
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


async def _streamed(
    route: Route, request: Request, scope: Message, receive: Receive
) -> tuple[Response, bool]:
    """The response of a route that takes bodies itself, and whether one is left unread."""
    taken = False

    async def take(size: int, sink: Sink, thread: OneThread) -> None:
        nonlocal taken
        taken = True
        await scope["extensions"][TAKE]["take"](size, sink, thread)

    response = await answer(route, replace(request, take=take))
    if taken or not _has_body(request.headers):
        return response, False
    # Who waits to be told to go on sends nothing now.
    if "expect" not in request.headers:
        with contextlib.suppress(LimitExceededError, ConnectionError):
            await _body(request.headers, receive, 0)
    return response, True


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
