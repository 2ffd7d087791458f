"""Our copy of the facts of ONNX is what the installed package says; a new release shows here."""

from collections.abc import Iterator
from typing import cast

import onnx
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from onnx import ModelProto, TensorProto, helper

from registry.inspection import onnx_schema
from registry.inspection.onnx_schema import Field

KINDS = {
    FieldDescriptor.TYPE_INT64: onnx_schema.INT64,
    FieldDescriptor.TYPE_UINT64: onnx_schema.INT64,
    FieldDescriptor.TYPE_INT32: onnx_schema.INT32,
    FieldDescriptor.TYPE_ENUM: onnx_schema.ENUM,
    FieldDescriptor.TYPE_FLOAT: onnx_schema.FLOAT,
    FieldDescriptor.TYPE_DOUBLE: onnx_schema.DOUBLE,
    FieldDescriptor.TYPE_STRING: onnx_schema.TEXT,
    FieldDescriptor.TYPE_BYTES: onnx_schema.BYTES,
}


def name_of(message: Descriptor) -> str:
    return message.full_name.removeprefix("onnx.")


def messages(root: Descriptor) -> Iterator[Descriptor]:
    waiting, seen = [root], {root.full_name}
    while waiting:
        message = waiting.pop()
        yield message
        inner = [field.message_type for field in message.fields if field.message_type is not None]
        waiting.extend(kind for kind in inner if kind.full_name not in seen)
        seen.update(kind.full_name for kind in inner)


def field_of(field: FieldDescriptor) -> Field:
    return Field(
        kind=name_of(field.message_type) if field.message_type else KINDS[field.type],
        repeated=field.is_repeated,
        choice=field.containing_oneof.name if field.containing_oneof else "",
        max_value=max(field.enum_type.values_by_number) if field.enum_type else 0,
    )


def test_the_messages_are_those_of_the_package() -> None:
    assert dict(onnx_schema.MESSAGES) == {
        name_of(message): {field.number: field_of(field) for field in message.fields}
        for message in messages(cast("Descriptor", ModelProto.DESCRIPTOR))
    }


def test_the_element_types_are_those_of_the_package() -> None:
    ours = {number: kind.name for number, kind in onnx_schema.DATA_TYPES.items()}
    assert ours | {0: "UNDEFINED"} == {
        number: name for name, number in TensorProto.DataType.items()
    }


def test_the_fields_of_the_element_types_are_those_of_the_package() -> None:
    for number, kind in onnx_schema.DATA_TYPES.items():
        assert kind.field == helper.tensor_dtype_to_field(number), kind.name


def test_the_newest_operator_sets_are_those_of_the_package() -> None:
    newest = {"ai.onnx.training": 1}  # in the package, without an operator of its own
    for schema in onnx.defs.get_all_schemas_with_history():
        newest[schema.domain] = max(newest.get(schema.domain, 0), schema.since_version)
    assert dict(onnx_schema.MAX_OPSETS) == newest


def test_the_newest_format_is_that_of_the_package() -> None:
    assert onnx_schema.MAX_IR_VERSION == onnx.IR_VERSION
