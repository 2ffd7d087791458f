"""A large body on its way in: from the socket to where it is hashed and written, never held.

How slowly it may come is bounded: not a byte for :data:`STALL_SECONDS`, or fewer than
:data:`MIN_RATE` once that much time was spent waiting, and it is given up. Time that we take
ourselves, for a slow disk, is not counted.
"""

import time
from socket import socket
from typing import Final, Protocol

from registry.errors import Reason, UnavailableError, VerificationError

STALL_SECONDS: Final = 30.0
"""How long nothing may come."""

MIN_RATE: Final = 128 * 1024
"""Bytes for each second that was spent waiting, after the first :data:`STALL_SECONDS`."""


class Sink(Protocol):
    """Whoever takes a body."""

    def room(self) -> memoryview:
        """Where the next bytes go, at least one of them."""

    def filled(self, count: int) -> None:
        """Take the first ``count`` bytes of :meth:`room`."""


class Pace:
    """Counts how long a sender lets us wait, and for how much."""

    def __init__(self) -> None:
        self._waited = 0.0
        self._came = 0

    def patience(self) -> float:
        """How many seconds the next bytes may take.

        Raises:
            UnavailableError: ``SLOW_REQUEST``.
        """
        left = STALL_SECONDS + self._came / MIN_RATE - self._waited
        if left <= 0:
            raise slow()
        return min(left, STALL_SECONDS)

    def note(self, count: int, waited: float) -> None:
        """So many bytes came after so many seconds."""
        self._came += count
        self._waited += waited


def receive(connection: socket, left: int, sink: Sink) -> None:
    """Put the next ``left`` bytes of a connection into a sink, and close it.

    Raises:
        VerificationError: ``TRUNCATED_UPLOAD`` if the connection ends before.
        UnavailableError: ``SLOW_REQUEST``.
        RegistryError, OSError: Why the sink takes no more.
    """
    pace = Pace()
    with connection:
        while left:
            room = sink.room()[:left]
            connection.settimeout(pace.patience())
            began = time.monotonic()
            try:
                count = connection.recv_into(room)
            except TimeoutError:
                raise slow() from None
            except OSError:
                count = 0
            if not count:
                raise cut(left)
            pace.note(count, time.monotonic() - began)
            left -= count
            sink.filled(count)


def put(sink: Sink, data: bytes) -> None:
    """Put bytes that are in memory into a sink.

    Raises:
        RegistryError, OSError: Why the sink takes no more.
    """
    view = memoryview(data)
    while view:
        room = sink.room()
        count = min(len(room), len(view))
        room[:count] = view[:count]
        sink.filled(count)
        view = view[count:]


def slow() -> UnavailableError:
    """Why a body that comes too slowly is given up."""
    return UnavailableError(
        Reason.SLOW_REQUEST,
        "the body of this request came too slowly",
        expected=f"something within {STALL_SECONDS:g} seconds, {MIN_RATE} bytes per second in all",
    )


def cut(left: int) -> VerificationError:
    """Why a body that is too short is refused."""
    return VerificationError(
        Reason.TRUNCATED_UPLOAD,
        "fewer bytes came than were announced",
        actual=f"{left} bytes are missing",
        hint="send the blob again",
    )
