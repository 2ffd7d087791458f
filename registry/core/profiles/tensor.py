"""``output/tensor/v1``: named tensors with their type, shape and little-endian bytes.

Each tensor has the digest
``d = H(output/tensor/v1 ‖ 0x00 ‖ JCS{name, datatype, shape, nbytes} ‖ 0x00 ‖ raw)``, and the output
has ``H(JCS{schema, complete, outputs: [{name, datatype, shape, digest}]})``, sorted by the UTF-8
bytes of the names. Raw bytes are little-endian and row-major without padding. A BOOL takes one
byte, 0 or 1. An element of BYTES is ``u32 LE length ‖ bytes``. Raw NaN payloads stay as they are:
nothing here ever turns bytes into numbers.
"""

import hashlib
import itertools
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from registry.core import digest, encoding
from registry.core.encoding import MAX_SAFE_INTEGER, Value
from registry.errors import MalformedError, Reason

NAME: Final = "output/tensor/v1"
"""The name of this profile."""

REQUEST_NAME: Final = "request/tensor/v1"
"""The name of the same rule for the inputs of a call."""

MAX_TENSORS = 4096
"""Tensors of one output."""

MAX_RANK = 32
"""Dimensions of one tensor."""

ELEMENT_BYTES = {
    "BOOL": 1,
    "UINT8": 1,
    "UINT16": 2,
    "UINT32": 4,
    "UINT64": 8,
    "INT8": 1,
    "INT16": 2,
    "INT32": 4,
    "INT64": 8,
    "FP16": 2,
    "FP32": 4,
    "FP64": 8,
    "BF16": 2,
}
"""Bytes of one element of every datatype of the Open Inference Protocol but BYTES."""

_PREFIX = NAME.encode() + b"\0"
_LENGTH = struct.Struct("<I")
_FRAME = struct.Struct(">Q")


@dataclass(frozen=True, slots=True)
class Tensor:
    """A named tensor.

    Attributes:
        datatype: As the Open Inference Protocol spells it: ``FP32``, ``INT64``, ``BYTES``, …
        raw: The elements, little-endian and row-major.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    raw: bytes

    def validate(self) -> None:
        """Check that the bytes are as many, and of the form, that type and shape announce.

        Raises:
            MalformedError: ``PROFILE``.
        """
        if len(self.shape) > MAX_RANK or not all(0 <= n <= MAX_SAFE_INTEGER for n in self.shape):
            raise self._wrong(
                "the shape of this tensor is none",
                f"at most {MAX_RANK} sizes from 0 to 2^53 - 1",
                str(self.shape)[:80],
            )
        count = math.prod(self.shape)
        if self.datatype == "BYTES":
            actual = sum(1 for _ in split_elements(self.raw))
            if actual != count:
                raise self._wrong("shape and elements disagree", str(count), str(actual))
            return
        size = ELEMENT_BYTES.get(self.datatype)
        if size is None:
            known = ", ".join((*ELEMENT_BYTES, "BYTES"))
            raise self._wrong("this datatype is not known", known, repr(self.datatype[:32]))
        if len(self.raw) != count * size:
            raise self._wrong(
                "shape and bytes disagree", f"{count * size} bytes", f"{len(self.raw)} bytes"
            )
        if self.datatype == "BOOL" and self.raw.strip(b"\0\1"):
            raise self._wrong("a BOOL is one byte, 0 or 1", "", "")

    def _wrong(self, what: str, expected: str, actual: str) -> MalformedError:
        return MalformedError(
            Reason.PROFILE,
            what,
            where=f"tensor {self.name[:80]!r}",
            expected=expected,
            actual=actual,
        )


def split_elements(raw: bytes) -> list[bytes]:
    """Read the elements of a BYTES tensor.

    Raises:
        MalformedError: ``PROFILE`` if an inner length is wrong.
    """
    elements = []
    position = 0
    while position < len(raw):
        start = position + _LENGTH.size
        end = start + _LENGTH.unpack_from(raw, position)[0] if start <= len(raw) else start
        if end > len(raw):
            raise MalformedError(
                Reason.PROFILE,
                "an element of this BYTES tensor is cut off",
                where=f"byte {position} of {len(raw)}",
            )
        elements.append(raw[start:end])
        position = end
    return elements


def join_elements(elements: Sequence[bytes]) -> bytes:
    """The raw form of a BYTES tensor."""
    return b"".join(_LENGTH.pack(len(element)) + element for element in elements)


class _Head(Value, frozen=True):
    name: str
    datatype: str
    shape: tuple[int, ...]
    nbytes: int


class _Output(Value, frozen=True):
    name: str
    datatype: str
    shape: tuple[int, ...]
    digest: str


class _Content(Value, frozen=True):
    schema: Literal["output/tensor/v1"]
    complete: bool
    outputs: tuple[_Output, ...]


class _Request(Value, frozen=True):
    schema: Literal["request/tensor/v1"]
    inputs: tuple[_Output, ...]
    asked: tuple[str, ...]


def tensor_digest(tensor: Tensor) -> bytes:
    """The digest of one tensor with its name, type and shape.

    Raises:
        MalformedError: ``PROFILE``.
    """
    tensor.validate()
    head = _Head(
        name=tensor.name, datatype=tensor.datatype, shape=tensor.shape, nbytes=len(tensor.raw)
    )
    try:
        written = encoding.write_json(head)
    except UnicodeEncodeError as error:
        raise _bad_name(tensor.name) from error
    hasher = hashlib.sha256(_PREFIX + written + b"\0")
    hasher.update(tensor.raw)
    return hasher.digest()


def content_digest(tensors: Sequence[Tensor], *, complete: bool = True) -> bytes:
    """The digest that names an output, whatever the order of its tensors.

    Raises:
        MalformedError: ``PROFILE`` for no tensor, two of one name, or a wrong tensor.
    """
    return digest.sha256(
        encoding.write_json(
            _Content(schema=NAME, complete=complete, outputs=_outputs(by_name(tensors)))
        )
    )


def request_digest(inputs: Sequence[Tensor], asked: Sequence[str] = ()) -> bytes:
    """The digest that names a request: its inputs, and the outputs asked for in that order.

    Args:
        inputs: The tensors fed to the model.
        asked: Names of outputs; none means all.

    Raises:
        MalformedError: ``PROFILE``.
    """
    outputs = _outputs(by_name(inputs)) if inputs else ()
    try:
        written = encoding.write_json(
            _Request(schema=REQUEST_NAME, inputs=outputs, asked=tuple(asked))
        )
    except UnicodeEncodeError as error:
        raise _bad_name(" ".join(asked)) from error
    return digest.sha256(written)


def wire_digest(tensors: Sequence[Tensor]) -> bytes:
    """The wire digest of an in-process call, which has no wire.

    It is the digest that a transport of one message per tensor, in the order of the names' UTF-8
    bytes, would have: SHA-256 over ``u64 BE length ‖ raw`` of each.

    Raises:
        MalformedError: ``PROFILE``.
    """
    hasher = hashlib.sha256()
    for tensor in by_name(tensors):
        hasher.update(_FRAME.pack(len(tensor.raw)))
        hasher.update(tensor.raw)
    return hasher.digest()


def framed(tensors: Sequence[Tensor]) -> bytes:
    """Tensors as bytes from which they can be read again, in the order of their names.

    For each, ``u64 BE length ‖ bytes`` of its name, type, shape and size in JSON, and of its raw
    form.

    Raises:
        MalformedError: ``PROFILE``.
    """
    parts = []
    for item in by_name(tensors) if tensors else ():
        head = _Head(name=item.name, datatype=item.datatype, shape=item.shape, nbytes=len(item.raw))
        parts += [encoding.write_json(head), item.raw]
    return b"".join(_FRAME.pack(len(part)) + part for part in parts)


def by_name(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Sort tensors by the UTF-8 bytes of their names, of which no two are equal.

    Raises:
        MalformedError: ``PROFILE``.
    """
    if not 1 <= len(tensors) <= MAX_TENSORS:
        raise MalformedError(
            Reason.PROFILE,
            "this is no output of named tensors",
            expected=f"1 to {MAX_TENSORS} tensors",
            actual=str(len(tensors)),
        )
    try:
        ordered = sorted(tensors, key=lambda tensor: tensor.name.encode())
    except UnicodeEncodeError as error:
        raise _bad_name(str(error.object)) from error
    for one, other in itertools.pairwise(ordered):
        if one.name == other.name:
            raise MalformedError(
                Reason.PROFILE, "two tensors have one name", where=f"tensor {one.name[:80]!r}"
            )
    return ordered


def _outputs(ordered: Sequence[Tensor]) -> tuple[_Output, ...]:
    return tuple(
        _Output(
            name=tensor.name,
            datatype=tensor.datatype,
            shape=tensor.shape,
            digest=digest.text(tensor_digest(tensor)),
        )
        for tensor in ordered
    )


def _bad_name(name: str) -> MalformedError:
    return MalformedError(
        Reason.PROFILE, "the name of a tensor is no Unicode text", actual=ascii(name[:80])
    )
