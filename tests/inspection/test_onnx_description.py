"""Honest ONNX models are described as they are, in one spelling, with what to beware of."""

import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from registry.core.formats.structure import (
    ExternalData,
    OperatorSet,
    Port,
    parse_structure,
    structure_bytes,
)
from registry.inspection import onnx_schema
from tests.inspection.onnx_models import (
    FILES,
    HIDING_PLACES,
    add,
    changed,
    describe_bytes,
    external,
    field,
    functions,
    model,
)

BIN = ("location", "weights.bin")


def test_a_model_has_one_spelling() -> None:
    assert structure_bytes(describe_bytes(model().SerializeToString())) == (
        b'{"format":"onnx",'
        b'"inputs":[{"dtype":"FLOAT","name":"x","shape":["batch","4"]}],'
        b'"ir_version":10,'
        b'"opsets":[{"domain":"","version":21}],'
        b'"outputs":[{"dtype":"FLOAT","name":"y","shape":["batch","4"]}],'
        b'"producer":"a test",'
        b'"schema":"https://provreg.dev/model-structure/v1"}'
    )


def test_a_structure_reads_back_as_it_was() -> None:
    structure = describe_bytes(
        changed(add(external(BIN, ("offset", "48"), ("length", "16")))) + field(99, b"")
    )
    assert parse_structure(structure_bytes(structure)) == structure


def test_two_serializations_of_one_model_have_one_structure() -> None:
    opsets = [helper.make_opsetid("ai.onnx.ml", 3), helper.make_opsetid("b", 1)]
    one, other = model(), model()
    one.opset_import.extend(opsets)
    other.opset_import.extend(reversed(opsets))
    assert describe_bytes(one.SerializeToString()) == describe_bytes(other.SerializeToString())


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        pytest.param(
            [BIN, ("offset", "48"), ("length", "16")],
            ExternalData(path="m/weights.bin", offset=48, length=16),
            id="the last bytes",
        ),
        pytest.param(
            [("location", "deep/er.bin"), ("length", "16")],
            ExternalData(path="m/deep/er.bin", offset=0, length=16),
            id="no offset",
        ),
        pytest.param(
            [BIN, ("offset", "48")],
            ExternalData(path="m/weights.bin", offset=48, length=16),
            id="no length: up to the end",
        ),
    ],
)
def test_external_data_inside_the_model_is_recorded(
    entries: list[tuple[str, str]], expected: ExternalData
) -> None:
    structure = describe_bytes(changed(add(external(*entries))))
    assert structure.external_data == (expected,)


@pytest.mark.parametrize("place", HIDING_PLACES)
def test_external_data_is_recorded_wherever_it_is_used(place: str) -> None:
    tensor = external(BIN, ("length", "16"))
    structure = describe_bytes(changed(HIDING_PLACES[place](tensor)))
    assert structure.external_data == (ExternalData(path="m/weights.bin", offset=0, length=16),)


def test_operators_of_another_domain_are_a_warning() -> None:
    """Row 54: a runtime would load native code for them."""

    def change(value: ModelProto) -> None:
        value.opset_import.append(helper.make_opsetid("com.example", 7))
        value.graph.node.append(helper.make_node("Evil", ["x"], ["z"], domain="com.evil\0"))

    assert describe_bytes(changed(change)).warnings == (
        "operators of another domain: 'com.evil\\x00'",
        "operators of another domain: 'com.example'",
    )


def test_unknown_fields_are_a_warning() -> None:
    """Row 55, at the top and further down."""
    value = model()
    graph = value.graph.SerializeToString() + field(77, b"x") + field(77, b"y")
    value.ClearField("graph")
    data = value.SerializeToString() + field(7, graph) + field(99, b"z")
    assert describe_bytes(data).warnings == (
        "unknown field: GraphProto.77",
        "unknown field: ModelProto.99",
    )


def test_functions_that_call_each_other_in_one_direction_are_read() -> None:
    structure = describe_bytes(changed(functions(f=["g", "h"], g=["h"], h=[])))
    assert structure.warnings == ("operators of another domain: 'local'",)


def test_an_input_with_an_initializer_need_not_be_fed() -> None:
    def change(value: ModelProto) -> None:
        value.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [4]))

    assert [port.name for port in describe_bytes(changed(change)).inputs] == ["x"]


def test_both_spellings_of_the_domain_of_onnx_are_one() -> None:
    value = model()
    value.opset_import[0].domain = "ai.onnx"
    structure = describe_bytes(value.SerializeToString())
    assert structure.opsets == (OperatorSet(domain="", version=21),)


TENSOR = helper.make_tensor_type_proto(TensorProto.INT64, [2])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (TENSOR, Port(name="x", dtype="INT64", shape=("2",))),
        (
            helper.make_tensor_type_proto(TensorProto.FLOAT16, []),
            Port(name="x", dtype="FLOAT16", shape=()),
        ),
        (
            helper.make_tensor_type_proto(TensorProto.FLOAT, None),
            Port(name="x", dtype="FLOAT"),
        ),
        (
            helper.make_tensor_type_proto(TensorProto.FLOAT, ["n", None, 3]),
            Port(name="x", dtype="FLOAT", shape=("n", "?", "3")),
        ),
        (
            helper.make_sparse_tensor_type_proto(TensorProto.FLOAT, [3]),
            Port(name="x", dtype="sparse(FLOAT)", shape=("3",)),
        ),
        (helper.make_sequence_type_proto(TENSOR), Port(name="x", dtype="sequence(INT64)")),
        (helper.make_optional_type_proto(TENSOR), Port(name="x", dtype="optional(INT64)")),
        (
            helper.make_map_type_proto(TensorProto.STRING, TENSOR),
            Port(name="x", dtype="map(STRING,INT64)"),
        ),
        (onnx.TypeProto(), Port(name="x", dtype="?")),
    ],
    ids=lambda value: f"{value.dtype} {value.shape}" if isinstance(value, Port) else "",
)
def test_any_type_of_an_input_is_put_into_words(kind: onnx.TypeProto, expected: Port) -> None:
    structure = describe_bytes(changed(lambda value: value.graph.input[0].type.CopyFrom(kind)))
    assert structure.inputs == (expected,)


NUMBERS = [number for number, kind in onnx_schema.DATA_TYPES.items() if kind.bits]


@pytest.mark.parametrize("data_type", NUMBERS)
def test_typed_data_is_as_long_as_the_library_writes_it(data_type: int) -> None:
    describe_bytes(changed(add(helper.make_tensor("t", data_type, [5], [0] * 5))))


@pytest.mark.parametrize("data_type", NUMBERS)
def test_raw_data_is_as_long_as_the_library_writes_it(data_type: int) -> None:
    array = numpy_helper.to_array(helper.make_tensor("t", data_type, [5], [0] * 5))
    tensor = numpy_helper.from_array(array, "t")
    assert tensor.HasField("raw_data")
    describe_bytes(changed(add(tensor)))


def test_texts_are_counted() -> None:
    tensor = TensorProto(name="t", data_type=TensorProto.STRING, dims=[2], string_data=[b"", b"a"])
    describe_bytes(changed(add(tensor)))


def test_weights_are_not_kept() -> None:
    """A large model is described in the memory that a small one takes."""
    tensor = TensorProto(name="t", data_type=1, dims=[2**20], raw_data=bytes(2**22))
    large = describe_bytes(changed(add(tensor)))
    assert large == describe_bytes(model().SerializeToString())


def test_the_structure_does_not_depend_on_unrelated_files() -> None:
    data = model().SerializeToString()
    assert describe_bytes(data, {}) == describe_bytes(data, FILES)
