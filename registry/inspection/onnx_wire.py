"""The bytes of an ONNX file, before any protobuf library sees them.

Protobuf is lenient where two readers must not differ: a field that occurs twice overwrites or
merges, so two models in a row are one model; unknown fields vanish; enumerations that are not
known turn into their default. :func:`skim` walks the file once, refuses all of that, and hands on
a *skeleton*: the same message, in which each ``raw_data`` is replaced by its length. Weights are
measured, never loaded, so that a file of 2 GiB is read in a few megabytes.
"""

from collections.abc import Iterator
from typing import NamedTuple

from registry.errors import LimitExceededError, MalformedError, Reason
from registry.inspection.onnx_schema import (
    BYTES,
    DOUBLE,
    ENUM,
    FLOAT,
    INT32,
    INT64,
    MESSAGES,
    TEXT,
    Field,
)

MAX_NESTING = 32
"""Graphs within each other (the bodies of If, Loop and Scan), without the outermost."""

MAX_MESSAGE_DEPTH = 100
"""Messages within each other: where protobuf readers in C++ and Python stop by default."""

MAX_SKELETON_BYTES = 256 * 1024 * 1024
"""Bytes of everything that is not ``raw_data``."""

MAX_UNKNOWN_FIELDS = 100
"""Different unknown fields in one file; more are no newer ONNX, but noise."""

LENGTH_BYTES = 8
"""Bytes of the little-endian number that stands for a ``raw_data`` in a skeleton."""

_MAX_VARINT_BYTES = 10
_MAX_TAG = 2**32 - 1
_RAW_DATA = ("TensorProto", 9)
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_WIRE_TYPES = {INT64: 0, INT32: 0, ENUM: 0, FLOAT: 5, DOUBLE: 1, TEXT: 2, BYTES: 2}


class Skim(NamedTuple):
    """A file without its weights.

    Attributes:
        skeleton: The message, each ``raw_data`` replaced by its length in ``LENGTH_BYTES``.
        unknown: The fields that this release does not know, as ``Message.number``, sorted.
    """

    skeleton: bytes
    unknown: tuple[str, ...]


def skim(data: memoryview) -> Skim:
    """Walk the wire form of a ``ModelProto``.

    Raises:
        MalformedError: ``MALFORMED_ONNX``, ``ONNX_NESTING``.
        LimitExceededError: ``INSPECTION_LIMIT``.
    """
    walk = _Walk()
    skeleton = walk.message("ModelProto", data, depth=0, graphs=0)
    return Skim(skeleton, tuple(sorted(walk.unknown)))


class _Token(NamedTuple):
    """One field as it lies in the file."""

    number: int
    wire_type: int
    value: int  # of a varint
    start: int  # of the tag
    payload: int  # where the bytes after tag and length begin
    end: int


class _Walk:
    def __init__(self) -> None:
        self.unknown: set[str] = set()
        self.kept_bytes = 0

    def message(self, name: str, data: memoryview, *, depth: int, graphs: int) -> bytes:
        graphs += name == "GraphProto"
        if graphs > MAX_NESTING + 1 or depth > MAX_MESSAGE_DEPTH:
            raise MalformedError(
                Reason.ONNX_NESTING,
                "this ONNX model is nested too deeply",
                expected=f"at most {MAX_NESTING} graphs or {MAX_MESSAGE_DEPTH} messages",
            )
        fields = MESSAGES[name]
        seen: set[int | str] = set()
        parts: list[bytes | memoryview] = []
        for token in _tokens(data, name):
            field = fields.get(token.number)
            if field is None:
                self._note_unknown(f"{name}.{token.number}")
                continue
            _check_once(seen, field, name, token.number)
            _check_value(data, field, name, token)
            if field.kind in MESSAGES:
                body: bytes | memoryview = self.message(
                    field.kind, data[token.payload : token.end], depth=depth + 1, graphs=graphs
                )
            elif (name, token.number) == _RAW_DATA:
                body = (token.end - token.payload).to_bytes(LENGTH_BYTES, "little")
            else:
                parts.append(data[token.start : token.end])
                self._keep(token.end - token.start)
                continue
            self._keep(LENGTH_BYTES)
            parts += (_varint_bytes(token.number << 3 | _LENGTH), _varint_bytes(len(body)), body)
        return b"".join(parts)

    def _note_unknown(self, field: str) -> None:
        self.unknown.add(field)
        if len(self.unknown) > MAX_UNKNOWN_FIELDS:
            raise _malformed("this ONNX file is full of unknown fields", where=field)

    def _keep(self, size: int) -> None:
        self.kept_bytes += size
        if self.kept_bytes > MAX_SKELETON_BYTES:
            raise LimitExceededError(
                Reason.INSPECTION_LIMIT,
                "this ONNX model has too much beside its raw tensor data",
                expected=f"at most {MAX_SKELETON_BYTES} bytes",
                hint="store weights as raw_data or as external data",
            )


def _tokens(data: memoryview, name: str) -> Iterator[_Token]:
    position, size = 0, len(data)
    while position < size:
        start = position
        tag, position = _varint(data, position)
        number, wire_type = tag >> 3, tag & 7
        if number == 0 or tag > _MAX_TAG:
            raise _malformed("this is no protobuf message", where=name, actual=f"tag {tag}")
        value, payload = 0, position
        if wire_type == _VARINT:
            value, position = _varint(data, position)
        elif wire_type == _LENGTH:
            length, payload = _varint(data, position)
            position = payload + length
        elif wire_type in (_FIXED64, _FIXED32):
            position += 8 if wire_type == _FIXED64 else 4
        else:
            raise _malformed(
                "this is no protobuf message", where=name, actual=f"wire type {wire_type}"
            )
        if position > size:
            raise _malformed(
                "this ONNX file is cut off",
                where=f"{name}.{number}",
                expected=f"{position - payload} bytes",
                actual=f"{size - payload} bytes",
            )
        yield _Token(number, wire_type, value, start, payload, position)


def _check_once(seen: set[int | str], field: Field, name: str, number: int) -> None:
    if field.repeated:
        return
    key = field.choice or number
    if key in seen:
        raise _malformed(
            "a field of this ONNX file occurs twice where one is allowed",
            where=f"{name}.{number}",
            hint="two models written one after the other read as one; publish them as two files",
        )
    seen.add(key)


def _check_value(data: memoryview, field: Field, name: str, token: _Token) -> None:
    expected = _WIRE_TYPES.get(field.kind, _LENGTH)
    packed = field.repeated and token.wire_type == _LENGTH
    if token.wire_type != expected and not packed:
        raise _malformed(
            "a field of this ONNX file has the wrong wire type",
            where=f"{name}.{token.number}",
            expected=str(expected),
            actual=str(token.wire_type),
        )
    if field.kind == TEXT:
        try:
            str(data[token.payload : token.end], "utf-8")
        except UnicodeDecodeError as error:
            raise _malformed(
                "a text in this ONNX file is not UTF-8", where=f"{name}.{token.number}"
            ) from error
    elif (field.kind == ENUM and token.value > field.max_value) or (
        # C++ readers silently drop the upper bits of a 32-bit number.
        field.kind == INT32 and not packed and not _fits_int32(token.value)
    ):
        raise _malformed(
            "a number in this ONNX file is out of range",
            where=f"{name}.{token.number}",
            actual=str(token.value),
        )


def _fits_int32(value: int) -> bool:
    return value < 2**31 or value >= 2**64 - 2**31


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    for end in range(position, min(position + _MAX_VARINT_BYTES, len(data))):
        byte = data[end]
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:  # noqa: PLR2004 - the bit that says more follows
            if value >= 2**64:
                break
            return value, end + 1
    raise _malformed("this is no protobuf message", actual="a number that does not end")


def _varint_bytes(value: int) -> bytes:
    written = bytearray()
    while value > 0x7F:  # noqa: PLR2004 - seven bits a byte
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)


def _malformed(
    what: str, *, where: str = "", expected: str = "", actual: str = "", hint: str = ""
) -> MalformedError:
    return MalformedError(
        Reason.MALFORMED_ONNX, what, where=where, expected=expected, actual=actual, hint=hint
    )
