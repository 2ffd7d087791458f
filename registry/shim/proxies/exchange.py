"""One HTTP request and its answer, on the client's side of a proxy.

Also which headers go on and which stay: only what belongs to one connection (RFC 9110 §7.6.1) does.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final, TypeVar

from registry.core import encoding
from registry.errors import (
    LimitExceededError,
    MalformedError,
    NotFoundError,
    Reason,
    RegistryError,
)
from registry.shim.proxies.connection import CUT, TRAILERS
from registry.shim.recorder.asking import DEADLINE, LEVEL
from registry.shim.recorder.outcomes import Sent

MAX_REQUEST_BYTES = 64 * 1024 * 1024
"""Bytes of a request: it is held until its intent is durable."""

_HOP = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
ASKED_HEADERS: Final = (LEVEL, DEADLINE)

T = TypeVar("T")
Headers = list[tuple[bytes, bytes]]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class GoneError(Exception):
    """Whoever asked is gone."""


class Exchange:
    """One request and its answer, on the client's side."""

    def __init__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        query = scope["query_string"]
        self.target = scope["raw_path"].decode("ascii") + (
            f"?{query.decode('ascii')}" if query else ""
        )
        self.all_headers: dict[str, str] = {
            name.decode("latin-1").lower(): value.decode("latin-1")
            for name, value in scope["headers"]
        }
        self._headers: Headers = scope["headers"]
        self._receive = receive
        self._send = send
        self._gone: asyncio.Future[None] | None = None
        self._started = False
        self._size = 0
        self._hash = hashlib.sha256()

    def forwarded(self) -> list[tuple[str, str]]:
        """Headers of the request that go on to the model server, as they came.

        Raises:
            MalformedError: ``MALFORMED_FIELD`` for a value that is no UTF-8: it cannot go on as it
                is.
        """
        named = _connection_named(self._headers)
        dropped = {"host", "content-length", "accept-encoding", "expect", *ASKED_HEADERS}
        kept = []
        for raw_name, value in self._headers:
            name = raw_name.decode("ascii")
            if name.lower() in _HOP | dropped | named:
                continue
            try:
                kept.append((name, value.decode()))
            except UnicodeDecodeError as error:
                raise MalformedError(
                    Reason.MALFORMED_FIELD, "this header is not UTF-8", where=name[:80]
                ) from error
        return kept

    async def body(self) -> bytes:
        """The whole body of the request.

        Raises:
            LimitExceededError: ``BODY_TOO_LARGE``.
        """
        parts: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise GoneError
            part = message.get("body", b"")
            size += len(part)
            if size > MAX_REQUEST_BYTES:
                raise LimitExceededError(
                    Reason.BODY_TOO_LARGE,
                    "this request is too large",
                    expected=f"at most {MAX_REQUEST_BYTES} bytes",
                )
            parts.append(part)
            if not message.get("more_body", False):
                break
        self._gone = asyncio.ensure_future(self._until_gone())
        return b"".join(parts)

    async def unless_gone(self, asking: Awaitable[T]) -> T:
        """The result of ``asking``, unless whoever asked goes first.

        No task of its own waits, which would cost a turn of the loop on every call.

        Raises:
            GoneError: They did.
        """
        gone, task = self._gone, asyncio.current_task()
        assert gone is not None and task is not None  # noqa: S101, PT018 - set before anything is asked
        left = False

        def leave(_: object) -> None:
            nonlocal left
            left = True
            task.cancel()

        gone.add_done_callback(leave)
        try:
            return await asking
        except asyncio.CancelledError:
            # Somebody else may want this task to end at the same time.
            if left and task.uncancel() == 0:
                raise GoneError from None
            raise
        finally:
            gone.remove_done_callback(leave)

    def when_gone(self, act: Callable[[], None]) -> None:
        """Have something done as soon as whoever asked is gone."""
        if self._gone is not None:
            self._gone.add_done_callback(lambda gone: None if gone.cancelled() else act())

    def check_there(self) -> None:
        """Go no further if whoever asked is gone.

        Raises:
            GoneError: They are.
        """
        if self._gone is not None and self._gone.done():
            raise GoneError

    async def begin(self, status: int, headers: Headers) -> None:
        """Send the head of the answer."""
        self._started = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, piece: bytes) -> None:
        """Send a piece of the answer; waits while the client takes nothing.

        Raises:
            GoneError: Whoever asked is gone.
        """
        self.check_there()
        await self._send({"type": "http.response.body", "body": piece, "more_body": True})
        self._size += len(piece)
        self._hash.update(piece)

    async def end(self, trailers: tuple[tuple[bytes, bytes], ...]) -> None:
        """Send the end of the answer."""
        if trailers:
            await self._send({"type": TRAILERS, "headers": trailers})
        else:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
        self.close()

    def sent(self) -> Sent:
        """What went out so far."""
        return Sent(self._size, self._hash.hexdigest() if self._size else "")

    async def refuse(self, error: RegistryError) -> None:
        """Answer with why this was not done, in the form that OpenAI's clients read."""
        status = 503
        if isinstance(error, MalformedError | LimitExceededError):
            status = 400
        elif isinstance(error, NotFoundError):
            status = 404
        await self._say(status, str(error), error.reason)

    async def fail(self, kind: str) -> None:
        """Answer that the model server did not, and the kind of failure, or break off."""
        await self._say(502, "the model server did not answer", kind)

    async def _say(self, status: int, message: str, code: str) -> None:
        if self._started:
            # Too late to say anything: an answer that is cut must not look whole.
            await self._send({"type": CUT})
            self.close()
            return
        said = {"error": {"code": code, "message": message, "type": "provreg"}}
        body = encoding.write_json(said)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
        ]
        await self.begin(status, headers)
        await self._send({"type": "http.response.body", "body": body, "more_body": False})
        self.close()

    def close(self) -> None:
        """Watch the client no more."""
        if self._gone is not None:
            self._gone.cancel()

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass


def passing(headers: Any, *, dropped: frozenset[str] = frozenset()) -> Headers:
    """Headers of an answer that go on to the client, all but those of a connection and these."""
    stay = _HOP | _connection_named(headers) | dropped
    return [
        (bytes(name), bytes(value))
        for name, value in headers
        if name.decode("latin-1").lower() not in stay
    ]


def _connection_named(headers: Any) -> set[str]:
    """Headers that the sender said belong to its connection alone."""
    return {
        item.strip().lower()
        for name, value in headers
        if name.lower() == b"connection"
        for item in value.decode("latin-1").split(",")
    }
