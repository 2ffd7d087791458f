"""Event streams (WHATWG HTML, "server-sent events"), read piece by piece as they pass.

Lines end in CR, LF or CRLF, also when a CRLF lies across two pieces. Bytes are split before
anything is decoded, so that a character cut in two by the network is whole again in its event.
"""

import re
from dataclasses import dataclass

from registry.errors import LimitExceededError, Reason

MAX_EVENT_BYTES = 4 * 1024 * 1024
"""Bytes of one event; a chunk of a chat takes some 200, an image some 100,000."""

_LINE_END = re.compile(rb"\r\n|\r|\n")
_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Event:
    """One event.

    Attributes:
        name: Its type; empty for the usual kind, ``message``.
        data: Its data lines, joined by LF.
    """

    name: bytes
    data: bytes


class EventReader:
    """Takes a stream in pieces of any size and gives its events. An unfinished one is no event."""

    def __init__(self) -> None:
        # A line comes in many pieces: each is looked at once, and copied once or twice.
        self._line = bytearray()
        self._started = False
        self._after_cr = False
        self._name = b""
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> list[Event]:
        """The events that ``piece`` completes.

        Raises:
            LimitExceededError: ``EVENT_SIZE``.
        """
        if self._after_cr and piece:
            piece = piece.removeprefix(b"\n")
            self._after_cr = False
        if not piece:
            return []
        self._after_cr = piece.endswith(b"\r")
        first, *others = _LINE_END.split(piece)
        self._line += first
        self._bound(len(self._line))
        if not others:
            return []
        lines = [bytes(self._line), *others]
        self._line = bytearray(lines.pop())
        events: list[Event] = []
        for line in lines:
            if not self._started:
                self._started = True
                line = line.removeprefix(_MARK)  # noqa: PLW2901 - one mark, at the very start
            if line:
                self._field(line)
            elif self._data:
                events.append(Event(self._name, b"\n".join(self._data)))
                self._forget()
            else:
                self._forget()
        return events

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._size += len(value) + 1
            self._bound(self._size)
            self._data.append(value)
        elif name == b"event":
            self._name = value

    def _forget(self) -> None:
        self._name, self._data, self._size = b"", [], 0

    def _bound(self, size: int) -> None:
        if size > MAX_EVENT_BYTES:
            raise LimitExceededError(
                Reason.EVENT_SIZE,
                "an event of this stream is too large",
                expected=f"at most {MAX_EVENT_BYTES} bytes",
                actual=f"{size} bytes or more",
            )
