"""Open Inference Protocol v2 ↔ tensors: what a message says, read beside the bytes that pass on."""

import struct
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from registry.api.openinference.v2 import messages_pb2
from registry.core.profiles.tensor import MAX_TENSORS, Tensor, join_elements
from registry.errors import MalformedError, Reason

_TYPED = {
    "BOOL": ("bool_contents", "?"),
    "INT8": ("int_contents", "b"),
    "INT16": ("int_contents", "h"),
    "INT32": ("int_contents", "i"),
    "INT64": ("int64_contents", "q"),
    "UINT8": ("uint_contents", "B"),
    "UINT16": ("uint_contents", "H"),
    "UINT32": ("uint_contents", "I"),
    "UINT64": ("uint64_contents", "Q"),
    "FP32": ("fp32_contents", "f"),
    "FP64": ("fp64_contents", "d"),
}
_FINAL = "triton_final_response"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a response says.

    Attributes:
        id: The id of its request; may be empty.
        error: Why there is no answer; empty if there is.
        final: Whether the server says that it is the last one; None if it does not say.
        tensors: The outputs.
    """

    id: str
    error: str
    final: bool | None
    tensors: tuple[Tensor, ...]


def read_response(data: bytes) -> Answer:
    """Read a ``ModelInferResponse``.

    Raises:
        MalformedError: ``PROFILE`` for what has no content digest.
    """
    message = messages_pb2.Response()
    _parse(message, data)
    return _answer(message)


def read_stream_response(data: bytes) -> Answer:
    """Read a ``ModelStreamInferResponse``.

    Raises:
        MalformedError: ``PROFILE`` for what has no content digest.
    """
    message = messages_pb2.StreamResponse()
    _parse(message, data)
    if message.error_message:
        return Answer(message.infer_response.id, message.error_message, None, ())
    return _answer(message.infer_response)


@dataclass(frozen=True, slots=True)
class Call:
    """What a request asks.

    Attributes:
        inputs: What is fed to the model.
        asked: The outputs that are wanted, in order; none means all.
    """

    inputs: tuple[Tensor, ...]
    asked: tuple[str, ...]


def read_request(data: bytes) -> Call:
    """Read a ``ModelInferRequest``.

    Raises:
        MalformedError: ``PROFILE``.
    """
    message = messages_pb2.Call()
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise _wrong("this is no request of the Open Inference Protocol") from error
    tensors = _tensors(message.inputs, message.raw_input_contents)
    return Call(tensors, tuple(item.name for item in message.outputs))


@dataclass(frozen=True, slots=True)
class Head:
    """What a request says beside its tensors.

    Attributes:
        id: What its answers repeat; may be empty.
        model: What it calls the model, as ``name`` or ``name/version``; may be empty.
        parameters: Of the request, each as text.
        inputs: Of each input, in order.
        tensors: The inputs that were asked for by name, with their places; none if they are no
            tensors.
    """

    id: str = ""
    model: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    inputs: tuple[Mapping[str, str], ...] = ()
    tensors: tuple[tuple[int, Tensor], ...] = ()


def request_head(data: bytes, names: Collection[str] = (), tensors: Collection[str] = ()) -> Head:
    """Read the head of a ``ModelInferRequest``; an empty one if it is no request.

    Args:
        data: The message.
        names: The parameters that matter.
        tensors: The inputs that matter.
    """
    message = messages_pb2.Request()
    try:
        message.ParseFromString(data)
    except DecodeError:
        return Head()
    inputs = message.inputs[:MAX_TENSORS]
    wanted = [place for place, item in enumerate(inputs) if item.name in tensors]
    return Head(
        message.id,
        "/".join(filter(None, (message.model_name, message.model_version))),
        _parameters(message.parameters, names),
        tuple(_parameters(item.parameters, names) for item in inputs),
        _inputs(data, wanted) if wanted else (),
    )


def _inputs(data: bytes, places: Sequence[int]) -> tuple[tuple[int, Tensor], ...]:
    """The inputs at these places; none if what all of them hold cannot be told apart."""
    try:
        tensors = read_request(data).inputs
    except MalformedError:
        return ()
    return tuple((place, tensors[place]) for place in places)


def _parameters(
    members: Mapping[str, messages_pb2.Parameter], names: Collection[str]
) -> dict[str, str]:
    """Parameters that are numbers or texts; doubles in the shortest digits that give them back."""
    found: dict[str, str] = {}
    for name, value in members.items():
        kind = value.WhichOneof("choice")
        if name in names and kind is not None and kind != "bool_param":
            found[name] = str(getattr(value, kind))
    return found


def _parse(message: messages_pb2.Response | messages_pb2.StreamResponse, data: bytes) -> None:
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise _wrong("this is no response of the Open Inference Protocol") from error


def _answer(message: messages_pb2.Response) -> Answer:
    tensors = _tensors(message.outputs, message.raw_output_contents)
    final = message.parameters.get(_FINAL)
    return Answer(
        message.id,
        "",
        final.bool_param if final is not None and final.HasField("bool_param") else None,
        tensors,
    )


def _tensors(items: Sequence[messages_pb2.Output], raw: Sequence[bytes]) -> tuple[Tensor, ...]:
    if len(items) > MAX_TENSORS or (raw and len(raw) != len(items)):
        raise _wrong("raw contents do not belong to the tensors", actual=f"{len(raw)} of them")
    return tuple(
        Tensor(item.name, item.datatype, tuple(item.shape), raw[place] if raw else _typed(item))
        for place, item in enumerate(items)
    )


def _typed(item: messages_pb2.Output) -> bytes:
    """The elements of an output as little-endian bytes, exactly as its type has them."""
    if item.datatype == "BYTES":
        return join_elements(item.contents.bytes_contents)
    if item.datatype not in _TYPED:
        raise _wrong("this type has no typed contents", item.name, item.datatype)
    field, code = _TYPED[item.datatype]
    elements: Iterable[bool | int | float] = getattr(item.contents, field)
    values = list(elements)
    try:
        return struct.pack(f"<{len(values)}{code}", *values)
    except struct.error as error:
        raise _wrong("an element does not fit its type", item.name, item.datatype) from error


def _wrong(what: str, where: str = "", actual: str = "") -> MalformedError:
    return MalformedError(
        Reason.PROFILE, what, where=f"tensor {where[:80]!r}" if where else "", actual=actual[:80]
    )
