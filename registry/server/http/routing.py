"""Requests, responses and the table that leads from the one to the other.

A room says what it answers in a tuple of routes; the face gives every request to the table and
writes back what comes out::

    routes = Routes((Route("GET", "/checkpoint", newest), Route("GET", "/tile/{path*}", tile)))
    response = await routes.answer(request)

``{name}`` stands for one part of a path, ``{name*}`` for the rest of it; literal paths go first.
HEAD is answered by the route of GET. Every error leaves as one small JSON object whose ``reason``
is stable; ``code`` and ``message`` are those that clients of a gRPC gateway look for.
"""

import errno
import logging
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Protocol

from registry.core import encoding
from registry.errors import (
    ConflictError,
    DamagedError,
    ForbiddenError,
    LimitExceededError,
    MalformedError,
    NotFoundError,
    Reason,
    RefusedError,
    RegistryError,
    UnauthenticatedError,
    UnavailableError,
    UnsupportedError,
    VerificationError,
)
from registry.server.http.incoming import Sink
from registry.server.storing import OneThread
from registry.wire.status import internal, printable, to_status

MAX_BODY_BYTES = 4 * 1024 * 1024
"""Bytes of a request's body, unless its route says less."""

MAX_PART_CHARACTERS = 512
"""Characters of one part of an error."""

RETRY_SECONDS = 1
"""When a caller may come back who was told that it is not possible now."""

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
BYTES = "application/octet-stream"

_PARTS = ("where", "expected", "actual", "hint")

_STATUS: Mapping[type[Exception], HTTPStatus] = {
    MalformedError: HTTPStatus.BAD_REQUEST,
    VerificationError: HTTPStatus.BAD_REQUEST,
    RefusedError: HTTPStatus.FORBIDDEN,
    ConflictError: HTTPStatus.CONFLICT,
    UnauthenticatedError: HTTPStatus.UNAUTHORIZED,
    ForbiddenError: HTTPStatus.FORBIDDEN,
    NotFoundError: HTTPStatus.NOT_FOUND,
    LimitExceededError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    UnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
    UnsupportedError: HTTPStatus.METHOD_NOT_ALLOWED,
    DamagedError: HTTPStatus.INTERNAL_SERVER_ERROR,
}

logger = logging.getLogger(__name__)

Headers = tuple[tuple[str, str], ...]
"""Header lines, in the order in which they are sent."""


Take = Callable[[int, Sink, OneThread], Awaitable[None]]
"""Puts a body, of so many bytes, into a sink that lives in this thread; to be called once.

Raises:
    VerificationError: ``TRUNCATED_UPLOAD``.
    UnavailableError: ``SLOW_REQUEST``.
    RegistryError, OSError: Why the sink takes no more.
"""


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked, completely received unless its route takes the body.

    Attributes:
        path: The path as it was sent. A percent sign in it is never decoded: no path of ours needs
            one, and a second spelling of a path would be a second name of a tile.
        query: What follows the question mark, as it was sent.
        headers: Names in lower case; of a header that is sent twice, the last one counts.
        parts: What the placeholders of the route stand for.
        take: Takes the body, if the route does that; ``body`` is empty then.
    """

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    parts: Mapping[str, str] = field(default_factory=dict)
    take: Take | None = None

    @property
    def media_type(self) -> str:
        """What the body is, in lower case and without parameters; empty if nobody says."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def token(self) -> str | None:
        """The bearer token of the caller; None if there is none."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token if scheme.lower() == "bearer" else None


class Stream(Protocol):
    """A body that is too large to be held: it is sent piece by piece.

    A piece is valid until the next one is asked for. Whoever gets a stream closes it.
    """

    @property
    def size(self) -> int:
        """Bytes of all pieces."""

    def __aiter__(self) -> AsyncIterator[memoryview]:
        """The pieces, none of them empty; to be asked for once."""

    async def close(self) -> None:
        """Let go of whatever the pieces come from."""


@dataclass(frozen=True, slots=True)
class Response:
    """What is answered. The length of the body is written by the face.

    Attributes:
        stream: A large body, in place of ``body``.
    """

    status: int = HTTPStatus.OK
    body: bytes = b""
    media_type: str = JSON
    headers: Headers = ()
    stream: Stream | None = None


Answer = Callable[[Request], Awaitable[Response]]
"""Answers a request, or raises."""


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path, or of all paths that look alike.

    Attributes:
        path: Begins with a slash; ``{name}`` is one part, ``{name*}`` the rest.
        max_body_bytes: A longer body is refused before it is read; zero for none at all.
        takes_body: The answer takes the body itself, or leaves it: it may be too large to be held.
    """

    method: str
    path: str
    answer: Answer
    max_body_bytes: int = 0
    takes_body: bool = False

    def pattern(self) -> "re.Pattern[str]":
        """What the path looks like."""
        parts = re.split(r"(\{[a-z_]+\*?\})", self.path)
        return re.compile("".join(_part(part) for part in parts))


def _part(text: str) -> str:
    if not text.startswith("{"):
        return re.escape(text)
    name = text.strip("{}")
    return f"(?P<{name[:-1]}>.+)" if name.endswith("*") else f"(?P<{name}>[^/]+)"


class Routes:
    """All routes of one face."""

    def __init__(self, routes: Iterable[Route]) -> None:
        """Make the table.

        Raises:
            ValueError: Two routes for one method of one path.
        """
        self._literal: dict[str, dict[str, Route]] = {}
        self._patterns: list[tuple[re.Pattern[str], dict[str, Route]]] = []
        methods: dict[str, dict[str, Route]] = {}
        for route in routes:
            known = methods.get(route.path)
            if known is None:
                known = methods[route.path] = {}
                if "{" in route.path:
                    self._patterns.append((route.pattern(), known))
                else:
                    self._literal[route.path] = known
            if route.method in known:
                message = f"two routes for {route.method} {route.path}"
                raise ValueError(message)
            known[route.method] = route

    def find(self, method: str, path: str) -> tuple[Route, Mapping[str, str]]:
        """The route of a request, and what its placeholders stand for.

        Raises:
            NotFoundError: ``UNKNOWN_PATH``.
            UnsupportedError: ``WRONG_METHOD``.
        """
        parts: Mapping[str, str] = {}
        methods = self._literal.get(path)
        if methods is None:
            for pattern, found in self._patterns:
                match = pattern.fullmatch(path)
                if match is not None:
                    methods, parts = found, match.groupdict()
                    break
            else:
                raise NotFoundError(Reason.UNKNOWN_PATH, "nothing is served here", where=path)
        route = methods.get("GET" if method == "HEAD" else method)
        if route is None:
            allowed = {*methods} | ({"HEAD"} if "GET" in methods else set())
            raise UnsupportedError(
                Reason.WRONG_METHOD,
                "this path does not know this method",
                where=path,
                expected=", ".join(sorted(allowed)),
                actual=method,
            )
        return route, parts

    async def answer(self, request: Request) -> Response:
        """Answer a request; whatever goes wrong becomes a response."""
        try:
            route, parts = self.find(request.method, request.path)
        except RegistryError as error:
            return refusal(error)
        return await answer(route, replace(request, parts=parts))


async def answer(route: Route, request: Request) -> Response:
    """Answer a request by its route; whatever goes wrong becomes a response."""
    try:
        return await route.answer(request)
    except Exception as error:  # noqa: BLE001 - the one place where errors leave
        return refusal(error)


def refusal(error: Exception) -> Response:
    """How an error leaves: its reason if it is ours, INTERNAL with a request id otherwise."""
    if isinstance(error, OSError):
        logger.error("storage failed", exc_info=error)
        error = UnavailableError(
            Reason.STORAGE_FAILED,
            "the registry could not read or write its disk",
            actual=errno.errorcode.get(error.errno or 0, type(error).__name__),
            hint="nothing was stored; try again when the operator has looked at it",
        )
    status = _STATUS.get(type(error))
    if status is None or not isinstance(error, RegistryError):
        request_id = secrets.token_hex(8)
        logger.error("request %s failed", request_id, exc_info=error)
        return _failed(request_id)
    code, _, _ = to_status(error)
    headers: Headers = ()
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        headers = (("retry-after", str(RETRY_SECONDS)),)
    elif status is HTTPStatus.UNAUTHORIZED:
        headers = (("www-authenticate", "Bearer"),)
    elif status is HTTPStatus.METHOD_NOT_ALLOWED:
        # RFC 9110 §15.5.6 wants the header, even if it lists nothing.
        headers = (("allow", error.expected if error.reason is Reason.WRONG_METHOD else ""),)
    return Response(status, _body(error, code.value[0]), headers=headers)


def _failed(request_id: str) -> Response:
    code, message, _ = internal(request_id)
    members = {"code": code.value[0], "message": message, "reason": Reason.INTERNAL.value}
    return Response(HTTPStatus.INTERNAL_SERVER_ERROR, encoding.write_json(members))


def _body(error: RegistryError, code: int) -> bytes:
    members: dict[str, object] = {
        "code": code,
        "message": _bounded(f"{error.reason}: {error.what}"),
        "reason": error.reason.value,
    }
    members |= {part: _bounded(text) for part in _PARTS if (text := getattr(error, part))}
    return encoding.write_json(members)


def _bounded(text: str) -> str:
    # A path may hold half a surrogate pair; no JSON can.
    clean = text[:MAX_PART_CHARACTERS].encode("utf-8", "backslashreplace").decode()
    return printable(clean)[:MAX_PART_CHARACTERS]
