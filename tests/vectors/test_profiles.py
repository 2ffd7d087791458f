"""One answer has one digest, over any transport, in any pieces and any encoding.

The vectors in ``profiles`` are written by ``tools.profile_vectors`` from rules and encoders that
share nothing with what is tested here; the properties draw further answers and ask the same.
"""

import gzip
import json
import math
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.api.openinference.v2 import messages_pb2
from registry.core.profiles import raw
from registry.core.profiles.recognise import candidates
from registry.shim.proxies.answer_readers import AnswerReader, Kind, Named
from registry.shim.proxies.message_answers import Read, frames_digest, read_answers
from registry.wire import open_inference
from tools.profile_vectors import __main__ as tool
from tools.profile_vectors import forms, oracle

FOLDER = Path(__file__).with_name("profiles")
VECTORS = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
SIZES = (1, 3, 17, 2**30)
KINDS: tuple[Kind, ...] = ("chat", "text", "tensor")

MEDIA = (tool.JSON, tool.SSE, tool.RAW, tool.GRPC)

PUBLISHED = {
    "chat": {
        "loan": "28575b153e81af2c446f10c5f5930983248f67a475cf708c7d814fc5fddb9bf0",
        "a character in two halves": (
            "9182ca057e3b02a5fa64d6581a204ec582207d48626ed85cf8e53976ade732a0"
        ),
        "a tool call": "89096927b8a8363bfde18777ddd894fca7e908c50c803b46765c63d7a8fc8abd",
    },
    "tensor": {"both": "ee0aff803a086c90c0e9a3478559ba13066eff68bfd13d61fb30c639077c9e74"},
}
TENSORS = {
    "y": "3c3d3c59acbafc9c32da3b160a0a118a109dcb8545ddf5866ede29e1ebb71e21",
    "label": "25da84085fa775167ad956ef962e061f372c6b2a5922d0cf369a9c2b137d3f8d",
}


def all_forms(list_name: str, media_types: Sequence[str] = MEDIA) -> list[Any]:
    """Each form of each vector, with what it must come to."""
    found = []
    for kind in KINDS:
        for vector in VECTORS[kind][list_name]:
            for place, form in enumerate(vector.get("answers", [vector])):
                if form["content_type"] not in media_types:
                    continue
                media = form["content_type"].rpartition("/")[2]
                name = f"{kind}, {vector.get('name', media)}, {form['how']}, {place}"
                found.append(pytest.param(kind, vector, form, id=name))
    return found


def read(kind: Kind, form: dict[str, Any], size: int, encoding: str = "") -> Named | Read:
    """What the proxies make of a form that comes in pieces of ``size`` bytes."""
    body = tool.body_of(form)
    if form["content_type"] == tool.GRPC:
        return read_answers([body], open_inference.read_response)
    headers = {"content-type": form["content_type"]}
    headers |= {name.replace("_", "-"): said for name, said in form.get("headers", {}).items()}
    if encoding:
        headers["content-encoding"] = encoding
        body = gzip.compress(body) if encoding == "gzip" else zlib.compress(body)
    return feed(AnswerReader(kind, headers), body, size)


def feed(reader: AnswerReader, body: bytes, size: int) -> Named:
    for at in range(0, len(body), size):
        reader.feed(body[at : at + size])
    return reader.named(whole=True)


def content_of(said: Named | Read) -> str:
    return said.content.hex() if isinstance(said, Read) else said.response.content_digest


def test_the_files_are_what_the_tool_writes() -> None:
    assert {path.name: path.read_text() for path in FOLDER.glob("*.json")} == tool.files()


def test_the_published_digests_are_among_them() -> None:
    for kind, published in PUBLISHED.items():
        vectors = {each["name"]: each["content_digest"] for each in VECTORS[kind]["vectors"]}
        assert published.items() <= vectors.items()
    [both] = [each for each in VECTORS["tensor"]["vectors"] if each["name"] == "both"]
    assert both["tensors"] == TENSORS
    [hello] = [each for each in VECTORS["bytes"]["vectors"] if each["data_hex"] == b"hello".hex()]
    assert hello["content_digest"] == (
        "c245484da6dab3bca1728b7f76e6f175d8d80229efc2cb3638ac79b92a627ac3"
    )
    assert VECTORS["bytes"]["frames"][0]["wire_digest"] == (
        "3fafa1cf2f19a7c1129beb20cf0983f73a489a221fc0dd2f16d1be292d089205"
    )


@pytest.mark.parametrize(("kind", "vector", "form"), all_forms("vectors"))
def test_every_form_of_an_answer_has_its_digest(
    kind: Kind, vector: dict[str, Any], form: dict[str, Any]
) -> None:
    for size in SIZES:
        said = read(kind, form, size)
        assert content_of(said) == vector["content_digest"], size
        assert said.profile_error == ""
        if isinstance(said, Named):
            assert said.response.complete is vector["complete"]
    for encoding in ("gzip", "deflate"):
        assert content_of(read(kind, form, 17, encoding)) == vector["content_digest"]


def backwards(value: Any) -> Any:
    """A document whose objects name their members in the other order."""
    if isinstance(value, dict):
        return {name: backwards(value[name]) for name in reversed(value)}
    return list(map(backwards, value)) if isinstance(value, list) else value


@pytest.mark.parametrize("in_escapes", [True, False], ids=["escapes", "raw UTF-8"])
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize(("kind", "vector", "form"), all_forms("vectors", (tool.JSON,)))
def test_a_body_in_another_spelling_has_the_same_digest(
    kind: Kind,
    vector: dict[str, Any],
    form: dict[str, Any],
    indent: int | None,
    *,
    in_escapes: bool,
) -> None:
    document = backwards(json.loads(tool.body_of(form)))
    body = json.dumps(document, ensure_ascii=in_escapes, indent=indent).encode()
    said = feed(AnswerReader(kind, {"content-type": tool.JSON}), body, 17)
    assert content_of(said) == vector["content_digest"]
    assert candidates(body)[0].hex() == vector["content_digest"]


@pytest.mark.parametrize(("kind", "vector", "form"), all_forms("vectors", (tool.GRPC,)))
def test_an_answer_in_a_stream_has_the_digest_of_the_one_alone(
    kind: Kind, vector: dict[str, Any], form: dict[str, Any]
) -> None:
    assert kind == "tensor"
    message = messages_pb2.StreamResponse()
    message.infer_response.ParseFromString(tool.body_of(form))
    said = read_answers([message.SerializeToString()], open_inference.read_stream_response)
    assert (said.content.hex(), said.profile_error) == (vector["content_digest"], "")


@pytest.mark.parametrize(("kind", "vector", "form"), all_forms("refused"))
def test_an_answer_that_breaks_a_rule_is_named_by_its_bytes_and_says_why(
    kind: Kind, vector: dict[str, Any], form: dict[str, Any]
) -> None:
    for size in SIZES:
        said = read(kind, form, size)
        assert content_of(said) == vector["content_digest"]
        assert said.profile_error


def test_bytes_and_frames_have_their_digests() -> None:
    for vector in VECTORS["bytes"]["vectors"]:
        data = bytes.fromhex(vector["data_hex"])
        assert raw.content_digest(data).hex() == vector["content_digest"]
    for frame in VECTORS["bytes"]["frames"]:
        messages = [bytes.fromhex(item) for item in frame["messages_hex"]]
        assert frames_digest(messages) == frame["wire_digest"]


@pytest.mark.parametrize(("kind", "vector", "form"), all_forms("vectors", (tool.JSON, tool.SSE)))
def test_whoever_kept_the_answer_as_a_file_finds_the_digest(
    kind: Kind, vector: dict[str, Any], form: dict[str, Any]
) -> None:
    found = candidates(tool.body_of(form))
    assert found[0].hex() == vector["content_digest"], kind
    assert found[-1].hex() == oracle.bytes_digest(tool.body_of(form))


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
SHORT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@st.composite
def choices(draw: st.DrawFn) -> list[dict[str, Any]]:
    """What the choices of a chat completion say."""
    said = []
    for index in range(draw(st.integers(1, 3))):
        choice = {"index": index, "role": draw(st.sampled_from(["assistant", "tool"]))}
        choice["content"] = draw(TEXTS)
        for name in ("refusal", "reasoning"):
            if text := draw(st.one_of(st.just(""), TEXTS)):
                choice[name] = text
        if calls := draw(st.integers(0, 2)):
            choice["tool_calls"] = [
                tool.call(draw(SHORT), draw(TEXTS), draw(SHORT)) for _ in range(calls)
            ]
        if reason := draw(st.sampled_from(["stop", "length", "tool_calls", ""])):
            choice["finish_reason"] = reason
        said.append(choice)
    return said


def encoded(body: bytes, headers: dict[str, str]) -> bytes:
    match headers.get("content-encoding"):
        case "gzip":
            return gzip.compress(body)
        case "deflate":
            return zlib.compress(body)
        case _:
            return body


@given(
    choices(),
    st.sampled_from([1, 2, 3, 17, 2**20]),
    st.sampled_from([1, 3, 17, 2**20]),
    st.sampled_from([b"\n", b"\r", b"\r\n"]),
    st.sampled_from(["", "gzip", "deflate"]),
    st.booleans(),
    st.booleans(),
)
def test_any_answer_has_one_digest_streamed_and_whole(  # noqa: PLR0917 - all that may differ
    said: list[dict[str, Any]],
    cut: int,
    size: int,
    newline: bytes,
    encoding: str,
    mark: bool,
    comments: bool,
) -> None:
    complete = all("finish_reason" in choice for choice in said)
    expected = oracle.digest(oracle.choices_document("output/chat/v1", said, complete=complete))
    headers = {"content-encoding": encoding} if encoding else {}
    stream = forms.event_stream(
        forms.chat_chunks(said, forms.by_units(cut)),
        newline,
        before=tool.COMMENT if comments else b"",
        mark=mark,
    )
    events = AnswerReader("chat", {"content-type": "text/event-stream"} | headers)
    streamed = feed(events, encoded(stream, headers), size)
    body = AnswerReader("chat", {"content-type": "application/json"} | headers)
    whole = feed(body, encoded(forms.chat_body(said), headers), size)
    assert streamed.response.content_digest == whole.response.content_digest == expected
    assert streamed.response.complete is whole.response.complete is complete
    # What is on the wire differs, and is named for what it is.
    assert streamed.response.wire_digest == oracle.digest(stream)


@st.composite
def tensors(draw: st.DrawFn) -> list[oracle.Tensor]:
    """Named tensors of any type and shape."""
    names = draw(st.lists(SHORT, min_size=1, max_size=3, unique=True))
    found = []
    for name in names:
        datatype = draw(st.sampled_from(["BYTES", *open_inference._TYPED, "FP16", "BF16"]))
        shape = tuple(draw(st.lists(st.integers(0, 3), max_size=2)))
        count = math.prod(shape)
        if datatype == "BYTES":
            items = draw(st.lists(st.binary(max_size=5), min_size=count, max_size=count))
            data = b"".join(struct.pack("<I", len(item)) + item for item in items)
        elif datatype == "BOOL":
            data = bytes(draw(st.lists(st.integers(0, 1), min_size=count, max_size=count)))
        else:
            size = count * (int(datatype.lstrip("UINTFPB")) // 8)
            data = draw(st.binary(min_size=size, max_size=size))
        found.append(oracle.Tensor(name, datatype, shape, data))
    return found


def quiet(tensor: oracle.Tensor) -> bool:
    """Whether its numbers pass through a number unchanged, as those of typed contents do."""
    if tensor.datatype not in ("FP32", "FP64"):
        return True
    code = "f" if tensor.datatype == "FP32" else "d"
    count = len(tensor.raw) // struct.calcsize(code)
    return not any(map(math.isnan, struct.unpack(f"<{count}{code}", tensor.raw)))


@given(tensors(), st.sampled_from([1, 3, 17, 2**20]), st.sampled_from(["", "gzip", "deflate"]))
def test_any_tensors_have_one_digest_raw_typed_and_in_json(
    said: list[oracle.Tensor], size: int, encoding: str
) -> None:
    expected = oracle.digest(oracle.tensors_document(said, complete=True))
    headers = {"content-encoding": encoding} if encoding else {}
    body, length = forms.rest_raw(said)
    reader = AnswerReader("tensor", headers | {"inference-header-content-length": str(length)})
    digests = [feed(reader, encoded(body, headers), size).response.content_digest]
    messages = [forms.grpc_raw(said), forms.grpc_raw(said[::-1])]
    if all(map(forms.has_json, said)):
        body = forms.rest(said)
        reader = AnswerReader("tensor", headers)
        digests.append(feed(reader, encoded(body, headers), size).response.content_digest)
    if all(map(forms.has_types, said)) and all(map(quiet, said)):
        messages.append(forms.grpc_typed(said))
    read_one = open_inference.read_response
    digests += [content_of(read_answers([message], read_one)) for message in messages]
    assert set(digests) == {expected}
