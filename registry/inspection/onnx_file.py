"""ONNX models: inputs, outputs, operator sets, and where the weights are.

The one module that imports ``onnx``, and only to read messages: no path in a model is resolved,
no shape inferred, nothing run, saved or downloaded. The checker of ONNX calls itself best effort,
so each rule that a runtime relies on is checked here, for every tensor wherever it hides.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from google.protobuf.message import DecodeError, Message
from onnx import (
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    OperatorSetIdProto,
    SparseTensorProto,
    TensorProto,
    TensorShapeProto,
    TypeProto,
    ValueInfoProto,
)

from registry.core.formats.structure import SCHEMA, ExternalData, OnnxStructure, OperatorSet, Port
from registry.errors import LimitExceededError, MalformedError, Reason
from registry.inspection.onnx_external_data import check_external_data
from registry.inspection.onnx_schema import (
    DATA_TYPES,
    DEFAULT_DOMAIN_ALIAS,
    MAX_IR_VERSION,
    MAX_OPSETS,
    MIN_IR_VERSION,
    DataType,
)
from registry.inspection.onnx_wire import skim

MAX_FILE_BYTES = 2**31 - 1
"""What protobuf readers take; larger models keep their weights as external data."""

MAX_TENSOR_BITS = 2**63 - 1
"""No product of dimensions may overflow the integers of any reader."""

MAX_TEXT_CHARACTERS = 4096
"""Characters of any name that is recorded."""

MAX_OPSET_VERSION = 2**31 - 1
"""The version of an operator set that somebody else defined."""

_EXTERNAL = 1
_DATA_FIELDS = (
    "float_data",
    "int32_data",
    "string_data",
    "int64_data",
    "double_data",
    "uint64_data",
)


def describe(data: memoryview, model_path: str, files: Mapping[str, int]) -> OnnxStructure:
    """Check the model in ``data`` and describe it.

    ``files`` maps the paths of the manifest to sizes; ``model_path`` is the model's own.

    Raises:
        MalformedError: ``MALFORMED_ONNX``, ``ONNX_VERSION``, ``ONNX_TENSOR``,
            ``ONNX_EXTERNAL_DATA`` or ``ONNX_NESTING``.
        LimitExceededError: ``INSPECTION_LIMIT``.
    """
    if len(data) > MAX_FILE_BYTES:
        raise LimitExceededError(
            Reason.INSPECTION_LIMIT,
            "this ONNX file is larger than protobuf allows",
            expected=f"at most {MAX_FILE_BYTES} bytes",
            actual=f"{len(data)} bytes",
            hint="save the model with external data",
        )
    skeleton, unknown = skim(data)
    model = _parse(skeleton)
    _check_versions(model)
    _check_functions(model)
    external: set[ExternalData] = set()
    domains = {opset.domain for opset in model.opset_import}
    for message in _messages(model):
        if isinstance(message, TensorProto):
            external.update(_check_tensor(message, model_path, files))
        elif isinstance(message, SparseTensorProto):
            _count(message.dims, message.values.name, DATA_TYPES.get(message.values.data_type))
        elif isinstance(message, NodeProto):
            domains.add(message.domain)
        elif isinstance(message, FunctionProto):
            domains.update(opset.domain for opset in message.opset_import)
    custom = sorted(domains - MAX_OPSETS.keys() - {DEFAULT_DOMAIN_ALIAS})
    return OnnxStructure(
        schema=SCHEMA,
        ir_version=model.ir_version,
        producer=_text(f"{model.producer_name} {model.producer_version}".strip(), "producer"),
        opsets=_opsets(model),
        inputs=_inputs(model.graph),
        outputs=tuple(_port(port) for port in model.graph.output),
        external_data=tuple(
            sorted(external, key=lambda data: (data.path, data.offset, data.length))
        ),
        warnings=(
            *(_text(f"operators of another domain: {domain!a}", "domain") for domain in custom),
            *(f"unknown field: {field}" for field in unknown),
        ),
    )


def _parse(skeleton: bytes) -> ModelProto:
    model = ModelProto()
    try:
        model.ParseFromString(skeleton)
    except DecodeError as error:
        raise MalformedError(
            Reason.MALFORMED_ONNX, "this is no ONNX model", actual=str(error)[:200]
        ) from error
    if not (model.HasField("graph") and model.HasField("ir_version")):
        raise MalformedError(
            Reason.MALFORMED_ONNX,
            "this is no ONNX model",
            expected="a graph and the version of the format",
            actual=f"{len(skeleton)} bytes without them",
        )
    return model


def _check_versions(model: ModelProto) -> None:
    if not MIN_IR_VERSION <= model.ir_version <= MAX_IR_VERSION:
        raise MalformedError(
            Reason.ONNX_VERSION,
            "this version of the ONNX format is not known",
            where="ir_version",
            expected=f"{MIN_IR_VERSION} to {MAX_IR_VERSION}",
            actual=str(model.ir_version),
        )
    _check_opsets(model.opset_import, "the model")
    for function in model.functions:
        _check_opsets(function.opset_import, f"function {function.name[:200]!a}")


def _check_opsets(opsets: Iterable[OperatorSetIdProto], where: str) -> None:
    seen: set[str] = set()
    for opset in opsets:
        domain = _domain(opset.domain)
        newest = MAX_OPSETS.get(domain, MAX_OPSET_VERSION)
        if not 1 <= opset.version <= newest or domain in seen:
            raise MalformedError(
                Reason.ONNX_VERSION,
                "this version of an operator set is not known, or there are two of it",
                where=f"{where}, domain {domain[:200]!a}",
                expected=f"once, version 1 to {newest}",
                actual=str(opset.version),
            )
        seen.add(domain)
    if not seen:
        raise MalformedError(
            Reason.ONNX_VERSION, "no operator set is named", where=where, expected="at least one"
        )


def _check_functions(model: ModelProto) -> None:
    calls: dict[tuple[str, str, str], set[tuple[str, str, str]]] = {}
    for function in model.functions:
        key = (_domain(function.domain), function.name, function.overload)
        if key in calls:
            raise MalformedError(
                Reason.MALFORMED_ONNX,
                "two functions of this model have one name",
                where=f"function {function.name[:200]!a}",
            )
        calls[key] = {
            (_domain(node.domain), node.op_type, node.overload)
            for node in _messages(function)
            if isinstance(node, NodeProto)
        }
    try:
        TopologicalSorter(calls).prepare()
    except CycleError as error:
        raise MalformedError(
            Reason.ONNX_NESTING,
            "a function of this model calls itself",
            where=f"function {error.args[1][0][1][:200]!a}",
        ) from error


def _messages(root: Message) -> Iterator[Message]:
    """Every message within ``root``, wherever a schema allows one: none can be forgotten."""
    waiting = [root]
    while waiting:
        message = waiting.pop()
        yield message
        for field, value in message.ListFields():
            if field.message_type is not None:
                waiting.extend(value if field.is_repeated else [value])


def _check_tensor(
    tensor: TensorProto, model_path: str, files: Mapping[str, int]
) -> Iterator[ExternalData]:
    data_type = DATA_TYPES.get(tensor.data_type)
    if data_type is None:
        raise _bad_tensor(tensor, "this element type is not known", actual=str(tensor.data_type))
    if tensor.HasField("segment"):
        raise _bad_tensor(tensor, "a tensor in segments is not supported")
    count = _count(tensor.dims, tensor.name, data_type)
    needed = -(-count * data_type.bits // 8)
    entries = {field: len(getattr(tensor, field)) for field in _DATA_FIELDS}
    typed_entries = entries.pop(data_type.field)
    if any(entries.values()):
        raise _bad_tensor(
            tensor,
            "the elements of this tensor are not where its type belongs",
            expected=data_type.field,
            actual=", ".join(field for field, size in entries.items() if size),
        )
    is_external = tensor.data_location == _EXTERNAL
    if is_external:
        if typed_entries or tensor.HasField("raw_data") or not data_type.bits:
            raise _bad_tensor(tensor, "this tensor has its data inside the file and outside")
        yield check_external_data(
            [(entry.key, entry.value) for entry in tensor.external_data],
            tensor=tensor.name,
            needed=needed,
            model_path=model_path,
            files=files,
        )
    elif tensor.external_data:
        raise _bad_tensor(tensor, "this tensor names external data but does not use it")
    elif tensor.HasField("raw_data") and data_type.bits:
        _check_raw(tensor, needed, typed_entries)
    else:
        expected = -(-count // data_type.per_entry) * data_type.entries
        if typed_entries != expected or tensor.HasField("raw_data"):
            raise _bad_tensor(
                tensor,
                "this tensor does not have as many elements as its shape",
                expected=f"{expected} entries of {data_type.field}",
                actual=f"{typed_entries}",
            )


def _check_raw(tensor: TensorProto, needed: int, typed_entries: int) -> None:
    # In the skeleton, raw_data is its own length.
    length = int.from_bytes(tensor.raw_data, "little")
    if length != needed or typed_entries:
        raise _bad_tensor(
            tensor,
            "the raw data of this tensor is not what its shape needs",
            expected=f"{needed} bytes",
            actual=f"{length} bytes and {typed_entries} typed entries",
        )


def _count(dims: Sequence[int], name: str, data_type: DataType | None) -> int:
    """The number of elements; refuses shapes whose size overflows on the way to a zero."""
    bits = max(data_type.bits, 8) if data_type else 8
    for dimension in dims:
        if dimension >= 0:
            bits *= dimension or 1
        if dimension < 0 or bits > MAX_TENSOR_BITS:
            raise MalformedError(
                Reason.ONNX_TENSOR,
                "a dimension of this tensor is negative, or all of them overflow",
                where=f"tensor {name[:200]!a}",
                actual=str(list(dims[:32]))[:200],
            )
    return math.prod(dims)


def _inputs(graph: GraphProto) -> tuple[Port, ...]:
    # An input with an initializer is a constant with a default; runtimes do not ask for it.
    constants = {tensor.name for tensor in graph.initializer}
    constants.update(tensor.values.name for tensor in graph.sparse_initializer)
    return tuple(_port(port) for port in graph.input if port.name not in constants)


def _port(port: ValueInfoProto) -> Port:
    shape: tuple[str, ...] | None = None
    kind = port.type.WhichOneof("value")
    if kind in ("tensor_type", "sparse_tensor_type"):
        tensor = getattr(port.type, kind)
        shape = _shape(tensor.shape) if tensor.HasField("shape") else None
    return Port(
        name=_text(port.name, "the name of an input or output"),
        dtype=_text(_type_name(port.type), "the type of an input or output"),
        shape=shape,
    )


def _shape(shape: TensorShapeProto) -> tuple[str, ...]:
    return tuple(
        str(dimension.dim_value)
        if dimension.HasField("dim_value")
        else _text(dimension.dim_param, "the name of a dimension") or "?"
        for dimension in shape.dim
    )


def _type_name(kind: TypeProto) -> str:
    match kind.WhichOneof("value"):
        case "tensor_type":
            name = _element_name(kind.tensor_type.elem_type)
        case "sparse_tensor_type":
            name = f"sparse({_element_name(kind.sparse_tensor_type.elem_type)})"
        case "sequence_type":
            name = f"sequence({_type_name(kind.sequence_type.elem_type)})"
        case "optional_type":
            name = f"optional({_type_name(kind.optional_type.elem_type)})"
        case "map_type":
            key = _element_name(kind.map_type.key_type)
            name = f"map({key},{_type_name(kind.map_type.value_type)})"
        case "opaque_type":
            name = f"opaque({kind.opaque_type.domain},{kind.opaque_type.name})"
        case _:
            name = "?"
    return name


def _element_name(number: int) -> str:
    if number == 0:
        return "?"
    if number not in DATA_TYPES:
        raise MalformedError(
            Reason.ONNX_TENSOR, "this element type is not known", actual=str(number)
        )
    return DATA_TYPES[number].name


def _opsets(model: ModelProto) -> tuple[OperatorSet, ...]:
    opsets = {_domain(opset.domain): opset.version for opset in model.opset_import}
    return tuple(
        OperatorSet(domain=_text(domain, "domain"), version=opsets[domain])
        for domain in sorted(opsets)
    )


def _domain(domain: str) -> str:
    return "" if domain == DEFAULT_DOMAIN_ALIAS else domain


def _text(text: str, where: str) -> str:
    if len(text) > MAX_TEXT_CHARACTERS:
        raise MalformedError(
            Reason.MALFORMED_ONNX,
            "a name in this ONNX model is too long",
            where=where,
            expected=f"at most {MAX_TEXT_CHARACTERS} characters",
            actual=f"{len(text)} characters",
        )
    return text


def _bad_tensor(
    tensor: TensorProto, what: str, *, expected: str = "", actual: str = ""
) -> MalformedError:
    return MalformedError(
        Reason.ONNX_TENSOR,
        what,
        where=f"tensor {tensor.name[:200]!a}",
        expected=expected,
        actual=actual,
    )
