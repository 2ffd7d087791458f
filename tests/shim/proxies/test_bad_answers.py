"""What a model server or a client does wrong: a named reason, nothing lost, no false receipt.

Beside these, where they belong: malformed events, cut characters, bombs, cut answers and lies about
their length in ``test_http``; files that are not the release's in ``tests/cli/test_shim`` and
``test_onnx``; forms that break a rule of their profile in ``tests/vectors``.
"""

import asyncio
import contextlib
import gzip
import json
import struct
import threading
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from registry.core import digest
from registry.core.profiles import raw, sse
from registry.core.records import inference
from registry.shim.app import open_shim
from registry.shim.proxies import answer_readers, exchange
from registry.shim.proxies.answer_readers import AnswerReader
from registry.shim.proxies.message_answers import frames_digest
from registry.shim.proxies.open_inference import (
    INFER,
    OPTIONS,
    STREAM,
    OpenInferenceProxy,
)
from registry.shim.proxies.request_params import params_of
from registry.shim.recorder.awaiting import Awaiting
from registry.shim.recorder.calls import Calls
from tests.core.profiles.test_chat import pieces
from tests.shim.proxies import test_http, test_open_inference
from tests.shim.proxies.http_server import END, STREAM_HEAD, Script, chunk, plain
from tests.shim.proxies.oip_server import (
    Handler,
    Server,
    field,
    fields,
    flag,
    request,
    response,
    serve,
)
from tests.shim.world import (
    BRIEF,
    DEPLOYMENT,
    FILES,
    NOON,
    QUICK,
    RELEASE,
    MemoryRegistry,
    call,
    check_history,
    lay_out,
    running,
    written,
)

PATH = b"POST /v1/chat/completions"
EVENT = b"data: " + pieces(9)[1] + b"\n\n"
STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


def outcome(tmp_path: Path, answer: list[bytes], expect: bytes = b"") -> inference.Record:
    """The outcome of one call over HTTP; the client must be given ``expect``."""

    async def act(client: test_http.Client) -> None:
        _, _, rest = await client.ask(PATH, b"{}")
        assert expect in rest
        await client.until_recorded(3)

    [_, found] = test_http.run(tmp_path, Script(answer), act)
    return found


def test_a_request_that_is_too_large_is_refused_and_not_forwarded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "MAX_REQUEST_BYTES", 1000)
    script = Script([plain(b"")])

    async def act(client: test_http.Client) -> None:
        status, _, rest = await client.ask(PATH, bytes(1001))
        assert status == 400
        assert json.loads(rest)["error"]["code"] == "BODY_TOO_LARGE"
        assert script.heads == []

    assert test_http.run(tmp_path, script, act) == []


def test_an_event_that_is_too_large_passes_and_has_no_receipt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 1000)
    data = EVENT + b"data: " + bytes(2000) + b"\n\n" + STOP
    failure = outcome(tmp_path, [STREAM_HEAD + chunk(data) + END], data)
    assert isinstance(failure, inference.Failure)
    assert "an event of this stream is too large" in failure.error
    assert failure.sent_digest == digest.sha256(data).hex()


@pytest.mark.parametrize("name", ["message_stop", "response.completed", "response.incomplete"])
@pytest.mark.parametrize("kind", ["chat", "events", "bytes"])
def test_a_stream_of_another_protocol_ends_by_its_own_event(name: str, kind: Any) -> None:
    reader = AnswerReader(kind, {"content-type": "text/event-stream"})
    reader.feed(b"event: response.created\ndata: {}\n\n")
    assert not reader.ended
    assert not reader.named(whole=True).response.complete
    reader.feed(b"event: " + name.encode() + b"\ndata: {}\n\n")
    # A chat has an end of its own; and where nobody knows the protocol something may follow.
    assert reader.ended is (kind == "events")
    assert reader.named(whole=True).response.complete is (kind != "chat")
    reader.feed(b"event: ping\ndata: {}\n\n")
    assert reader.named(whole=True).response.complete is (kind == "events")


def test_a_line_without_end_takes_no_memory() -> None:
    reader = AnswerReader("chat", {"content-type": "text/event-stream"})
    piece = bytes(1024 * 1024)
    tracemalloc.start()
    for _ in range(64):
        reader.feed(piece)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * sse.MAX_EVENT_BYTES
    assert not reader.ended


def test_a_document_that_is_too_large_to_be_read_is_named_by_its_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer_readers, "MAX_READ_BYTES", 1000)
    body = test_http.CHAT % (b"a" * 1000)
    completion = outcome(tmp_path, [plain(body)], body)
    assert isinstance(completion, inference.Completion)
    assert completion.response.content_digest == raw.content_digest(body).hex()
    assert isinstance(completion.course, inference.Course)
    assert completion.course.profile_error == "it is longer than 1000 bytes"


@pytest.mark.parametrize("piece", [10_000, 100_000])
@pytest.mark.parametrize("kind", ["bytes", "chat", "text"])
def test_a_bomb_takes_little_memory_and_is_named_as_it_came(kind: Any, piece: int) -> None:
    compressor = zlib.compressobj(9, wbits=31)
    mebibytes = answer_readers.MAX_DECODED_BYTES // 2**20 + 1
    parts = [compressor.compress(bytes(2**20)) for _ in range(mebibytes)]
    bomb = b"".join([*parts, compressor.flush()])
    assert len(bomb) < 100_000
    reader = AnswerReader(kind, {"content-encoding": "gzip"})
    tracemalloc.start()
    for at in range(0, len(bomb), piece):
        reader.feed(bomb[at : at + piece])
    named = reader.named(whole=True)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    kept = 0 if kind == "bytes" else answer_readers.MAX_READ_BYTES
    assert peak < kept + 16 * 1024 * 1024
    assert named.profile_error.startswith("its content encoding fails: it becomes longer")
    assert named.response.content_digest == raw.content_digest(bomb).hex()
    assert named.response.wire_digest == digest.sha256(bomb).hex()


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (lambda packed: packed[:-9], "it does not end"),
        (lambda packed: packed[:200] + b"\0" * 30 + packed[230:], "Error"),
        (lambda packed: packed + b"more", "something follows its end"),
        (lambda packed: packed[:-8] + bytes(8), "incorrect data check"),
    ],
    ids=["cut", "damaged", "more", "wrong sum"],
)
def test_an_encoding_that_fails_late_leaves_the_answer_named_as_it_came(
    tmp_path: Path, edit: Any, why: str
) -> None:
    noise = b"".join(digest.sha256(b"%d" % i).hex().encode() for i in range(60))
    packed = edit(gzip.compress(test_http.CHAT % noise))
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n"
    cut = [chunk(packed[at : at + 50]) for at in range(0, len(packed), 50)]
    completion = outcome(tmp_path, [head, *cut, END])
    assert isinstance(completion, inference.Completion)
    assert completion.response.content_digest == raw.content_digest(packed).hex()
    assert completion.response.wire_digest == digest.sha256(packed).hex()
    assert isinstance(completion.course, inference.Course)
    assert why in completion.course.profile_error


def test_a_document_of_too_many_values_is_named_by_its_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer_readers, "MAX_COMMAS", 10)
    body = b'{"choices":[' + b"1," * 11 + b"1]}"
    completion = outcome(tmp_path, [plain(body)], body)
    assert isinstance(completion, inference.Completion)
    assert completion.response.content_digest == raw.content_digest(body).hex()
    assert isinstance(completion.course, inference.Course)
    assert completion.course.profile_error == "it is longer than 10 values"


@pytest.mark.parametrize("long", ["a request", "an answer", "a coded stream"])
def test_other_calls_do_not_wait_while_something_long_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, long: str
) -> None:
    """The reader waits until another call was answered, which needs the event loop."""
    answered = threading.Event()

    def after(read: Any) -> Any:
        def wait(*what: Any, **named: Any) -> Any:
            # Only what is long has anything to wait for.
            if threading.current_thread() is not threading.main_thread():
                assert answered.wait(20)
            return read(*what, **named)

        return wait

    monkeypatch.setattr("registry.shim.proxies.http.params_of", after(params_of))
    monkeypatch.setattr(AnswerReader, "feed", after(AnswerReader.feed))
    monkeypatch.setattr(AnswerReader, "named", after(AnswerReader.named))
    text = b"x" * answer_readers.LONG_BYTES
    body, answer, coding = b"{}", plain(b"{}"), b"content-type: text/event-stream"
    if long == "a request":
        body = b'{"seed":7,"x":"' + text + b'"}'
    elif long == "an answer":
        answer = plain(test_http.CHAT % text)
    else:
        answer = plain(gzip.compress(STOP), b"content-encoding: gzip", coding)

    async def act(client: test_http.Client) -> None:
        slow = asyncio.ensure_future(client.ask(PATH, body))
        await test_open_inference.until(lambda: len(script.heads) > 0 or long == "a request")
        script.pieces = [plain(b"{}")]
        assert (await client.ask(PATH, b"{}"))[0] == 200
        assert not slow.done()
        answered.set()
        assert (await slow)[0] == 200

    script = Script([answer])
    test_http.run(tmp_path, script, act)


def test_more_than_was_announced_is_no_answer(tmp_path: Path) -> None:
    failure = outcome(tmp_path, [plain(test_http.CHAT % b"x") + b"and more"])
    assert isinstance(failure, inference.Failure)
    assert failure.error.startswith("UNFIT_ANSWER: ")


@pytest.mark.parametrize(
    "length", [b"-1", b"1\r\ncontent-length: 2", b"0x10", b"1, 2"], ids=range(4)
)
def test_a_length_that_is_none_is_no_answer(tmp_path: Path, length: bytes) -> None:
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: " + length + b"\r\n\r\n" + b"x" * 16
    failure = outcome(tmp_path, [answer])
    assert isinstance(failure, inference.Failure)
    assert failure.sent_bytes == 0


@pytest.mark.parametrize("status", [b"307 Elsewhere", b"404 Not Found", b"500 Fault"])
def test_a_status_that_is_no_success_is_no_answer(tmp_path: Path, status: bytes) -> None:
    body = test_http.CHAT % b"x"
    failure = outcome(tmp_path, [plain(body, b"location: /other", status=status)], body)
    assert isinstance(failure, inference.Failure)
    assert failure.error == f"http status {status[:3].decode()}"


def test_an_error_after_some_tokens_is_a_failure_that_says_what_went_out(tmp_path: Path) -> None:
    data = EVENT + b'data: {"error":{"message":"out of memory"}}\n\ndata: [DONE]\n\n'
    failure = outcome(tmp_path, [STREAM_HEAD + chunk(data[:-14]) + chunk(data[-14:]) + END], data)
    assert isinstance(failure, inference.Failure)
    assert failure.error == "error event"
    assert 0 < failure.sent_bytes <= len(data)


OURS = (b"x-receipt-id: other/1", b"x-output-sha256: 00", b"x-provreg-level-reached: attested")


@pytest.mark.parametrize("method", [b"POST", b"GET"])
@pytest.mark.parametrize("answer", ["whole", "stream"])
def test_what_only_a_shim_may_say_is_not_believed_of_a_model_server(
    tmp_path: Path, answer: str, method: bytes
) -> None:
    body = test_http.CHAT % b"x"
    stream = STREAM_HEAD[:-2] + b"\r\n".join(OURS) + b"\r\n\r\n" + chunk(b"data: [DONE]\n\n")
    lines = (
        plain(body, *OURS) if answer == "whole" else stream + b"0\r\nx-output-sha256: 11\r\n\r\n"
    )

    async def act(client: test_http.Client) -> None:
        asks = method == b"POST"
        path = b" /v1/chat/completions" if asks else b" /v1/models"
        reader, writer = await client.send(method + path, b"{}" if asks else b"")
        said = await asyncio.wait_for(reader.read(), 20)
        writer.close()
        assert b"other/1" not in said
        assert b"x-output-sha256: 00" not in said
        assert b"x-output-sha256: 11" not in said
        assert b"attested" not in said
        assert said.count(b"\r\nx-receipt-id: ") == asks

    test_http.run(tmp_path, Script([lines]), act)


def test_what_only_a_shim_may_say_is_not_believed_of_metadata(tmp_path: Path) -> None:
    class Lying(Server):
        async def infer(self, data: bytes, context: Any) -> bytes:
            lies = tuple((name, "lie") for name in NAMES)
            await context.send_initial_metadata(lies)
            context.set_trailing_metadata((*lies, ("cost", "1")))
            if fields(data).get(3):
                await context.abort(grpc.StatusCode.INTERNAL, "no", lies)
            return self.run(data)

    async def act(bench: test_open_inference.Bench) -> None:
        for asked in (b"", b"fail"):
            call = bench.unary(INFER)(request([1.0, 2.0], asked))
            with contextlib.suppress(grpc.aio.AioRpcError):
                await call
            said = (*await call.initial_metadata(), *await call.trailing_metadata())
            assert "lie" not in [value for _, value in said]
        [(name, value)] = said
        assert (name, value.partition("/")[0]) == ("x-receipt-id", bench.shim.shim_id)

    test_open_inference.run(tmp_path, act, server=Lying())


NAMES = ("x-receipt-id", "x-output-sha256", "x-provreg-level-reached")


@pytest.mark.parametrize("status", [b"101 Switching Protocols", b"600 X", b"999 X", b"099 X"])
def test_a_status_that_nobody_defined_is_no_answer(tmp_path: Path, status: bytes) -> None:
    failure = outcome(tmp_path, [plain(b"", status=status)], b"UNFIT_ANSWER")
    assert isinstance(failure, inference.Failure)
    assert failure.error == f"UNFIT_ANSWER: status {int(status[:3])}"
    assert failure.sent_bytes == 0


def test_a_coding_that_nobody_asked_for_is_no_answer(tmp_path: Path) -> None:
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n"
    failure = outcome(tmp_path, [head + chunk(gzip.compress(b"{}")) + END], b"UNFIT_ANSWER")
    assert isinstance(failure, inference.Failure)
    assert failure.error == "UNFIT_ANSWER: transfer coding gzip, chunked"


def test_an_encoding_said_twice_is_undone_not_once(tmp_path: Path) -> None:
    packed = gzip.compress(test_http.CHAT % b"x")
    twice = plain(packed, b"content-encoding: gzip", b"content-encoding: gzip")
    completion = outcome(tmp_path, [twice], packed)
    assert isinstance(completion, inference.Completion)
    assert completion.response.content_digest == raw.content_digest(packed).hex()


def test_an_answer_that_is_cut_is_no_fault_of_the_program(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    failure = outcome(tmp_path, [STREAM_HEAD + chunk(EVENT) + b"50\r\ndata:"], EVENT)
    assert isinstance(failure, inference.Failure)
    assert failure.error == "BROKEN_ANSWER"
    assert caplog.records == []


def tool_call(index: int, arguments: str, **more: Any) -> bytes:
    said = {"index": index, "function": {"arguments": arguments}, **more}
    return json.dumps({"choices": [{"index": 0, "delta": {"tool_calls": [said]}}]}).encode()


def test_two_tool_calls_of_one_id_are_both_named(tmp_path: Path) -> None:
    digests = set()
    for place, arguments in enumerate((["{}"], ["{}", "{}"], ["{}", "[]"])):
        chunks = [tool_call(i, item, id="call_1") for i, item in enumerate(arguments)]
        data = b"".join(b"data: " + item + b"\n\n" for item in chunks) + STOP
        completion = outcome(tmp_path / str(place), [STREAM_HEAD + chunk(data) + END], data)
        assert isinstance(completion, inference.Completion)
        assert completion.response.profile == "output/chat/v1"
        digests.add(completion.response.content_digest)
    assert len(digests) == 3


def test_one_tool_call_with_two_ids_is_named_by_its_bytes(tmp_path: Path) -> None:
    chunks = [tool_call(0, "{}", id=item) for item in ("call_1", "call_2")]
    data = b"".join(b"data: " + item + b"\n\n" for item in chunks) + STOP
    completion = outcome(tmp_path, [STREAM_HEAD + chunk(data) + END], data)
    assert isinstance(completion, inference.Completion)
    assert completion.response.content_digest == raw.content_digest(data).hex()
    assert isinstance(completion.course, inference.Course)
    assert "the id of a tool call changes" in completion.course.profile_error


def test_a_clock_that_goes_back_loses_and_reorders_nothing(tmp_path: Path) -> None:
    registry = MemoryRegistry.build()
    clock = [NOON]

    def now() -> datetime:
        return clock[0]

    models = lay_out(tmp_path / "models", FILES)
    with open_shim(
        tmp_path / "shim",
        registry.node,
        registry,
        RELEASE,
        models,
        log_key=registry.log.key,
        clock=now,
        pace=QUICK,
        timing=BRIEF,
    ) as shim:
        for hours in (0, -1, -48, 5):
            clock[0] = NOON + timedelta(hours=hours)
            call(shim.recorder, b"%d" % hours)
        shim.flush(20)
    records = registry.of(shim.shim_id)
    check_history(records)
    assert [item.sequence.n for item in records] == list(range(len(records)))
    intents = [item.at for item in records if isinstance(item, inference.Intent)]
    # The record says what the clock said; that it went back is for the auditor to count.
    assert intents == [
        f"2026-05-0{day}T{hour:02}:00:00.000000Z"
        for day, hour in ((4, 12), (4, 11), (2, 12), (4, 17))
    ]
    assert sum(isinstance(item, inference.Completion) for item in records) == 4


async def infer(
    address: str,
    data: bytes,
    options: tuple[tuple[str, int], ...] = OPTIONS,
    packed: grpc.Compression | None = None,
) -> tuple[grpc.StatusCode, list[bytes]]:
    """Ask one question of a stream; the status, and the answers before it."""
    answers: list[bytes] = []
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        call: Any = channel.stream_stream(STREAM)(compression=packed)
        await call.write(data)
        await call.done_writing()
        with contextlib.suppress(grpc.aio.AioRpcError):
            async for answer in call:
                answers.append(answer)  # noqa: PERF401 - those before an error count
        return await call.code(), answers


def test_a_status_after_the_answer_leaves_the_answer_its_receipt(tmp_path: Path) -> None:
    async def act(bench: test_open_inference.Bench) -> None:
        answers, call = await bench.talk(request([1.0, 2.0], b"1"), request([1.0, 2.0], b"die"))
        assert len(answers) == 1
        assert await call.code() is grpc.StatusCode.INTERNAL

    records = test_open_inference.run(tmp_path, act)
    kinds = sorted(type(item).__name__ for item in records)
    assert kinds == ["Completion", "Failure", "Intent", "Intent"]
    [failure] = [item for item in records if isinstance(item, inference.Failure)]
    assert failure.error == "grpc status INTERNAL"
    assert failure.sent_bytes == 0


class Raw:
    """An HTTP/2 server that answers every call with frames of its own, whatever was asked."""

    def __init__(self, *frames: bytes, close: bool = False) -> None:
        self.frames = frames
        self.close = close

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection (RFC 9113)."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await reader.readexactly(24)
            writer.write(frame(4, 0, 0, b""))
            while True:
                head = await reader.readexactly(9)
                kind, flags, stream = head[3], head[4], int.from_bytes(head[5:9])
                payload = await reader.readexactly(int.from_bytes(head[:3]))
                if kind in (4, 6) and not flags & 1:
                    writer.write(frame(kind, 1, 0, payload if kind == 6 else b""))
                if kind == 0 and flags & 1:
                    for each in self.frames:
                        writer.write(each[:5] + stream.to_bytes(4) + each[9:])
                    await writer.drain()
                    if self.close:
                        break
        writer.close()


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One frame of HTTP/2."""
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def literal(name: bytes, value: bytes) -> bytes:
    """A header field in HPACK, spelled out (RFC 7541 §6.2.2)."""
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


ANSWER = response([[1.0, 2.0]], b"1")
MESSAGE = b"\0" + struct.pack(">I", len(ANSWER)) + ANSWER
HEADERS = frame(1, 4, 0, b"\x88" + literal(b"content-type", b"application/grpc"))
WITHOUT_TRAILERS = {
    "the stream ends": Raw(HEADERS, frame(0, 1, 0, MESSAGE)),
    "trailers without a status": Raw(HEADERS, frame(0, 0, 0, MESSAGE), frame(1, 5, 0, b"")),
    "the connection ends": Raw(HEADERS, frame(0, 0, 0, MESSAGE), close=True),
    "half a message": Raw(HEADERS, frame(0, 0, 0, MESSAGE[:9]), close=True),
}


@contextlib.asynccontextmanager
async def serve_raw(script: Raw) -> AsyncIterator[str]:
    server = await asyncio.start_server(script.answer, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize("mode", ["strict", "stream"])
@pytest.mark.parametrize("script", WITHOUT_TRAILERS.values(), ids=list(WITHOUT_TRAILERS))
def test_an_answer_without_trailers_is_no_answer(tmp_path: Path, script: Raw, mode: Any) -> None:
    async def ask(address: str) -> tuple[grpc.StatusCode, bytes]:
        async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
            unary: Any = channel.unary_unary(INFER)
            try:
                return grpc.StatusCode.OK, await unary(request([1.0, 2.0]), timeout=20)
            except grpc.aio.AioRpcError as error:
                return error.code(), b""

    async def around() -> None:
        calls = Calls(
            shim.recorder,
            shim.unrecorded,
            lambda: DEPLOYMENT,
            Awaiting(asyncio.get_running_loop()),
            mode,
        )
        async with (
            serve_raw(script) as address,
            grpc.aio.insecure_channel(address, options=OPTIONS) as upstream,
            serve(OpenInferenceProxy(upstream, calls)) as proxy,
        ):
            direct, through = await ask(address), await ask(proxy)
        assert through == direct
        assert direct[0] is not grpc.StatusCode.OK

    with running(tmp_path, MemoryRegistry.build()) as shim:
        asyncio.run(around())
    [failure] = [item for item in written(tmp_path) if isinstance(item, inference.Failure)]
    assert failure.error.startswith("grpc status ")


class Talkative(Server):
    """A model server with long answers."""

    def run(self, data: bytes) -> bytes:
        """Answer at length."""
        return response([[0.0] * 500], fields(data).get(3, [b""])[0])


@pytest.mark.parametrize("direction", ["request", "packed request", "answer", "packed answer"])
def test_a_message_that_is_too_large_has_no_receipt(tmp_path: Path, direction: str) -> None:
    """What is packed is small on the wire: a bomb."""
    small = (("grpc.max_receive_message_length", 1000), ("grpc.max_send_message_length", 1 << 20))
    of_request = direction.endswith("request")
    packed = grpc.Compression.Gzip if direction.startswith("packed") else None
    more = field(999, bytes(2000)) if of_request else b""

    async def around() -> None:
        calls = Calls(shim.recorder, shim.unrecorded, lambda: DEPLOYMENT)
        async with (
            serve(Handler(Talkative()), compression=packed) as address,
            grpc.aio.insecure_channel(address, options=small) as upstream,
        ):
            server = grpc.aio.server(options=small)
            server.add_generic_rpc_handlers((OpenInferenceProxy(upstream, calls),))
            port = server.add_insecure_port("127.0.0.1:0")
            await server.start()
            data = request([1.0, 2.0], b"1") + more
            code, answers = await infer(f"127.0.0.1:{port}", data, packed=packed)
            await server.stop(None)
        assert (code, answers) == (grpc.StatusCode.RESOURCE_EXHAUSTED, [])

    with running(tmp_path, MemoryRegistry.build()) as shim:
        asyncio.run(around())
    records = written(tmp_path)
    check_history(records)
    failures = [item for item in records if isinstance(item, inference.Failure)]
    assert [item.error for item in failures] == (
        [] if of_request else ["grpc status RESOURCE_EXHAUSTED"]
    )
    assert not [item for item in records if isinstance(item, inference.Completion)]


def test_the_digest_of_frames_that_went_out_is_kept_when_the_rest_never_comes(
    tmp_path: Path,
) -> None:
    async def act(bench: test_open_inference.Bench) -> None:
        call: Any = bench.channel.stream_stream(STREAM)()
        await call.write(request([1.0, 2.0], b"half"))
        assert await call.read()
        call.cancel()
        await test_open_inference.until(lambda: bench.shim.sequence.journal.durable_n >= 3)

    [_, gone] = test_open_inference.run(tmp_path, act)
    assert isinstance(gone, inference.ClientGone)
    assert gone.sent_digest == frames_digest([half_answer()])


def half_answer() -> bytes:
    return field(2, response([[1.0]], b"half", flag(b"triton_final_response", value=False)))
