"""What this release knows of ONNX: its messages, element types, operator sets and versions.

Everything here is a copy of facts of onnx 1.23, kept on purpose: a description must not depend on
which version of the onnx package happens to be installed. A test compares this page with the
package and fails when the package has learned something new.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

MIN_IR_VERSION: Final = 3
"""The first version of the format that names the operator sets it needs."""

MAX_IR_VERSION: Final = 14
"""The newest version of the format."""

MAX_OPSETS: Final[Mapping[str, int]] = {
    "": 28,
    "ai.onnx.ml": 5,
    "ai.onnx.preview": 1,
    "ai.onnx.preview.training": 1,
    "ai.onnx.training": 1,
}
"""The newest version of each operator set that ONNX itself defines."""

DEFAULT_DOMAIN_ALIAS: Final = "ai.onnx"
"""A second spelling of the empty domain."""


class DataType(NamedTuple):
    """One ``TensorProto.DataType``.

    Attributes:
        name: Its name in ONNX.
        bits: Bits of one element in ``raw_data``; 0 for texts, which cannot be there.
        field: The typed field that may hold the elements instead.
        per_entry: Elements in one entry of that field (packed types).
        entries: Entries of that field for one element (complex numbers).
    """

    name: str
    bits: int
    field: str
    per_entry: int = 1
    entries: int = 1


DATA_TYPES: Final[Mapping[int, DataType]] = {
    1: DataType("FLOAT", 32, "float_data"),
    2: DataType("UINT8", 8, "int32_data"),
    3: DataType("INT8", 8, "int32_data"),
    4: DataType("UINT16", 16, "int32_data"),
    5: DataType("INT16", 16, "int32_data"),
    6: DataType("INT32", 32, "int32_data"),
    7: DataType("INT64", 64, "int64_data"),
    8: DataType("STRING", 0, "string_data"),
    9: DataType("BOOL", 8, "int32_data"),
    10: DataType("FLOAT16", 16, "int32_data"),
    11: DataType("DOUBLE", 64, "double_data"),
    12: DataType("UINT32", 32, "uint64_data"),
    13: DataType("UINT64", 64, "uint64_data"),
    14: DataType("COMPLEX64", 64, "float_data", entries=2),
    15: DataType("COMPLEX128", 128, "double_data", entries=2),
    16: DataType("BFLOAT16", 16, "int32_data"),
    17: DataType("FLOAT8E4M3FN", 8, "int32_data"),
    18: DataType("FLOAT8E4M3FNUZ", 8, "int32_data"),
    19: DataType("FLOAT8E5M2", 8, "int32_data"),
    20: DataType("FLOAT8E5M2FNUZ", 8, "int32_data"),
    21: DataType("UINT4", 4, "int32_data", per_entry=2),
    22: DataType("INT4", 4, "int32_data", per_entry=2),
    23: DataType("FLOAT4E2M1", 4, "int32_data", per_entry=2),
    24: DataType("FLOAT8E8M0", 8, "int32_data"),
    25: DataType("UINT2", 2, "int32_data", per_entry=4),
    26: DataType("INT2", 2, "int32_data", per_entry=4),
    27: DataType("FLOAT6E2M3", 6, "int32_data"),
    28: DataType("FLOAT6E3M2", 6, "int32_data"),
}
"""Every element type but UNDEFINED."""

INT64, INT32, ENUM, FLOAT, DOUBLE, TEXT, BYTES = (
    "int64",
    "int32",
    "enum",
    "float",
    "double",
    "text",
    "bytes",
)
"""Kinds of a field that is no message."""


class Field(NamedTuple):
    """One field of a message.

    Attributes:
        kind: One of the kinds above, or the name of a message.
        repeated: Whether it may occur more than once.
        choice: The name of the ``oneof`` it belongs to, of which one may occur.
        max_value: The largest known value of an enumeration.
    """

    kind: str
    repeated: bool = False
    choice: str = ""
    max_value: int = 0


def _one(*kinds: tuple[int, str]) -> dict[int, Field]:
    return {number: Field(kind) for number, kind in kinds}


def _many(*kinds: tuple[int, str]) -> dict[int, Field]:
    return {number: Field(kind, repeated=True) for number, kind in kinds}


def _choice(name: str, *kinds: tuple[int, str]) -> dict[int, Field]:
    return {number: Field(kind, choice=name) for number, kind in kinds}


_ENTRY = "StringStringEntryProto"

MESSAGES: Final[Mapping[str, Mapping[int, Field]]] = {
    "ModelProto": _one((1, INT64), (2, TEXT), (3, TEXT), (4, TEXT), (5, INT64), (6, TEXT))
    | _one((7, "GraphProto"))
    | _many((8, "OperatorSetIdProto"), (14, _ENTRY), (20, "TrainingInfoProto"))
    | _many((25, "FunctionProto"), (26, "DeviceConfigurationProto")),
    "OperatorSetIdProto": _one((1, TEXT), (2, INT64)),
    _ENTRY: _one((1, TEXT), (2, TEXT)),
    "TrainingInfoProto": _one((1, "GraphProto"), (2, "GraphProto"))
    | _many((3, _ENTRY), (4, _ENTRY)),
    "FunctionProto": _one((1, TEXT), (8, TEXT), (10, TEXT), (13, TEXT))
    | _many((4, TEXT), (5, TEXT), (6, TEXT), (7, "NodeProto"), (9, "OperatorSetIdProto"))
    | _many((11, "AttributeProto"), (12, "ValueInfoProto"), (14, _ENTRY)),
    "DeviceConfigurationProto": _one((1, TEXT), (2, INT32)) | _many((3, TEXT)),
    "GraphProto": _one((2, TEXT), (10, TEXT))
    | _many((1, "NodeProto"), (5, "TensorProto"), (11, "ValueInfoProto"), (12, "ValueInfoProto"))
    | _many((13, "ValueInfoProto"), (14, "TensorAnnotation"), (15, "SparseTensorProto"))
    | _many((16, _ENTRY)),
    "NodeProto": _one((3, TEXT), (4, TEXT), (6, TEXT), (7, TEXT), (8, TEXT))
    | _many((1, TEXT), (2, TEXT), (5, "AttributeProto"), (9, _ENTRY))
    | _many((10, "NodeDeviceConfigurationProto")),
    "AttributeProto": _one((1, TEXT), (2, FLOAT), (3, INT64), (4, BYTES), (5, "TensorProto"))
    | _one((6, "GraphProto"), (13, TEXT), (14, "TypeProto"), (21, TEXT))
    | _one((22, "SparseTensorProto"))
    | {20: Field(ENUM, max_value=14)}
    | _many((7, FLOAT), (8, INT64), (9, BYTES), (10, "TensorProto"), (11, "GraphProto"))
    | _many((15, "TypeProto"), (23, "SparseTensorProto")),
    "TensorProto": _one((2, INT32), (3, "TensorProto.Segment"), (8, TEXT), (9, BYTES), (12, TEXT))
    | {14: Field(ENUM, max_value=1)}
    | _many((1, INT64), (4, FLOAT), (5, INT32), (6, BYTES), (7, INT64), (10, DOUBLE))
    | _many((11, INT64), (13, _ENTRY), (16, _ENTRY)),
    "TensorProto.Segment": _one((1, INT64), (2, INT64)),
    "SparseTensorProto": _one((1, "TensorProto"), (2, "TensorProto")) | _many((3, INT64)),
    "ValueInfoProto": _one((1, TEXT), (2, "TypeProto"), (3, TEXT)) | _many((4, _ENTRY)),
    "TypeProto": _choice("value", (1, "TypeProto.Tensor"), (4, "TypeProto.Sequence"))
    | _choice("value", (5, "TypeProto.Map"), (7, "TypeProto.Opaque"))
    | _choice("value", (8, "TypeProto.SparseTensor"), (9, "TypeProto.Optional"))
    | _one((6, TEXT)),
    "TypeProto.Tensor": _one((1, INT32), (2, "TensorShapeProto")),
    "TypeProto.SparseTensor": _one((1, INT32), (2, "TensorShapeProto")),
    "TypeProto.Sequence": _one((1, "TypeProto")),
    "TypeProto.Optional": _one((1, "TypeProto")),
    "TypeProto.Map": _one((1, INT32), (2, "TypeProto")),
    "TypeProto.Opaque": _one((1, TEXT), (2, TEXT)),
    "TensorShapeProto": _many((1, "TensorShapeProto.Dimension")),
    "TensorShapeProto.Dimension": _choice("value", (1, INT64), (2, TEXT)) | _one((3, TEXT)),
    "TensorAnnotation": _one((1, TEXT)) | _many((2, _ENTRY)),
    "NodeDeviceConfigurationProto": _one((1, TEXT), (3, INT32)) | _many((2, "ShardingSpecProto")),
    "ShardingSpecProto": _one((1, TEXT))
    | _many((2, INT64), (3, "IntIntListEntryProto"), (4, "ShardedDimProto")),
    "IntIntListEntryProto": _one((1, INT64)) | _many((2, INT64)),
    "ShardedDimProto": _one((1, INT64)) | _many((2, "SimpleShardedDimProto")),
    "SimpleShardedDimProto": _choice("dim", (1, INT64), (2, TEXT)) | _one((3, INT64)),
}
"""Every field of every message, by the number it has in a file."""
