"""Writes ``tests/vectors/profiles``, or with ``--check`` says whether it is what would be written.

::

    python -m tools.profile_vectors [--check]

A vector has the document that is hashed, so that whoever comes to another digest sees where they
part, and every form in which its answer goes out: all of them have the one digest. An answer that
breaks a rule of its profile is named by its bytes instead; such stand under ``refused``.
"""

import argparse
import base64
import contextlib
import json
import struct
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tools.profile_vectors import forms, oracle
from tools.profile_vectors.forms import Choice, by_characters, by_units
from tools.profile_vectors.oracle import Tensor

FOLDER = Path(__file__).parents[2] / "tests" / "vectors" / "profiles"
"""Where the vectors lie."""

CHAT, TEXT, TENSOR, BYTES = (f"output/{name}/v1" for name in ("chat", "text", "tensor", "bytes"))
SSE, JSON = "text/event-stream", "application/json"
RAW, GRPC = "application/octet-stream", "application/grpc"
COMMENT = b": keep-alive\n\n"
LOAN = "Loan denied: debt-to-income 0.61 exceeds 0.45. Été 🙂 e\u0301"
USAGE = b'{"choices":[],"usage":{"total_tokens":9}}'

Form = dict[str, Any]


def choice(content: str, finish: str | None = "stop", *, index: int = 0, **more: Any) -> Choice:
    """One choice of a chat completion, with the members that its document has."""
    said: Choice = {"index": index, "role": "assistant", "content": content, **more}
    return said | ({} if finish is None else {"finish_reason": finish})


def call(name: str, arguments: str, identifier: str) -> dict[str, Any]:
    """One tool call."""
    function = {"name": name, "arguments": arguments}
    return {"id": identifier, "type": "function", "function": function}


def form(how: str, media: str, body: bytes, **headers: str) -> Form:
    """One way in which an answer goes out; a body that is no text is in base64."""
    said: Form = {"how": how, "content_type": media}
    if headers:
        said["headers"] = {name.replace("_", "-"): value for name, value in headers.items()}
    if media in (SSE, JSON):
        with contextlib.suppress(UnicodeDecodeError):
            return said | {"body": body.decode()}
    return said | {"body_base64": base64.b64encode(body).decode()}


def body_of(said: Form) -> bytes:
    """The body of a form, as :func:`form` wrote it."""
    if "body" in said:
        return str(said["body"]).encode()
    return base64.b64decode(said["body_base64"])


def vector(name: str, document: bytes, answers: list[Form], **more: Any) -> dict[str, Any]:
    """One answer: the document that is hashed, its digest, and its forms."""
    return {
        "name": name,
        "document": document.decode(),
        "content_digest": oracle.digest(document),
        **more,
        "answers": answers,
    }


def streams(chunks: Sequence[bytes], cut_finer: Sequence[bytes]) -> list[Form]:
    """A streamed answer under every rule of event streams."""
    stream = forms.event_stream
    return [
        form("lines end in LF", SSE, stream(chunks)),
        form("other chunks", SSE, stream(cut_finer)),
        form("lines end in CRLF, comments between", SSE, stream(chunks, b"\r\n", before=COMMENT)),
        form("lines end in CR", SSE, stream(chunks, b"\r")),
        form("a byte order mark", SSE, stream(chunks, mark=True)),
        form("a chunk of usage", SSE, stream([*chunks, USAGE])),
        form("the end twice", SSE, stream(chunks) + b"data: [DONE]\n\n"),
        form("the stream again after its end", SSE, stream(chunks) + stream(chunks)),
        form("an unfinished event after the end", SSE, stream(chunks) + b'data: {"choices":'),
    ]


def chat_vector(name: str, *choices: Choice) -> dict[str, Any]:
    """A whole answer, in one body and as a stream."""
    chunks = forms.chat_chunks(choices, by_characters(4))
    finer = forms.chat_chunks(choices, by_units(1), id="another", model="other")
    document = oracle.choices_document(CHAT, choices, complete=True)
    body = form("one body", JSON, forms.chat_body(choices, usage={"total_tokens": 9}))
    return vector(name, document, [body, *streams(chunks, finer)], complete=True)


def chat() -> dict[str, Any]:
    """The vectors of ``output/chat/v1``."""
    loan, smile = choice(LOAN), choice("🙂")
    tool = choice("", "tool_calls", tool_calls=[call("f", '{"a": 1}', "call_1")])
    both = [
        call("look_up", '{"city": "Zürich"}', "call_1"),
        call("look_up", "not JSON at all", "call_2"),
    ]
    vectors = [
        chat_vector("loan", loan),
        chat_vector("a character in two halves", smile),
        chat_vector("a tool call", tool),
        chat_vector(
            "text and two tool calls", choice("One moment.", "tool_calls", tool_calls=both)
        ),
        chat_vector("two choices by turns", choice("first one"), choice("2nd", "length", index=1)),
        chat_vector("a refusal", choice("", refusal="I cannot say that.")),
        chat_vector("reasoning", choice("42", reasoning="Seven times six.")),
        chat_vector("nothing", choice("")),
        chat_vector("composed", choice("\u00e9")),
        chat_vector("decomposed", choice("e\u0301")),
    ]
    vectors[0]["answers"] += other_forms(loan)
    vectors[2]["answers"].append(
        form("content is null", JSON, forms.chat_body([tool | {"content": None}]))
    )
    reasoning = {"role": "assistant", "content": "42", "reasoning_content": "Seven times six."}
    vectors[6]["answers"].append(form("under its other name", JSON, document([message(reasoning)])))
    chunks = forms.chat_chunks([loan], by_characters(4))
    cut = [loan | {"content": LOAN[:8]}]
    del cut[0]["finish_reason"]
    unfinished = forms.event_stream(forms.chat_chunks(cut, by_characters(4)), done=False)
    vectors += [
        vector(
            "cut off",
            oracle.choices_document(CHAT, cut, complete=False),
            [
                form("after two chunks", SSE, unfinished),
                form("within the third", SSE, unfinished + b'data: {"choices":[{"delta":'),
            ],
            complete=False,
        ),
        vector(
            "no end",
            oracle.choices_document(CHAT, [loan], complete=False),
            [
                form("no [DONE]", SSE, forms.event_stream(chunks, done=False)),
                form("no blank line after [DONE]", SSE, forms.event_stream(chunks)[:-1]),
            ],
            complete=False,
        ),
        vector(
            "no finish reason",
            oracle.choices_document(CHAT, [choice(LOAN, None)], complete=False),
            [
                form("a stream", SSE, forms.event_stream(chunks[:-1])),
                form("one body", JSON, forms.chat_body([choice(LOAN, None)])),
            ],
            complete=False,
        ),
    ]
    return {"profile": CHAT, "vectors": vectors, "refused": chat_refused()}


def other_forms(loan: Choice) -> list[Form]:
    """Further forms of the first answer."""
    raw = json.dumps(
        {"choices": [{"delta": {"content": LOAN}, "finish_reason": "stop"}]}, ensure_ascii=False
    ).encode()
    chunk = json.dumps({"choices": [{"delta": {"content": LOAN}, "finish_reason": "stop"}]})
    lines = b"data: " + chunk.replace(", ", ",\ndata: ", 1).encode() + b"\n\ndata: [DONE]\n\n"
    commented = lines.replace(b",\n", b",\n: a comment within\n", 1)
    return [
        form("raw UTF-8, no role", SSE, forms.event_stream([raw])),
        form("an event of two lines", SSE, lines),
        form("a comment within an event", SSE, commented),
        form(
            "raw UTF-8 in one body",
            JSON,
            json.dumps(json.loads(forms.chat_body([loan])), ensure_ascii=False).encode(),
        ),
    ]


def message(said: dict[str, Any], finish: str = "stop") -> dict[str, Any]:
    """One choice of a body."""
    return {"index": 0, "message": said, "finish_reason": finish}


def document(choices: list[Any]) -> bytes:
    """A body."""
    return json.dumps({"choices": choices}).encode()


def delta(**said: Any) -> bytes:
    """One chunk."""
    return json.dumps({"choices": [{"index": 0, "delta": said}]}).encode()


def chat_refused() -> list[dict[str, Any]]:
    """Answers without a digest under ``output/chat/v1``."""
    function = {"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}}
    other_name = {"index": 0, "function": {"name": "g", "arguments": ""}}
    other_id = {"index": 0, "id": "b"}
    stop = b'{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}'
    stream = forms.event_stream
    text = {"role": "assistant", "content": "42"}
    return [
        refused(form("content in parts", JSON, document([message(text | {"content": ["x"]})]))),
        refused(form("content in parts", SSE, stream([delta(content=["x"]), stop]))),
        refused(
            form(
                "a tool's name changes",
                SSE,
                stream([delta(tool_calls=[function]), delta(tool_calls=[other_name]), stop]),
            )
        ),
        refused(
            form(
                "a tool call's id changes",
                SSE,
                stream([delta(tool_calls=[function]), delta(tool_calls=[other_id]), stop]),
            )
        ),
        refused(
            form(
                "two reasonings",
                JSON,
                document([message(text | {"reasoning": "a", "reasoning_content": "b"})]),
            )
        ),
        refused(
            form(
                "a member without a rule", JSON, document([message(text | {"audio": {"data": ""}})])
            )
        ),
        refused(form("a name twice", JSON, b'{"choices":[],"choices":[]}')),
        refused(form("NaN", JSON, b'{"choices":[],"x":NaN}')),
        refused(form("no UTF-8", JSON, b'{"choices":[{"message":{"content":"\xff"}}]}')),
        refused(form("half a character", JSON, document([message(text | {"content": "\ud83d"})]))),
        refused(form("half a character", SSE, stream([delta(content="\ud83d"), stop]))),
        refused(form("no JSON", SSE, stream([b"{", stop]))),
        refused(form("an event without data", SSE, stream([b"", stop]))),
        refused(form("no object", JSON, b"[]")),
    ]


def refused(said: Form) -> dict[str, Any]:
    """An answer that is named by its bytes."""
    return {"content_digest": oracle.bytes_digest(body_of(said)), **said}


def text() -> dict[str, Any]:
    """The vectors of ``output/text/v1``."""
    vectors = []
    for name, choices in (
        ("loan", [{"index": 0, "text": LOAN, "finish_reason": "stop"}]),
        ("nothing", [{"index": 0, "text": "", "finish_reason": "length"}]),
        (
            "two choices",
            [
                {"index": 0, "text": "a", "finish_reason": "stop"},
                {"index": 1, "text": "🙂", "finish_reason": "length"},
            ],
        ),
    ):
        chunks = forms.text_chunks(choices, by_characters(4))
        finer = forms.text_chunks(choices, by_units(1))
        body = form("one body", JSON, forms.text_body(choices))
        document = oracle.choices_document(TEXT, choices, complete=True)
        vectors.append(vector(name, document, [body, *streams(chunks, finer)], complete=True))
    wrong = form("text in parts", JSON, b'{"choices":[{"index":0,"text":["a"]}]}')
    return {"profile": TEXT, "vectors": vectors, "refused": [refused(wrong)]}


def tensor_forms(tensors: Sequence[Tensor]) -> list[Form]:
    """The forms of tensors: over REST, and as one gRPC message each."""
    raw, size = forms.rest_raw(tensors)
    said = [
        form("REST, raw bytes after the JSON", RAW, raw, inference_header_content_length=str(size)),
        form("gRPC, raw contents", GRPC, forms.grpc_raw(tensors)),
        form("gRPC, the outputs in another order", GRPC, forms.grpc_raw(tensors[::-1])),
    ]
    if all(map(forms.has_json, tensors)):
        said.append(form("REST, JSON alone", JSON, forms.rest(tensors)))
    if all(map(forms.has_types, tensors)):
        said.append(form("gRPC, typed contents", GRPC, forms.grpc_typed(tensors)))
    return said


def tensor() -> dict[str, Any]:
    """The vectors of ``output/tensor/v1``."""
    y = Tensor("y", "FP32", (1, 3), bytes.fromhex("cdcccc3d00002040000040c0"))
    label = Tensor(
        "label",
        "BYTES",
        (3,),
        b"".join(struct.pack("<I", len(item)) + item for item in (b"cat", b"", "é".encode())),
    )
    edges = [
        Tensor("BOOL", "BOOL", (2,), b"\0\1"),
        *(
            Tensor(
                f"INT{8 * n}",
                f"INT{8 * n}",
                (2,),
                (1 << 8 * n - 1).to_bytes(n, "little")
                + ((1 << 8 * n - 1) - 1).to_bytes(n, "little"),
            )
            for n in (1, 2, 4, 8)
        ),
        *(Tensor(f"UINT{8 * n}", f"UINT{8 * n}", (1,), b"\xff" * n) for n in (1, 2, 4, 8)),
        Tensor("FP16", "FP16", (2,), bytes.fromhex("ff7b0080")),
        Tensor("FP32", "FP32", (2,), bytes.fromhex("ffff7f7f01000080")),
        Tensor("FP64", "FP64", (1,), bytes.fromhex("9a9999999999b93f")),
    ]
    vectors = []
    for name, tensors in (
        ("y", [y]),
        ("label", [label]),
        ("both", [y, label]),
        ("every type that JSON has", edges),
        ("BF16", [Tensor("y", "BF16", (2,), bytes.fromhex("803f00c0"))]),
        ("NaN with a payload", [Tensor("y", "FP32", (2,), bytes.fromhex("0100c07f0000807f"))]),
        ("bytes that are no text", [Tensor("y", "BYTES", (1,), b"\x01\0\0\0\xff")]),
        ("a scalar", [Tensor("y", "FP32", (), bytes(4))]),
        ("empty", [Tensor("y", "INT64", (0, 7), b"")]),
        (
            "names by their UTF-8 bytes",
            [Tensor("\U00010000", "BOOL", (1,), b"\1"), Tensor("\uffff", "BOOL", (1,), b"\0")],
        ),
    ):
        document = oracle.tensors_document(tensors, complete=True)
        digests = {item.name: oracle.tensor_digest(item) for item in tensors}
        vectors.append(
            vector(name, document, tensor_forms(tensors), tensors=digests, complete=True)
        )
    return {"profile": TENSOR, "vectors": vectors, "refused": tensor_refused()}


def tensor_refused() -> list[dict[str, Any]]:
    """Answers without a digest under ``output/tensor/v1``."""

    def one(datatype: str, shape: str, data: str) -> bytes:
        output = f'{{"name":"y","datatype":"{datatype}","shape":{shape},"data":{data}}}'
        return f'{{"model_name":"m","outputs":[{output}]}}'.encode()

    short = Tensor("y", "FP32", (2,), bytes(4))
    inner = Tensor("y", "BYTES", (1,), b"\x09\0\0\0cat")
    return [
        refused(form("FP32 overflows", JSON, one("FP32", "[1]", "[3.5e38]"))),
        refused(form("UINT8 overflows", JSON, one("UINT8", "[1]", "[256]"))),
        refused(form("an integer with a fraction", JSON, one("INT8", "[1]", "[1.5]"))),
        refused(form("fewer data than the shape says", JSON, one("FP32", "[2]", "[1]"))),
        refused(form("a type without JSON", JSON, one("BF16", "[1]", "[1]"))),
        refused(form("no outputs", JSON, b'{"model_name":"m","outputs":[]}')),
        refused(
            form("two of one name", GRPC, forms.grpc_raw([Tensor("y", "BOOL", (1,), b"\0")] * 2))
        ),
        refused(form("fewer bytes than the shape says", GRPC, forms.grpc_raw([short]))),
        refused(form("an inner length beyond the end", GRPC, forms.grpc_raw([inner]))),
        refused(form("no message", GRPC, b"\xff\xff")),
    ]


def plain() -> dict[str, Any]:
    """The vectors of ``output/bytes/v1``, and of wire digests."""
    data = [b"hello", b"", bytes(range(256))]
    frames = [[b"a", b"bc"], [b""], []]
    return {
        "profile": BYTES,
        "vectors": [
            {"data_hex": item.hex(), "content_digest": oracle.bytes_digest(item)} for item in data
        ],
        "frames": [
            {
                "messages_hex": [item.hex() for item in each],
                "wire_digest": oracle.frames_digest(each),
            }
            for each in frames
        ],
    }


def files() -> dict[str, str]:
    """The files, by name."""
    made = {"chat": chat(), "text": text(), "tensor": tensor(), "bytes": plain()}
    return {
        f"{name}.json": json.dumps(content, indent=1, ensure_ascii=True) + "\n"
        for name, content in made.items()
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files, or compare them."""
    parser = argparse.ArgumentParser(description="Test vectors of the content profiles.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if they differ")
    check = parser.parse_args(arguments).check
    differing = []
    for name, content in files().items():
        path = FOLDER / name
        if not path.exists() or path.read_text() != content:
            differing.append(name)
            if not check:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(content)
    print(f"{'differ' if check else 'written'}: {', '.join(differing) or 'nothing'}")
    return int(check and bool(differing))


if __name__ == "__main__":
    sys.exit(main())
