"""One HTTP request and its answer, on the client's side of a proxy.

Also which headers go on and which stay: only what belongs to one connection (RFC 9110 §7.6.1) does.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any, Final, TypeVar

from registry.core import encoding
from registry.errors import (
    LimitExceededError,
    MalformedError,
    NotFoundError,
    Reason,
    RegistryError,
    UnavailableError,
)
from registry.shim.proxies.connection import CLIENT, CUT, TRAILERS, WHOLE, Client
from registry.shim.proxies.reply import BODILESS, Headers
from registry.shim.recorder.asking import DEADLINE, LEVEL, TOLD
from registry.shim.recorder.outcomes import Sent

MAX_REQUEST_BYTES = 64 * 1024 * 1024
"""Bytes of a request: it is held until its intent is durable."""

MAX_ALL_REQUESTS_BYTES = 1024 * 1024 * 1024
"""Bytes of all requests that are held at one time."""

PIECE_SECONDS = 60.0
"""How long the next piece of a request may take to arrive."""

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
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class GoneError(Exception):
    """Whoever asked is gone."""


class Room:
    """How many bytes of requests are held at one time; for one event loop."""

    def __init__(self) -> None:
        self.used = 0

    def take(self, size: int) -> None:
        """Hold so many bytes more.

        Raises:
            UnavailableError: ``JOURNAL_BUSY``.
        """
        if self.used + size > MAX_ALL_REQUESTS_BYTES:
            raise UnavailableError(
                Reason.JOURNAL_BUSY,
                "too many bytes of requests are under way",
                expected=f"at most {MAX_ALL_REQUESTS_BYTES}",
                hint="try again when some have been answered",
            )
        self.used += size


class Exchange:
    """One request and its answer, on the client's side."""

    def __init__(
        self, scope: Mapping[str, Any], receive: Receive, send: Send, room: Room | None = None
    ) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        query = scope["query_string"]
        self.target: str = scope["raw_path"].decode("ascii") + (
            f"?{query.decode('ascii')}" if query else ""
        )
        self.all_headers = named(scope["headers"])
        self._raw_headers: Headers = scope["headers"]
        self._receive = receive
        self._send = send
        self._room = room or Room()
        self._held = 0
        self._bodyless = self.method == "HEAD"
        self._extensions = scope["extensions"]
        self._client: Client = self._extensions[CLIENT]
        self._gone: asyncio.Future[None] | None = None
        self._started = False
        self._size = 0
        self._hash: Any = None

    def asked_headers(self) -> Headers:
        """The headers that go on to the model server, byte for byte."""
        return forwarded(self._raw_headers)

    def target_below(self, prefix: str) -> str:
        """The target, if it is a path that stays below the path of the model server's address.

        An absolute target names another server, and no other is ever asked.

        Raises:
            MalformedError: ``BAD_TARGET``.
        """
        # The parser takes "*@host/" for a path, too; put after an address it is another address.
        leaves = bool(prefix) and ".." in self.path.replace("\\", "/").split("/")
        if not self.target.startswith("/") or leaves:
            raise MalformedError(
                Reason.BAD_TARGET,
                "this is no path on the model server",
                expected="a path that begins with / and does not go up",
                actual=self.target[:80],
            )
        return self.target

    async def body(self) -> bytes:
        """The whole body of the request, held until :meth:`close`.

        Raises:
            LimitExceededError: ``BODY_TOO_LARGE``.
            UnavailableError: ``JOURNAL_BUSY``.
            MalformedError: ``SLOW_REQUEST``.
        """
        parts: list[bytes] = []
        more = True
        while more:
            message = await self._next_piece()
            if message["type"] == "http.disconnect":
                raise GoneError
            part = message.get("body", b"")
            if self._held + len(part) > MAX_REQUEST_BYTES:
                raise LimitExceededError(
                    Reason.BODY_TOO_LARGE,
                    "this request is too large",
                    expected=f"at most {MAX_REQUEST_BYTES} bytes",
                )
            self._room.take(len(part))
            self._held += len(part)
            parts.append(part)
            more = message.get("more_body", False)
        self._gone = asyncio.get_running_loop().create_future()
        self._client.watch(self._leave)
        return b"".join(parts)

    async def _next_piece(self) -> Message:
        if WHOLE in self._extensions:
            return await self._receive()
        try:
            async with asyncio.timeout(PIECE_SECONDS):
                return await self._receive()
        except TimeoutError as error:
            raise MalformedError(
                Reason.SLOW_REQUEST,
                "this request came too slowly",
                expected=f"its next piece within {PIECE_SECONDS:.0f} s",
            ) from error

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
        self._bodyless = self._bodyless or status in BODILESS
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, piece: bytes) -> None:
        """Send a piece of the answer; waits while the client takes nothing.

        Raises:
            GoneError: Whoever asked is gone.
        """
        self.check_there()
        await self._send({"type": "http.response.body", "body": piece, "more_body": True})
        self._size += len(piece)
        self._hash = self._hash or hashlib.sha256()
        self._hash.update(piece)

    async def end(self, trailers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        """Send the end of the answer; one that can have no body has no trailers, either."""
        if (fields := list(trailers)) and not self._bodyless:
            await self._send({"type": TRAILERS, "headers": fields})
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
        if self._gone is None:
            # What is left of the request is read by nobody.
            headers.append((b"connection", b"close"))
        await self.begin(status, headers)
        await self._send({"type": "http.response.body", "body": body, "more_body": False})
        self.close()

    def close(self) -> None:
        """Watch the client no more, and hold nothing for it."""
        if self._gone is not None:
            self._client.unwatch(self._leave)
            self._gone.cancel()
        self._room.used -= self._held
        self._held = 0

    def _leave(self) -> None:
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)


def forwarded(headers: Headers) -> Headers:
    """Headers of a request that go on to the model server."""
    own = {"host", "content-length", "accept-encoding", "expect", *ASKED_HEADERS}
    dropped = _HOP | own | _connection_named(headers)
    return [
        (name, value) for name, value in headers if name.decode("latin-1").lower() not in dropped
    ]


def named(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers by lowercase name; what is said more than once is one list (RFC 9110 §5.3)."""
    return listed((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers)


def listed(fields: Iterable[tuple[str, str]]) -> dict[str, str]:
    """As :func:`named`, of texts."""
    found: dict[str, str] = {}
    for name, value in fields:
        key = name.lower()
        found[key] = f"{found[key]}, {value}" if key in found else value
    return found


def passing(headers: Any) -> Headers:
    """Headers of an answer that go on to the client; never what only a shim may say."""
    dropped = _HOP | TOLD | _connection_named(headers)
    return [
        (bytes(name), bytes(value))
        for name, value in headers
        if name.decode("latin-1").lower() not in dropped
    ]


def _connection_named(headers: Any) -> set[str]:
    """Headers that the sender said belong to its connection alone."""
    return {
        item.strip().lower()
        for name, value in headers
        if name.lower() == b"connection"
        for item in value.decode("latin-1").split(",")
    }
