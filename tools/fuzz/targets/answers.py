"""Targets of the proxies: answers of model servers as they pass, in whatever pieces."""

import gzip
import json
from collections.abc import Callable, Mapping
from typing import Final

from registry.core.profiles import raw
from registry.core.profiles.open_inference import InferenceResponse
from registry.errors import MalformedError, Reason
from registry.shim.proxies.answer_readers import AnswerReader, Kind, Named
from registry.shim.proxies.message_answers import read_answers
from registry.shim.proxies.request_params import params_of_message
from registry.wire import open_inference
from tools.fuzz.edits import lines
from tools.fuzz.members import members, structured
from tools.fuzz.target import Again, Target
from tools.profile_vectors import forms
from tools.profile_vectors.__main__ import call, choice
from tools.profile_vectors.oracle import Tensor

PIECES: Final = (1021, 4093)
"""How many bytes come at once; the last of several ways is all of them."""

_CHOICES: Final = [
    choice("Été 🙂", "tool_calls", tool_calls=[call("f", '{"a": 1}', "call_1")]),
    choice("two", "length", index=1, reasoning="why", refusal="no"),
]
_TENSORS: Final = [
    Tensor("y", "FP32", (1, 3), bytes.fromhex("cdcccc3d00002040000040c0")),
    Tensor("label", "BYTES", (2,), b"\3\0\0\0cat\0\0\0\0"),
]


def _answer(kind: Kind, headers: Mapping[str, str]) -> Again:
    """Read an answer in pieces of each size: it must be the same answer, and have one name."""

    def again(data: bytes) -> None:
        found = {_named(kind, headers, data, size) for size in (*PIECES, max(1, len(data)))}
        if len(found) != 1:
            message = "the pieces decide about the answer"
            raise AssertionError(message)
        [named] = found
        if named[0] == raw.NAME:
            # To a fuzzer that is what was not read.
            raise MalformedError(Reason.PROFILE, named[-1])

    return again


def _named(kind: Kind, headers: Mapping[str, str], data: bytes, size: int) -> tuple[str, ...]:
    reader = AnswerReader(kind, headers)
    for at in range(0, len(data), size):
        reader.feed(data[at : at + size])
    said: Named = reader.named(whole=True)
    response = said.response
    return (
        response.profile,
        response.content_digest,
        response.wire_digest,
        str(response.complete),
        said.profile_error,
    )


def _tensors(data: bytes) -> None:
    """Raw bytes after the JSON; where that ends is in front here."""
    size, _, body = data.partition(b"\n")
    InferenceResponse.parse(body, int(size) if size.isdigit() and len(size) < 10 else 0)  # noqa: PLR2004 - no number so long fits


def _message(read: Callable[[bytes], open_inference.Answer]) -> Again:
    def again(data: bytes) -> None:
        read(data)
        params_of_message(data)
        open_inference.request_head(data)
        read_answers([data], read)

    return again


_SSE: Final = {"content-type": "text/event-stream"}
_CHUNKS: Final = forms.chat_chunks(_CHOICES, forms.by_units(1))
_STREAMS: Final = (
    forms.event_stream(_CHUNKS),
    forms.event_stream(_CHUNKS, b"\r\n", before=b": c\n\n", mark=True),
    forms.event_stream(_CHUNKS[:3], b"\r", done=False),
)
_BODY: Final = forms.chat_body(_CHOICES)
_RAW, _JSON_BYTES = forms.rest_raw(_TENSORS)
_EVENTS: Final = (b"\r", b"\n", b"\r\n", b"data:", b"data: [DONE]\n\n", b": c\n", b"\n\n")

TARGETS: Final = (
    Target("answer-stream", _STREAMS, _answer("chat", _SSE), (lines, members), _EVENTS),
    Target(
        "answer-text-stream",
        (forms.event_stream(forms.text_chunks([{"index": 0, "text": "a🙂"}], forms.by_units(1))),),
        _answer("text", _SSE),
        (lines, members),
        _EVENTS,
    ),
    Target(
        "answer-body",
        (_BODY, json.dumps({"choices": []}).encode()),
        _answer("chat", {}),
        (members, structured),
    ),
    Target(
        "answer-compressed",
        (gzip.compress(_BODY, mtime=0),),
        _answer("chat", {"content-encoding": "gzip"}),
    ),
    Target("answer-tensors", (forms.rest(_TENSORS),), _answer("tensor", {}), (members, structured)),
    Target(
        "answer-raw-tensors", (b"%d\n%s" % (_JSON_BYTES, _RAW),), _tensors, (members, structured)
    ),
    Target(
        "open-inference-response",
        (forms.grpc_raw(_TENSORS), forms.grpc_typed(_TENSORS)),
        _message(open_inference.read_response),
    ),
    Target(
        "open-inference-stream",
        (forms.field(2, forms.grpc_raw(_TENSORS)), forms.field(1, b"no")),
        _message(open_inference.read_stream_response),
    ),
)
"""Whatever reads what a model server says."""
