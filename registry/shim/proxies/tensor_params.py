"""Sampling parameters that a request sends as tensors, as language models behind Triton take them.

Triton's vLLM backend takes one text of JSON, the input ``sampling_parameters``; TensorRT-LLM takes
a small tensor of numbers for each parameter, such as ``temperature`` or ``random_seed``. Read are
numbers under names that are known here, and of the JSON the same names: texts in tensors are what
people say, and are never read.
"""

import contextlib
import struct
from collections.abc import Iterable, Mapping
from typing import Final

from registry.core import encoding
from registry.core.encoding import Number
from registry.core.profiles.tensor import Tensor
from registry.errors import MalformedError

MAX_JSON_BYTES: Final = 64 * 1024
"""Bytes of a text of sampling parameters; one of more is not read."""

MAX_ELEMENTS: Final = 16
"""Numbers of a tensor that is a parameter: one for each sequence of a small batch."""

JSON_NAMES: Final = frozenset({"sampling_parameters", "SAMPLING_PARAMETERS"})
"""Inputs that are one text of JSON with parameters in it."""

NUMBER_NAMES: Final = frozenset(
    {
        *("temperature", "top_p", "top_k", "min_p", "seed", "n", "max_tokens"),
        *("presence_penalty", "frequency_penalty", "repetition_penalty", "length_penalty"),
        # As TensorRT-LLM calls them.
        *("runtime_top_k", "runtime_top_p", "random_seed", "len_penalty", "beam_width"),
        *("request_output_len", "min_length", "min_tokens", "num_return_sequences"),
    }
)
"""Parameters that are numbers, as tensors and in the JSON of others."""

NAMES: Final = JSON_NAMES | NUMBER_NAMES
"""The inputs that are read."""

_CODES: Final = {
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "FP16": "e",
    "FP32": "f",
    "FP64": "d",
}
_LENGTH: Final = struct.Struct("<I")
_DIGITS: Final = {"e": 5, "f": 9, "d": 17}
"""Decimal digits that tell any two numbers of a type apart."""


def read_tensor(tensor: Tensor) -> Mapping[str, str]:
    """The parameters that one input holds; none if it is not as such an input is.

    A tensor of several numbers holds one parameter if all are the same, and else none.
    """
    if tensor.name in JSON_NAMES:
        return _read_json(tensor)
    if tensor.name in NUMBER_NAMES and (text := _read_numbers(tensor)):
        return {tensor.name: text}
    return {}


def read_members(name: str, datatype: str, data: object) -> Mapping[str, str]:
    """As :func:`read_tensor`, of an input as REST spells it; its numbers stay as they stand."""
    elements = list(_flat(data, MAX_ELEMENTS + 1))
    if name in JSON_NAMES:
        only = elements[0] if len(elements) == 1 else None
        # A number of a document is a text of a kind of its own.
        text = only if isinstance(only, str) and not isinstance(only, Number) else ""
        return _members(text.encode()) if datatype == "BYTES" else {}
    if name not in NUMBER_NAMES or datatype not in _CODES:
        return {}
    numbers = [str.__str__(item) for item in elements if isinstance(item, Number)]
    text = _same(numbers) if len(numbers) == len(elements) else ""
    return {name: text} if text else {}


def _read_json(tensor: Tensor) -> Mapping[str, str]:
    if tensor.datatype != "BYTES" or len(tensor.raw) > MAX_JSON_BYTES:
        return {}
    length, text = tensor.raw[: _LENGTH.size], tensor.raw[_LENGTH.size :]
    return _members(text) if length == _LENGTH.pack(len(text)) else {}


def _members(data: bytes) -> Mapping[str, str]:
    if len(data) > MAX_JSON_BYTES:
        return {}
    try:
        members = encoding.read_foreign_numbers(data, what="sampling parameters")
    except MalformedError:
        return {}
    if not isinstance(members, dict):
        return {}
    return {
        name: str.__str__(value)
        for name, value in members.items()
        if name in NUMBER_NAMES and isinstance(value, Number)
    }


def _read_numbers(tensor: Tensor) -> str:
    code = _CODES.get(tensor.datatype)
    if code is None:
        return ""
    size = struct.calcsize(f"<{code}")
    count, rest = divmod(len(tensor.raw), size)
    if rest or not 0 < count <= MAX_ELEMENTS:
        return ""
    return _same([_text(item, code) for item in struct.unpack(f"<{count}{code}", tensor.raw)])


def _same(texts: list[str]) -> str:
    return texts[0] if len(texts) <= MAX_ELEMENTS and len(set(texts)) == 1 else ""


def _text(value: float, code: str) -> str:
    """A number in the fewest digits that give it back in its own type."""
    for digits in range(1, _DIGITS.get(code, 0) + 1):
        text = f"{value:.{digits}g}"
        # Few digits of the largest numbers are more than the type holds.
        with contextlib.suppress(OverflowError):
            if struct.pack(f"<{code}", float(text)) == struct.pack(f"<{code}", value):
                return text
    return str(value)


def _flat(data: object, most: int) -> Iterable[object]:
    """The elements of nested lists, not more than ``most``."""
    waiting, found = [data], 0
    while waiting and found < most:
        item = waiting.pop()
        if isinstance(item, list):
            waiting.extend(reversed(item[:most]))
        else:
            found += 1
            yield item
