"""The JSON of the Open Inference Protocol v2: outputs, or inputs, in a file that people can read.

::

    {"model_name":"acme/x","outputs":[{"name":"y","datatype":"FP32","shape":[1,3],
     "data":[0.1,2.5,-3.0]}]}

``data`` is row-major, flat or nested as the shape says. A number of a floating-point type goes from
its decimal digits to binary64 and from there to its type, rounding half to even both times; one
that overflows fails. A number of an integer type is exact: binary64 would change large ones. JSON
has no NaN, no infinities and no bytes that are not UTF-8, so tensors that hold them have no such
file. BF16 has none either: the protocol knows it as raw bytes only.

Over HTTP raw bytes may follow the JSON (the protocol's extension for binary tensors): a header says
where the JSON ends, and an output whose parameters have ``binary_data_size`` takes that many of the
bytes after it, in the order of the outputs.

Members that the protocol has beside the outputs do not count; members that it has not are refused.
"""

import math
import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from registry.core import encoding
from registry.core.encoding import Number
from registry.core.profiles.tensor import (
    ELEMENT_BYTES,
    MAX_TENSORS,
    Tensor,
    by_name,
    join_elements,
    split_elements,
)
from registry.errors import MalformedError, Reason

MAX_DOCUMENT_BYTES = 256 * 1024 * 1024
"""Bytes of one response file."""

_CODES = {
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "FP16": "e",
    "FP32": "f",
    "FP64": "d",
}
_FLOATS = ("FP16", "FP32", "FP64")
_MAX_INTEGER_DIGITS = 20
_RESPONSE_MEMBERS = {"model_name", "model_version", "id", "parameters", "outputs"}
# Brackets of objects, and whole strings, in which brackets mean nothing. Possessive: a string is
# never tried in another way, which would take memory for every escape in it.
_PIECES = re.compile(rb'[{}]|"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_BINARY_SIZE = "binary_data_size"
_REQUEST_MEMBERS = {"id", "parameters", "inputs", "outputs"}
_WANTED_MEMBERS = {"name", "parameters"}
_OUTPUT_MEMBERS = {"name", "shape", "datatype", "parameters", "data"}


@dataclass(frozen=True, slots=True)
class InferenceResponse:
    """What a response says: which model it names, which is no proof, and the outputs."""

    model_name: str
    outputs: tuple[Tensor, ...]

    def to_bytes(self) -> bytes:
        """Write the response; floating-point numbers read back to the same bits.

        Raises:
            MalformedError: ``PROFILE`` for what JSON cannot hold.
        """
        return encoding.write_json(
            {
                "model_name": self.model_name,
                "outputs": [
                    {
                        "name": tensor.name,
                        "datatype": tensor.datatype,
                        "shape": list(tensor.shape),
                        "data": _values(tensor),
                    }
                    for tensor in by_name(self.outputs)
                ],
            }
        )

    @classmethod
    def parse(cls, data: bytes, json_bytes: int | None = None) -> "InferenceResponse":
        """Read a response.

        Args:
            data: Its body.
            json_bytes: How much of it is JSON, before raw bytes of outputs; None for all of it.

        Raises:
            MalformedError: ``MALFORMED_JSON`` for what is no JSON, which duplicate keys and NaN are
                not; ``PROFILE`` for what is no response or does not fit its type.
        """
        document, tail = _read(data, json_bytes, "response")
        members = _members(document, _RESPONSE_MEMBERS, "response")
        model_name, outputs = members.get("model_name"), members.get("outputs")
        if type(model_name) is not str or not isinstance(outputs, list):
            _refuse("a response has a model_name and a list of outputs")
        if not 1 <= len(outputs) <= MAX_TENSORS:
            _refuse("a response has outputs", expected=f"1 to {MAX_TENSORS}")
        tensors = tuple(_tensor(item, tail) for item in outputs)
        tail.end()
        by_name(tensors)
        return cls(model_name, tensors)


@dataclass(frozen=True, slots=True)
class InferenceRequest:
    """What a request asks: its inputs, and which outputs in which order; none means all."""

    inputs: tuple[Tensor, ...]
    asked: tuple[str, ...]

    @classmethod
    def parse(cls, data: bytes, json_bytes: int | None = None) -> "InferenceRequest":
        """Read a request; ``json_bytes`` are as for :meth:`InferenceResponse.parse`.

        Raises:
            MalformedError: As :meth:`InferenceResponse.parse`.
        """
        document, tail = _read(data, json_bytes, "request")
        members = _members(document, _REQUEST_MEMBERS, "request")
        inputs, wanted = members.get("inputs"), members.get("outputs", [])
        if not isinstance(inputs, list) or not isinstance(wanted, list):
            _refuse("a request has a list of inputs, and may have one of outputs")
        if not 1 <= len(inputs) <= MAX_TENSORS or len(wanted) > MAX_TENSORS:
            _refuse("a request has inputs", expected=f"1 to {MAX_TENSORS}")
        tensors = tuple(_tensor(item, tail) for item in inputs)
        tail.end()
        by_name(tensors)
        return cls(tensors, tuple(map(_wanted, wanted)))


def json_end(data: bytes) -> int:
    """Where the first JSON object in ``data`` ends; its length if it does not end.

    For a body whose raw bytes follow its JSON, if the header that says where they begin is lost.
    """
    depth = 0
    for piece in _PIECES.finditer(data):
        found = piece[0]
        depth += (found == b"{") - (found == b"}")
        if found == b"}" and not depth:
            return piece.end()
    return len(data)


def _wanted(item: object) -> str:
    name = _members(item, _WANTED_MEMBERS, "requested output").get("name")
    if type(name) is not str:
        _refuse("a requested output has a name")
    return name


def _read(data: bytes, json_bytes: int | None, what: str) -> "tuple[object, _Tail]":
    if len(data) > MAX_DOCUMENT_BYTES:
        _refuse(
            f"this {what} is too large",
            expected=f"at most {MAX_DOCUMENT_BYTES} bytes",
            actual=f"{len(data)} bytes",
        )
    if json_bytes is not None and not 0 < json_bytes <= len(data):
        _refuse(f"the JSON of this {what} is longer than its body", actual=str(json_bytes))
    document = encoding.read_foreign_numbers(data[:json_bytes], what=f"inference {what}")
    return document, _Tail(b"" if json_bytes is None else data[json_bytes:])


class _Tail:
    """Raw bytes of outputs after the JSON; each output takes its own from the front."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int, where: str) -> bytes:
        end = self._at + size
        if size < 0 or end > len(self._data):
            _refuse("fewer raw bytes follow the JSON than this output has", where)
        taken, self._at = self._data[self._at : end], end
        return taken

    def end(self) -> None:
        if self._at != len(self._data):
            _refuse("raw bytes follow the JSON that belong to no output")


def _tensor(item: object, tail: _Tail) -> Tensor:
    members = _members(item, _OUTPUT_MEMBERS, "tensor")
    name, datatype, sizes = members.get("name"), members.get("datatype"), members.get("shape")
    if type(name) is not str or type(datatype) is not str or not isinstance(sizes, list):
        _refuse("a tensor has a name, a datatype and a shape")
    where = f"tensor {name[:80]!r}"
    shape = tuple(_integer(size, where) for size in sizes)
    parameters, data = members.get("parameters"), members.get("data")
    size = parameters.get(_BINARY_SIZE) if isinstance(parameters, dict) else None
    if data is not None and size is not None:
        _refuse("this output has its data twice", where)
    if size is not None:
        raw = tail.take(_integer(size, where), where)
    elif data is not None:
        raw = _raw(datatype, _flatten(data, shape, where), where)
    else:
        _refuse("this output has no data", where)
    tensor = Tensor(name, datatype, shape, raw)
    tensor.validate()
    return tensor


def _members(item: object, known: set[str], what: str) -> dict[str, object]:
    if not isinstance(item, dict):
        _refuse(f"this {what} is no object")
    if strange := sorted(set(item) - known):
        _refuse(
            f"this {what} has a member that the protocol does not know",
            expected=", ".join(sorted(known)),
            actual=repr(strange[0][:80]),
        )
    return item


def _flatten(data: object, shape: tuple[int, ...], where: str) -> list[object]:
    """The elements of ``data``, which is one flat list or lists within lists of just that shape."""
    if not isinstance(data, list):
        _refuse("the data of a tensor is a list", where)
    if not any(isinstance(item, list) for item in data):
        return data
    level: list[object] = [data]
    for size in shape:
        if not all(isinstance(item, list) and len(item) == size for item in level):
            _refuse("shape and nested data disagree", where, expected=str(shape))
        level = [child for item in level if isinstance(item, list) for child in item]
    return level


def _raw(datatype: str, elements: Sequence[object], where: str) -> bytes:
    if datatype == "BYTES":
        texts = [_text(item, where) for item in elements]
        return join_elements([text.encode() for text in texts])
    if datatype == "BOOL":
        if not all(isinstance(item, bool) for item in elements):
            _refuse("this is no truth value", where, expected="true or false")
        return bytes(map(bool, elements))
    code = _CODES.get(datatype)
    if code is None:
        _refuse("this datatype has no JSON form", where, actual=repr(datatype[:32]))
    read: Callable[[object, str], float] = _float if datatype in _FLOATS else _integer
    values = [read(item, where) for item in elements]
    try:
        return struct.pack(f"<{len(values)}{code}", *values)
    except (OverflowError, struct.error) as error:
        _refuse("a number is outside the range of its type", where, expected=datatype, cause=error)


def _text(item: object, where: str) -> str:
    if type(item) is not str:
        _refuse("an element of BYTES is a string", where, actual=ascii(item)[:32])
    return item


def _float(item: object, where: str) -> float:
    value = float(_number(item, where))
    # The decimal itself may overflow binary64, where struct would write an infinity.
    if not math.isfinite(value):
        _refuse("a number is outside the range of its type", where, actual=str(item)[:32])
    return value


def _integer(item: object, where: str) -> int:
    number = _number(item, where)
    # The length is checked first, since int() is quadratic.
    if not number.lstrip("-").isdigit() or len(number) > _MAX_INTEGER_DIGITS:
        _refuse("this is no integer of at most 64 bits", where, actual=number[:32])
    return int(number)


def _number(item: object, where: str) -> Number:
    if not isinstance(item, Number):
        _refuse("this is no number", where, actual=ascii(item)[:32])
    return item


def _values(tensor: Tensor) -> Sequence[object]:
    """The elements of a tensor as JSON can hold them."""
    tensor.validate()
    where = f"tensor {tensor.name[:80]!r}"
    if tensor.datatype == "BYTES":
        return [_decoded(element, where) for element in split_elements(tensor.raw)]
    if tensor.datatype == "BOOL":
        return [byte == 1 for byte in tensor.raw]
    code = _CODES.get(tensor.datatype)
    if code is None:
        _refuse("this datatype has no JSON form", where, actual=tensor.datatype)
    count = len(tensor.raw) // ELEMENT_BYTES[tensor.datatype]
    values = struct.unpack(f"<{count}{code}", tensor.raw)
    if tensor.datatype in _FLOATS and not all(map(math.isfinite, values)):
        _refuse("JSON has neither NaN nor infinities", where)
    return values


def _decoded(element: bytes, where: str) -> str:
    try:
        return element.decode("utf-8")
    except UnicodeDecodeError as error:
        _refuse("JSON holds no bytes that are not UTF-8", where, cause=error)


def _refuse(
    what: str,
    where: str = "",
    *,
    expected: str = "",
    actual: str = "",
    cause: Exception | None = None,
) -> NoReturn:
    raise MalformedError(
        Reason.PROFILE, what, where=where, expected=expected, actual=actual
    ) from cause
