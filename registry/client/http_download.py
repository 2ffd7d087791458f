"""Blobs over HTTP: from the socket into the buffers that are hashed and written.

Where HTTP leads nowhere, gRPC goes on from there. Nothing that comes is believed before it was
hashed.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from socket import socket

from registry.client import http_exchange
from registry.client.channel import Connection, transfer_seconds
from registry.client.http_exchange import HTTPAddress
from registry.core import digest


@dataclass(frozen=True, slots=True)
class Part:
    """A blob from a position to its end."""

    sha256: bytes
    size: int
    start: int = 0

    @property
    def left(self) -> int:
        """Bytes from the position to the end."""
        return self.size - self.start


def receive(
    connection: Connection, address: HTTPAddress, part: Part, room: Callable[[], memoryview]
) -> Iterator[int]:
    """Receive a part of a blob into whatever ``room`` gives; yields how many bytes came each time.

    ``room`` is asked anew after each yield, and never gives an empty view.

    Raises:
        UnavailableError: ``UNREACHABLE`` if this is not where the blob is served, or if the
            connection is lost; ``DEADLINE`` if nothing comes, or too little.
    """
    ends = time.monotonic() + transfer_seconds(part.left)
    left = part.left
    more = [f"Range: bytes={part.start}-", f"If-Range: {_etag(part)}"] if part.start else []
    with http_exchange.beside(connection, address) as opened:
        head = http_exchange.request_head("GET", connection, address, part.sha256, *more)
        opened.sendall(head)
        rest = _read_answer(opened, part, ends)
        while left:
            view = room()[:left]
            if rest:
                count = min(len(rest), len(view))
                view[:count], rest = rest[:count], rest[count:]
            else:
                count = opened.recv_into(view)
            if not count:
                raise http_exchange.broken(
                    "the connection was closed early", f"{left} bytes are missing"
                )
            left -= count
            yield count
            http_exchange.check_time(ends)


def _read_answer(opened: socket, part: Part, ends: float) -> memoryview:
    """Read the head of the answer, and accept one only; returns what came of the body with it."""
    head = http_exchange.read_head(opened, ends)
    wanted = _wanted(part)
    found = {name: head.headers.get(name, "") for name in wanted}
    code = HTTPStatus.PARTIAL_CONTENT if part.start else HTTPStatus.OK
    if not head.says(code) or found != wanted:
        raise http_exchange.unexpected(head, found, f"status {code.value}, {wanted}")
    return head.rest


def _wanted(part: Part) -> Mapping[str, str]:
    """The headers that leave no doubt about which bytes come, and how many."""
    whole = {
        "etag": _etag(part),
        "content-length": str(part.left),
        "transfer-encoding": "",
        "content-encoding": "",
    }
    if part.start:
        whole["content-range"] = f"bytes {part.start}-{part.size - 1}/{part.size}"
    return whole


def _etag(part: Part) -> str:
    return f'"{digest.text(part.sha256)}"'
