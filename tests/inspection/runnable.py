"""Small ONNX models that can be run, for the tests of replays."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from registry.core.profiles.tensor import Tensor
from registry.inspection.arrays import to_tensor


def model(
    nodes: Sequence[Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    weights: Sequence[Any] = (),
    *,
    opset: int = 17,
    domain: str = "",
) -> bytes:
    """A model of these parts."""
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights)
    opsets = [helper.make_opsetid("", opset), *([helper.make_opsetid(domain, 1)] if domain else [])]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()


def port(name: str, shape: Sequence[Any], kind: int = TensorProto.FLOAT) -> Any:
    """An input or output."""
    return helper.make_tensor_value_info(name, kind, shape)


def scorer(seed: int = 1) -> bytes:
    """``y = softmax(norm(conv(x)))``, whose last bits depend on how far the graph is rewritten."""
    draw = np.random.default_rng(seed).standard_normal

    def weight(name: str, *shape: int, positive: bool = False) -> Any:
        values = draw(shape).astype(np.float32)
        return numpy_helper.from_array(np.abs(values) + 0.5 if positive else values, name)

    return model(
        [
            helper.make_node("Conv", ["x", "w", "b"], ["c"], kernel_shape=[3], pads=[1, 1]),
            helper.make_node("BatchNormalization", ["c", "s", "o", "m", "v"], ["n"]),
            helper.make_node("Relu", ["n"], ["r"]),
            helper.make_node("ReduceMean", ["r"], ["p"], axes=[2], keepdims=0),
            helper.make_node("MatMul", ["p", "u"], ["l"]),
            helper.make_node("Softmax", ["l"], ["y"], axis=1),
            helper.make_node("ArgMax", ["l"], ["label"], axis=1, keepdims=0),
        ],
        [port("x", ["n", 4, 16])],
        [port("y", ["n", 5]), port("label", ["n"], TensorProto.INT64)],
        [
            weight("w", 8, 4, 3),
            weight("b", 8),
            weight("s", 8),
            weight("o", 8),
            weight("m", 8),
            weight("v", 8, positive=True),
            weight("u", 8, 5),
        ],
    )


def scorer_input(rows: int = 2) -> Tensor:
    """An input of :func:`scorer`."""
    values = np.sin(np.arange(rows * 64, dtype=np.float32) * 1.7) * 2
    return to_tensor("x", values.reshape(rows, 4, 16))


def endless(*, counted: bool = True) -> bytes:
    """A model that counts to 2^62, or on and on."""
    body = helper.make_graph(
        [
            helper.make_node("Add", ["sum_in", "one"], ["sum_out"]),
            helper.make_node("Identity", ["go_in"], ["go_out"]),
        ],
        "body",
        [
            port("i", [], TensorProto.INT64),
            port("go_in", [], TensorProto.BOOL),
            port("sum_in", [1]),
        ],
        [port("go_out", [], TensorProto.BOOL), port("sum_out", [1])],
        [numpy_helper.from_array(np.array([1], np.float32), "one")],
    )
    return model(
        [helper.make_node("Loop", ["count" if counted else "", "go", "x"], ["y"], body=body)],
        [port("x", [1])],
        [port("y", [1])],
        [
            numpy_helper.from_array(np.array(2**62, np.int64), "count"),
            numpy_helper.from_array(np.array(True), "go"),
        ],
    )


def swelling() -> bytes:
    """A model that makes an output as large as its input says."""
    zero = onnx.helper.make_tensor("value", TensorProto.FLOAT, [1], [0.0])
    return model(
        [helper.make_node("ConstantOfShape", ["x"], ["y"], value=zero)],
        [port("x", [1], TensorProto.INT64)],
        [port("y", [None])],
    )


def echo(kind: int) -> bytes:
    """A model that gives back what it gets."""
    return model(
        [helper.make_node("Identity", ["x"], ["y"])],
        [port("x", [None], kind)],
        [port("y", [None], kind)],
    )


def outside(name: str) -> tuple[bytes, bytes]:
    """``y = x + w``, and the file ``name`` that holds ``w``."""
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4])
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=name)
    weight.external_data.add(key="length", value="16")
    made = model(
        [helper.make_node("Add", ["x", "w"], ["y"])], [port("x", [4])], [port("y", [4])], [weight]
    )
    return made, np.array([1, 2, 3, 4], "<f4").tobytes()


def drawing(seed: float | None) -> bytes:
    """A model that draws random numbers, as many as it gets."""
    seeded: dict[str, Any] = {} if seed is None else {"seed": seed}
    return model(
        [helper.make_node("RandomNormalLike", ["x"], ["y"], **seeded)],
        [port("x", [4])],
        [port("y", [4])],
    )


def casting(kind: int, opset: int = 19) -> bytes:
    """A model that gives what it gets in another type."""
    return model(
        [helper.make_node("Cast", ["x"], ["y"], to=kind)],
        [port("x", [4])],
        [port("y", [4], kind)],
        opset=opset,
    )


def pair() -> bytes:
    """A model that gives a sequence of two."""
    two = helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)
    return model(
        [helper.make_node("SequenceConstruct", ["x", "x"], ["y"])], [port("x", [4])], [two]
    )


def elsewhere() -> bytes:
    """A model with an operator that only somebody else has."""
    node = helper.make_node("Scale", ["x"], ["y"], domain="com.example")
    return model([node], [port("x", [4])], [port("y", [4])], domain="com.example")


def folding(elements: int) -> bytes:
    """A model with a constant that is computed from others, three times as many elements."""
    zero = onnx.helper.make_tensor("value", TensorProto.FLOAT, [1], [0.0])
    return model(
        [
            helper.make_node("ConstantOfShape", ["n"], ["c"], value=zero),
            helper.make_node("Concat", ["c", "c", "c"], ["d"], axis=0),
            helper.make_node("ReduceSum", ["d"], ["s"], keepdims=1),
            helper.make_node("Add", ["x", "s"], ["y"]),
        ],
        [port("x", [4])],
        [port("y", [4])],
        [numpy_helper.from_array(np.array([elements], np.int64), "n")],
    )
