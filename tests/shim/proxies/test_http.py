"""The HTTP proxy in front of a server of any behaviour: what passes, and what is written down."""

import asyncio
import gc
import gzip
import json
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from registry.core import digest
from registry.core.profiles import raw, tensor
from registry.core.profiles.tensor import Tensor
from registry.core.records import inference
from registry.errors import Reason, RefusedError
from registry.shim.app import Shim
from registry.shim.privacy.keeping import Keeping
from registry.shim.privacy.policy import PrivacyPolicy
from registry.shim.privacy.sealed_payload import MAX_PAYLOAD_BYTES
from registry.shim.privacy.vault import Vault
from registry.shim.proxies import answer_readers, http
from registry.shim.proxies.passage import MAX_HELD_BYTES
from registry.shim.recorder.answer import Answer
from registry.shim.recorder.awaiting import Awaiting
from registry.shim.recorder.calls import Call, Calls, Mode
from registry.shim.serving import Listen, Upstream, serving
from tests.core.profiles.test_chat import HALVES_DIGEST, LOAN, LOAN_DIGEST, STREAMS, pieces
from tests.shim.proxies.http_server import END, STREAM_HEAD, Script, chunk, plain, serve
from tests.shim.world import DEPLOYMENT, MemoryRegistry, check_history, running, written

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
MODES: tuple[Mode, ...] = ("strict", "stream", "best_effort")
CHAT = b'{"choices":[{"index":0,"message":{"content":"%s"},"finish_reason":"stop"}]}'
JSON = b"content-type: application/json"


class Client:
    """Speaks HTTP to the proxy, byte for byte."""

    def __init__(self, port: int, shim: Shim) -> None:
        self.port = port
        self.shim = shim

    async def send(
        self, head: bytes, body: bytes = b"", *headers: bytes
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        lines = [head + b" HTTP/1.1", b"host: x", b"connection: close", *headers]
        if body:
            lines.append(b"content-length: %d" % len(body))
        writer.write(b"\r\n".join([*lines, b"", b""]) + body)
        return reader, writer

    async def ask(
        self, head: bytes, body: bytes = b"", *headers: bytes
    ) -> tuple[int, dict[bytes, bytes], bytes]:
        """Status, headers and all bytes after the head."""
        reader, writer = await self.send(head, body, *headers)
        answer = await asyncio.wait_for(reader.read(), 20)
        writer.close()
        top, _, rest = answer.partition(b"\r\n\r\n")
        status, *lines = top.split(b"\r\n")
        return int(status.split()[1]), dict(line.lower().split(b": ", 1) for line in lines), rest

    async def until_recorded(self, n: int) -> None:
        async with asyncio.timeout(20):
            while self.shim.sequence.journal.durable_n < n:  # noqa: ASYNC110 - another thread
                await asyncio.sleep(0.01)


def run(
    tmp_path: Path,
    script: Script,
    act: Callable[[Client], Awaitable[None]],
    mode: Mode = "stream",
    *,
    allowed: Callable[[], None] = lambda: None,
    keeping: Keeping | None = None,
    served_as: Collection[str] = (),
    ends_well: bool = True,
    below: str = "",
) -> list[inference.Record]:
    """Run ``act`` against the proxy and return what its shim wrote down.

    The address of the model server has the path ``below``.
    """

    async def around(shim: Shim) -> None:
        awaiting = Awaiting(asyncio.get_running_loop())
        calls = Calls(
            shim.recorder,
            shim.unrecorded,
            lambda: DEPLOYMENT,
            awaiting,
            mode,
            allowed=allowed,
            keeping=keeping,
            served_as=served_as,
        )
        listen = Listen("127.0.0.1", 0)
        async with serve(script) as url, serving(listen, Upstream(url + below), calls) as port:
            await act(Client(port, shim))

    with running(tmp_path, MemoryRegistry.build()) as shim:
        asyncio.run(around(shim))
    records = written(tmp_path)
    # What a journal that failed could not take, the next start tells of.
    if ends_well:
        check_history(records)
    return [item for item in records if not isinstance(item, inference.Boot | inference.Stop)]


def unchunked(data: bytes) -> tuple[bytes, bytes]:
    """The body of a chunked answer, and its trailers; raises if it does not end as it must."""
    body = b""
    while True:
        size, _, data = data.partition(b"\r\n")
        if size == b"0":
            assert data.endswith(b"\r\n")
            return body, data
        body += data[: int(size, 16)]
        data = data[int(size, 16) + 2 :]


@pytest.mark.parametrize("mode", MODES)
def test_a_whole_answer_passes_untouched_and_is_recorded(tmp_path: Path, mode: Mode) -> None:
    body = CHAT % json.dumps(LOAN)[1:-1].encode()
    script = Script([plain(body, JSON, b"x-unknown: Kept", b"set-cookie: a=1", b"set-cookie: b=2")])
    asked = b'{"model":"m","temperature":0.10,"seed":7,"messages":[],"future":{"x":[1]}}'

    async def act(client: Client) -> None:
        status, headers, answer = await client.ask(
            b"POST /v1/chat/completions?a=%20b",
            asked,
            b"x-own: 1",
            b"traceparent: " + TRACE.encode(),
            b"tracestate: congo=t61rcWkgMzE",
            b"x-provreg-level: attested",
            b"authorization: Bearer secret",
        )
        assert (status, answer) == (200, body)
        assert headers[b"x-unknown"] == b"kept"
        assert headers[b"x-receipt-id"] == f"{client.shim.shim_id}/1".encode()
        assert headers[b"x-output-sha256"] == LOAN_DIGEST.encode()
        [head] = script.heads
        assert head.startswith(b"POST /v1/chat/completions?a=%20b HTTP/1.1\r\n")
        assert b"x-own: 1\r\n" in head
        assert b"traceparent: " + TRACE.encode() in head
        assert b"tracestate: congo=t61rcWkgMzE\r\n" in head
        assert b"authorization: Bearer secret\r\n" in head
        assert b"x-provreg" not in head.lower()
        assert script.bodies == [asked]

    intent, completion = run(tmp_path, script, act, mode)
    assert isinstance(intent, inference.Intent)
    assert isinstance(completion, inference.Completion)
    response = completion.response
    assert (response.profile, response.content_digest) == ("output/chat/v1", LOAN_DIGEST)
    assert response.wire_digest == digest.sha256(body).hex()
    assert response.complete
    assert completion.asked == "attested"
    assert isinstance(completion.course, inference.Course)
    assert completion.course.params == {"model": "m", "temperature": "0.10", "seed": "7"}
    assert completion.course.finish_reasons == ("stop",)
    assert completion.course.trace == TRACE
    assert b"secret" not in b"".join(path.read_bytes() for path in tmp_path.rglob("*.segment"))


@pytest.mark.parametrize(
    "sent",
    [
        [b"traceparent: 00-the applicant earns 1234"],
        [b"traceparent: " + TRACE.encode() + b"-the applicant earns 1234"],
        [b"traceparent: " + TRACE.encode(), b"traceparent: " + TRACE.encode()],
        [b"traceparent: " + b"0" * 4000],
    ],
    ids=["words", "more", "twice", "long"],
)
def test_what_is_no_trace_goes_on_as_it_came_and_is_in_no_record(
    tmp_path: Path, sent: list[bytes]
) -> None:
    script = Script([plain(CHAT % b"ok", JSON)])
    state = b"tracestate: the=applicant earns 1234"

    async def act(client: Client) -> None:
        status, _, _ = await client.ask(b"POST /v1/chat/completions", b"{}", *sent, state)
        assert status == 200
        [head] = script.heads
        for line in {*sent, state}:
            assert head.count(line + b"\r\n") == [*sent, state].count(line)

    _, completion = run(tmp_path, script, act, "stream")
    assert isinstance(completion, inference.Completion)
    assert isinstance(completion.course, inference.Course)
    assert completion.course.trace == ""
    written_down = b"".join(path.read_bytes() for path in tmp_path.rglob("*.segment"))
    assert b"applicant" not in written_down


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "name", ["four characters", "CRLF and keep-alives", "CR only", "raw UTF-8"]
)
def test_a_stream_passes_untouched_and_has_the_digest_of_the_whole(
    tmp_path: Path, name: str, mode: Mode
) -> None:
    data = STREAMS[name]
    cut = [data[at : at + 7] for at in range(0, len(data), 7)]
    script = Script([STREAM_HEAD, *map(chunk, cut), END])

    async def act(client: Client) -> None:
        status, headers, answer = await client.ask(b"POST /v1/chat/completions", b"{}")
        body, trailers = unchunked(answer)
        assert (status, body) == (200, data)
        assert headers[b"trailer"] == b"x-output-sha256"
        assert trailers == f"x-output-sha256: {LOAN_DIGEST}\r\n\r\n".encode()

    _, completion = run(tmp_path, script, act, mode)
    assert isinstance(completion, inference.Completion)
    assert completion.response.content_digest == LOAN_DIGEST
    assert isinstance(completion.course, inference.Course)
    assert completion.course.transport == "sse"
    assert completion.course.chunks > 0


def test_the_first_events_are_not_held_back(tmp_path: Path) -> None:
    first, rest = pieces(9)[1], [*pieces(9)[2:], b"[DONE]"]
    events = [chunk(b"data: " + item + b"\n\n") for item in (first, *rest)]
    gate = asyncio.Event()
    script = Script([STREAM_HEAD + events[0], b"".join(events[1:]) + END], gate=gate)

    async def act(client: Client) -> None:
        reader, writer = await client.send(b"POST /v1/chat/completions", b"{}")
        await asyncio.wait_for(reader.readuntil(first), 20)
        gate.set()
        await reader.read()
        writer.close()

    run(tmp_path, script, act, "strict")


def test_a_client_that_closes_after_the_end_got_its_answer(tmp_path: Path) -> None:
    data = STREAMS["nine characters"]
    script = Script([STREAM_HEAD + chunk(data)], hang=True)

    async def act(client: Client) -> None:
        reader, writer = await client.send(b"POST /v1/chat/completions", b"{}")
        await reader.readuntil(b"[DONE]\n\n")
        writer.close()
        await client.until_recorded(3)
        await asyncio.wait_for(script.gone.wait(), 20)

    _, completion = run(tmp_path, script, act)
    assert isinstance(completion, inference.Completion)
    assert completion.response.complete


@pytest.mark.parametrize("mode", MODES)
def test_a_client_that_leaves_in_the_middle_stops_the_model_server(
    tmp_path: Path, mode: Mode
) -> None:
    data = b"data: " + pieces(9)[1] + b"\n\n"
    script = Script([STREAM_HEAD + chunk(data)], hang=True)

    async def act(client: Client) -> None:
        reader, writer = await client.send(b"POST /v1/chat/completions", b"{}")
        await reader.readuntil(data)
        writer.close()
        await asyncio.wait_for(script.gone.wait(), 20)
        await client.until_recorded(3)

    _, gone = run(tmp_path, script, act, mode)
    assert isinstance(gone, inference.ClientGone)
    assert gone.sent_digest == digest.sha256(data).hex()
    assert gone.sent_bytes == len(data)


@pytest.mark.parametrize("method", [b"POST", b"GET"])
def test_nothing_is_kept_of_a_call_whose_client_left(tmp_path: Path, method: bytes) -> None:
    data = b"data: " + pieces(9)[1] + b"\n\n"
    script = Script([STREAM_HEAD + chunk(data)], hang=True)
    work = http._go if method == b"POST" else http._pass

    async def act(client: Client) -> None:
        for _ in range(3):
            script.gone.clear()
            path = b" /v1/chat/completions" if method == b"POST" else b" /v1/models"
            reader, writer = await client.send(method + path)
            await reader.readuntil(data)
            writer.close()
            await asyncio.wait_for(script.gone.wait(), 20)
        async with asyncio.timeout(20):
            # Frames, and in their variables the prompt and the answer.
            while [
                each
                for each in gc.get_objects()
                if isinstance(each, FrameType) and each.f_code is work.__code__
            ]:
                await asyncio.sleep(0.05)
                gc.collect()

    run(tmp_path, script, act)


@pytest.mark.parametrize("size", [2, 100_000])
def test_a_client_that_leaves_before_any_answer_is_seen(tmp_path: Path, size: int) -> None:
    script = Script([], hang=True)

    async def act(client: Client) -> None:
        length = b"content-length: %d" % size
        _, writer = await client.send(b"POST /v1/chat/completions", b"", length)
        # What is long stops the reading if it does not come with its head.
        await asyncio.sleep(0.05)
        writer.write(b"x" * size)
        await client.until_recorded(2)
        while not script.bodies:  # noqa: ASYNC110 - the other side of a connection
            await asyncio.sleep(0.001)
        writer.close()
        await asyncio.wait_for(script.gone.wait(), 20)
        await client.until_recorded(3)

    _, gone = run(tmp_path, script, act)
    assert isinstance(gone, inference.ClientGone)
    assert gone.sent_bytes == 0


@pytest.mark.parametrize(
    "answer",
    [
        [STREAM_HEAD + chunk(b"data: " + pieces(9)[1] + b"\n\n")],
        [b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this"],
        [b"HTTP/1.1 200 OK\r\ncontent-length: 9000000\r\n\r\nonly this"],
        [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab"],
        [b"no HTTP at all\r\n\r\n"],
        [],
    ],
    ids=["stream", "short", "short and large", "half a chunk", "nonsense", "nothing"],
)
@pytest.mark.parametrize("mode", MODES)
def test_an_answer_that_is_cut_looks_cut_and_has_no_receipt(
    tmp_path: Path, mode: Mode, answer: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    async def act(client: Client) -> None:
        status, _, rest = await client.ask(b"POST /v1/chat/completions", b"{}")
        assert status == 502 or not rest.endswith(b"0\r\n\r\n")
        await client.until_recorded(3)

    _, failure = run(tmp_path, Script(answer), act, mode)
    assert isinstance(failure, inference.Failure)
    # Its record says so; thousands of tracebacks would only fill a disk.
    assert caplog.records == []


def test_a_stream_that_ends_early_is_no_answer(tmp_path: Path) -> None:
    data = b"data: " + pieces(9)[1] + b"\n\n"
    script = Script([STREAM_HEAD + chunk(data) + END])

    async def act(client: Client) -> None:
        _, _, rest = await client.ask(b"POST /v1/chat/completions", b"{}")
        assert unchunked(rest)[0] == data
        await client.until_recorded(3)

    _, failure = run(tmp_path, script, act)
    assert isinstance(failure, inference.Failure)
    assert failure.error == "the stream ended before its end"
    assert failure.sent_bytes == len(data)


@pytest.mark.parametrize("mode", MODES)
def test_an_error_event_and_an_error_status_are_failures(tmp_path: Path, mode: Mode) -> None:
    event = b'data: {"error":{"message":"out of memory"}}\n\ndata: [DONE]\n\n'
    for place, answer in enumerate(
        ([STREAM_HEAD + chunk(event) + END], [plain(b'{"error":1}', status=b"429 Slow down")])
    ):

        async def act(client: Client, expected: int = (200, 429)[place]) -> None:
            status, _, _ = await client.ask(b"POST /v1/chat/completions", b"{}")
            assert status == expected
            await client.until_recorded(3)

        _, failure = run(tmp_path / str(place), Script(answer), act, mode)
        assert isinstance(failure, inference.Failure)
        assert "memory" not in failure.error


@pytest.mark.parametrize(
    ("events", "why"),
    [
        (b"data: {not json}\n\ndata: [DONE]\n\n", "JSON"),
        (b'data: {"choices":[{"delta":{"content":"\xff"}}]}\n\ndata: [DONE]\n\n', "JSON"),
        (b'data: {"choices":[],"choices":[]}\n\ndata: [DONE]\n\n', "JSON"),
        (b'data: {"choices":[{"delta":{"content":["x"]}}]}\n\ndata: [DONE]\n\n', "text"),
    ],
    ids=["malformed", "no UTF-8", "duplicate key", "content of parts"],
)
def test_a_stream_that_breaks_its_rules_passes_and_is_named_by_its_bytes(
    tmp_path: Path, events: bytes, why: str
) -> None:
    async def act(client: Client) -> None:
        _, _, rest = await client.ask(b"POST /v1/chat/completions", b"{}")
        assert unchunked(rest)[0] == events

    _, completion = run(tmp_path, Script([STREAM_HEAD + chunk(events) + END]), act)
    assert isinstance(completion, inference.Completion)
    assert completion.response.profile == raw.NAME
    assert completion.response.content_digest == raw.content_digest(events).hex()
    assert isinstance(completion.course, inference.Course)
    assert why in completion.course.profile_error


def test_a_character_cut_by_the_network_is_whole(tmp_path: Path) -> None:
    data = 'data: {"choices":[{"delta":{"content":"🙂"},"finish_reason":"stop"}]}\n\n'.encode()
    at = data.index("🙂".encode()) + 2
    script = Script(
        [STREAM_HEAD, chunk(data[:at]), chunk(data[at:] + b"data: [DONE]\n\n"), END], pause=0.05
    )

    async def act(client: Client) -> None:
        await client.ask(b"POST /v1/chat/completions", b"{}")

    _, completion = run(tmp_path, script, act)
    assert isinstance(completion, inference.Completion)
    assert completion.response.content_digest == HALVES_DIGEST


def test_a_compressed_answer_passes_compressed_and_is_read(tmp_path: Path) -> None:
    body = CHAT % "🙂".encode()
    packed = gzip.compress(body)

    async def act(client: Client) -> None:
        _, headers, rest = await client.ask(
            b"POST /v1/chat/completions", b"{}", b"accept-encoding: gzip"
        )
        assert headers[b"content-encoding"] == b"gzip"
        assert rest == packed

    _, completion = run(tmp_path, Script([plain(packed, b"content-encoding: gzip")]), act)
    assert isinstance(completion, inference.Completion)
    assert completion.response.content_digest == HALVES_DIGEST
    assert completion.response.wire_digest == digest.sha256(body).hex()


@pytest.mark.parametrize(
    ("packed", "encoding"),
    [
        (gzip.compress(bytes(64 * 1024)), b"gzip"),
        (b"no gzip", b"gzip"),
        (gzip.compress(b"a") + gzip.compress(b"b"), b"gzip"),
        (b"anything", b"br"),
    ],
    ids=["bomb", "broken", "two members", "unknown"],
)
def test_a_bomb_of_an_answer_is_named_by_its_bytes(
    tmp_path: Path, packed: bytes, encoding: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer_readers, "MAX_DECODED_BYTES", 1024)

    async def act(client: Client) -> None:
        _, _, rest = await client.ask(b"POST /v1/chat/completions", b"{}")
        assert rest == packed

    script = Script([plain(packed, b"content-encoding: " + encoding)])
    _, completion = run(tmp_path, script, act)
    assert isinstance(completion, inference.Completion)
    assert completion.response.profile == raw.NAME
    assert completion.response.content_digest == raw.content_digest(packed).hex()


def test_open_inference_over_rest_has_the_digest_of_its_tensors(tmp_path: Path) -> None:
    body = b'{"model_name":"m","outputs":[{"name":"y","datatype":"FP32","shape":[2],"data":[1,2]}]}'
    expected = tensor.content_digest([Tensor("y", "FP32", (2,), b"\0\0\x80?\0\0\0@")])

    async def act(client: Client) -> None:
        _, headers, _ = await client.ask(b"POST /v2/models/m/versions/1/infer", b"{}")
        assert headers[b"x-output-sha256"] == expected.hex().encode()

    _, completion = run(tmp_path, Script([plain(body, JSON)]), act)
    assert isinstance(completion, inference.Completion)
    assert completion.response.profile == "output/tensor/v1"


@pytest.mark.parametrize("mode", MODES)
def test_a_document_that_does_not_tell_its_length_is_named_in_a_header(
    tmp_path: Path, mode: Mode
) -> None:
    body = CHAT % json.dumps(LOAN)[1:-1].encode()
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    script = Script([head, chunk(body[:50]), chunk(body[50:]) + END])

    async def act(client: Client) -> None:
        _, headers, rest = await client.ask(b"POST /v1/chat/completions", b"{}")
        assert unchunked(rest)[0] == body
        assert headers[b"x-output-sha256"] == LOAN_DIGEST.encode()

    _, completion = run(tmp_path, script, act, mode)
    assert isinstance(completion, inference.Completion)
    assert completion.response.content_digest == LOAN_DIGEST


@pytest.mark.parametrize("mode", MODES)
def test_a_document_that_turns_out_to_be_large_is_not_held(tmp_path: Path, mode: Mode) -> None:
    body = CHAT % (b"a" * (2 * MAX_HELD_BYTES))
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    half = len(body) * 2 // 3
    script = Script([head, chunk(body[:half]), chunk(body[half:]) + END])

    async def act(client: Client) -> None:
        _, headers, rest = await client.ask(b"POST /v1/chat/completions", b"{}")
        found, trailers = unchunked(rest)
        assert found == body
        assert b"x-output-sha256" not in headers
        assert trailers.startswith(b"x-output-sha256: ")

    _, completion = run(tmp_path, script, act, mode)
    assert isinstance(completion, inference.Completion)
    assert completion.response.profile == "output/chat/v1"
    assert completion.response.wire_digest == digest.sha256(body).hex()


@pytest.mark.parametrize("mode", MODES)
def test_a_large_answer_is_not_held(tmp_path: Path, mode: Mode) -> None:
    body = bytes(range(256)) * (MAX_HELD_BYTES // 256 + 1)

    async def act(client: Client) -> None:
        _, _, rest = await client.ask(b"POST /v1/images", b"{}")
        found, trailers = unchunked(rest)
        assert found == body
        assert raw.content_digest(body).hex().encode() in trailers

    _, completion = run(tmp_path, Script([plain(body)]), act, mode)
    assert isinstance(completion, inference.Completion)
    assert completion.response.complete


def test_raw_tensors_after_the_json_have_the_digest_of_their_values(tmp_path: Path) -> None:
    said = b'{"model_name":"m","outputs":[{"name":"y","datatype":"FP32","shape":[2],'
    said += b'"parameters":{"binary_data_size":8}}]}'
    values = b"\0\0\x80?\0\0\0@"
    expected = tensor.content_digest([Tensor("y", "FP32", (2,), values)])
    length = b"inference-header-content-length: "
    right = b"%d" % len(said)
    for place, told in enumerate((right, b"\xb2", b"9" * 5000, b"-1", b"8")):
        script = Script([plain(said + values, length + told)])

        async def act(client: Client, *, named: bool = told == right) -> None:
            _, headers, rest = await client.ask(b"POST /v2/models/m/infer", b"{}")
            assert rest == said + values
            assert (headers[b"x-output-sha256"] == expected.hex().encode()) == named

        _, completion = run(tmp_path / str(place), script, act)
        assert isinstance(completion, inference.Completion)
        profile = completion.response.profile
        assert profile == ("output/tensor/v1" if told == right else raw.NAME)


def test_parameters_before_raw_tensors_are_written_down(tmp_path: Path) -> None:
    asked = b'{"parameters":{"seed":7},"inputs":[{"parameters":{"n":2}}]}'
    script = Script([plain(b"{}", JSON)])

    async def act(client: Client) -> None:
        length = b"inference-header-content-length: %d" % len(asked)
        await client.ask(b"POST /v2/models/m/infer", asked + bytes(8), length)

    _, completion = run(tmp_path, script, act)
    assert script.bodies == [asked + bytes(8)]
    assert isinstance(completion, inference.Completion)
    assert isinstance(completion.course, inference.Course)
    assert completion.course.params == {"model": "m", "seed": "7", "inputs[0].n": "2"}


@pytest.mark.parametrize("streamed", [True, False], ids=["stream", "whole"])
def test_a_client_that_leaves_while_its_answer_is_made_durable_has_one_outcome(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    *,
    streamed: bool,
) -> None:
    data = STREAMS["nine characters"]
    answer = [STREAM_HEAD + chunk(data) + END] if streamed else [plain(CHAT % b"x", JSON)]
    leave, left = asyncio.Event(), asyncio.Event()
    answered = Call.answered

    async def slow(call: Call, said: Answer) -> None:
        await answered(call, said)
        leave.set()
        await left.wait()

    monkeypatch.setattr(Call, "answered", slow)

    async def act(client: Client) -> None:
        _, writer = await client.send(b"POST /v1/chat/completions", b"{}")
        await asyncio.wait_for(leave.wait(), 20)
        writer.close()
        # Until the proxy has seen it.
        await asyncio.sleep(0.05)
        left.set()
        assert (await client.ask(b"GET /"))[0] == 200

    _, completion = run(tmp_path, Script(answer), act, "strict")
    assert isinstance(completion, inference.Completion)
    assert not [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]


def test_what_asks_nothing_of_the_model_passes_unrecorded(tmp_path: Path) -> None:
    script = Script([plain(b'{"data":[]}', JSON)])

    async def act(client: Client) -> None:
        status, headers, rest = await client.ask(b"GET /v1/models")
        assert (status, rest) == (200, b'{"data":[]}')
        assert b"x-receipt-id" not in headers

    assert run(tmp_path, script, act) == []


@pytest.mark.parametrize("mode", MODES)
def test_a_journal_that_fails_stops_all_but_best_effort(tmp_path: Path, mode: Mode) -> None:
    script = Script([plain(CHAT % b"x", JSON)])

    async def act(client: Client) -> None:
        client.shim.sequence.journal._latch("the disk is full", [])
        status, headers, rest = await client.ask(b"POST /v1/chat/completions", b"{}")
        assert b"x-receipt-id" not in headers
        if mode == "best_effort":
            assert (status, client.shim.unrecorded.count) == (200, 1)
        else:
            assert status == 503
            assert b"JOURNAL_LATCHED" in rest
            assert script.heads == []

    assert run(tmp_path, script, act, mode) == []


HALVES = {
    "a stream": (STREAM_HEAD + chunk(b"data: " + pieces(9)[1] + b"\n\n"), b"data: [DONE]\n\n"),
    "a document": (plain(CHAT % b"x", JSON)[:-5], None),
    "bytes": (STREAM_HEAD.replace(b"text/event-stream", b"audio/wav") + chunk(b"half"), b"last"),
}


@pytest.mark.parametrize("shape", HALVES)
@pytest.mark.parametrize("mode", MODES)
def test_a_journal_that_fails_meanwhile_keeps_the_end_of_an_answer_back_only_in_strict(
    tmp_path: Path, mode: Mode, shape: str
) -> None:
    first, last = HALVES[shape]
    document = plain(CHAT % b"x", JSON)
    rest = document[-5:] if last is None else chunk(last) + END
    script = Script([first, rest], gate=asyncio.Event())

    async def act(client: Client) -> None:
        path = b"/v1/audio/speech" if shape == "bytes" else b"/v1/chat/completions"
        reader, writer = await client.send(b"POST " + path, b"{}")
        async with asyncio.timeout(20):
            while not script.bodies:  # noqa: ASYNC110 - in the server
                await asyncio.sleep(0.01)
        await client.until_recorded(2)
        client.shim.sequence.journal._latch("the disk is full", [])
        assert script.gate is not None
        script.gate.set()
        answer = await asyncio.wait_for(reader.read(), 20)
        writer.close()
        end = (last or document[-5:]) + (b"\r\n0\r\n" if last else b"")
        assert (end in answer) is (mode != "strict")
        if mode == "strict":
            assert (last or b"finish_reason") not in answer
            assert not answer.endswith(b"0\r\n\r\n")
        if mode == "strict" and shape == "a document":
            assert b"JOURNAL_LATCHED" in answer

    records = run(tmp_path, script, act, mode, ends_well=False)
    assert [type(item) for item in records] == [inference.Intent]


def unattested() -> None:
    raise RefusedError(Reason.UNATTESTED, "this node is not attested")


@pytest.mark.parametrize("mode", MODES)
def test_an_unattested_node_that_must_be_attested_answers_in_no_mode(
    tmp_path: Path, mode: Mode
) -> None:
    script = Script([plain(b"")])

    async def act(client: Client) -> None:
        status, _, rest = await client.ask(b"POST /v1/chat/completions", b"{}")
        assert status == 503
        assert b"UNATTESTED" in rest
        assert script.heads == []
        await client.until_recorded(3)

    intent, refused = run(tmp_path, script, act, mode, allowed=unattested)
    assert isinstance(intent, inference.Intent)
    assert isinstance(refused, inference.NotForwarded)
    assert refused.reason == "UNATTESTED"


def test_a_model_server_that_is_not_there_is_a_bad_gateway(tmp_path: Path) -> None:
    async def around(shim: Shim) -> None:
        awaiting = Awaiting(asyncio.get_running_loop())
        calls = Calls(shim.recorder, shim.unrecorded, lambda: DEPLOYMENT, awaiting)
        nobody = Upstream("http://127.0.0.1:9")
        async with serving(Listen("127.0.0.1", 0), nobody, calls) as port:
            status, _, _ = await Client(port, shim).ask(b"POST /v1/chat/completions", b"{}")
            assert status == 502

    with running(tmp_path, MemoryRegistry.build()) as shim:
        asyncio.run(around(shim))
    [failure] = [item for item in written(tmp_path) if isinstance(item, inference.Failure)]
    assert failure.sent_bytes == 0


@pytest.mark.parametrize(
    ("head", "headers"),
    [
        (b"GET /" + b"a" * 70_000, ()),
        (b"GET /", (b"x: " + b"a" * 70_000,)),
        (b"POST /v1/chat/completions", (b"transfer-encoding: chunked", b"content-length: 5")),
        (b"POST /v1/chat/completions", (b"content-length: x",)),
        (b"POST /v1/chat/completions", (b"x-provreg-level: holy",)),
    ],
    ids=["long target", "long header", "two lengths", "no length", "unknown level"],
)
def test_a_request_that_is_none_is_refused(
    tmp_path: Path, head: bytes, headers: tuple[bytes, ...]
) -> None:
    script = Script([plain(b"")])

    async def act(client: Client) -> None:
        status, _, _ = await client.ask(head, b"", *headers)
        assert status == 400
        assert script.heads == []

    assert run(tmp_path, script, act) == []


def test_headers_of_a_connection_stay_with_it(tmp_path: Path) -> None:
    answer = plain(b"x", b"connection: x-hop", b"x-hop: 1", b"keep-alive: 5", b"x-kept: 1")
    script = Script([answer])

    async def act(client: Client) -> None:
        _, headers, _ = await client.ask(b"GET /", b"", b"connection: x-mine", b"x-mine: 1")
        assert b"x-hop" not in headers
        assert headers[b"x-kept"] == b"1"
        assert b"x-mine" not in script.heads[0]

    run(tmp_path, script, act)


@pytest.mark.parametrize("method", [b"GET", b"POST"])
def test_headers_pass_byte_for_byte(tmp_path: Path, method: bytes) -> None:
    answer = plain(b"x", "x-said: Été".encode(), b"x-latin: \xe9")
    script = Script([answer])

    async def act(client: Client) -> None:
        _, headers, _ = await client.ask(method + b" /", b"", "x-title: Été 🙂".encode())
        assert "\r\nx-title: Été 🙂\r\n".encode() in script.heads[0]
        assert headers[b"x-said"] == "Été".encode().lower()
        assert headers[b"x-latin"] == b"\xe9"
        await client.ask(method + b" /", b"", b"x-title: \xe9")
        assert b"\r\nx-title: \xe9\r\n" in script.heads[1]

    assert len(run(tmp_path, script, act)) == (4 if method == b"POST" else 0)


@pytest.mark.parametrize("method", [b"GET", b"POST"])
def test_trailers_of_a_model_server_pass_behind_ours(tmp_path: Path, method: bytes) -> None:
    lines = b"0\r\nx-cost: 3\r\nx-receipt-id: other/1\r\n\r\n"
    top = STREAM_HEAD[:-2] + b"trailer: x-cost\r\n\r\n"
    script = Script([top + chunk(b"data: [DONE]\n\n") + lines])

    async def act(client: Client) -> None:
        _, headers, rest = await client.ask(method + b" /v1/models")
        assert b"x-cost" in headers[b"trailer"]
        body, trailers = unchunked(rest)
        assert body == b"data: [DONE]\n\n"
        names = [line.partition(b":")[0] for line in trailers.split(b"\r\n") if line]
        assert names == [b"x-output-sha256"] * (method == b"POST") + [b"x-cost"]

    run(tmp_path, script, act)


CHATS = b"/v1/chat/completions"
LOAD = b"/v2/repository/models/scorer/load"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHATS, b'{"model":"other"}'),
        (CHATS, b'{"model":"scorer","model":"other"}'),
        (CHATS, b'{"model":"scorer "}'),
        (CHATS, b'{"model":"scorer' + bytes(200).replace(b"\0", b"x") + b'"}'),
        (CHATS, b'{"model":"\\u0000"}'),
        (CHATS, b'{"model":["scorer"]}'),
        (CHATS, b"{}"),
        (CHATS, b"no JSON"),
        (b"/v2/models/other/infer", b'{"model":"scorer"}'),
        (b"/v2/models/scorer/versions/2/infer", b"{}"),
        (b"/v2/models/scorer%2F3/infer", b"{}"),
        (LOAD, b"{}"),
    ],
    ids=range(12),
)
@pytest.mark.parametrize("mode", MODES)
def test_another_model_does_not_answer_in_the_name_of_the_recorded_one(
    tmp_path: Path, mode: Mode, path: bytes, body: bytes
) -> None:
    script = Script([plain(CHAT % b"x", JSON)])

    async def act(client: Client) -> None:
        status, _, rest = await client.ask(b"POST " + path, body)
        assert (status, json.loads(rest)["error"]["code"]) == (404, "ANOTHER_MODEL")

    intent, refused = run(tmp_path, script, act, mode, served_as=("scorer", "scorer/3"))
    assert script.heads == []
    assert isinstance(intent, inference.Intent)
    assert isinstance(refused, inference.NotForwarded)
    assert (refused.intent_n, refused.reason) == (intent.sequence.n, "ANOTHER_MODEL")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHATS, b'{"model":"scorer","messages":[]}'),
        (b"/v2/models/scorer/infer", b"{}"),
        (b"/v2/models/scorer/versions/3/infer", b"{}"),
    ],
    ids=range(3),
)
def test_the_recorded_model_answers_under_each_of_its_names(
    tmp_path: Path, path: bytes, body: bytes
) -> None:
    async def act(client: Client) -> None:
        status, _, _ = await client.ask(b"POST " + path, body)
        assert status == 200

    script = Script([plain(CHAT % b"x", JSON)])
    [_, completion] = run(tmp_path, script, act, served_as=("scorer", "scorer/3"))
    assert isinstance(completion, inference.Completion)
    assert isinstance(completion.course, inference.Course)
    assert completion.course.params["model"].startswith("scorer")


TOLD = (
    *(b"x-receipt-id: another/1", b"x-output-sha256: 00"),
    *(b"x-provreg-level-reached: recomputed", b"x-provreg-level-missed: UNATTESTED"),
)


@pytest.mark.parametrize("path", [b"/v1/chat/completions", b"/v1/audio/speech"])
@pytest.mark.parametrize("mode", MODES)
def test_what_only_the_shim_may_say_of_a_record_is_not_the_model_servers(
    tmp_path: Path, mode: Mode, path: bytes
) -> None:
    body = CHAT % b"x"
    script = Script([plain(body, *TOLD)])

    async def act(client: Client) -> None:
        reader, writer = await client.send(b"POST " + path, b"{}")
        answer = await asyncio.wait_for(reader.read(), 20)
        writer.close()
        named = [line for line in answer.split(b"\r\n") if line.startswith(b"x-receipt-id")]
        assert named == [b"x-receipt-id: " + f"{client.shim.shim_id}/1".encode()]
        assert answer.count(b"x-output-sha256: ") == 1
        assert b"x-output-sha256: 00" not in answer
        assert b"x-provreg-level" not in answer

    run(tmp_path, script, act, mode)


def test_what_has_no_record_names_none_whatever_the_model_server_says(tmp_path: Path) -> None:
    async def act(client: Client) -> None:
        _, headers, _ = await client.ask(b"GET /v1/models")
        assert b"x-receipt-id" not in headers

    assert run(tmp_path, Script([plain(b"x", *TOLD)]), act) == []


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
@pytest.mark.parametrize("path", [b"/v1/chat/completions", b"/v1/load"])
@pytest.mark.parametrize("mode", MODES)
def test_an_answer_without_a_body_ends_with_its_head(
    tmp_path: Path, mode: Mode, path: bytes, status: bytes
) -> None:
    script = Script([b"HTTP/1.1 " + status + b"\r\n\r\n"])
    other = Script([plain(CHAT % b"x", JSON)])

    async def act(client: Client) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
        head = b"POST " + path + b" HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n"
        writer.write(head + b"\r\n{}")
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
        assert answer.startswith(b"HTTP/1.1 " + status)
        assert b"transfer-encoding" not in answer
        assert b"trailer" not in answer
        # The connection is good for the next question.
        script.pieces = other.pieces
        writer.write(head + b"connection: close\r\n\r\n{}")
        answer = await asyncio.wait_for(reader.read(), 20)
        assert answer.startswith(b"HTTP/1.1 200")
        writer.close()

    outcomes = [item for item in run(tmp_path, script, act, mode) if hasattr(item, "intent_n")]
    expected = inference.Completion if status.startswith(b"204") else inference.Failure
    assert [type(item) for item in outcomes] == [expected, inference.Completion]


@pytest.mark.parametrize("path", [b"/v1/chat/completions", b"/v1/audio/speech"])
@pytest.mark.parametrize("framing", [b"connection: close", b"content-length: %d"])
def test_bytes_that_only_the_end_of_a_connection_ends_are_not_said_to_be_whole(
    tmp_path: Path, path: bytes, framing: bytes
) -> None:
    body = CHAT % b"x"
    length = framing % len(body) if b"%" in framing else framing
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n" + length + b"\r\n\r\n"

    async def act(client: Client) -> None:
        _, _, rest = await client.ask(b"POST " + path, b"{}")
        assert body in rest

    [_, completion] = run(tmp_path, Script([head + body]), act)
    assert isinstance(completion, inference.Completion)
    # JSON says itself where it ends.
    is_document = path.endswith(b"completions")
    assert completion.response.complete is (is_document or b"%" in framing)


def test_many_streams_at_once_are_kept_apart(tmp_path: Path) -> None:
    data = STREAMS["four characters"]
    script = Script(
        [STREAM_HEAD, *[chunk(data[at : at + 50]) for at in range(0, len(data), 50)], END]
    )

    async def act(client: Client) -> None:
        answers: Any = await asyncio.gather(
            *(client.ask(b"POST /v1/chat/completions", b"%d" % i) for i in range(50))
        )
        assert {unchunked(rest)[0] for _, _, rest in answers} == {data}
        assert len({headers[b"x-receipt-id"] for _, headers, _ in answers}) == 50

    records = run(tmp_path, script, act)
    assert len([item for item in records if isinstance(item, inference.Completion)]) == 50


def keeping(vault: Path) -> Keeping:
    policy = PrivacyPolicy(
        schema="privacy-policy/v1",
        retention_class="loans",
        fields=("/request/user", "/response/choices/0/message/content"),
        keep=True,
        output="committed",
    )
    return Keeping(policy, Vault(vault))


ASKED = b'{"model":"m","user":"u-77","messages":[]}'


@pytest.mark.parametrize("mode", MODES)
def test_what_a_call_said_is_sealed_before_its_record(tmp_path: Path, mode: Mode) -> None:
    body = CHAT % json.dumps(LOAN)[1:-1].encode()
    script = Script([plain(body, JSON)])
    told: list[bytes] = []

    async def act(client: Client) -> None:
        _, headers, answer = await client.ask(b"POST /v1/chat/completions", ASKED)
        told.append(headers[b"x-output-sha256"])
        assert answer == body
        await client.until_recorded(3)

    vault = tmp_path / "private"
    intent, record = run(tmp_path, script, act, mode, keeping=keeping(vault))
    assert isinstance(record, inference.Completion)
    assert isinstance(record.private, inference.Private)
    opened = Vault(vault).open(intent.sequence.n)
    assert (opened.payload.request, opened.payload.answer) == (ASKED, body)
    # The caller has the output, and learns its own digest; the record does not show it.
    assert told == [opened.payload.content_digest.hex().encode()]
    assert record.response.content_digest == opened.committed_output[0].hex()
    assert record.private.fields == 2
    assert record.private.payload == opened.commitment.hex()


def test_a_call_that_cannot_be_sealed_gets_no_answer_in_strict(tmp_path: Path) -> None:
    script = Script([plain(CHAT % b"x", JSON)])
    vault = tmp_path / "private"
    vault.write_bytes(b"no folder")

    async def act(client: Client) -> None:
        status, _, answer = await client.ask(b"POST /v1/chat/completions", ASKED)
        assert status == 503
        assert b"STORAGE_FAILED" in answer

    _, record = run(tmp_path, script, act, "strict", keeping=keeping(vault))
    assert isinstance(record, inference.Failure)
    assert record.error == "STORAGE_FAILED"


def test_a_call_that_is_too_long_to_be_kept_is_told_of(tmp_path: Path) -> None:
    script = Script([plain(b"x" * (MAX_PAYLOAD_BYTES + 1), b"content-type: text/plain")])

    async def act(client: Client) -> None:
        assert (await client.ask(b"POST /v1/chat/completions", ASKED))[0] == 200
        await client.until_recorded(3)

    vault = tmp_path / "private"
    intent, record = run(tmp_path, script, act, keeping=keeping(vault))
    assert isinstance(record, inference.Completion)
    assert isinstance(record.private, inference.Private)
    assert record.private.missed == "the call is too large to be kept"
    assert Vault(vault).open(intent.sequence.n).payload.request == b""
