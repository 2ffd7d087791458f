"""What is said to the process that runs a model, and what it answers.

Both are a head in JSON and the bytes of tensors behind it: ``u32 BE length ‖ head ‖ raw ‖ raw …``.
"""

import struct
from collections.abc import Sequence
from typing import Annotated, Final, TypeVar

import msgspec

from registry.core.encoding import Count, Hex32, Value, read_json, write_json
from registry.core.profiles.tensor import MAX_TENSORS, Tensor
from registry.errors import MalformedError, Reason
from registry.inspection.exchange import Refusal

MAX_TENSOR_BYTES: Final = 256 * 1024 * 1024
"""Bytes of all inputs of a run together, and of all outputs."""

MAX_HEAD_BYTES: Final = 16 * 1024 * 1024
"""Bytes of a head: room for the names and shapes of as many tensors as there may be."""

MAX_MESSAGE_BYTES: Final = 4 + MAX_HEAD_BYTES + MAX_TENSOR_BYTES
"""Bytes of a request or an answer."""

_LENGTH = struct.Struct(">I")


class TensorHead(Value, frozen=True):
    """A tensor whose bytes follow."""

    name: str
    datatype: str
    shape: tuple[Count, ...]
    size: Count


class ModelFile(Value, frozen=True):
    """A file that is open as ``descriptor``, and what it must be.

    Attributes:
        name: How the model calls it; empty for the model itself.
    """

    name: str
    descriptor: Count
    size: Count
    sha256: Hex32


Tensors = Annotated[tuple[TensorHead, ...], msgspec.Meta(max_length=MAX_TENSORS)]
"""Tensors whose bytes follow, in this order."""


class Request(Value, frozen=True):
    """Run a model.

    Attributes:
        weights: Files that hold weights of it.
        asked: The outputs that are wanted, in order; none means all.
        opt_level: As ONNX Runtime spells it.
        threads: For one run; 0 leaves it to ONNX Runtime.
        memory_bytes: Address space of the process.
        cpu_seconds: Its processor time.
        expected: The content digest that the outputs should have, in hexadecimal; if they have
            another one the model is run twice.
    """

    model: ModelFile
    weights: tuple[ModelFile, ...]
    inputs: Tensors
    asked: tuple[str, ...]
    opt_level: str
    threads: Count
    memory_bytes: Count
    cpu_seconds: Count
    expected: Hex32

    @property
    def tensors(self) -> Tensors:
        """The tensors whose bytes follow."""
        return self.inputs


class Answer(Value, frozen=True):
    """What the model gave, or why it did not.

    Attributes:
        version: Of ONNX Runtime.
        run_us: How long the run took, in microseconds.
        repeats: Whether a second run gave the same; true if there was none.
    """

    outputs: Tensors = ()
    version: str = ""
    run_us: Count = 0
    repeats: bool = True
    refusal: Refusal | None = None

    @property
    def tensors(self) -> Tensors:
        """The tensors whose bytes follow."""
        return self.outputs


H = TypeVar("H", Request, Answer)


def head_of(tensor: Tensor) -> TensorHead:
    """The head of a tensor."""
    return TensorHead(
        name=tensor.name, datatype=tensor.datatype, shape=tensor.shape, size=len(tensor.raw)
    )


def write_message(head: Request | Answer, tensors: Sequence[Tensor]) -> bytes:
    """Write a head and the bytes of its tensors."""
    written = write_json(head)
    return b"".join([_LENGTH.pack(len(written)), written, *(item.raw for item in tensors)])


def read_message(data: bytes, kind: type[H]) -> tuple[H, tuple[Tensor, ...]]:
    """Read a message to its last byte.

    Raises:
        MalformedError: ``MALFORMED_MESSAGE``, ``MALFORMED_JSON`` or ``NOT_CANONICAL``.
    """
    start = _LENGTH.size
    if len(data) < start:
        raise _malformed("no length")
    start += _LENGTH.unpack_from(data)[0]
    if start > len(data):
        raise _malformed("a head that is cut off")
    head = read_json(data[_LENGTH.size : start], kind, what="message about a run")
    tensors = []
    for item in head.tensors:
        tensors.append(
            Tensor(item.name, item.datatype, item.shape, data[start : start + item.size])
        )
        start += item.size
    if start != len(data):
        raise _malformed("more or fewer bytes than tensors have")
    return head, tuple(tensors)


def _malformed(actual: str) -> MalformedError:
    return MalformedError(Reason.MALFORMED_MESSAGE, "this is no message about a run", actual=actual)
