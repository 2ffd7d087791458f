"""JSON, taken apart, changed and put together again: with members twice, odd numbers, odd spelling.

Text that is base64 is changed inside: as JSON, as DER or as bytes, whatever it holds.
"""

import base64
import binascii
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tools.fuzz.edits import NUMBERS, Edit, Shape, confusables, lines, numbers, raw
from tools.fuzz.elements import cbor, der

MIN_BASE64_CHARACTERS = 8
"""Shorter text is taken for a word."""


class Members(list[tuple[str, Any]]):
    """An object that may have a member twice."""


@dataclass(slots=True)
class Literal:
    """What stands there as it is, JSON or not."""

    text: str


_LITERALS = (
    *("null", "true", "false", '""', "[]", "{}", "[[]]", "-", "'a'", '"\\ud800"', '"\\u0000"'),
    *('"٣"', '"AA=="', '"AB=="', '"2026-01-01T00:00:00Z"', '"0001-01-01T00:00:00+23:59"', "\ufeff"),
)

_DEEP = 150


def members(data: bytes, edit: Edit, donor: bytes) -> bytes:
    """Change JSON."""
    try:
        value = _read(data)
        other = _read(donor)
    except (ValueError, RecursionError):
        return raw(data, edit, donor)
    places = list(_places(value))
    if not places:
        return raw(data, edit, donor)
    others = list(_places(other)) or places
    holder, at = places[edit.pick(len(places))]
    _change(holder, at, edit, others[edit.choose(len(others))])
    return _write(value, edit)


def _read(data: bytes) -> Any:
    return json.loads(data.decode("utf-8", "surrogateescape"), object_pairs_hook=Members)


def _places(value: Any) -> Iterator[tuple[list[Any], int]]:
    if isinstance(value, list):
        for number, item in enumerate(value):
            yield value, number
            yield from _places(item[1] if isinstance(value, Members) else item)


def _change(  # noqa: C901, PLR0912 - one line for each change
    holder: list[Any], at: int, edit: Edit, other: tuple[list[Any], int]
) -> None:
    key, value = holder[at] if isinstance(holder, Members) else ("", holder[at])
    foreign = _value(*other)
    match edit.how % 12:
        case 0:
            del holder[at]
        case 1:
            holder.insert(at, holder[at])
        case 2:
            holder.insert(at, (f"{key}x", value) if isinstance(holder, Members) else foreign)
        case 3:
            holder[at : at + 2] = holder[at : at + 2][::-1]
        case 4:
            _put(holder, at, foreign)
        case 5:
            _put(holder, at, Literal(_LITERALS[edit.choose(len(_LITERALS))]))
        case 6:
            number = NUMBERS[edit.choose(len(NUMBERS))].decode()
            _put(holder, at, Literal(number if edit.size % 2 else f'"{number}"'))
        case 7:
            for _ in range(1 if edit.size % 2 else edit.choose(_DEEP)):
                _put(holder, at, [_value(holder, at)])
        case 8 if isinstance(holder, Members):
            holder[at] = (_text(key, edit), value)
        case 9 if isinstance(value, str):
            _put(holder, at, confusables(value.encode("utf-8", "replace"), edit, b"").decode())
        case _:
            if isinstance(value, str):
                _put(holder, at, _text(value, edit))
            elif isinstance(value, int):
                _put(holder, at, value + edit.choose(3) - 1)
            else:
                _put(holder, at, str(edit.size))


def _value(holder: list[Any], at: int) -> Any:
    return holder[at][1] if isinstance(holder, Members) else holder[at]


def _put(holder: list[Any], at: int, value: Any) -> None:
    holder[at] = (holder[at][0], value) if isinstance(holder, Members) else value


def _text(text: str, edit: Edit) -> str:
    """Text, changed; base64 inside, and what it holds along its own structure."""
    inner = Edit(edit.size & 0xFF, edit.where * 257 % 65536, edit.where ^ edit.size, edit.content)
    if len(text) >= MIN_BASE64_CHARACTERS:
        try:
            data = base64.b64decode(text, validate=True)
        except (ValueError, binascii.Error):
            pass
        else:
            return base64.b64encode(structured(data, inner, data)).decode()
    return raw(text.encode("utf-8", "replace"), inner, b"").decode("utf-8", "replace")


def structured(data: bytes, edit: Edit, donor: bytes) -> bytes:
    """Change bytes along whatever structure they seem to have."""
    shape: Shape = raw
    if data[:1] in (b"{", b"["):
        shape = members
    elif data[:1] in (b"\x30", b"\x31"):
        shape = der
    elif data[:1] == b"\xd2":
        shape = cbor
    elif b"\n" in data and data.isascii():
        shape = lines
    elif data.isdigit():
        shape = numbers
    return shape(data, edit, donor)


def _write(value: Any, edit: Edit) -> bytes:
    # Seldom in another spelling: most readers refuse that at once and would look no further.
    style = edit.size % 16
    text = _spelled(value, " " if style == 0 else "", ascii_only=style == 1)
    # Half a surrogate pair becomes the bytes that no UTF-8 has.
    return text.encode("utf-8", "surrogatepass")


def _spelled(value: Any, gap: str, *, ascii_only: bool) -> str:
    if isinstance(value, Literal):
        return value.text
    if isinstance(value, Members):
        inner = (
            f"{_spelled(key, gap, ascii_only=ascii_only)}:{gap}"
            f"{_spelled(item, gap, ascii_only=ascii_only)}"
            for key, item in value
        )
        return "{" + f",{gap}".join(inner) + "}"
    if isinstance(value, list):
        inner = (_spelled(item, gap, ascii_only=ascii_only) for item in value)
        return "[" + f",{gap}".join(inner) + "]"
    return json.dumps(value, ensure_ascii=ascii_only)
