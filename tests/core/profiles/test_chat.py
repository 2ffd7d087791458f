"""Tests of sse, answers, chat and text in registry.core.profiles: one answer has one digest."""

import contextlib
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core.profiles import answers
from registry.core.profiles import chat as chats
from registry.core.profiles.answers import END, Digested, read
from registry.core.profiles.chat import Chat
from registry.core.profiles.recognise import candidates
from registry.core.profiles.sse import MAX_EVENT_BYTES, Event, EventReader
from registry.core.profiles.text import Completion
from registry.errors import LimitExceededError, MalformedError, Reason

LOAN = "Loan denied: debt-to-income 0.61 exceeds 0.45. Été 🙂 e\N{COMBINING ACUTE ACCENT}"
LOAN_DIGEST = "28575b153e81af2c446f10c5f5930983248f67a475cf708c7d814fc5fddb9bf0"
HALVES_DIGEST = "9182ca057e3b02a5fa64d6581a204ec582207d48626ed85cf8e53976ade732a0"
TOOL_DIGEST = "89096927b8a8363bfde18777ddd894fca7e908c50c803b46765c63d7a8fc8abd"


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish}
    return json.dumps({"id": "c", "created": 1.5, "choices": [choice]} | more).encode()


def stream(
    chunks: Sequence[bytes], end: bytes = b"\n", between: bytes = b"", *, done: bool = True
) -> bytes:
    events = [*chunks, END] if done else chunks
    return b"".join(between + b"data: " + item + end + end for item in events)


def chat_of(data: bytes, size: int = 2**20) -> Digested:
    reader, chat, ended = EventReader(), Chat(), False
    for at in range(0, len(data), size):
        for event in reader.feed(data[at : at + size]):
            if ended:
                break
            if event.data == END:
                ended = True
                break
            chat.add_chunk(read(event.data, halves=True))
    return chat.digest(ended=ended)


def unary(message: dict[str, Any], finish: str | None = "stop") -> Digested:
    body = {"choices": [{"index": 0, "message": message, "finish_reason": finish}]}
    chat = Chat()
    chat.add_body(read(json.dumps(body).encode()))
    return chat.digest(ended=True)


def pieces(size: int) -> list[bytes]:
    texts = [LOAN[at : at + size] for at in range(0, len(LOAN), size)]
    return [
        chunk({"role": "assistant", "content": ""}),
        *[chunk({"content": item}) for item in texts],
        chunk(finish="stop"),
    ]


RAW = [item.decode().encode() for item in pieces(4)]
STREAMS = {
    "four characters": stream(pieces(4)),
    "nine characters": stream(pieces(9)),
    "CRLF and keep-alives": stream(pieces(4), b"\r\n", b": keep-alive\r\n\r\n"),
    "CR only": stream(pieces(4), b"\r"),
    "byte order mark": b"\xef\xbb\xbf" + stream(pieces(4)),
    "usage chunk": stream([*pieces(4), b'{"choices":[],"usage":{"total_tokens":9}}']),
    "no role, other id": stream([chunk({"content": LOAN}, "stop", id="other")]),
    "raw UTF-8": stream(
        [
            json.dumps(
                {"choices": [{"delta": {"content": LOAN}, "finish_reason": "stop"}]},
                ensure_ascii=False,
            ).encode()
        ]
    ),
    "end twice": stream(pieces(4)) + b"data: [DONE]\n\n",
}


@pytest.mark.parametrize("size", [1, 3, 17, 2**20])
@pytest.mark.parametrize("name", STREAMS)
def test_the_same_answer_has_one_digest_over_any_transport(name: str, size: int) -> None:
    digested = chat_of(STREAMS[name], size)
    assert digested.content.hex() == LOAN_DIGEST
    assert digested.complete
    assert unary({"role": "assistant", "content": LOAN}).content.hex() == LOAN_DIGEST


def test_halves_of_a_character_are_joined() -> None:
    halves = stream(
        [
            b'{"choices":[{"delta":{"content":"\\ud83d"}}]}',
            b'{"choices":[{"delta":{"content":"\\ude42"},"finish_reason":"stop"}]}',
        ]
    )
    assert chat_of(halves).content.hex() == HALVES_DIGEST
    assert unary({"content": "🙂"}).content.hex() == HALVES_DIGEST


def call(arguments: str, **more: Any) -> dict[str, Any]:
    return {"tool_calls": [{"index": 0, "function": {"arguments": arguments}} | more]}


def test_a_tool_call_in_fragments_is_the_whole_tool_call() -> None:
    first: dict[str, Any] = {
        "tool_calls": [
            {
                "index": 0,
                "id": "call_1",
                "type": "function",
                "function": {"name": "f", "arguments": ""},
            }
        ]
    }
    fragments = [first, call('{"a"'), call(": 1}")]
    whole = {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "call_1",
                "type": "function",
                "function": {"name": "f", "arguments": '{"a": 1}'},
            }
        ],
    }
    finish = {"finish": "tool_calls"}
    streamed = chat_of(stream([*map(chunk, fragments), chunk(finish=finish["finish"])]))
    assert streamed.content == unary(whole, "tool_calls").content
    assert streamed.content.hex() == TOOL_DIGEST


@pytest.mark.parametrize(
    ("data", "complete"),
    [
        (stream(pieces(4), done=False), False),
        (stream(pieces(4)[:-1]), False),
        (stream([]), False),
        (stream(pieces(4))[:-1], False),
    ],
    ids=["no end", "no finish reason", "no choice", "end without its blank line"],
)
def test_an_answer_is_complete_when_its_protocol_says_so(data: bytes, *, complete: bool) -> None:
    digested = chat_of(data)
    assert digested.complete is complete
    assert digested.content.hex() != LOAN_DIGEST


@pytest.mark.parametrize(
    "body",
    [
        b'{"choices":[{"message":{"content":["part"]}}]}',
        b'{"choices":[{"message":{"content":1}}]}',
        b'{"choices":[{"message":{"content":"a","content":"b"}}]}',
        b'{"choices":[{"message":{"content":NaN}}]}',
        b'{"choices":[{"message":{"content":"\\ud83d"}}]}',
        b'{"choices":[{"message":{"reasoning":"a","reasoning_content":"b"}}]}',
        b'{"choices":[{"message":{"function_call":{"name":"f"}}}]}',
        b'{"choices":[{"index":-1,"message":{}}]}',
        b'{"choices":[{"index":1.0,"message":{}}]}',
        b'{"choices":[{"message":"text"}]}',
        b'{"choices":{"message":{}}}',
        b'{"choices":[{"message":{"tool_calls":[{"function":"f"}]}}]}',
        b'{"choices":[{"message":{"tool_calls":[{"id":1}]}}]}',
        b"[]",
        b"\xff",
    ],
    ids=lambda body: body[:60].decode(errors="replace"),
)
def test_what_has_no_rule_is_refused_and_nothing_is_guessed(body: bytes) -> None:
    chat = Chat()
    with pytest.raises(MalformedError) as caught:
        chat.add_body(read(body))
        chat.digest(ended=True)
    assert caught.value.reason is Reason.PROFILE


@pytest.mark.parametrize(
    "second",
    [
        call("", id="call_2"),
        call("", type="other"),
        {"tool_calls": [{"index": 0, "function": {"name": "g"}}]},
    ],
    ids=["id", "type", "name"],
)
def test_what_names_a_tool_call_is_said_once(second: dict[str, Any]) -> None:
    first: dict[str, Any] = call("", id="call_1", type="function")
    first["tool_calls"][0]["function"]["name"] = "f"
    chat = Chat()
    for delta in (first, first):
        chat.add_chunk(read(chunk(delta)))
    with pytest.raises(MalformedError):
        chat.add_chunk(read(chunk(second)))


def test_choices_that_come_by_turns_are_kept_apart() -> None:
    def says(index: int, text: str, finish: str | None = None) -> bytes:
        choice = {"index": index, "delta": {"content": text}, "finish_reason": finish}
        return json.dumps({"choices": [choice]}).encode()

    one = stream([says(0, "a"), says(1, "b"), says(0, "c", "stop"), says(1, "d", "stop")])
    other = stream([says(1, "bd", "stop"), says(0, "ac", "stop")])
    assert chat_of(one) == chat_of(other)
    assert chat_of(one).complete


def test_reasoning_under_either_name_is_the_same() -> None:
    names = ("reasoning", "reasoning_content")
    one, other = (unary({"content": "x", name: "because"}) for name in names)
    both = unary({"content": "x", "reasoning": "because", "reasoning_content": "because"})
    assert one == other == both
    assert one != unary({"content": "x"})


def test_a_legacy_completion_streams_to_the_digest_of_its_body() -> None:
    def completion(parts: list[bytes]) -> Digested:
        gathered = Completion()
        for part in parts:
            gathered.add(read(part, halves=True))
        return gathered.digest(ended=True)

    whole = completion([b'{"choices":[{"index":0,"text":"ab","finish_reason":"length"}]}'])
    cut = completion(
        [b'{"choices":[{"text":"a"}]}', b'{"choices":[{"text":"b","finish_reason":"length"}]}']
    )
    assert whole == cut
    assert whole.complete
    with pytest.raises(MalformedError):
        completion([b'{"choices":[{"text":["a"]}]}'])


def test_a_tool_call_that_names_no_type_is_of_a_function() -> None:
    function = {"name": "f", "arguments": "{}"}
    digests = set()
    for said in ({"type": "function"}, {"type": ""}, {"type": None}, {}):
        chat = Chat()
        calls = [{"id": "call_1", "function": function, **said}]
        message = {"content": None, "tool_calls": calls}
        chat.add_body({"choices": [{"message": message, "finish_reason": "stop"}]})
        digests.add(chat.digest(ended=True))
    assert len(digests) == 1


CALL = '{"function":{"arguments":""}}'
LIMITS: dict[str, tuple[Any, str, str]] = {
    "choices": (answers, "MAX_CHOICES", '{"index":%d,"message":{}}'),
    "characters": (answers, "MAX_TEXT_CHARACTERS", '{"index":%d,"message":{"content":"1"}}'),
    "tool calls": (chats, "MAX_TOOL_CALLS", '{"index":0,"message":{"tool_calls":[%s]}}'),
}


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("too_much", [False, True])
def test_what_an_answer_may_hold_is_bounded(
    monkeypatch: pytest.MonkeyPatch, limit: str, *, too_much: bool
) -> None:
    room, name, form = LIMITS[limit]
    monkeypatch.setattr(room, name, 3)
    count = 4 if too_much else 3
    if limit == "tool calls":
        items = form % ",".join([CALL] * count)
    else:
        items = ",".join(form % index for index in range(count))
    chat = Chat()
    with pytest.raises(MalformedError) if too_much else contextlib.nullcontext():
        chat.add_body(answers.read(f'{{"choices":[{items}]}}'.encode()))


@pytest.mark.parametrize(
    ("data", "events"),
    [
        (b"data: a\ndata: b\n\n", [Event(b"", b"a\nb")]),
        (b"data: a\n: comment\ndata: b\n\n", [Event(b"", b"a\nb")]),
        (b"data:\n\n", [Event(b"", b"")]),
        (b"data\n\n", [Event(b"", b"")]),
        (b"event: error\ndata: x\n\n", [Event(b"error", b"x")]),
        (b"event: lonely\n\ndata: x\n\n", [Event(b"", b"x")]),
        (b"data:  two\n\n", [Event(b"", b" two")]),
        (b"data: unfinished\n", []),
        (b"\n\n\n", []),
        (b"data: a\r\n\r\ndata: b\r\r", [Event(b"", b"a"), Event(b"", b"b")]),
        (b"data: a\r\ndata: b\r\n\r\n", [Event(b"", b"a\nb")]),
    ],
    ids=range(11),
)
def test_events_are_read_as_the_standard_says(data: bytes, events: list[Event]) -> None:
    for size in (1, 2, 3, len(data)):
        reader = EventReader()
        found = [
            event for at in range(0, len(data), size) for event in reader.feed(data[at : at + size])
        ]
        assert found == events, size


@given(st.binary(max_size=200).map(lambda data: data.replace(b"x", b"data: ")), st.data())
def test_how_a_stream_is_cut_changes_nothing(data: bytes, draw: st.DataObject) -> None:
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(data)), max_size=5)))
    reader, whole = EventReader(), EventReader()
    found: list[Event] = []
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        found += reader.feed(data[start:end])
    assert found == whole.feed(data)


@pytest.mark.parametrize(
    "feed",
    [
        lambda reader: reader.feed(b"data: " + bytes(MAX_EVENT_BYTES + 1)),
        lambda reader: [reader.feed(b"data: " + bytes(2**20) + b"\n") for _ in range(5)],
    ],
    ids=["one line", "many lines"],
)
def test_an_endless_event_is_refused(feed: Callable[[EventReader], Any]) -> None:
    with pytest.raises(LimitExceededError) as caught:
        feed(EventReader())
    assert caught.value.reason is Reason.EVENT_SIZE


def test_a_line_in_many_pieces_is_looked_at_once() -> None:
    reader = EventReader()
    reader.feed(b"data: ")
    began = time.thread_time()
    for _ in range(MAX_EVENT_BYTES // 256 - 1):
        assert reader.feed(bytes(256)) == []
    [event] = reader.feed(b"\n\n")
    assert len(event.data) == MAX_EVENT_BYTES - 256
    # Copied whole for each piece, it takes some ten seconds.
    assert time.thread_time() - began < 1


def test_a_saved_answer_is_recognised() -> None:
    assert candidates(STREAMS["CRLF and keep-alives"])[0].hex() == LOAN_DIGEST
    body = json.dumps({"choices": [{"message": {"content": "🙂"}, "finish_reason": "stop"}]})
    assert candidates(body.encode())[0].hex() == HALVES_DIGEST
    assert len(candidates(b"data: no answer\n\n")) == 1
    assert len(candidates(b'{"choices":[]}')) == 1
