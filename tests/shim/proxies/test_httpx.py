"""Recorded transports within clients: what the caller gets, and what is written down."""

import asyncio
import contextlib
import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from registry.core import digest
from registry.core.profiles import raw
from registry.core.records import inference
from registry.errors import MalformedError, Reason, UnavailableError
from registry.shim.app import Shim
from registry.shim.proxies.httpx import AsyncRecordedTransport, RecordedTransport
from registry.shim.proxies.passage import MAX_HELD_BYTES
from registry.shim.recorder.calls import Calls, Mode
from tests.core.profiles.test_chat import LOAN, LOAN_DIGEST, STREAMS, pieces
from tests.shim.proxies.http_server import END, STREAM_HEAD, Script, chunk, plain, serve
from tests.shim.proxies.threaded import threaded
from tests.shim.world import DEPLOYMENT, MemoryRegistry, check_history, running, written

httpx = pytest.importorskip("httpx")
httpx2 = pytest.importorskip("httpx2")
openai = pytest.importorskip("openai")

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
MODES: tuple[Mode, ...] = ("strict", "stream", "best_effort")
JSON = b"content-type: application/json"
CHAT = b'{"choices":[{"index":0,"message":{"content":"%s"},"finish_reason":"stop"}]}'
WHOLE = CHAT % json.dumps(LOAN)[1:-1].encode()
PATH = "/v1/chat/completions"
ASKED = b'{"model":"m","temperature":0.10,"messages":[]}'
LIBRARIES = pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])


@dataclass
class Bench:
    """A model server, and where calls to it are written down."""

    url: str
    shim: Shim
    calls: Calls

    def client(self, library: Any = httpx2) -> Any:
        recorded = RecordedTransport(library.HTTPTransport(), self.calls)
        return library.Client(transport=recorded, base_url=self.url, timeout=20)

    def async_client(self, library: Any = httpx2) -> Any:
        recorded = AsyncRecordedTransport(library.AsyncHTTPTransport(), self.calls)
        return library.AsyncClient(transport=recorded, base_url=self.url, timeout=20)

    def openai(self) -> Any:
        return openai.OpenAI(
            base_url=f"{self.url}/v1", api_key="x", http_client=self.client(), max_retries=1
        )

    def async_openai(self) -> Any:
        return openai.AsyncOpenAI(
            base_url=f"{self.url}/v1", api_key="x", http_client=self.async_client(), max_retries=1
        )


def run(
    tmp_path: Path,
    script: Script,
    act: Callable[[Bench], Any],
    mode: Mode = "stream",
    *,
    ends_well: bool = True,
) -> list[inference.Record]:
    """Run ``act`` against a script and return what the shim wrote down."""
    with running(tmp_path, MemoryRegistry.build()) as shim, threaded(lambda: serve(script)) as url:
        act(Bench(url, shim, Calls(shim.recorder, shim.unrecorded, lambda: DEPLOYMENT, mode=mode)))
    records = written(tmp_path)
    # What a journal that failed could not take, the next start tells of.
    if ends_well:
        check_history(records)
    return [item for item in records if not isinstance(item, inference.Boot | inference.Stop)]


@pytest.mark.parametrize("mode", MODES)
@LIBRARIES
def test_a_whole_answer_is_recorded(tmp_path: Path, library: Any, mode: Mode) -> None:
    script = Script([plain(WHOLE, JSON, b"x-unknown: kept")])

    def act(bench: Bench) -> None:
        headers = {"x-provreg-level": "attested", "traceparent": TRACE, "x-own": "1"}
        with bench.client(library) as client:
            answer = client.post(PATH, content=ASKED, headers=headers)
        assert answer.content == WHOLE
        assert answer.headers["x-unknown"] == "kept"
        assert answer.headers["x-receipt-id"] == f"{bench.shim.shim_id}/1"
        assert answer.headers["x-output-sha256"] == LOAN_DIGEST

    intent, completion = run(tmp_path, script, act, mode)
    [head] = script.heads
    assert b"x-own: 1\r\n" in head
    assert b"x-provreg" not in head.lower()
    assert b"accept-encoding: identity\r\n" in head.lower()
    assert script.bodies == [ASKED]
    assert isinstance(intent, inference.Intent)
    assert isinstance(completion, inference.Completion)
    assert completion.response.content_digest == LOAN_DIGEST
    assert completion.response.wire_digest == digest.sha256(WHOLE).hex()
    assert completion.asked == "attested"
    assert isinstance(completion.course, inference.Course)
    course = completion.course
    assert (course.transport, course.mode, course.trace) == ("unary", mode, TRACE)
    assert course.params == {"model": "m", "temperature": "0.10"}


@pytest.mark.parametrize("mode", MODES)
@LIBRARIES
def test_a_whole_answer_of_an_asynchronous_client_is_recorded(
    tmp_path: Path, library: Any, mode: Mode
) -> None:
    async def ask(bench: Bench) -> None:
        async with bench.async_client(library) as client:
            answer = await client.post(PATH, content=ASKED)
        assert answer.content == WHOLE
        assert answer.headers["x-output-sha256"] == LOAN_DIGEST

    script = Script([plain(WHOLE, JSON)])
    _, completion = run(tmp_path, script, lambda bench: asyncio.run(ask(bench)), mode)
    assert isinstance(completion, inference.Completion)
    assert completion.response.content_digest == LOAN_DIGEST


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["CRLF and keep-alives", "raw UTF-8"])
@LIBRARIES
def test_a_stream_is_recorded(tmp_path: Path, library: Any, name: str, mode: Mode) -> None:
    data = STREAMS[name]
    cut = [chunk(data[at : at + 7]) for at in range(0, len(data), 7)]

    def act(bench: Bench) -> None:
        with (
            bench.client(library) as client,
            client.stream("POST", PATH, content=b"{}") as answer,
        ):
            assert answer.headers["x-receipt-id"]
            assert b"".join(answer.iter_raw()) == data
        assert answer.headers["x-output-sha256"] == LOAN_DIGEST

    async def ask(bench: Bench) -> None:
        async with (
            bench.async_client(library) as client,
            client.stream("POST", PATH, content=b"{}") as answer,
        ):
            assert b"".join([piece async for piece in answer.aiter_raw()]) == data
        assert answer.headers["x-output-sha256"] == LOAN_DIGEST

    for place, way in enumerate((act, lambda bench: asyncio.run(ask(bench)))):
        script = Script([STREAM_HEAD, *cut, END])
        _, completion = run(tmp_path / str(place), script, way, mode)
        assert isinstance(completion, inference.Completion)
        assert completion.response.content_digest == LOAN_DIGEST
        assert isinstance(completion.course, inference.Course)
        assert completion.course.transport == "sse"


@pytest.mark.parametrize("mode", MODES)
def test_the_stock_client_closes_after_the_end_and_got_its_answer(
    tmp_path: Path, mode: Mode
) -> None:
    def act(bench: Bench) -> None:
        with bench.openai() as client:
            stream = client.chat.completions.create(model="m", messages=[], stream=True)
            assert "".join(item.choices[0].delta.content or "" for item in stream) == LOAN

    async def ask(bench: Bench) -> None:
        async with bench.async_openai() as client:
            stream = await client.chat.completions.create(model="m", messages=[], stream=True)
            said = [item.choices[0].delta.content or "" async for item in stream]
            assert "".join(said) == LOAN

    for place, way in enumerate((act, lambda bench: asyncio.run(ask(bench)))):
        # The server never closes: only the protocol says that this is all.
        script = Script([STREAM_HEAD + chunk(STREAMS["nine characters"])], hang=True)
        _, completion = run(tmp_path / str(place), script, way, mode)
        assert isinstance(completion, inference.Completion)
        assert completion.response.complete
        assert completion.response.content_digest == LOAN_DIGEST


@pytest.mark.parametrize("mode", MODES)
def test_a_client_that_closes_in_the_middle_is_gone(tmp_path: Path, mode: Mode) -> None:
    data = b"data: " + pieces(9)[1] + b"\n\n"

    def act(bench: Bench) -> None:
        with bench.openai() as client:
            stream = client.chat.completions.create(model="m", messages=[], stream=True)
            assert next(stream).choices[0].delta.content
            stream.close()

    async def ask(bench: Bench) -> None:
        async with bench.async_openai() as client:
            stream = await client.chat.completions.create(model="m", messages=[], stream=True)
            assert (await anext(stream)).choices[0].delta.content
            await stream.close()

    for place, way in enumerate((act, lambda bench: asyncio.run(ask(bench)))):
        script = Script([STREAM_HEAD + chunk(data)], hang=True)
        _, gone = run(tmp_path / str(place), script, way, mode)
        assert isinstance(gone, inference.ClientGone)
        assert gone.sent_digest == digest.sha256(data).hex()


def test_a_task_that_is_cancelled_is_gone(tmp_path: Path) -> None:
    script = Script([], hang=True)

    async def ask(bench: Bench) -> None:
        async with bench.async_client() as client:
            asking = asyncio.ensure_future(client.post(PATH, content=b"{}"))
            while bench.shim.sequence.journal.durable_n < 2:  # noqa: ASYNC110 - another thread
                await asyncio.sleep(0.01)
            await asyncio.sleep(0)
            asking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asking

    _, gone = run(tmp_path, script, lambda bench: asyncio.run(ask(bench)))
    assert isinstance(gone, inference.ClientGone)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "answer",
    [
        [STREAM_HEAD + chunk(b"data: " + pieces(9)[1] + b"\n\n")],
        [b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this"],
        [b"HTTP/1.1 200 OK\r\ncontent-length: 9000000\r\n\r\nonly this"],
        [b"no HTTP at all\r\n\r\n"],
        [],
    ],
    ids=["stream", "short", "short and large", "nonsense", "nothing"],
)
@LIBRARIES
def test_an_answer_that_is_cut_fails_as_it_would_without_a_record(
    tmp_path: Path, library: Any, answer: list[bytes], mode: Mode
) -> None:
    def act(bench: Bench) -> None:
        with bench.client(library) as client, pytest.raises(library.RemoteProtocolError):
            client.post(PATH, content=b"{}")

    async def ask(bench: Bench) -> None:
        async with bench.async_client(library) as client:
            with pytest.raises(library.RemoteProtocolError):
                await client.post(PATH, content=b"{}")

    for place, way in enumerate((act, lambda bench: asyncio.run(ask(bench)))):
        _, failure = run(tmp_path / str(place), Script(answer), way, mode)
        assert isinstance(failure, inference.Failure)
        assert failure.error == "RemoteProtocolError"


def test_a_stream_that_ends_before_its_end_is_no_answer(tmp_path: Path) -> None:
    data = b"data: " + pieces(9)[1] + b"\n\n"

    def act(bench: Bench) -> None:
        with bench.client() as client:
            assert client.post(PATH, content=b"{}").content == data

    _, failure = run(tmp_path, Script([STREAM_HEAD + chunk(data) + END]), act)
    assert isinstance(failure, inference.Failure)
    assert failure.error == "the stream ended before its end"
    assert failure.sent_bytes == len(data)


def test_a_retry_is_a_call_of_its_own(tmp_path: Path) -> None:
    def act(bench: Bench) -> None:
        with bench.openai() as client, pytest.raises(openai.RateLimitError):
            client.chat.completions.create(model="m", messages=[])

    refusal = plain(b'{"error":{"message":"no"}}', JSON, b"retry-after: 0", status=b"429 Slow down")
    records = run(tmp_path, Script([refusal]), act)
    assert [type(item).__name__ for item in records] == ["Intent", "Failure"] * 2


def test_what_asks_nothing_of_the_model_is_not_recorded(tmp_path: Path) -> None:
    def act(bench: Bench) -> None:
        with bench.openai() as client:
            assert client.models.list().data == []

    assert run(tmp_path, Script([plain(b'{"data":[],"object":"list"}', JSON)]), act) == []


@pytest.mark.parametrize("mode", MODES)
def test_a_journal_that_fails_stops_all_but_best_effort(tmp_path: Path, mode: Mode) -> None:
    script = Script([plain(WHOLE, JSON)])

    def act(bench: Bench) -> None:
        bench.shim.sequence.journal._latch("the disk is full", [])
        with bench.client() as client:
            if mode == "best_effort":
                answer = client.post(PATH, content=b"{}")
                assert "x-receipt-id" not in answer.headers
                assert bench.shim.unrecorded.count == 1
                return
            with pytest.raises(UnavailableError) as caught:
                client.post(PATH, content=b"{}")
            assert caught.value.reason == Reason.JOURNAL_LATCHED
            assert script.heads == []

    assert run(tmp_path, script, act, mode) == []


def test_a_level_that_nobody_knows_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    script = Script([plain(WHOLE, JSON)])

    def act(bench: Bench) -> None:
        with bench.client() as client, pytest.raises(MalformedError):
            client.post(PATH, content=b"{}", headers={"x-provreg-level": "holy"})

    assert run(tmp_path, script, act) == []
    assert script.heads == []


@LIBRARIES
def test_what_only_the_shim_may_say_of_a_record_is_not_the_model_servers(
    tmp_path: Path, library: Any
) -> None:
    told = (b"x-receipt-id: another/1", b"x-output-sha256: 00", b"x-provreg-level-reached: signed")

    def act(bench: Bench) -> None:
        with bench.client(library) as client:
            answer = client.post(PATH, content=ASKED)
        assert answer.headers.get_list("x-receipt-id") == [f"{bench.shim.shim_id}/1"]
        assert answer.headers.get_list("x-output-sha256") == [LOAN_DIGEST]
        assert "x-provreg-level-reached" not in answer.headers

    run(tmp_path, Script([plain(WHOLE, JSON, *told)]), act)


@LIBRARIES
def test_bytes_that_only_the_end_of_a_connection_ends_are_not_said_to_be_whole(
    tmp_path: Path, library: Any
) -> None:
    def act(bench: Bench) -> None:
        with bench.client(library) as client:
            assert client.post("/v1/audio/speech", content=ASKED).content == b"half of"

    script = Script([b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhalf of"])
    [_, completion] = run(tmp_path, script, act)
    assert isinstance(completion, inference.Completion)
    assert not completion.response.complete


@pytest.mark.parametrize("mode", MODES)
def test_a_large_answer_is_not_held(tmp_path: Path, mode: Mode) -> None:
    body = bytes(range(256)) * (MAX_HELD_BYTES // 256 + 1)

    def act(bench: Bench) -> None:
        with bench.client() as client:
            answer = client.post("/v1/audio/speech", content=b"{}")
        assert answer.content == body
        assert answer.headers["x-output-sha256"] == raw.content_digest(body).hex()

    _, completion = run(tmp_path, Script([plain(body)]), act, mode)
    assert isinstance(completion, inference.Completion)


def test_an_answer_that_is_compressed_all_the_same_is_read(tmp_path: Path) -> None:
    def act(bench: Bench) -> None:
        with bench.client() as client:
            assert client.post(PATH, content=b"{}").content == WHOLE

    answer = plain(gzip.compress(WHOLE), JSON, b"content-encoding: gzip")
    _, completion = run(tmp_path, Script([answer]), act)
    assert isinstance(completion, inference.Completion)
    assert completion.response.content_digest == LOAN_DIGEST
