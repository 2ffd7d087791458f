"""What a model file says about itself: tensors, inputs, outputs, operator sets.

A structure is derived from the bytes of one file and from nothing else but the sizes of its
neighbours. Publisher and registry derive it apart and compare digests, so it has one spelling:
whatever has no order in the file is sorted, whatever has one keeps it.
"""

from typing import Annotated, Final, Literal, TypeAlias

import msgspec

from registry.core.encoding import Count, Text, Value, read_json, write_json

SCHEMA: Final = "https://provreg.dev/model-structure/v1"
"""The name of this form of description."""

Dimension = Annotated[int, msgspec.Meta(ge=0, lt=2**48)]
"""One length of a tensor that is stored in a file."""


class TensorEntry(Value, frozen=True):
    """One tensor of a safetensors file: bytes ``begin`` to ``end`` of its data."""

    name: str
    dtype: str
    shape: tuple[Dimension, ...]
    begin: Count
    end: Count


class MetadataEntry(Value, frozen=True):
    """One free text of a safetensors file. The key may be any Unicode, so it is no object key."""

    key: str
    value: str


class SafetensorsStructure(Value, frozen=True, tag_field="format", tag="safetensors"):
    """A safetensors file: ``tensors`` sorted by name, ``metadata`` sorted by key."""

    schema: Literal["https://provreg.dev/model-structure/v1"]
    tensors: tuple[TensorEntry, ...]
    metadata: tuple[MetadataEntry, ...] = ()
    warnings: tuple[str, ...] = ()


class OperatorSet(Value, frozen=True):
    """The version of an operator domain; the empty domain is ONNX itself."""

    domain: Text
    version: Count


class Port(Value, frozen=True):
    """One input or output of a graph.

    A dimension is a decimal number, the name of a symbol, or ``?`` if nothing is said about it.
    Without ``shape`` not even the number of dimensions is known.
    """

    name: Text
    dtype: Text
    shape: tuple[Text, ...] | None = None


class ExternalData(Value, frozen=True):
    """Tensor bytes that lie in another file of the same manifest."""

    path: Text
    offset: Count
    length: Count


class OnnxStructure(Value, frozen=True, tag_field="format", tag="onnx"):
    """An ONNX file: ports in the order of the graph, everything else sorted.

    ``inputs`` are those that a caller must or may feed: names that also have an initializer are
    left out, as ONNX runtimes do.
    """

    schema: Literal["https://provreg.dev/model-structure/v1"]
    ir_version: Count
    producer: Text
    opsets: tuple[OperatorSet, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    external_data: tuple[ExternalData, ...] = ()
    warnings: tuple[Text, ...] = ()


Structure: TypeAlias = SafetensorsStructure | OnnxStructure
"""The description of any model file that can be described."""


def structure_bytes(structure: Structure) -> bytes:
    """The one spelling of ``structure``, whose digest publisher and registry compare."""
    return write_json(structure)


def parse_structure(data: bytes) -> Structure:
    """Read what :func:`structure_bytes` wrote.

    Raises:
        MalformedError: ``MALFORMED_JSON`` or ``NOT_CANONICAL``.
    """
    return read_json(data, Structure, what="model structure")  # type: ignore[arg-type]
