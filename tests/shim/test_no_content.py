"""What is asked and answered is in no record, span, log line or file, whatever goes wrong.

Through the gRPC proxy, the transports within clients and the ONNX Runtime session; what is said
through ``provreg shim`` has a test of its own beside the command's.
"""

import asyncio
import contextlib
import gzip
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import msgspec
import numpy as np
import pytest

from registry.core.digest import sha256
from registry.core.profiles.recognise import candidates
from registry.errors import Reason, RefusedError, RegistryError
from registry.shim.app import Shim
from registry.shim.privacy.keeping import Keeping
from registry.shim.privacy.policy import PrivacyPolicy
from registry.shim.privacy.vault import Vault
from registry.shim.proxies import onnx
from registry.shim.proxies.httpx import AsyncRecordedTransport, RecordedTransport
from registry.shim.proxies.open_inference import INFER, OPTIONS, STREAM, OpenInferenceProxy
from registry.shim.recorder.awaiting import Awaiting
from registry.shim.recorder.calls import Calls, Mode
from registry.shim.spans import spans_to
from tests.cli.test_shim import until
from tests.cli.test_shim_secrets import PLAIN, WORDS, forms
from tests.cli.test_shim_spans import Collector, attributes, collector
from tests.shim.proxies import oip_server as oip
from tests.shim.proxies.http_server import END, STREAM_HEAD, Script, chunk, plain, serve
from tests.shim.proxies.test_onnx import FILES as MODELS
from tests.shim.proxies.threaded import threaded
from tests.shim.world import (
    DEPLOYMENT,
    MemoryRegistry,
    lay_out,
    release_of,
    running,
    written,
)

httpx2 = pytest.importorskip("httpx2")
sdk = pytest.importorskip("opentelemetry.sdk.trace")
sdk_export = pytest.importorskip("opentelemetry.sdk.trace.export")
exporter = pytest.importorskip("opentelemetry.exporter.otlp.proto.http.trace_exporter")

__all__ = ["collector"]

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
HOSTILE = {
    "traceparent": f"00-{TRACE}-{PARENT}-01-{PLAIN}",
    "tracestate": f"a={PLAIN}",
    "x-own": PLAIN,
    "baggage": f"who={PLAIN}",
}
MODES: tuple[Mode, ...] = ("strict", "stream", "best_effort")
POLICY = {
    "schema": "privacy-policy/v1",
    "retention_class": "loans",
    "fields": ["/request/messages/0/content", "/response/choices/0/message/content"],
    "keep": True,
    "output": "committed",
}
PRIVATE = pytest.mark.parametrize("private", [False, True], ids=["no policy", "policy"])


@dataclass
class Scene:
    """A shim, somebody who takes its spans, and everything that it leaves behind."""

    folder: Path
    registry: MemoryRegistry
    shim: Shim
    calls: Callable[..., Calls]
    keeping: Keeping | None


@contextlib.contextmanager
def scene(tmp_path: Path, collector: Collector, mode: Mode, *, private: bool) -> Iterator[Scene]:
    registry = MemoryRegistry.build()
    policy = msgspec.convert(POLICY, PrivacyPolicy)
    folder = tmp_path / "shim"
    with spans_to(collector.url) as spans, running(folder, registry) as shim:
        keeping = Keeping(policy, Vault(folder / "private")) if private else None

        def calls(**more: Any) -> Calls:
            return Calls(
                shim.recorder,
                shim.unrecorded,
                lambda: DEPLOYMENT,
                mode=mode,
                spans=spans,
                keeping=keeping,
                levels=shim.levels,
                **more,
            )

        yield Scene(folder, registry, shim, calls, keeping)


def check(
    tmp_path: Path, here: Scene, collector: Collector, *said: str, hidden: Sequence[bytes] = ()
) -> None:
    """Look everywhere, under a policy for digests as well: short answers can be guessed."""
    places = {"spans": b"".join(collector.bodies), "lines": "\n".join(said).encode()}
    for records in here.registry.records.values():
        places["registry"] = b"".join([*records, *here.registry.sent])
    places |= {str(path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert any(name.endswith(".segment") for name in places)
    secret = [WORDS.encode(), PLAIN.encode(), *(() if here.keeping is None else hidden)]
    forbidden = {form for item in secret for form in forms(item)}
    found = [(name, form) for name, data in places.items() for form in forbidden if form in data]
    assert found == []


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Iterator[Any]:
    """Everything that is said anywhere: log lines of any level, and both streams."""
    with (
        caplog.at_level(logging.DEBUG, "registry"),
        caplog.at_level(logging.INFO),
        # What a client's library says of where it asks is the caller's.
        caplog.at_level(logging.WARNING, "httpx2"),
    ):
        yield lambda: (caplog.text, *capfd.readouterr())


# --- gRPC. ---


def spoken(name: bytes, text: str = WORDS, *, tensor: bytes = b"x") -> bytes:
    """A request for a text, which is named by hostile parameters, too."""
    data = text.encode()
    raw = len(data).to_bytes(4, "little") + data
    shape = oip.field(1, tensor) + oip.field(2, b"BYTES") + oip.field(3, oip.varint(1))
    parameters = oip.saying(user=PLAIN, temperature=WORDS, reasoning_effort=PLAIN, stop=WORDS)
    head = oip.field(1, b"m") + oip.field(3, name) + parameters
    return head + oip.field(5, shape) + oip.field(7, raw)


def answered(text: str = WORDS, datatype: bytes = b"BYTES", more: bytes = b"") -> bytes:
    """An answer that says a text, in parameters, too."""
    data = text.encode()
    raw = len(data).to_bytes(4, "little") + data
    tensor = oip.field(1, b"y") + oip.field(2, datatype) + oip.field(3, oip.varint(1))
    said = oip.field(1, b"m") + oip.saying(why=WORDS, finish_reason=PLAIN) + more
    return said + oip.field(5, tensor) + oip.field(6, raw)


class Leaky:
    """A model server that puts what it was told wherever gRPC has room for it."""

    async def infer(self, data: bytes, context: Any) -> bytes:
        name = oip.fields(data)[3][0]
        if name == b"refuse":
            trailing = (("why", PLAIN), ("grpc-status-details-bin", WORDS.encode()))
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, WORDS, trailing)
        if name == b"raise":
            raise ValueError(WORDS, data)
        if name == b"slow":
            await asyncio.sleep(30)
        if name == b"garbage":
            return WORDS.encode() * 3
        if name == b"another type":
            return answered(datatype=PLAIN.encode())
        if name == b"two of a name":
            return answered(more=oip.fields(answered())[5][0].join([oip.field(5, b"")] * 2))
        return answered()

    async def stream(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for data in requests:
            name = oip.fields(data)[3][0]
            if name == b"error":
                yield oip.field(1, WORDS.encode())
            elif name == b"refuse":
                await context.abort(grpc.StatusCode.INTERNAL, PLAIN)
            elif name == b"raise":
                raise ValueError(WORDS, data)
            elif name == b"half":
                yield oip.field(2, answered(more=oip.flag(b"triton_final_response", value=False)))
                await asyncio.sleep(30)
            else:
                yield oip.field(2, answered())

    async def other(self, data: bytes, context: Any) -> None:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, data.decode())


class LeakyHandler(grpc.GenericRpcHandler):
    """Its methods."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        leaky = Leaky()
        if handler_call_details.method == INFER:
            return grpc.unary_unary_rpc_method_handler(leaky.infer)
        if handler_call_details.method == STREAM:
            return grpc.stream_stream_rpc_method_handler(leaky.stream)
        return grpc.unary_unary_rpc_method_handler(leaky.other)


async def talk(channel: grpc.aio.Channel) -> None:
    """Say it in every way that a call can go."""
    metadata = tuple(HOSTILE.items())
    infer: Any = channel.unary_unary(INFER)
    stream: Any = channel.stream_stream(STREAM)
    other: Any = channel.unary_unary("/other.Service/Say")

    async def one(data: bytes, *more: tuple[str, str], seconds: float = 20) -> None:
        with contextlib.suppress(grpc.aio.AioRpcError):
            await infer(data, metadata=(*metadata, *more), timeout=seconds)

    names = (b"", b"refuse", b"raise", b"garbage", b"another type", b"two of a name")
    for name in names:
        await one(spoken(name))
    await one(spoken(b"slow"), seconds=0.3)
    await one(WORDS.encode())
    await one(spoken(b"", tensor=PLAIN.encode()))
    await one(spoken(b""), ("x-provreg-level", PLAIN))
    await one(spoken(b""), ("x-provreg-level", "signed"), ("x-provreg-deadline-ms", PLAIN))
    await one(spoken(b""), ("x-provreg-level", "logged"))
    for name in (b"", b"error", b"refuse", b"raise"):
        with contextlib.suppress(grpc.aio.AioRpcError):
            call: Any = stream(metadata=metadata, timeout=20)
            await call.write(spoken(name))
            await call.done_writing()
            async for _ in call:
                pass
    left: Any = stream(metadata=metadata)
    await left.write(spoken(b"half"))
    await left.read()
    left.cancel()
    with contextlib.suppress(grpc.aio.AioRpcError):
        await other(WORDS.encode(), metadata=metadata)


@PRIVATE
@pytest.mark.parametrize("mode", MODES)
def test_what_is_said_over_grpc_is_nowhere(
    tmp_path: Path, collector: Collector, lines: Any, mode: Mode, *, private: bool
) -> None:
    async def around(calls: Callable[..., Calls]) -> None:
        async with oip.serve(LeakyHandler()) as address:
            upstream = grpc.aio.insecure_channel(address, options=OPTIONS)
            ours = calls(awaiting=Awaiting(asyncio.get_running_loop()))
            async with (
                upstream,
                oip.serve(OpenInferenceProxy(upstream, ours)) as proxy,
                grpc.aio.insecure_channel(proxy, options=OPTIONS) as channel,
            ):
                await talk(channel)

    # The model server of this test runs in this process, and says aloud what it raises.
    logging.getLogger("grpc._cython.cygrpc").addFilter(silent)
    try:
        with scene(tmp_path, collector, mode, private=private) as here:
            asyncio.run(around(here.calls))
    finally:
        logging.getLogger("grpc._cython.cygrpc").removeFilter(silent)
    check(tmp_path, here, collector, *lines())
    spans = collector.spans()
    assert len(spans) >= 12
    # What no version of the header can hold is no trace.
    assert all(span.trace_id.hex() != TRACE for span in spans)
    said = [attributes(span) for span in spans]
    assert {"grpc status INVALID_ARGUMENT", "grpc status INTERNAL"} <= {
        item.get("error.type") for item in said
    }
    assert all(not span.events and not span.status.message for span in spans)
    assert len(written(here.folder)) > 20


def silent(record: logging.LogRecord) -> bool:
    """Whether a line is not about an exception of the model server."""
    return "Unexpected [ValueError]" not in record.getMessage()


# --- The transports within clients. ---

JSON = b"content-type: application/json"
EVENTS = b"content-type: text/event-stream"
ASKED = {
    "model": WORDS,
    "user": PLAIN,
    "temperature": WORDS,
    "reasoning_effort": PLAIN,
    "stop": [PLAIN],
    "messages": [{"role": "user", "content": WORDS}],
}


def chat(text: str = WORDS, **members: Any) -> bytes:
    message = {"role": "assistant", "content": text, **members}
    choice = {"index": 0, "message": message, "finish_reason": PLAIN * 9}
    return json.dumps({"id": PLAIN, "model": WORDS, "choices": [choice]}).encode()


def event(members: Any) -> bytes:
    return b"data: " + json.dumps(members).encode() + b"\n\n"


def delta(**members: Any) -> bytes:
    return event({"choices": [{"index": 0, "delta": {"content": WORDS, **members}}]})


CALLED = [{"index": 0, "id": PLAIN, "type": PLAIN, "function": {"name": WORDS, "arguments": PLAIN}}]
RENAMED = [{"index": 0, "id": PLAIN + "x", "function": {"name": PLAIN}}]
DONE = b"data: [DONE]\n\n"
ERROR = event({"error": {"message": WORDS, "type": PLAIN, "code": PLAIN}})
ANSWERS: dict[str, list[bytes]] = {
    "whole": [plain(chat(), JSON)],
    "tool calls": [plain(chat("", tool_calls=CALLED), JSON)],
    "a list for a text": [plain(chat([{"text": WORDS}]), JSON)],  # type: ignore[arg-type]  # as told
    "no JSON": [plain(WORDS.encode(), JSON)],
    "a member twice": [plain(b'{"a":1,' + chat()[1:-1] + b',"a":"' + PLAIN.encode() + b'"}', JSON)],
    "an index of words": [plain(event({"choices": [{"index": WORDS}]})[6:], JSON)],
    "not gzip": [plain(chat(), JSON, b"content-encoding: gzip")],
    "gzip": [plain(gzip.compress(chat()), JSON, b"content-encoding: gzip")],
    "cut off": [plain(chat(), JSON)[:-9]],
    "refused": [plain(ERROR[6:], JSON, status=b"400 " + PLAIN.encode())],
    "failed": [plain(WORDS.encode(), b"x-why: " + PLAIN.encode(), status=b"500 no")],
    "moved": [plain(b"", b"location: /" + PLAIN.encode(), status=b"307 there")],
    "no HTTP": [PLAIN.encode() * 4 + b"\r\n\r\n"],
    "nothing": [b""],
    "stream": [STREAM_HEAD + chunk(delta()) + chunk(DONE) + END],
    "stream of tool calls": [
        STREAM_HEAD + chunk(delta(tool_calls=CALLED) + delta(tool_calls=RENAMED) + DONE) + END
    ],
    "half a stream": [STREAM_HEAD + chunk(delta()) + END],
    "a stream cut off": [STREAM_HEAD + chunk(delta())],
    "an error in a stream": [STREAM_HEAD + chunk(delta() + ERROR + DONE) + END],
    "no events": [STREAM_HEAD + chunk(b"data: " + WORDS.encode() + b"\n\n" + DONE) + END],
    "a chunk of words": [STREAM_HEAD + PLAIN.encode() + b"\r\n" + delta()],
}


@PRIVATE
@pytest.mark.parametrize("mode", MODES)
def test_what_is_said_through_a_transport_is_nowhere(
    tmp_path: Path, collector: Collector, lines: Any, mode: Mode, *, private: bool
) -> None:
    headers = {**HOSTILE, "authorization": f"Bearer {PLAIN}", "content-type": "application/json"}
    body = json.dumps(ASKED).encode()

    def ask(url: str, calls: Calls, **more: str) -> None:
        transport = RecordedTransport(httpx2.HTTPTransport(), calls)
        path = f"/v1/chat/completions?user={PLAIN}"
        with (
            httpx2.Client(transport=transport, base_url=url, timeout=20) as client,
            contextlib.suppress(httpx2.HTTPError, httpx2.InvalidURL, RegistryError),
        ):
            client.post(path, content=body, headers={**headers, **more})

    async def leave(url: str, calls: Calls) -> None:
        transport = AsyncRecordedTransport(httpx2.AsyncHTTPTransport(), calls)
        async with httpx2.AsyncClient(transport=transport, base_url=url, timeout=20) as client:
            asked = client.stream("POST", "/v1/chat/completions", content=body, headers=headers)
            async with asked as answer:
                async for _ in answer.aiter_raw():
                    break

    def refuse() -> None:
        raise RefusedError(Reason.UNATTESTED, "this node is not attested")

    with scene(tmp_path, collector, mode, private=private) as here:
        for pieces in ANSWERS.values():
            with threaded(lambda pieces=pieces: serve(Script(pieces))) as url:  # type: ignore[misc]  # bound at once
                ask(url, here.calls())
        ask("http://127.0.0.1:9", here.calls())
        left = Script([STREAM_HEAD + chunk(delta())], hang=True)
        with threaded(lambda: serve(left)) as url:
            asyncio.run(leave(url, here.calls()))
            until(left.gone.is_set)
        for more in ({"allowed": refuse}, {"served_as": ("m",)}):
            ask("http://127.0.0.1:9", here.calls(**more))
        for level in (PLAIN, "logged"):
            ask("http://127.0.0.1:9", here.calls(), **{"x-provreg-level": level})
    hidden = [sha256(chat()), *candidates(chat()), sha256(delta()), *candidates(delta() + DONE)]
    check(tmp_path, here, collector, *lines(), hidden=hidden)
    assert len(collector.spans()) >= len(ANSWERS)
    assert all(not span.events and not span.status.message for span in collector.spans())


# --- The ONNX Runtime session. ---


@PRIVATE
@pytest.mark.parametrize("mode", MODES)
def test_what_a_session_is_fed_is_nowhere(
    tmp_path: Path, collector: Collector, lines: Any, mode: Mode, *, private: bool
) -> None:
    models = lay_out(tmp_path / "onnx", MODELS)
    release = release_of(MODELS)
    with scene(tmp_path, collector, mode, private=private) as here:
        provider = provider_to(collector.url)
        tracer = provider.get_tracer("caller")

        def session(path: str) -> onnx.RecordedSession:
            return onnx.RecordedSession.open(
                models,
                path,
                release,
                here.shim.recorder,
                mode=mode,
                keeping=here.keeping,
                unrecorded=here.shim.unrecorded,
            )

        texts, numbers = session("strings.onnx"), session("linear.onnx")
        digests: list[bytes] = []

        def whole() -> None:
            answer = texts.run_recorded(None, {"x": np.array([WORDS, PLAIN], dtype=object)})
            digests.append(answer.content_digest)

        fed: list[Callable[[], object]] = [
            whole,
            lambda: texts.run(None, {"x": np.array([1.0], np.float32)}),
            lambda: texts.run(None, {PLAIN: np.array([WORDS], dtype=object)}),
            lambda: texts.run([PLAIN], {"x": np.array([WORDS], dtype=object)}),
            lambda: texts.run(None, {"x": np.array([{"a": WORDS}], dtype=object)}),
            lambda: numbers.run(None, {"x": np.array([[WORDS]], dtype=object)}),
            lambda: numbers.run(None, {"x": np.ones((1, 3), np.float32)}),
        ]
        for feed in fed:
            with (
                contextlib.suppress(Exception),
                tracer.start_as_current_span(
                    "caller", record_exception=False, set_status_on_exception=False
                ),
            ):
                feed()
        provider.shutdown()
    check(tmp_path, here, collector, *lines(), hidden=digests)
    spans = [span for span in collector.spans() if span.name == "caller"]
    assert len(spans) == len(fed)
    assert digests
    [marked] = [item for item in map(attributes, spans) if item]
    assert set(marked) == {
        "attest.receipt.id",
        "attest.output.sha256",
        "attest.output.profile",
        "attest.output.complete",
    }


def provider_to(url: str) -> Any:
    """A caller's own provider of OpenTelemetry."""
    provider = sdk.TracerProvider(shutdown_on_exit=False)
    sent = exporter.OTLPSpanExporter(endpoint=url)
    provider.add_span_processor(sdk_export.SimpleSpanProcessor(sent))
    return provider
