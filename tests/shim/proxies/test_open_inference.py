"""The gRPC proxy in front of a real model server: what passes, and what is written down."""

import asyncio
import contextlib
import gc
import hashlib
import struct
import threading
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest

from registry.core import digest
from registry.core.profiles import raw, tensor
from registry.core.profiles.tensor import Tensor
from registry.core.records import inference
from registry.errors import MalformedError, Reason, RefusedError
from registry.shim.app import Shim
from registry.shim.privacy.keeping import Keeping
from registry.shim.privacy.policy import PrivacyPolicy
from registry.shim.privacy.vault import Vault
from registry.shim.proxies import message_answers
from registry.shim.proxies import open_inference as proxy
from registry.shim.proxies.message_answers import frames_digest
from registry.shim.proxies.open_inference import (
    INFER,
    OPTIONS,
    SERVICE,
    STREAM,
    OpenInferenceProxy,
)
from registry.shim.recorder.awaiting import Awaiting
from registry.shim.recorder.calls import Calls, Mode
from registry.shim.recorder.request_key import RequestKey
from registry.wire import open_inference
from tests.shim.proxies.oip_server import (
    Handler,
    Server,
    field,
    request,
    response,
    saying,
    serve,
    varint,
)
from tests.shim.world import DEPLOYMENT, MemoryRegistry, check_history, running, written

Y = np.array([[1 * 0.1 + 2 * -3.0, 1 * 2.5 + 2 * 7.0]], dtype=np.float32)


@dataclass
class Bench:
    """A model server, the proxy in front of it, and a client."""

    server: Server
    shim: Shim
    channel: grpc.aio.Channel
    direct: grpc.aio.Channel
    folder: Path
    port: int

    def unary(self, method: str) -> Any:
        return self.channel.unary_unary(method)

    async def infer(self, data: bytes, **named: Any) -> Any:
        call = self.unary(INFER)(data, **named)
        return await call, call

    def straight(self, method: str) -> Any:
        return self.direct.unary_unary(method)

    async def talk(self, *messages: bytes, method: str = STREAM) -> tuple[list[bytes], Any]:
        call: Any = self.channel.stream_stream(method)()
        answers: list[bytes] = []
        for message in messages:
            await call.write(message)
        await call.done_writing()
        with contextlib.suppress(grpc.aio.AioRpcError):
            # One by one: those before an error count.
            async for answer in call:
                answers.append(answer)  # noqa: PERF401
        return answers, call


def run(
    tmp_path: Path,
    act: Callable[[Bench], Awaitable[None]],
    mode: Mode = "stream",
    *,
    allowed: Callable[[], None] = lambda: None,
    keeping: Keeping | None = None,
    served_as: Collection[str] = (),
    ends_well: bool = True,
    server: Server | None = None,
) -> list[inference.Record]:
    """Run ``act`` against a proxy and return what its shim wrote down."""
    server = server or Server()

    async def around(shim: Shim) -> None:
        async with serve(Handler(server)) as address:
            upstream = grpc.aio.insecure_channel(address, options=OPTIONS)
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
            async with (
                upstream,
                serve(OpenInferenceProxy(upstream, calls)) as proxy,
                grpc.aio.insecure_channel(proxy, options=OPTIONS) as channel,
                grpc.aio.insecure_channel(address, options=OPTIONS) as direct,
            ):
                await act(
                    Bench(server, shim, channel, direct, tmp_path, int(proxy.rpartition(":")[2]))
                )

    with running(tmp_path, MemoryRegistry.build()) as shim:
        asyncio.run(around(shim))
    records = written(tmp_path)
    # What a journal that failed could not take, the next start tells of.
    if ends_well:
        check_history(records)
    return [item for item in records if not isinstance(item, inference.Boot | inference.Stop)]


async def until(true: Callable[[], bool]) -> None:
    """Wait for something that happens in another thread or process."""
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.01)


def trailing(call: Any) -> Awaitable[dict[str, Any]]:
    async def read() -> dict[str, Any]:
        return dict(await call.trailing_metadata())

    return read()


TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
MODES: tuple[Mode, ...] = ("strict", "stream", "best_effort")


def unattested() -> None:
    raise RefusedError(Reason.UNATTESTED, "this node is not attested")


@pytest.mark.parametrize("streams", [False, True], ids=["unary", "stream"])
@pytest.mark.parametrize("mode", MODES)
def test_an_unattested_node_that_must_be_attested_answers_in_no_mode(
    tmp_path: Path, mode: Mode, *, streams: bool
) -> None:
    async def act(bench: Bench) -> None:
        if streams:
            answers, call = await bench.talk(request([1.0], b"one"))
            assert answers == []
            assert await call.code() == grpc.StatusCode.FAILED_PRECONDITION
        else:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await bench.infer(request([1.0], b"one"))
            assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION
        assert bench.server.requests == []
        await until(lambda: bench.shim.sequence.journal.durable_n >= 3)

    refused = [
        item.reason
        for item in run(tmp_path, act, mode, allowed=unattested)
        if isinstance(item, inference.NotForwarded)
    ]
    assert refused == ["UNATTESTED"]


@pytest.mark.parametrize("mode", MODES)
def test_an_answer_passes_untouched_and_is_recorded(tmp_path: Path, mode: Mode) -> None:
    sent = request([1.0, 2.0], b"one", field(999, b"a field of tomorrow"))

    async def act(bench: Bench) -> None:
        answer, call = await bench.infer(
            sent, metadata=(("traceparent", TRACE), ("x-provreg-level", "signed"))
        )
        assert answer == await bench.straight(INFER)(sent)
        assert bench.server.requests == [sent, sent]
        assert bench.server.metadata.get("x-provreg-level") is None
        assert dict(await call.initial_metadata())["server"] == "small"
        said = await trailing(call)
        assert said["cost"] == "1"
        assert said["x-receipt-id"] == f"{bench.shim.shim_id}/1"
        content = tensor.content_digest([Tensor("y", "FP32", (1, 2), Y.astype("<f4").tobytes())])
        assert said["x-output-sha256"] == content.hex()

    intent, completion = run(tmp_path, act, mode)
    assert isinstance(intent, inference.Intent)
    assert isinstance(completion, inference.Completion)
    assert completion.response.profile == "output/tensor/v1"
    assert completion.response.wire_digest == frames_digest([response(Y, b"one")])
    assert completion.asked == "signed"
    assert isinstance(completion.course, inference.Course)
    course = completion.course
    assert (course.transport, course.mode, course.trace) == ("unary", mode, TRACE)
    assert course.first_us <= course.total_us
    key = RequestKey(tmp_path / "request.key").salt(intent.sequence.shim_id, intent.sequence.n)
    asked = hashlib.sha256(struct.pack(">Q", len(sent)) + sent).digest()
    assert inference.commit_request(key, asked).hex() == intent.request


def test_metadata_go_on_to_the_model_server_as_they_came(tmp_path: Path) -> None:
    async def act(bench: Bench) -> None:
        said = (
            ("traceparent", "t"),
            ("tracestate", "a=<b>"),
            ("bin-bin", b"\0"),
            ("grpc-own", "1"),
            ("x-a", "b, c"),
        )
        for asked in (bench.straight(INFER), bench.unary(INFER)):
            await asked(request([1.0, 2.0]), metadata=said, compression=grpc.Compression.Gzip)
            told = bench.server.metadata
            # It is another program that asks; all else is as it came.
            assert told.pop("user-agent").startswith("grpc-python-asyncio")
            assert told == dict(said)

    run(tmp_path, act)


def test_the_frames_of_the_published_vector_have_its_digest() -> None:
    expected = "3fafa1cf2f19a7c1129beb20cf0983f73a489a221fc0dd2f16d1be292d089205"
    assert frames_digest([b"a", b"bc"]) == expected


def test_an_error_of_the_model_server_passes_with_its_details(tmp_path: Path) -> None:
    async def act(bench: Bench) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await bench.infer(request([1.0, 2.0], b"refuse"))
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert caught.value.details() == "not this one"
        said = dict(caught.value.trailing_metadata())
        assert said["why"] == "because"
        assert said["grpc-status-details-bin"] == b"\x08\x09"
        assert said["x-receipt-id"] == f"{bench.shim.shim_id}/1"

    [_, failure] = run(tmp_path, act)
    assert isinstance(failure, inference.Failure)
    assert failure.error == "grpc status FAILED_PRECONDITION"


def test_what_only_the_shim_may_say_of_a_record_is_not_the_model_servers(tmp_path: Path) -> None:
    async def act(bench: Bench) -> None:
        asked = request([1.0, 2.0], b"another")
        _, call = await bench.infer(asked)
        assert [item for item in await call.initial_metadata() if item[0] != "server"] == []
        _, stream = await bench.talk(asked)
        for answered in (call, stream):
            said = await answered.trailing_metadata()
            [receipt] = [value for key, value in said if key == "x-receipt-id"]
            assert receipt.startswith(f"{bench.shim.shim_id}/")
            assert dict(said)["cost"] == "1"

    run(tmp_path, act)


ANOTHER = {
    "another name": field(1, b"other"),
    "another version": field(2, b"2"),
    "no request": b"\xff",
}


@pytest.mark.parametrize("more", ANOTHER.values(), ids=list(ANOTHER))
@pytest.mark.parametrize("streams", [False, True], ids=["unary", "stream"])
def test_another_model_does_not_answer_in_the_name_of_the_recorded_one(
    tmp_path: Path, more: bytes, *, streams: bool
) -> None:
    async def act(bench: Bench) -> None:
        good, other = request([1.0, 2.0]), request([1.0, 2.0]) + more
        if streams:
            answers, call = await bench.talk(good)
            assert len(answers) == 1
            answers, call = await bench.talk(other)
            assert answers == []
        else:
            await bench.infer(good)
            call = bench.unary(INFER)(other)
            with pytest.raises(grpc.aio.AioRpcError):
                await call
        assert await call.code() is grpc.StatusCode.NOT_FOUND
        assert len(bench.server.requests) == 1

    # A completion may be written after what comes next.
    records = run(tmp_path, act, served_as=("m",))
    [completion] = [item for item in records if isinstance(item, inference.Completion)]
    assert isinstance(completion.course, inference.Course)
    assert completion.course.params == {"model": "m"}
    [refused] = [item for item in records if isinstance(item, inference.NotForwarded)]
    assert len(records) == 4
    assert refused.reason == "ANOTHER_MODEL"


def test_sampling_parameters_are_written_down(tmp_path: Path) -> None:
    async def act(bench: Bench) -> None:
        await bench.infer(request([1.0, 2.0], b"one", saying(temperature=0.1, seed=7, own=True)))
        # Each message of a stream is a call, and has its own.
        await bench.talk(
            request([1.0, 2.0], b"two", saying(top_p=0.5)),
            request([1.0, 2.0], b"three", tensor=saying(n=1)),
        )

    said = [
        item.course.params
        for item in run(tmp_path, act)
        if isinstance(item, inference.Completion) and isinstance(item.course, inference.Course)
    ]
    assert said == [
        {"model": "m", "temperature": "0.1", "seed": "7"},
        {"model": "m", "top_p": "0.5"},
        {"model": "m", "inputs[0].n": "1"},
    ]


@pytest.mark.parametrize("long", [True, False], ids=["long", "short"])
def test_long_messages_are_read_in_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, long: bool
) -> None:
    monkeypatch.setattr(message_answers, "LONG_BYTES", 8 if long else 1024)
    readers: list[bool] = []
    named = message_answers.frames_digest

    def watched(messages: Sequence[bytes]) -> str:
        readers.append(threading.current_thread() is not threading.main_thread())
        return named(messages)

    for room in (message_answers, proxy):
        monkeypatch.setattr(room, "frames_digest", watched)

    async def act(bench: Bench) -> None:
        await bench.infer(request([1.0, 2.0]))
        await bench.talk(request([1.0, 2.0]), request([1.0, 2.0]))

    records = run(tmp_path, act)
    completions = [item for item in records if isinstance(item, inference.Completion)]
    assert {item.response.profile for item in completions} == {"output/tensor/v1"}
    assert readers == [long] * 6


@pytest.mark.parametrize("streams", [False, True], ids=["unary", "stream"])
@pytest.mark.parametrize("mode", MODES)
def test_a_journal_that_fails_meanwhile_keeps_an_answer_back_only_in_strict(
    tmp_path: Path, mode: Mode, *, streams: bool
) -> None:
    class Failing(Server):
        def run(self, data: bytes) -> bytes:
            journals[0]._latch("the disk is full", [])
            return super().run(data)

    journals: list[Any] = []

    async def act(bench: Bench) -> None:
        journals.append(bench.shim.sequence.journal)
        if streams:
            answers, call = await bench.talk(request([1.0, 2.0]))
        else:
            call, answers = bench.unary(INFER)(request([1.0, 2.0])), []
            with contextlib.suppress(grpc.aio.AioRpcError):
                answers = [await call]
        assert len(answers) == (0 if mode == "strict" else 1)
        expected = grpc.StatusCode.UNAVAILABLE if mode == "strict" else grpc.StatusCode.OK
        assert await call.code() is expected

    records = run(tmp_path, act, mode, server=Failing(), ends_well=False)
    assert not [item for item in records if isinstance(item, inference.Completion)]


def test_a_deadline_goes_on_to_the_model_server(tmp_path: Path) -> None:
    async def act(bench: Bench) -> None:
        await bench.infer(request([1.0, 2.0]), timeout=20)
        assert bench.server.remaining is not None
        # On the wire a timeout has few digits, and is rounded up by at most 1 %.
        assert 0 < bench.server.remaining <= 20.2
        await bench.infer(request([1.0, 2.0]))
        # Without a deadline there is none; the library then says a very long time.
        assert (bench.server.remaining or 10**9) > 10**6

    run(tmp_path, act)


def test_a_client_that_leaves_cancels_the_model_server(tmp_path: Path) -> None:
    async def act(bench: Bench) -> None:
        call: Any = bench.unary(INFER)(request([1.0, 2.0], b"slow"))
        waiting = asyncio.ensure_future(call)
        await until(lambda: bool(bench.server.metadata))
        call.cancel()
        await asyncio.wait_for(bench.server.cancelled.wait(), 10)
        with pytest.raises(asyncio.CancelledError):
            await waiting

    [_, gone] = run(tmp_path, act)
    assert isinstance(gone, inference.ClientGone)


def test_methods_that_nobody_knows_pass_both_ways(tmp_path: Path) -> None:
    async def act(bench: Bench) -> None:
        ready = bench.unary(SERVICE + "ServerReady")
        assert await ready(b"abc", metadata=(("k", "v"),)) == b"cba"
        assert bench.server.metadata["k"] == "v"
        answers, call = await bench.talk(b"a", b"b", method="/other.Service/Talk")
        assert answers == [b"A", b"B"]
        assert await call.code() is grpc.StatusCode.OK
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await bench.unary("/other.Service/Nothing")(b"")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED

    assert run(tmp_path, act) == []


def test_what_a_server_says_at_once_is_not_mistaken_for_a_fault(tmp_path: Path) -> None:
    async def act(bench: Bench) -> None:
        unknown = bench.unary("/other.Service/Nothing")
        asking = (unknown(b"") for _ in range(500))
        said = await asyncio.gather(*asking, return_exceptions=True)
        codes = {error.code() for error in said if isinstance(error, grpc.aio.AioRpcError)}
        assert codes == {grpc.StatusCode.UNIMPLEMENTED}

    assert run(tmp_path, act) == []


def test_a_grpc_without_its_private_member_is_spoken_to_as_everybody_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def act(bench: Bench) -> None:
        answers, call = await bench.talk(request([1.0, 2.0]), request([3.0, 4.0]))
        assert (len(answers), await call.code()) == (2, grpc.StatusCode.OK)
        answers, _ = await bench.talk(b"a", b"bc", method="/other.Service/Talk")
        assert answers == [b"A", b"BC"]

    monkeypatch.setattr(proxy, "_PRIVATE", "_absent")
    assert len(run(tmp_path, act)) == 4


def test_the_version_of_grpc_in_use_has_its_private_member(tmp_path: Path) -> None:
    async def act(bench: Bench) -> None:
        call: Any = bench.direct.stream_stream(STREAM)()
        assert callable(getattr(call, proxy._PRIVATE).send_serialized_message)
        call.cancel()

    assert run(tmp_path, act) == []


@pytest.mark.parametrize("mode", MODES)
def test_each_request_of_a_stream_is_a_call(tmp_path: Path, mode: Mode) -> None:
    async def act(bench: Bench) -> None:
        answers, call = await bench.talk(request([1.0, 2.0], b"1"), request([3.0, 4.0]))
        assert len(answers) == 2
        assert await call.code() is grpc.StatusCode.OK
        assert "x-output-sha256" in await trailing(call)

    records = run(tmp_path, act, mode)
    completions = [item for item in records if isinstance(item, inference.Completion)]
    assert [item.response.profile for item in completions] == ["output/tensor/v1"] * 2
    assert len(records) == 4


def test_an_answer_in_several_messages_is_one_answer(tmp_path: Path) -> None:
    async def act(bench: Bench) -> None:
        answers, _ = await bench.talk(request([1.0, 2.0], b"several"))
        assert len(answers) == 3

    _, completion = run(tmp_path, act)
    assert isinstance(completion, inference.Completion)
    assert completion.response.profile == raw.NAME
    assert isinstance(completion.course, inference.Course)
    assert completion.course.chunks == 3
    assert completion.course.profile_error


def test_a_further_answer_is_a_call_of_its_own(tmp_path: Path) -> None:
    async def act(bench: Bench) -> None:
        answers, _ = await bench.talk(request([1.0, 2.0], b"decoupled"))
        assert len(answers) == 2

    records = run(tmp_path, act)
    assert len([item for item in records if isinstance(item, inference.Completion)]) == 2


@pytest.mark.parametrize(
    ("name", "error"),
    [
        (b"error", "ModelStreamInferResponse.error_message"),
        (b"silent", "UpstreamEof"),
        (b"die", "grpc status INTERNAL"),
    ],
)
def test_a_request_without_an_answer_says_why(tmp_path: Path, name: bytes, error: str) -> None:
    async def act(bench: Bench) -> None:
        _, call = await bench.talk(request([1.0, 2.0], name))
        code = await call.code()
        assert code is (grpc.StatusCode.INTERNAL if name == b"die" else grpc.StatusCode.OK)

    [_, failure] = run(tmp_path, act)
    assert isinstance(failure, inference.Failure)
    assert failure.error == error


def test_a_stream_has_only_so_many_requests_without_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxy, "MAX_OPEN_REQUESTS", 2)

    async def act(bench: Bench) -> None:
        silent = request([1.0, 2.0], b"silent")
        answers, call = await bench.talk(silent, silent, silent)
        assert answers == []
        assert await call.code() is not grpc.StatusCode.OK
        assert "too many requests of this stream" in await call.details()

    records = run(tmp_path, act)
    assert len([item for item in records if isinstance(item, inference.Intent)]) == 2


def test_a_client_that_leaves_a_stream_is_seen(tmp_path: Path) -> None:
    async def act(bench: Bench) -> None:
        call: Any = bench.channel.stream_stream(STREAM)()
        await call.write(request([1.0, 2.0], b"silent"))
        await until(lambda: bench.shim.sequence.journal.durable_n >= 2)
        call.cancel()
        await until(lambda: bench.shim.sequence.journal.durable_n >= 3)

    [_, gone] = run(tmp_path, act)
    assert isinstance(gone, inference.ClientGone)


@pytest.mark.parametrize("method", [INFER, STREAM])
def test_nothing_is_kept_of_a_call_whose_client_left(tmp_path: Path, method: str) -> None:
    unary = method == INFER
    work = (proxy._Unary if unary else proxy._Stream).serve.__code__

    async def act(bench: Bench) -> None:
        for count in range(3):
            if unary:
                call: Any = bench.unary(INFER)(request([1.0, 2.0], b"slow"))
            else:
                call = bench.channel.stream_stream(STREAM)()
                await call.write(request([1.0, 2.0], b"silent"))
            await until(lambda n=2 * count + 2: bench.shim.sequence.journal.durable_n >= n)  # type: ignore[misc]
            call.cancel()
            await until(lambda n=2 * count + 3: bench.shim.sequence.journal.durable_n >= n)  # type: ignore[misc]
        del call

        def forgotten() -> bool:
            gc.collect()
            frames = (each for each in gc.get_objects() if isinstance(each, FrameType))
            return not any(each.f_code is work for each in frames)

        await until(forgotten)

    run(tmp_path, act)


@pytest.mark.parametrize("method", [INFER, STREAM])
def test_a_level_that_nobody_knows_is_refused_before_anything_is_forwarded(
    tmp_path: Path, method: str
) -> None:
    async def act(bench: Bench) -> None:
        # Nothing is written to the stream: the client would race with what ends it.
        unary = method == INFER
        ask: Any = (bench.channel.unary_unary if unary else bench.channel.stream_stream)(method)
        metadata = (("x-provreg-level", "holy"),)
        call = ask(*((request([1.0, 2.0]),) if unary else ()), metadata=metadata)
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert bench.server.requests == []

    assert run(tmp_path, act) == []


@pytest.mark.parametrize("mode", MODES)
def test_a_journal_that_fails_stops_all_but_best_effort(tmp_path: Path, mode: Mode) -> None:
    async def act(bench: Bench) -> None:
        journal = bench.shim.sequence.journal
        journal._latch("the disk is full", [])
        if mode == "best_effort":
            answer, call = await bench.infer(request([1.0, 2.0]))
            assert answer
            assert "x-receipt-id" not in await trailing(call)
            assert bench.shim.unrecorded.count == 1
            return
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await bench.infer(request([1.0, 2.0]))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert bench.server.requests == []

    records = run(tmp_path, act, mode)
    assert records == []


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\xff\xff", "no response"),
        (field(5, field(1, b"y") + field(2, b"FP32")) + field(6, b"") + field(6, b""), "raw"),
        (field(5, field(1, b"y") + field(2, b"FP16") + field(5, b"")), "typed"),
        (
            field(
                5,
                field(1, b"y")
                + field(2, b"UINT8")
                + field(3, b"\x01")
                + field(5, field(4, varint(300))),
            ),
            "fit",
        ),
    ],
    ids=["no message", "raw contents of nothing", "FP16 typed", "overflow"],
)
def test_a_response_without_a_profile_is_named_by_its_bytes(data: bytes, why: str) -> None:
    with pytest.raises(MalformedError) as caught:
        open_inference.read_response(data)
    assert why in str(caught.value)


@pytest.mark.parametrize(
    ("datatype", "number", "packed", "expected"),
    [
        (b"BOOL", 1, b"\x01\x00", b"\x01\x00"),
        (b"INT8", 2, b"\x01" + varint(2**64 - 1), b"\x01\xff"),
        (b"INT64", 3, varint(2**40), struct.pack("<q", 2**40)),
        (b"UINT16", 4, varint(65535), b"\xff\xff"),
        (b"UINT64", 5, varint(2**64 - 1), b"\xff" * 8),
        (b"FP32", 6, struct.pack("<f", 0.1), struct.pack("<f", 0.1)),
        (b"FP64", 7, struct.pack("<d", 0.1), struct.pack("<d", 0.1)),
        (b"BYTES", 8, b"cat", b"\x03\x00\x00\x00cat"),
    ],
    ids=lambda value: value.decode() if isinstance(value, bytes) and value.isalnum() else "",
)
def test_typed_contents_are_the_raw_bytes_of_their_type(
    datatype: bytes, number: int, packed: bytes, expected: bytes
) -> None:
    data = field(5, field(1, b"y") + field(2, datatype) + field(5, field(number, packed)))
    [found] = open_inference.read_response(data).tensors
    assert found.raw == expected


def test_the_same_answer_has_one_digest_typed_or_raw() -> None:
    shape = field(3, varint(1) + varint(2))
    values = struct.pack("<2f", *Y[0])
    typed = field(5, field(1, b"y") + field(2, b"FP32") + shape + field(5, field(6, values)))
    one = open_inference.read_response(typed).tensors
    other = open_inference.read_response(response(Y, b"")).tensors
    assert tensor.content_digest(one) == tensor.content_digest(other)
    assert digest.sha256(typed) != digest.sha256(response(Y, b""))


@pytest.mark.parametrize("streams", [False, True], ids=["unary", "stream"])
def test_what_a_call_said_is_sealed_with_its_frames(tmp_path: Path, *, streams: bool) -> None:
    async def act(bench: Bench) -> None:
        if streams:
            await bench.talk(request([1.0, 2.0]))
        else:
            await bench.infer(request([1.0, 2.0]))

    policy = PrivacyPolicy(
        schema="privacy-policy/v1", retention_class="loans", keep=True, output="committed"
    )
    vault = Vault(tmp_path / "private")
    intent, record = run(tmp_path, act, keeping=Keeping(policy, vault))
    assert isinstance(record, inference.Completion)
    opened = vault.open(intent.sequence.n)
    framed = opened.payload.request
    assert (framed[:8], framed[8:]) == (len(request([1.0, 2.0])).to_bytes(8), request([1.0, 2.0]))
    assert digest.sha256(opened.payload.answer) == opened.payload.wire_digest
    assert record.response.wire_digest == opened.committed_output[1].hex()
