"""Strict text encodings: whatever would not be written back byte for byte is refused.

The standard library is lenient where signed text must not be: ``int`` takes ``1_000`` and ``٣``,
``b64decode`` takes stray padding bits, ``json.loads`` takes duplicate keys. Every reader here
writes its value back and compares, which refuses all second spellings at once.

JSON is RFC 8785 without floats. Values are typed :class:`msgspec.Struct` classes: unknown members,
wrong types and missing members are refused by type, everything else by comparing bytes.

JSON that others wrote in a spelling of their own, such as the header of a safetensors file, is
read by :func:`read_foreign_json`: any order and white space, but one meaning only. Where numbers
need not be integers, :func:`read_foreign_numbers` hands them out as text, never as floats.
"""

import base64
import binascii
import json
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Annotated, Any, NoReturn, TypeVar, cast

import msgspec

from registry.errors import MalformedError, Reason

T = TypeVar("T")

MAX_SAFE_INTEGER = 2**53 - 1
"""RFC 8785 §3.2.2.3: larger integers do not survive every JSON reader."""

SafeInt = Annotated[int, msgspec.Meta(ge=-MAX_SAFE_INTEGER, le=MAX_SAFE_INTEGER)]
"""An integer that every JSON reader keeps exactly."""

MAX_FOREIGN_DEPTH = 32
"""Levels of arrays and objects within each other that foreign JSON may have."""

Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_SAFE_INTEGER)]
"""A size, position or number of things."""

Hex16 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{32}\Z")]
"""Sixteen bytes in lowercase hexadecimal."""

Hex32 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
"""Thirty-two bytes in lowercase hexadecimal, such as a bare SHA-256."""

Hex64 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{128}\Z")]
"""Sixty-four bytes in lowercase hexadecimal, such as a bare SHA-512."""

Text = Annotated[str, msgspec.Meta(max_length=4096)]
"""Free text of at most 4096 characters."""

AsciiKey = Annotated[str, msgspec.Meta(pattern=r"\A[\x21-\x7e]{1,512}\Z")]
"""An object key that sorts the same by UTF-8 and by UTF-16, as RFC 8785 sorts."""

# Not \d, which takes the digits of every script.
Time = Annotated[
    str,
    msgspec.Meta(
        pattern=r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{6})?Z\Z"
    ),
]
"""A claimed UTC time, to the second or the microsecond; a claim, never a proof."""


LONG_BYTES = 64 * 1024
"""Bytes of foreign JSON above which other threads may run while it is read."""


class DuplicateKeyError(ValueError):
    """An object of foreign JSON has a key twice: the cause of a ``MALFORMED_JSON``."""


class Number(str):
    """A JSON number as it was spelled; what it means depends on the type it is read as."""

    __slots__ = ()


class Value(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    """A frozen value with one JSON spelling; members at their default are never written."""


_encoder = msgspec.json.Encoder(order="sorted")


@lru_cache(maxsize=256)
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def write_json(value: object) -> bytes:
    """Write ``value`` as RFC 8785 JSON. Object keys are ASCII, numbers are integers."""
    return _encoder.encode(value)


def read_json(data: bytes, kind: type[T], *, what: str = "value") -> T:
    """Read exactly what :func:`write_json` would write for a value of type ``kind``.

    Raises:
        MalformedError: ``MALFORMED_JSON`` if it is no JSON or not of that type, ``NOT_CANONICAL``
            if it is, but spelled in another way (duplicate keys, white space, order, escapes).
    """
    try:
        value: T = _decoder(kind).decode(data)  # type: ignore[arg-type]  # types are hashable
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError(
            Reason.MALFORMED_JSON, f"this is no {what}", actual=str(error)
        ) from error
    if _encoder.encode(value) != data:
        raise MalformedError(
            Reason.NOT_CANONICAL,
            f"this {what} is not spelled as RFC 8785 spells it",
            hint="write it with sorted keys, no white space, no duplicate and no default members",
        )
    return value


def read_foreign_json(data: bytes, *, what: str, max_depth: int = MAX_FOREIGN_DEPTH) -> object:
    """Read JSON in any spelling, as long as every reader must agree on what it says.

    Refused are duplicate keys, numbers that are no integers or not safe ones, lone surrogates,
    bytes that are not UTF-8, and more than ``max_depth`` levels.

    Raises:
        MalformedError: ``MALFORMED_JSON``.
    """
    return _read_foreign(data, what, max_depth, _safe_integer, _no_number)


def read_foreign_numbers(
    data: bytes, *, what: str, max_depth: int = MAX_FOREIGN_DEPTH, halves: bool = False
) -> object:
    """As :func:`read_foreign_json`, with every number, of any kind and size, as a :class:`Number`.

    Args:
        data: The JSON.
        what: What it should be, for the error.
        max_depth: How deeply it may be nested.
        halves: Whether lone surrogates pass, for text of which the other half comes later.

    Raises:
        MalformedError: ``MALFORMED_JSON``.
    """
    number = Number if len(data) <= LONG_BYTES else _number
    return _read_foreign(data, what, max_depth, number, number, halves=halves)


def read_proto_json(data: bytes, kind: type[T], *, what: str) -> T:
    """Read protobuf's JSON form as a ``kind``: any spelling, one meaning, ``null`` is absent.

    Raises:
        MalformedError: ``MALFORMED_JSON`` as :func:`read_foreign_json`, ``MALFORMED_FIELD`` if a
            member is unknown, missing or of another type.
    """
    value = _without_nulls(read_foreign_json(data, what=what))
    if not isinstance(value, dict):
        raise MalformedError(Reason.MALFORMED_JSON, f"this is no {what}")
    return convert(value, kind)


def _without_nulls(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def _read_foreign(
    data: bytes,
    what: str,
    max_depth: int,
    read_integer: Callable[[str], object],
    read_float: Callable[[str], object],
    *,
    halves: bool = False,
) -> object:
    try:
        value: object = _foreign_decoder(read_integer, read_float).decode(data.decode("utf-8"))
        # Only an escape can smuggle in half a surrogate pair, and then no UTF-8 can hold it.
        if not halves and b"\\u" in data:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise MalformedError(
            Reason.MALFORMED_JSON, f"this is no {what}", actual=_one_line(error)
        ) from error
    level = [value]
    for _ in range(max_depth):
        level = [child for item in level for child in _nested(item)]
        if not level:
            return value
    raise MalformedError(
        Reason.MALFORMED_JSON,
        f"this {what} is nested too deeply",
        expected=f"at most {max_depth} levels",
    )


@cache
def _foreign_decoder(
    read_integer: Callable[[str], object], read_float: Callable[[str], object]
) -> json.JSONDecoder:
    return json.JSONDecoder(
        object_pairs_hook=_object_without_duplicates,
        # What its stubs say of these is too narrow: whatever they return is the value.
        parse_int=cast("Callable[[str], int]", read_integer),
        parse_float=cast("Callable[[str], float]", read_float),
        parse_constant=_no_number,
    )


def _object_without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        # Not most_common(1): it imports a module, which a sealed inspection cannot.
        counts = Counter(key for key, _ in pairs)
        twice = max(counts, key=lambda key: counts[key])
        message = f"the key {twice[:80]!r} occurs twice"
        raise DuplicateKeyError(message)
    return members


def _safe_integer(text: str) -> int:
    # The length is checked first, since int() is quadratic.
    if len(text) > len(str(-MAX_SAFE_INTEGER)) or text == "-0" or abs(int(text)) > MAX_SAFE_INTEGER:
        return _no_number(text)
    return int(text)


def _number(text: str) -> Number:
    """As :class:`Number`, by way of Python: only there does a thread that reads let others run."""
    return Number(text)


def _no_number(text: str) -> NoReturn:
    message = f"the number {text[:32]} is not an integer of at most 2^53 - 1"
    raise ValueError(message)


def _nested(item: object) -> Iterable[object]:
    children: Iterable[object] = ()
    if isinstance(item, dict):
        children = item.values()
    elif isinstance(item, list):
        children = item
    return (child for child in children if isinstance(child, dict | list))


def _one_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]


def convert(members: dict[str, object], kind: type[T]) -> T:
    """Build a value of type ``kind``, checking what reading it would check.

    Raises:
        MalformedError: ``MALFORMED_FIELD``.
    """
    try:
        return msgspec.convert(members, kind)
    except msgspec.ValidationError as error:
        raise MalformedError(
            Reason.MALFORMED_FIELD, "a value is not of the expected form", actual=str(error)
        ) from error


def base64_text(data: bytes) -> str:
    """Write RFC 4648 §4 base64 with padding."""
    return base64.b64encode(data).decode("ascii")


def base64_bytes(text: str) -> bytes:
    """Read RFC 4648 §4 base64 in its one canonical spelling.

    Raises:
        MalformedError: ``MALFORMED_BASE64``.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error) as error:
        raise MalformedError(
            Reason.MALFORMED_BASE64, "this is not base64", actual=str(error)
        ) from error
    if base64.b64encode(data).decode("ascii") != text:
        raise MalformedError(
            Reason.MALFORMED_BASE64, "this base64 has stray padding bits", actual=repr(text[-8:])
        )
    return data


def hex_bytes(text: str, size: int) -> bytes:
    """Read ``size`` bytes of lowercase hexadecimal.

    Raises:
        MalformedError: ``MALFORMED_HEX``.
    """
    try:
        data = bytes.fromhex(text)
    except ValueError as error:
        raise MalformedError(Reason.MALFORMED_HEX, "this is not hexadecimal") from error
    if data.hex() != text or len(data) != size:
        raise MalformedError(
            Reason.MALFORMED_HEX,
            "this is not the expected hexadecimal",
            expected=f"{2 * size} lowercase digits",
            actual=f"{len(text)} characters",
        )
    return data


def decimal(text: str) -> int:
    """Read a non-negative ASCII decimal without leading zeros, up to 2^63 - 1.

    Raises:
        MalformedError: ``MALFORMED_DECIMAL``.
    """
    # 19 digits hold 2^63 - 1; the length is checked first, since int() is quadratic.
    if not (0 < len(text) <= 19) or not (text.isascii() and text.isdigit()):  # noqa: PLR2004
        raise MalformedError(
            Reason.MALFORMED_DECIMAL, "this is not a decimal number", actual=repr(text[:32])
        )
    value = int(text)
    if str(value) != text or value >= 2**63:
        raise MalformedError(
            Reason.MALFORMED_DECIMAL, "this decimal has leading zeros or is too large", actual=text
        )
    return value


def time_text(at: datetime) -> str:
    """Write a claimed time as :data:`Time` wants it, to the second."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
