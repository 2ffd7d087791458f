"""HTTP/1.1 between client and registry, as far as blobs need it: where it is, heads, time.

gRPC frames, checks and copies every piece of a blob, on both sides; that costs more than to hash
it. The registry says over gRPC where the same bytes go over HTTP, and gives a ticket for this one
blob, which is all that is shown there. HTTP is a faster way and no other authority: whatever goes
wrong on it ends the transfer, and gRPC goes on from there.
"""

import http.client
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from io import BytesIO
from socket import socket
from typing import Final

from registry.client.channel import Connection
from registry.core import digest
from registry.errors import Reason, UnavailableError

CONNECT_SECONDS: Final = 2
"""How long a connection may take: a port that a firewall hides must not cost much time."""

STALL_SECONDS: Final = 15
"""How long nothing may move; the whole transfer has the deadline that it would have over gRPC."""

MAX_HEAD_BYTES: Final = 16 * 1024
"""Bytes of the head of an answer."""

MAX_TICKET_CHARACTERS: Final = 512
"""Characters of a ticket."""

END_OF_HEAD: Final = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class HTTPAddress:
    """Where a blob goes over HTTP, on the host that answers gRPC, and what opens it there."""

    port: int
    ticket: str

    @property
    def usable(self) -> bool:
        """Whether this can be asked, and is no more than a ticket."""
        plain = self.ticket.isascii() and self.ticket.isprintable() and " " not in self.ticket
        return 0 < self.port < 2**16 and plain and 0 < len(self.ticket) <= MAX_TICKET_CHARACTERS


@dataclass(frozen=True, slots=True)
class Head:
    """The head of an answer.

    Attributes:
        start: Its first line.
        headers: Names in lower case; of a header that comes twice, the last one counts.
        rest: What came of the body with it.
    """

    start: str
    headers: Mapping[str, str]
    rest: memoryview

    def says(self, *codes: int) -> bool:
        """Whether this is HTTP/1.1 and one of these statuses."""
        return self.start.startswith(tuple(f"HTTP/1.1 {code} " for code in codes))


@contextmanager
def beside(connection: Connection, address: HTTPAddress) -> Iterator[socket]:
    """A connection for one request; what goes wrong on it becomes one of our errors.

    Raises:
        UnavailableError: ``UNREACHABLE`` or ``DEADLINE``.
    """
    try:
        with closing(connection.beside(address.port, CONNECT_SECONDS)) as opened:
            opened.settimeout(STALL_SECONDS)
            yield opened
    except TimeoutError as error:
        raise late() from error
    except OSError as error:
        raise broken("the registry cannot be reached over HTTP", str(error)) from error


def request_head(
    method: str, connection: Connection, address: HTTPAddress, sha256: bytes, *more: str
) -> bytes:
    """The head of a request about a blob, the last on its connection, with ``more`` lines.

    Raises:
        UnavailableError: ``UNREACHABLE`` if the host cannot be named in it.
    """
    host = connection.host
    if not host.isascii():
        raise broken("this host has no plain name")
    lines = (
        f"{method} /blobs/{digest.text(sha256)} HTTP/1.1",
        f"Host: [{host}]:{address.port}" if ":" in host else f"Host: {host}:{address.port}",
        f"Authorization: Bearer {address.ticket}",
        "Accept-Encoding: identity",
        "Connection: close",
        *more,
    )
    return "\r\n".join((*lines, "", "")).encode("ascii")


def read_head(opened: socket, ends: float, received: bytes | memoryview = b"") -> Head:
    """Read the head of an answer, of which some may have come.

    Raises:
        UnavailableError: ``UNREACHABLE`` if this is none; ``DEADLINE``.
        OSError: The connection is lost.
    """
    came = bytearray(received)
    while (end := came.find(END_OF_HEAD)) < 0 and len(came) <= MAX_HEAD_BYTES:
        data = opened.recv(MAX_HEAD_BYTES)
        if not data:
            raise broken("the connection was closed early", "no answer")
        came += data
        check_time(ends)
    if not 0 <= end <= MAX_HEAD_BYTES:
        raise broken("the head of the answer is too long")
    start, _, lines = bytes(came[: end + len(END_OF_HEAD)]).partition(b"\r\n")
    try:
        message = http.client.parse_headers(BytesIO(lines))
    except http.client.HTTPException as error:
        raise broken("this is not HTTP", type(error).__name__) from error
    headers = {name.lower(): text.strip() for name, text in message.items()}
    return Head(start.decode("latin-1"), headers, memoryview(came)[end + len(END_OF_HEAD) :])


def unexpected(head: Head, found: Mapping[str, str], expected: str) -> UnavailableError:
    """What to say of an answer that a registry would not give, and what was ``found`` in it."""
    actual = f"{ascii(head.start)[:80]}, {ascii(dict(found))[:300]}"
    return broken("this is not the answer of a registry", actual, expected)


def check_time(ends: float) -> None:
    """Give up at a time of the monotonic clock.

    Raises:
        UnavailableError: ``DEADLINE``.
    """
    # The timeout of the socket starts anew with each byte; this one does not.
    if time.monotonic() > ends:
        raise late()


def late() -> UnavailableError:
    """What to say when time is over."""
    return UnavailableError(Reason.DEADLINE, "the registry did not answer in time over HTTP")


def broken(what: str, actual: str = "", expected: str = "") -> UnavailableError:
    """What to say of a way that leads nowhere."""
    return UnavailableError(Reason.UNREACHABLE, what, actual=actual, expected=expected)
