"""ONNX models: every row of lies is refused, honest models are described as they are.

The numbers are rows of a catalogue of bad inputs; each has its own case.
"""

import pickle
from collections.abc import Callable

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper

from registry.errors import LimitExceededError, MalformedError, Reason, RegistryError
from registry.inspection import onnx_file, onnx_wire
from tests.inspection.onnx_models import (
    HIDING_PLACES,
    Change,
    add,
    changed,
    describe_bytes,
    external,
    field,
    functions,
    model,
    nested,
    varint,
    with_graph,
)

HONEST = model().SerializeToString()


def raw(data_type: int, dims: list[int], size: int) -> TensorProto:
    return TensorProto(name="t", data_type=data_type, dims=dims, raw_data=bytes(size))


def set_field(path: str, value: int) -> Change:
    def change(proto: ModelProto) -> None:
        target: object = proto
        *parents, name = path.split(".")
        for parent in parents:
            target = getattr(target, parent)
        setattr(target, name, value)

    return change


def import_opset(domain: str, version: int) -> Change:
    return lambda value: value.opset_import.append(helper.make_opsetid(domain, version))


def clear(field: str) -> Change:
    return lambda value: value.ClearField(field)


def with_tensor(tensor: bytes) -> bytes:
    """Put a tensor into the model that no library would write."""
    return with_graph(model().graph.SerializeToString() + field(5, tensor))


def two_types() -> bytes:
    """Make an input both a tensor and a sequence: the last one wins."""
    tensor = field(1, b"\x08\x01")
    return with_graph(field(11, field(2, tensor + field(4, field(1, tensor)))))


def deep_type(depth: int) -> bytes:
    """Make an input a sequence of sequences of sequences."""
    kind = field(1, b"\x08\x01")
    for _ in range(depth):
        kind = field(4, field(1, kind))
    return field(11, field(2, kind))


def extra(change: Callable[[TensorProto], object], tensor: TensorProto) -> Change:
    change(tensor)
    return add(tensor)


OUTSIDE, TENSOR = Reason.ONNX_EXTERNAL_DATA, Reason.ONNX_TENSOR
VERSION, MALFORMED, NESTING = Reason.ONNX_VERSION, Reason.MALFORMED_ONNX, Reason.ONNX_NESTING
BIN = ("location", "weights.bin")

LIES: dict[str, tuple[bytes, Reason]] = {
    name: (changed(change), reason)
    for name, change, reason in [
        ("33 path to the parent", add(external(("location", "../other.bin"))), OUTSIDE),
        ("34 path to the parent, later", add(external(("location", "a/../../other.bin"))), OUTSIDE),
        ("34 path that comes back", add(external(("location", "../m/weights.bin"))), OUTSIDE),
        ("35 absolute path", add(external(("location", "/etc/passwd"))), OUTSIDE),
        ("35 backslash", add(external(("location", "deep\\er.bin"))), OUTSIDE),
        ("35 drive", add(external(("location", "C:\\weights.bin"))), OUTSIDE),
        ("35 dot", add(external(("location", "./weights.bin"))), OUTSIDE),
        ("35 double slash", add(external(("location", "deep//er.bin"))), OUTSIDE),
        ("46 not in the manifest", add(external(("location", "link.bin"))), OUTSIDE),
        ("46 a folder", add(external(("location", "deep"))), OUTSIDE),
        ("46 no location", add(external(("offset", "0"))), OUTSIDE),
        ("46 empty location", add(external(("location", ""))), OUTSIDE),
        ("40 NUL in a path", add(external(("location", "weights.bin\0x"))), OUTSIDE),
        ("41 location twice", add(external(BIN, ("location", "deep/er.bin"))), OUTSIDE),
        ("41 length twice", add(external(BIN, ("length", "16"), ("length", "16"))), OUTSIDE),
        ("42 unknown key", add(external(BIN, ("__class__", "x"))), OUTSIDE),
        ("42 base path", add(external(BIN, ("basepath", "/"))), OUTSIDE),
        ("43 negative offset", add(external(BIN, ("offset", "-1"), ("length", "16"))), OUTSIDE),
        ("43 negative length", add(external(BIN, ("length", "-16"))), OUTSIDE),
        ("43 past the end", add(external(BIN, ("offset", "49"), ("length", "16"))), OUTSIDE),
        ("43 offset of 2^60", add(external(BIN, ("offset", str(2**60)))), OUTSIDE),
        ("43 length of 2^60", add(external(BIN, ("length", str(2**60)))), OUTSIDE),
        ("43 spaced number", add(external(BIN, ("offset", " 0"), ("length", "16"))), OUTSIDE),
        ("43 foreign digit", add(external(BIN, ("offset", "٣"), ("length", "16"))), OUTSIDE),
        ("43 leading zero", add(external(BIN, ("offset", "00"), ("length", "16"))), OUTSIDE),
        ("44 shorter than the tensor", add(external(BIN, ("length", "15"))), OUTSIDE),
        ("44 longer than the tensor", add(external(BIN, ("length", "17"))), OUTSIDE),
        ("44 no length, file too long", add(external(BIN)), OUTSIDE),
        ("45 checksum", add(external(BIN, ("length", "16"), ("checksum", "0" * 40))), OUTSIDE),
        (
            "45 inside and outside",
            extra(
                lambda tensor: setattr(tensor, "raw_data", bytes(16)),
                external(BIN, ("length", "16")),
            ),
            TENSOR,
        ),
        (
            "45 external entries of a tensor that is inside",
            extra(
                lambda tensor: tensor.external_data.add(key="location", value="../x"),
                raw(TensorProto.FLOAT, [4], 16),
            ),
            TENSOR,
        ),
        (
            "45 texts outside",
            extra(
                lambda tensor: setattr(tensor, "data_type", TensorProto.STRING),
                external(BIN, dims=(0,)),
            ),
            TENSOR,
        ),
        ("47 raw data too short", add(raw(TensorProto.FLOAT, [4], 15)), TENSOR),
        ("47 raw data too long", add(raw(TensorProto.FLOAT, [4], 17)), TENSOR),
        ("47 raw data of texts", add(raw(TensorProto.STRING, [1], 1)), TENSOR),
        ("47 half a byte too much", add(raw(TensorProto.INT4, [3], 3)), TENSOR),
        ("47 no data", add(TensorProto(name="t", data_type=1, dims=[4])), TENSOR),
        (
            "47 typed data too short",
            add(TensorProto(data_type=1, dims=[4], float_data=[1])),
            TENSOR,
        ),
        (
            "47 typed data elsewhere",
            add(TensorProto(data_type=1, dims=[1], int32_data=[1])),
            TENSOR,
        ),
        (
            "47 raw and typed data",
            add(TensorProto(data_type=1, dims=[1], float_data=[1], raw_data=bytes(4))),
            TENSOR,
        ),
        (
            "47 a tensor in segments",
            extra(lambda tensor: tensor.segment.SetInParent(), raw(TensorProto.FLOAT, [4], 16)),
            TENSOR,
        ),
        ("48 negative dimension", add(raw(TensorProto.FLOAT, [-1], 0)), TENSOR),
        ("48 two negative dimensions", add(raw(TensorProto.FLOAT, [-2, -2], 16)), TENSOR),
        ("48 product overflows", add(raw(TensorProto.FLOAT, [2**40, 2**40], 0)), TENSOR),
        ("48 overflow beside a zero", add(raw(TensorProto.FLOAT, [0, 2**40, 2**40], 0)), TENSOR),
        ("48 overflow to the right size", add(raw(TensorProto.FLOAT, [2**62, 4], 0)), TENSOR),
        (
            "48 sparse shape overflows",
            lambda value: value.graph.sparse_initializer.append(
                onnx.SparseTensorProto(
                    values=raw(TensorProto.FLOAT, [0], 0),
                    indices=raw(TensorProto.INT64, [0], 0),
                    dims=[2**40, 2**40],
                )
            ),
            TENSOR,
        ),
        ("49 element type 999", add(raw(999, [4], 16)), TENSOR),
        ("49 no element type", add(raw(0, [0], 0)), TENSOR),
        (
            "49 element type 999 of an input",
            lambda value: setattr(value.graph.input[0].type.tensor_type, "elem_type", 999),
            TENSOR,
        ),
        ("50 no graph", clear("graph"), MALFORMED),
        ("50 no version of the format", clear("ir_version"), MALFORMED),
        ("52 operator set 9999", import_opset("ai.onnx.ml", 9999), VERSION),
        ("52 operator set 0", import_opset("ai.onnx.ml", 0), VERSION),
        ("52 negative operator set", import_opset("mine", -1), VERSION),
        ("52 two versions of one set", import_opset("", 20), VERSION),
        ("52 two versions, two spellings", import_opset("ai.onnx", 20), VERSION),
        ("52 no operator set", clear("opset_import"), VERSION),
        (
            "52 operator set of a function",
            lambda value: value.functions.append(
                helper.make_function("l", "f", [], [], [], [helper.make_opsetid("", 9999)])
            ),
            VERSION,
        ),
        ("53 format version 99", set_field("ir_version", 99), VERSION),
        ("53 format version 2", set_field("ir_version", 2), VERSION),
        ("59 a function calls itself", functions(f=["f"]), NESTING),
        ("59 functions in a circle", functions(f=["g"], g=["h"], h=["f"]), NESTING),
        (
            "59 a function twice",
            lambda value: (functions(f=[])(value), functions(f=[])(value))[0],
            MALFORMED,
        ),
    ]
} | {
    "50 empty file": (b"", MALFORMED),
    "51 cut off": (HONEST[:-1], MALFORMED),
    "51 pickle": (pickle.dumps({"a": [1, 2, 3]}), MALFORMED),
    "51 text": (b"<html></html>", MALFORMED),
    "51 group": (b"\x0b\x0c" + HONEST, MALFORMED),
    "51 field 0": (b"\x00\x00" + HONEST, MALFORMED),
    "51 number that does not end": (HONEST + b"\xff" * 11, MALFORMED),
    "51 number of 2^64": (HONEST + b"\x28" + b"\xff" * 9 + b"\x02", MALFORMED),
    "51 wrong wire type": (b"\x3d\0\0\0\0" + HONEST, MALFORMED),
    "51 text that is not UTF-8": (HONEST + b"\x22\x01\xff", MALFORMED),
    "49 element type that C++ reads as 1": (
        with_tensor(b"\x10" + varint(2**32 + 1) + field(9, bytes(4))),
        MALFORMED,
    ),
    "49 unknown place of the data": (with_tensor(b"\x10\x01\x08\x00\x70\x02"), MALFORMED),
    "55 a file of unknown fields": (
        HONEST + b"".join(field(number, b"") for number in range(1000, 1101)),
        MALFORMED,
    ),
    "57 sixty graphs deep": (with_graph(nested(60)), NESTING),
    "57 thirty-three graphs deep": (with_graph(nested(33)), NESTING),
    "57 messages, not graphs, a thousand deep": (with_graph(deep_type(500)), NESTING),
    "56 two models in a row": (HONEST + HONEST, MALFORMED),
    "56 a second version": (HONEST + b"\x08\x0a", MALFORMED),
    "56 two types of one input": (two_types(), MALFORMED),
}


@pytest.mark.parametrize(("data", "reason"), LIES.values(), ids=LIES)
def test_a_lie_is_refused(data: bytes, reason: Reason) -> None:
    with pytest.raises(MalformedError) as refusal:
        describe_bytes(data)
    assert refusal.value.reason is reason


@pytest.mark.parametrize("hide", HIDING_PLACES.values(), ids=HIDING_PLACES)
def test_a_tensor_that_leaves_the_model_is_found_wherever_it_hides(
    hide: Callable[[TensorProto], Change],
) -> None:
    """Row 39."""
    with pytest.raises(MalformedError) as refusal:
        describe_bytes(changed(hide(external(("location", "../other.bin")))))
    assert refusal.value.reason is OUTSIDE


@pytest.mark.parametrize("hide", HIDING_PLACES.values(), ids=HIDING_PLACES)
def test_a_tensor_without_its_bytes_is_found_wherever_it_hides(
    hide: Callable[[TensorProto], Change],
) -> None:
    """Row 47."""
    with pytest.raises(MalformedError) as refusal:
        describe_bytes(changed(hide(raw(TensorProto.FLOAT, [4], 12))))
    assert refusal.value.reason is TENSOR


def test_a_file_that_protobuf_cannot_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 58, with a smaller limit."""
    monkeypatch.setattr(onnx_file, "MAX_FILE_BYTES", len(HONEST) - 1)
    with pytest.raises(LimitExceededError) as refusal:
        describe_bytes(HONEST)
    assert refusal.value.reason is Reason.INSPECTION_LIMIT


def test_a_model_with_too_much_beside_its_weights_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(onnx_wire, "MAX_SKELETON_BYTES", 1000)
    data = changed(lambda value: setattr(value, "doc_string", "x" * 1000))
    with pytest.raises(LimitExceededError) as refusal:
        describe_bytes(data)
    assert refusal.value.reason is Reason.INSPECTION_LIMIT


def test_thirty_two_graphs_within_each_other_are_read() -> None:
    """Row 57, from the other side."""
    describe_bytes(with_graph(nested(32)))


def test_whatever_is_shallow_enough_for_us_is_so_for_protobuf() -> None:
    """Types within types, up to where the walk says no; protobuf must not say it earlier."""
    for depth in range(40, 60):
        try:
            describe_bytes(with_graph(deep_type(depth)))
        except MalformedError as error:
            assert error.reason is NESTING  # noqa: PT017 - either outcome is fine, but no third


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_with_a_reason(data: bytes) -> None:
    with pytest.raises(RegistryError):
        describe_bytes(data)


@settings(max_examples=400)
@given(st.data())
def test_a_model_with_changed_bytes_is_refused_or_read_by_the_library_too(
    draw: st.DataObject,
) -> None:
    data = bytearray(RICH)
    for _ in range(draw.draw(st.integers(1, 3))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    try:
        structure = describe_bytes(bytes(data))
    except RegistryError:
        return
    value = onnx.load_model_from_string(bytes(data))
    assert structure.ir_version == value.ir_version
    assert len(structure.outputs) == len(value.graph.output)


def test_the_model_that_is_changed_is_honest() -> None:
    assert len(describe_bytes(RICH).external_data) == 1


def _rich() -> bytes:
    value = model()
    add(external(BIN, ("offset", "48"), ("length", "16")))(value)
    functions(f=["g"], g=[])(value)
    for hide in HIDING_PLACES.values():
        hide(raw(TensorProto.FLOAT16, [1], 2))(value)
    return value.SerializeToString()


RICH = _rich()
