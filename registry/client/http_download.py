"""Blobs over HTTP: from the socket into the buffers that are hashed and written.

gRPC frames, checks and copies every piece of a blob, on both sides; that costs more than to hash
it. The registry says over gRPC where it serves the same bytes over HTTP, and gives a ticket for
this one blob, which is all that is shown there. HTTP is a faster way and no other authority:
whatever goes wrong on it ends the transfer, and gRPC goes on from there. Nothing that comes is
believed before it was hashed.
"""

import http.client
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from http import HTTPStatus
from io import BytesIO
from socket import socket
from typing import Final

from registry.client.channel import Connection, transfer_seconds
from registry.core import digest
from registry.errors import Reason, UnavailableError

CONNECT_SECONDS: Final = 2
"""How long a connection may take: a port that a firewall hides must not cost much time."""

STALL_SECONDS: Final = 15
"""How long nothing may come; the whole transfer has the deadline that it would have over gRPC."""

MAX_HEAD_BYTES: Final = 16 * 1024
"""Bytes of the head of an answer."""

MAX_TICKET_CHARACTERS: Final = 512
"""Characters of a ticket."""

_END_OF_HEAD: Final = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class HTTPAddress:
    """Where a blob is served over HTTP, on the host that answers gRPC, and what opens it there."""

    port: int
    ticket: str

    @property
    def usable(self) -> bool:
        """Whether this can be asked, and is no more than a ticket."""
        plain = self.ticket.isascii() and self.ticket.isprintable() and " " not in self.ticket
        return 0 < self.port < 2**16 and plain and 0 < len(self.ticket) <= MAX_TICKET_CHARACTERS


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
    try:
        with closing(connection.beside(address.port, CONNECT_SECONDS)) as opened:
            opened.settimeout(STALL_SECONDS)
            opened.sendall(_request(connection.host, address, part))
            rest = _read_head(opened, part, ends)
            while left:
                view = room()[:left]
                if rest:
                    count = min(len(rest), len(view))
                    view[:count], rest = rest[:count], rest[count:]
                else:
                    count = opened.recv_into(view)
                if not count:
                    raise _broken("the connection was closed early", f"{left} bytes are missing")
                left -= count
                yield count
                _check_time(ends)
    except TimeoutError as error:
        raise _late() from error
    except (OSError, ssl.SSLError) as error:
        raise _broken("the registry cannot be reached over HTTP", str(error)) from error


def _request(host: str, address: HTTPAddress, part: Part) -> bytes:
    if not host.isascii():
        raise _broken("this host has no plain name")
    lines = [
        f"GET /blobs/{digest.text(part.sha256)} HTTP/1.1",
        f"Host: [{host}]:{address.port}" if ":" in host else f"Host: {host}:{address.port}",
        f"Authorization: Bearer {address.ticket}",
        "Accept-Encoding: identity",
        "Connection: close",
    ]
    if part.start:
        lines += [f"Range: bytes={part.start}-", f"If-Range: {_etag(part)}"]
    return "\r\n".join((*lines, "", "")).encode("ascii")


def _read_head(opened: socket, part: Part, ends: float) -> memoryview:
    """Read the head of the answer, and accept one only; returns what came of the body with it."""
    received = bytearray()
    while (end := received.find(_END_OF_HEAD)) < 0 and len(received) <= MAX_HEAD_BYTES:
        data = opened.recv(MAX_HEAD_BYTES)
        if not data:
            raise _broken("the connection was closed early", "no answer")
        received += data
        _check_time(ends)
    if not 0 <= end <= MAX_HEAD_BYTES:
        raise _broken("the head of the answer is too long")
    start, _, lines = bytes(received[: end + len(_END_OF_HEAD)]).partition(b"\r\n")
    version, _, status = start.decode("latin-1").partition(" ")
    try:
        message = http.client.parse_headers(BytesIO(lines))
    except http.client.HTTPException as error:
        raise _broken("this is not HTTP", type(error).__name__) from error
    headers = {name.lower(): text.strip() for name, text in message.items()}
    wanted = _wanted(part)
    found = {name: headers.get(name, "") for name in wanted}
    code = HTTPStatus.PARTIAL_CONTENT if part.start else HTTPStatus.OK
    if version != "HTTP/1.1" or not status.startswith(f"{code.value} ") or found != wanted:
        raise _broken(
            "this is not the answer of a registry",
            f"{ascii(start.decode('latin-1'))[:80]}, {ascii(found)[:300]}",
            f"status {code.value}, {wanted}",
        )
    return memoryview(received)[end + len(_END_OF_HEAD) :]


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


def _check_time(ends: float) -> None:
    # The timeout of the socket starts anew with each byte; this one does not.
    if time.monotonic() > ends:
        raise _late()


def _late() -> UnavailableError:
    return UnavailableError(Reason.DEADLINE, "the registry did not answer in time over HTTP")


def _broken(what: str, actual: str = "", expected: str = "") -> UnavailableError:
    return UnavailableError(Reason.UNREACHABLE, what, actual=actual, expected=expected)
