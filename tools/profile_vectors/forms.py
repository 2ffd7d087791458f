"""The bytes that carry an answer on each transport, written by hand from the protocols.

Nothing here is read by the code that is under test, nor written by it.
"""

import json
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tools.profile_vectors.oracle import Tensor

Choice = dict[str, Any]
Cut = Callable[[str], Sequence[str]]
"""How a text is cut into deltas."""

_TYPED = {
    "BOOL": (1, "?"),
    "INT8": (2, "b"),
    "INT16": (2, "h"),
    "INT32": (2, "i"),
    "INT64": (3, "q"),
    "UINT8": (4, "B"),
    "UINT16": (4, "H"),
    "UINT32": (4, "I"),
    "UINT64": (5, "Q"),
    "FP32": (6, "f"),
    "FP64": (7, "d"),
}
_JSON_ONLY = {"FP16": "e"}


def by_units(size: int) -> Cut:
    """Cut after so many UTF-16 units: through the middle of characters outside the first plane."""

    def cut(text: str) -> list[str]:
        data = text.encode("utf-16-le")
        parts = [data[at : at + 2 * size] for at in range(0, len(data), 2 * size)]
        return [part.decode("utf-16-le", "surrogatepass") for part in parts]

    return cut


def by_characters(size: int) -> Cut:
    """Cut after so many characters."""
    return lambda text: [text[at : at + size] for at in range(0, len(text), size)]


def chat_body(choices: Sequence[Choice], **more: Any) -> bytes:
    """A chat completion in one body."""
    said = [
        {
            "index": choice["index"],
            "message": {
                key: value for key, value in choice.items() if key not in ("index", "finish_reason")
            },
            "finish_reason": choice.get("finish_reason"),
        }
        for choice in choices
    ]
    return json.dumps({"id": "chatcmpl-1", "choices": said} | more).encode()


def chat_chunks(choices: Sequence[Choice], cut: Cut, **more: Any) -> list[bytes]:
    """The chunks of a streamed chat completion; choices come by turns."""
    turns = [list(_deltas(choice, cut)) for choice in choices]
    chunks = []
    for place in range(max(map(len, turns), default=0)):
        for choice, deltas in zip(choices, turns, strict=True):
            if place < len(deltas):
                said = {"index": choice["index"], "finish_reason": None} | deltas[place]
                chunks.append(json.dumps({"id": "chatcmpl-2", "choices": [said]} | more).encode())
    return chunks


def _deltas(choice: Choice, cut: Cut) -> Iterator[Choice]:
    yield {"delta": {"role": choice["role"], "content": ""}}
    for name in ("reasoning", "content", "refusal"):
        for part in cut(choice.get(name, "")):
            yield {"delta": {name: part}}
    for place, call in enumerate(choice.get("tool_calls", ())):
        function = {"name": call["function"]["name"], "arguments": ""}
        first = {"index": place, "id": call["id"], "type": call["type"], "function": function}
        yield {"delta": {"tool_calls": [first]}}
        for part in cut(call["function"]["arguments"]):
            said = {"index": place, "function": {"arguments": part}}
            yield {"delta": {"tool_calls": [said]}}
    if "finish_reason" in choice:
        yield {"delta": {}, "finish_reason": choice["finish_reason"]}


def text_body(choices: Sequence[Choice]) -> bytes:
    """A legacy completion in one body."""
    return json.dumps({"id": "cmpl-1", "choices": list(choices)}).encode()


def text_chunks(choices: Sequence[Choice], cut: Cut) -> list[bytes]:
    """The chunks of a streamed legacy completion."""
    chunks = []
    for choice in choices:
        parts = [{"text": part} for part in cut(choice["text"])] or [{"text": ""}]
        if "finish_reason" in choice:
            parts.append({"text": "", "finish_reason": choice["finish_reason"]})
        chunks += [
            json.dumps({"choices": [{"index": choice["index"]} | part]}).encode() for part in parts
        ]
    return chunks


def event_stream(
    events: Sequence[bytes],
    newline: bytes = b"\n",
    *,
    before: bytes = b"",
    mark: bool = False,
    done: bool = True,
) -> bytes:
    """Events as they are sent; ``before`` goes before each, such as a comment."""
    said = [*events, *([b"[DONE]"] if done else ())]
    lines = [before + b"data: " + item + b"\n\n" for item in said]
    return (b"\xef\xbb\xbf" if mark else b"") + b"".join(lines).replace(b"\n", newline)


def rest(tensors: Sequence[Tensor]) -> bytes:
    """An Open Inference response in JSON alone."""
    outputs = [_output(tensor) | {"data": _values(tensor)} for tensor in tensors]
    return json.dumps({"model_name": "m", "outputs": outputs}).encode()


def rest_raw(tensors: Sequence[Tensor]) -> tuple[bytes, int]:
    """The same with raw bytes after the JSON, and how much of it is JSON."""
    outputs = [
        _output(tensor) | {"parameters": {"binary_data_size": len(tensor.raw)}}
        for tensor in tensors
    ]
    head = json.dumps({"model_name": "m", "outputs": outputs}).encode()
    return head + b"".join(tensor.raw for tensor in tensors), len(head)


def grpc_raw(tensors: Sequence[Tensor]) -> bytes:
    """A ``ModelInferResponse`` with raw contents."""
    said = field(1, b"m") + b"".join(field(5, _described(tensor)) for tensor in tensors)
    return said + b"".join(field(6, tensor.raw) for tensor in tensors)


def grpc_typed(tensors: Sequence[Tensor]) -> bytes:
    """A ``ModelInferResponse`` with typed contents."""
    outputs = [_described(tensor) + field(5, _contents(tensor)) for tensor in tensors]
    return field(1, b"m") + b"".join(field(5, item) for item in outputs)


def has_json(tensor: Tensor) -> bool:
    """Whether JSON can hold a tensor."""
    if tensor.datatype == "BF16":
        return False
    try:
        json.dumps(_values(tensor), allow_nan=False)
    except ValueError:
        return False
    return True


def has_types(tensor: Tensor) -> bool:
    """Whether typed contents can hold a tensor."""
    return tensor.datatype in (*_TYPED, "BYTES")


def varint(value: int) -> bytes:
    """A protobuf varint; a negative number takes ten bytes."""
    value &= 2**64 - 1
    out = b""
    while value > 0x7F:  # noqa: PLR2004 - seven bits a byte
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(number: int, payload: bytes) -> bytes:
    """A length-delimited protobuf field."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def elements(raw: bytes) -> Iterator[bytes]:
    """The elements of a BYTES tensor."""
    at = 0
    while at < len(raw):
        size = int.from_bytes(raw[at : at + 4], "little")
        yield raw[at + 4 : at + 4 + size]
        at += 4 + size


def _output(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}


def _values(tensor: Tensor) -> list[Any]:
    if tensor.datatype == "BYTES":
        return [item.decode() for item in elements(tensor.raw)]
    code = (_JSON_ONLY | {name: code for name, (_, code) in _TYPED.items()})[tensor.datatype]
    count = len(tensor.raw) // struct.calcsize(code)
    return list(struct.unpack(f"<{count}{code}", tensor.raw))


def _described(tensor: Tensor) -> bytes:
    shape = field(3, b"".join(map(varint, tensor.shape))) if tensor.shape else b""
    return field(1, tensor.name.encode()) + field(2, tensor.datatype.encode()) + shape


def _contents(tensor: Tensor) -> bytes:
    if tensor.datatype == "BYTES":
        return b"".join(field(8, item) for item in elements(tensor.raw))
    number, code = _TYPED[tensor.datatype]
    if tensor.datatype in ("FP32", "FP64"):
        packed = tensor.raw
    else:
        count = len(tensor.raw) // struct.calcsize(code)
        packed = b"".join(map(varint, struct.unpack(f"<{count}{code}", tensor.raw)))
    return field(number, packed) if packed else b""
