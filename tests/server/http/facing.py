r"""A face in a thread of its own, and a client that writes exactly the bytes it is told to.

::

    with facing(Routes((Route("GET", "/x", answer),))) as address:
        answer = ask(address, "GET", "/x")
        reply = raw(address, b"GET /x HTTP/1.1\r\n\r\n")
"""

import asyncio
import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec

from registry.server.http.face import Face
from registry.server.http.routing import Routes

SECONDS = 20
"""How long anything may take."""

Address = tuple[str, int]
"""Host and port."""


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, read as JSON."""
        return msgspec.json.decode(self.body)

    @property
    def reason(self) -> str:
        """Why it was refused."""
        return str(self.json["reason"])


def address_of(url: str) -> Address:
    """Host and port of a URL."""
    host, _, port = url.rpartition("//")[2].rpartition(":")
    return host, int(port)


@contextmanager
def facing(routes: Routes, **settings: Any) -> Iterator[Address]:
    """Answer on a free port until the end of the block."""
    ready = threading.Event()
    seen: dict[str, Any] = {}

    async def serve() -> None:
        face = Face(routes, "127.0.0.1:0", **settings)
        seen["url"] = await face.start()
        seen["loop"], seen["stop"] = asyncio.get_running_loop(), asyncio.Event()
        ready.set()
        await seen["stop"].wait()
        await face.stop(0)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(SECONDS)
    try:
        yield address_of(seen["url"])
    finally:
        seen["loop"].call_soon_threadsafe(seen["stop"].set)
        thread.join(SECONDS)


def ask(
    address: Address,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> Answer:
    """One request by a well-behaved client."""
    connection = http.client.HTTPConnection(*address, timeout=SECONDS)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        names = {name.lower(): text for name, text in answer.getheaders()}
        return Answer(answer.status, names, answer.read())
    finally:
        connection.close()


def raw(address: Address, *parts: bytes) -> bytes:
    """Send bytes, and read until the server closes."""
    with socket.create_connection(address, timeout=SECONDS) as connection:
        for part in parts:
            connection.sendall(part)
        return drain(connection)


def drain(connection: socket.socket) -> bytes:
    """Everything that still comes."""
    received = b""
    while data := connection.recv(65_536):
        received += data
    return received
