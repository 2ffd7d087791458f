"""Edits: small changes to bytes and to text, each decided by four values that a fuzzer draws."""

import base64
import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Final

RANGE: Final = 2**16
"""Positions and sizes of an edit are drawn below this, and scaled to what is edited."""

MAX_GROWTH_BYTES: Final = 64 * 1024
"""What one edit may add, at most: inputs stay small enough to try thousands a second."""

NUMBERS: Final = (
    b"0", b"1", b"-1", b"-0", b"+1", b"00", b"01", b"1.0", b"1e3", b"0x10", b"1_0", b"255", b"256",
    b"65535", b"65536", b"2147483648", b"4294967296", b"9007199254740991", b"9007199254740992",
    b"9223372036854775807", b"9223372036854775808", b"18446744073709551615",
    b"18446744073709551616", b"9" * 40, b"9" * 5000, b"NaN", b"Infinity",
)  # fmt: skip
"""Numbers around which readers go wrong."""

CONFUSABLES: Final = {
    b"a": "\u0430", b"e": "\u0435", b"o": "\u043e", b"c": "\u0441", b"p": "\u0440",
    b"x": "\u0445", b"A": "\u0391", b"0": "\u0660", b"1": "\uff11", b"3": "\u0663",
    b"-": "\u2010", b"+": "\uff0b", b"/": "\uff0f", b"=": "\uff1d", b".": "\u2024",
    b" ": "\u00a0", b"\n": "\u2028", b"\t": " ", b'"': "\u201c", b":": "\uff1a", b"@": "\uff20",
}  # fmt: skip
"""One character → another that looks like it."""

_CONFUSED: Final = b"".join(CONFUSABLES)
_CONFUSING: Final = re.compile(b"[" + re.escape(_CONFUSED) + b"]")

SPECIAL: Final = (
    b"\x00", b"\n", b"\r\n", b"\n\n", b" ", b"\t", b"+", b"-", b"=", b"==", b"_", b"/", b"\\",
    b'"', b",", b":", b"{}", b"[]", b"null", b"true", b"\\u0041", b"\\ud800", b"\xef\xbb\xbf",
    b"\xc0\x80", b"\xed\xa0\x80", b"\xff", b"\x7f", b"\x80", b"\xc2\xa0", b"\xe2\x80\x94 ",
    b"\xe2\x80\xae", b"%2e%2e/", b"../", b"x000/", b".p/", b"\x30\x80", b"\x04\x82\xff\xff",
    b"\x9f", b"\x5f", b"\xfb",
)  # fmt: skip
"""Bytes that mean something to one format or another."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One change.

    Attributes:
        how: Which change, and which variant of it.
        where: The place, below :data:`RANGE`.
        size: How much, below :data:`RANGE`.
        content: Bytes to put there.
    """

    how: int
    where: int
    size: int
    content: bytes

    def pick(self, count: int) -> int:
        """One of ``count`` places; zero if there is none."""
        return self.where * count // RANGE

    def choose(self, count: int) -> int:
        """One of ``count`` variants, independent of the place."""
        return self.size * count // RANGE


Shape = Callable[[bytes, Edit, bytes], bytes]
"""Changes bytes along the structure they have; the last argument is another example, to borrow
from. Bytes without that structure are changed as bytes."""


def raw(  # noqa: C901, PLR0911 - one line for each change
    data: bytes, edit: Edit, donor: bytes
) -> bytes:
    """Change bytes as bytes."""
    start = edit.pick(len(data) + 1)
    # Small changes are the dangerous ones, but not the only ones.
    width = (1, 2, 4, 8, 32, 256)[edit.choose(6)]
    head, middle, tail = data[:start], data[start : start + width], data[start + width :]
    match edit.how % 12:
        case 0:
            return head + tail
        case 1:
            return head + middle * 2 + tail
        case 2:
            return head + edit.content + data[start:]
        case 3:
            return head + edit.content + data[start + len(edit.content) :]
        case 4:
            return head + _flipped(middle, edit.size) + tail
        case 5:
            return head + middle[::-1] + tail
        case 6:
            return head
        case 7:
            return data[start:]
        case 8:
            return head + donor[edit.choose(len(donor) + 1) :][:MAX_GROWTH_BYTES]
        case 9:
            return data + data[:MAX_GROWTH_BYTES]
        case 10:
            return head + middle * (MAX_GROWTH_BYTES // max(len(middle), 1) // 8) + tail
        case _:
            return head + bytes([edit.size & 0xFF]) * width + tail


def numbers(data: bytes, edit: Edit, donor: bytes) -> bytes:
    """Put a dangerous number in the place of one that stands there in digits."""
    found = list(re.finditer(rb"[0-9]+", data))
    if not found:
        return raw(data, edit, donor)
    place = found[edit.pick(len(found))]
    return data[: place.start()] + NUMBERS[edit.choose(len(NUMBERS))] + data[place.end() :]


def confusables(data: bytes, edit: Edit, donor: bytes) -> bytes:
    """Put a character that looks the same in the place of another."""
    count = len(data) - len(data.translate(None, _CONFUSED))
    if not count:
        return raw(data, edit, donor)
    place = next(islice(_CONFUSING.finditer(data), edit.pick(count), None)).start()
    other = CONFUSABLES[data[place : place + 1]].encode()
    return data[:place] + other + data[place + 1 :]


def lines(data: bytes, edit: Edit, donor: bytes) -> bytes:
    """Change text line by line."""
    parts = data.split(b"\n")
    at = edit.pick(len(parts))
    others = donor.split(b"\n")
    match edit.how % 8:
        case 0:
            del parts[at]
        case 1:
            parts.insert(at, parts[at])
        case 2:
            parts.insert(at, others[edit.choose(len(others))])
        case 3:
            parts[at] = others[edit.choose(len(others))]
        case 4:
            parts.insert(at, edit.content)
        case 5:
            parts[at : at + 2] = [b"".join(parts[at : at + 2])]
        case 6:
            parts[at : at + 2] = parts[at : at + 2][::-1]
        case _:
            parts[at] = words(parts[at], edit, donor)
    return b"\n".join(parts)


def words(line: bytes, edit: Edit, donor: bytes) -> bytes:
    """Change one word of a line; base64 is changed inside."""
    parts = line.split(b" ")
    at = edit.choose(len(parts))
    parts[at] = inside_base64(raw)(parts[at], edit, donor)
    return b" ".join(parts)


def inside_base64(shape: Shape) -> Shape:
    """The shape of base64 whose bytes have the shape ``shape``."""

    def act(data: bytes, edit: Edit, donor: bytes) -> bytes:
        try:
            inner = base64.b64decode(data, validate=True)
        except (ValueError, binascii.Error):
            return raw(data, edit, donor)
        return base64.b64encode(shape(inner, edit, donor))

    return act


def _flipped(data: bytes, bit: int) -> bytes:
    if not data:
        return data
    at = bit // 8 % len(data)
    return data[:at] + bytes([data[at] ^ 1 << bit % 8]) + data[at + 1 :]
