"""Small ONNX models to lie with."""

from collections.abc import Callable, Mapping

import onnx
from onnx import AttributeProto, GraphProto, ModelProto, TensorProto, helper

from registry.core.formats.structure import OnnxStructure
from registry.inspection.onnx_file import describe

FILES = {"m/model.onnx": 1000, "m/weights.bin": 64, "m/deep/er.bin": 64, "other.bin": 64}
"""A manifest: the model lies in a folder, beside what it may use and what it may not."""

Change = Callable[[ModelProto], None]


def model(*, version: int = 21) -> ModelProto:
    """``y = x + w``: one input, one output, one tensor of four floats."""
    weight = helper.make_tensor("w", TensorProto.FLOAT, [4], bytes(16), raw=True)
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
        [weight],
    )
    return helper.make_model(
        graph,
        producer_name="a test",
        ir_version=10,
        opset_imports=[helper.make_opsetid("", version)],
    )


def changed(change: Change) -> bytes:
    """Serialize the model after ``change``."""
    value = model()
    change(value)
    return value.SerializeToString()


def describe_bytes(data: bytes, files: Mapping[str, int] = FILES) -> OnnxStructure:
    """Describe ``data`` as the model of ``FILES``."""
    return describe(memoryview(data), "m/model.onnx", files)


def varint(number: int) -> bytes:
    """Write a number as protobuf does."""
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*written, number])


def field(number: int, payload: bytes) -> bytes:
    """Write a field that has a length."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def external(*entries: tuple[str, str], dims: tuple[int, ...] = (4,)) -> TensorProto:
    """Make a tensor of floats that lies elsewhere."""
    tensor = TensorProto(name="e", data_type=TensorProto.FLOAT, dims=dims)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries:
        tensor.external_data.add(key=key, value=value)
    return tensor


def add(tensor: TensorProto) -> Change:
    """Add an initializer."""
    return lambda value: value.graph.initializer.append(tensor)


def with_graph(graph: bytes) -> bytes:
    """Make a model of a graph that no library would write."""
    value = model()
    value.ClearField("graph")
    return value.SerializeToString() + field(7, graph)


def nested(depth: int, innermost: bytes = b"") -> bytes:
    """Put ``depth`` graphs into another, each the body of an If in the one around it."""
    graph = innermost
    for _ in range(depth):
        attribute = field(1, b"then_branch") + varint(20 << 3) + b"\5" + field(6, graph)
        graph = field(1, field(4, b"If") + field(5, attribute))
    return graph


def functions(**calls: list[str]) -> Change:
    """Add functions that call each other."""

    def change(value: ModelProto) -> None:
        for name, called in calls.items():
            value.functions.append(
                helper.make_function(
                    "local",
                    name,
                    ["x"],
                    ["y"],
                    [helper.make_node(other, ["x"], ["y"], domain="local") for other in called],
                    [helper.make_opsetid("", 21), helper.make_opsetid("local", 1)],
                )
            )

    return change


HIDING_PLACES: dict[str, Callable[[TensorProto], Change]] = {
    "initializer": add,
    "sparse initializer": lambda tensor: (
        lambda value: value.graph.sparse_initializer.append(
            onnx.SparseTensorProto(values=tensor, indices=_int64(1), dims=[4])
        )
    ),
    "sparse indices": lambda tensor: (
        lambda value: value.graph.sparse_initializer.append(
            onnx.SparseTensorProto(values=_int64(1), indices=tensor, dims=[4])
        )
    ),
    "attribute": lambda tensor: (
        lambda value: value.graph.node[0].attribute.append(
            AttributeProto(name="value", type=AttributeProto.TENSOR, t=tensor)
        )
    ),
    "attribute list": lambda tensor: (
        lambda value: value.graph.node[0].attribute.append(
            AttributeProto(name="values", type=AttributeProto.TENSORS, tensors=[tensor])
        )
    ),
    "sparse attribute": lambda tensor: (
        lambda value: value.graph.node[0].attribute.append(
            AttributeProto(
                name="value",
                type=AttributeProto.SPARSE_TENSOR,
                sparse_tensor=onnx.SparseTensorProto(values=tensor, indices=_int64(1), dims=[4]),
            )
        )
    ),
    "subgraph": lambda tensor: (
        lambda value: value.graph.MergeFrom(
            GraphProto.FromString(nested(2, field(5, tensor.SerializeToString())))
        )
    ),
    "subgraph list": lambda tensor: (
        lambda value: value.graph.node[0].attribute.append(
            AttributeProto(
                name="branches",
                type=AttributeProto.GRAPHS,
                graphs=[GraphProto(name="i", initializer=[tensor])],
            )
        )
    ),
    "function": lambda tensor: (
        lambda value: value.functions.append(
            helper.make_function(
                "local",
                "constant",
                [],
                ["y"],
                [helper.make_node("Constant", [], ["y"], value=tensor)],
                [helper.make_opsetid("", 21)],
            )
        )
    ),
    "function default": lambda tensor: (
        lambda value: value.functions.append(
            helper.make_function(
                "local",
                "default",
                [],
                ["y"],
                [],
                [helper.make_opsetid("", 21)],
                attribute_protos=[helper.make_attribute("a", tensor)],
            )
        )
    ),
    "training": lambda tensor: (
        lambda value: value.training_info.append(
            onnx.TrainingInfoProto(algorithm=GraphProto(name="t", initializer=[tensor]))
        )
    ),
    "training start": lambda tensor: (
        lambda value: value.training_info.append(
            onnx.TrainingInfoProto(initialization=GraphProto(name="t", initializer=[tensor]))
        )
    ),
}
"""Every place in a model where a tensor can be."""


def _int64(size: int) -> TensorProto:
    return helper.make_tensor("i", TensorProto.INT64, [size], bytes(8 * size), raw=True)
