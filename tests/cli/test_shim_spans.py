"""Spans of calls at a real collector: in the caller's trace, with digests, without content."""

import contextlib
import gzip
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import pytest

from registry.core.profiles.recognise import candidates
from registry.errors import MalformedError, Reason
from registry.shim.proxies.open_inference import INFER, STREAM
from registry.shim.spans import traces_at
from tests.cli.conftest import Place, Shell
from tests.cli.test_shim import Model, Proxy, arguments, shim, upstream, version
from tests.http_handler import answering
from tests.shim.proxies import oip_process, oip_server

messages = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")

__all__ = ["upstream", "version"]

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
ABOUT_SOMEBODY = "the applicant earns 1234"


class Collector:
    """Takes OTLP over HTTP."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.paths: set[str] = set()
        collected, paths = self.bodies, self.paths

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                collected.append(body)
                paths.add(self.path)
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_arguments: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1/traces"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def spans(self) -> list[Any]:
        """All spans that came."""
        found = []
        for body in self.bodies:
            message = messages.ExportTraceServiceRequest.FromString(body)
            for resource in message.resource_spans:
                for scope in resource.scope_spans:
                    found += scope.spans
        return found


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


def attributes(span: Any) -> dict[str, Any]:
    """The attributes of a span."""
    said = {}
    for item in span.attributes:
        kind = item.value.WhichOneof("value")
        value = getattr(item.value, kind)
        said[item.key] = (
            [one.string_value for one in value.values] if kind == "array_value" else value
        )
    return said


def ask(proxy: Proxy, path: str = "/v1/chat/completions", **members: Any) -> Any:
    """One call in a trace of the caller's."""
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=30)
    body = json.dumps({"model": "m", "messages": [{"content": ABOUT_SOMEBODY}], **members})
    connection.request("POST", path, body, {"traceparent": f"00-{TRACE}-{PARENT}-01"})
    answer = connection.getresponse()
    with contextlib.suppress(http.client.HTTPException):
        answer.body = answer.read()  # type: ignore[attr-defined]  # kept beside its headers
    connection.close()
    return answer


def ask_in(proxy: Proxy, *parents: str) -> int:
    """One call with these ``traceparent`` headers; its status."""
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=30)
    body = json.dumps({"model": "m", "messages": [{"content": ABOUT_SOMEBODY}]}).encode()
    connection.putrequest("POST", "/v1/chat/completions")
    for parent in parents:
        connection.putheader("traceparent", parent)
    connection.putheader("tracestate", "congo=t61rcWkgMzE")
    connection.putheader("content-length", str(len(body)))
    connection.endheaders(body)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


def infer(proxy: Proxy, name: bytes, parent: str = f"00-{TRACE}-{PARENT}-01") -> Any:
    """One call over gRPC in a trace of the caller's: the answer, or the error, and its call."""
    with grpc.insecure_channel(f"127.0.0.1:{proxy.port}") as channel:
        call: Any = channel.unary_unary(INFER)
        metadata = (("traceparent", parent), ("tracestate", "congo=t61rcWkgMzE"))
        try:
            return call.with_call(
                oip_server.request([1.0, 2.0], name), metadata=metadata, timeout=30
            )
        except grpc.RpcError as error:
            return b"", error


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
def test_a_caller_finds_the_receipt_in_its_own_trace(
    place: Place, upstream: str, version: str, collector: Collector, *, stream: bool
) -> None:
    with shim(*arguments(place, version, upstream, "--otlp", collector.url)) as proxy:
        answer = ask(proxy, stream=stream)
        receipt = answer.getheader("x-receipt-id")
    [span] = collector.spans()
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
    said = attributes(span)
    assert said["attest.receipt.id"] == receipt
    assert bytes.fromhex(said["attest.output.sha256"]) in candidates(answer.body)
    assert said["attest.output.profile"] == "output/chat/v1"
    assert said["attest.output.complete"] is True
    assert said["gen_ai.request.model"] == "m"
    assert said["gen_ai.response.finish_reasons"] == ["stop"]
    assert len(bytes.fromhex(said["attest.model.sha256"])) == 32
    assert span.end_time_unix_nano > span.start_time_unix_nano


def test_no_span_holds_content(
    place: Place, upstream: str, version: str, collector: Collector
) -> None:
    with shim(*arguments(place, version, upstream, "--otlp", collector.url)) as proxy:
        ask(proxy)
        ask(proxy, stream=True)
    assert collector.bodies
    assert not [body for body in collector.bodies if b"applicant" in body or b"1234" in body]


def test_a_call_without_a_whole_answer_ends_its_span_as_an_error(
    place: Place, version: str, collector: Collector
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        down = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        with shim(*arguments(place, version, down, "--otlp", collector.url)) as proxy:
            assert ask(proxy).status == 502
    [span] = collector.spans()
    assert attributes(span)["error.type"] == "UNREACHABLE"
    assert span.status.code == span.status.STATUS_CODE_ERROR


def test_a_span_that_a_caller_does_not_sample_is_not_sent(
    place: Place, upstream: str, version: str, collector: Collector
) -> None:
    with shim(*arguments(place, version, upstream, "--otlp", collector.url)) as proxy:
        connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=30)
        body = json.dumps({"messages": [{"content": "x"}]})
        headers = {"traceparent": f"00-{TRACE}-{PARENT}-00"}
        connection.request("POST", "/v1/chat/completions", body, headers)
        assert connection.getresponse().status == 200
        connection.close()
    assert collector.spans() == []


def test_a_collector_that_is_down_holds_nothing_up(
    place: Place, upstream: str, version: str
) -> None:
    given = arguments(place, version, upstream, "--otlp", "http://127.0.0.1:9/v1/traces")
    with shim(*given) as proxy:
        assert ask(proxy).status == 200
    assert not [line for line in proxy.said if "Traceback" in line]


@pytest.mark.parametrize(
    "address",
    ["localhost:4317", "http://", "http:///v1/traces", "http://h:0", "http://h:x", "ftp://h"],
)
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(MalformedError) as caught:
        traces_at(address)
    assert (caught.value.reason, caught.value.where) == (Reason.BAD_SETTING, "--otlp")


def test_a_password_in_an_address_is_refused_and_not_repeated(
    place: Place, acme: Shell, version: str
) -> None:
    otlp = ("--otlp", "http://user:s3cret@127.0.0.1:4318")
    said = acme(*arguments(place, version, "http://127.0.0.1:9", *otlp))
    assert said.status == 2
    assert "--otlp" in said.err
    assert "s3cret" not in said.err


def test_the_address_of_a_collector_is_enough(
    place: Place, upstream: str, version: str, collector: Collector
) -> None:
    alone = collector.url.removesuffix("/v1/traces")
    assert traces_at(f"{alone}/") == traces_at(alone) == collector.url
    assert traces_at(f"{alone}/other?a=b") == f"{alone}/other?a=b"
    with shim(*arguments(place, version, upstream, "--otlp", alone)) as proxy:
        assert ask(proxy).status == 200
    assert len(collector.spans()) == 1
    assert collector.paths == {"/v1/traces"}


LATER = f"cc-{TRACE}-{PARENT}-01-what-nobody-knows-yet"


PARENTS: tuple[tuple[list[str], str], ...] = (
    ([f"00-{TRACE}-{PARENT}-01"], TRACE),
    ([LATER], TRACE),
    ([], ""),
    ([f"00-{TRACE}-{PARENT}-01-more"], ""),
    ([f"ff-{TRACE}-{PARENT}-01"], ""),
    ([f"00-{TRACE.upper()}-{PARENT}-01"], ""),
    ([f"00-{'0' * 32}-{PARENT}-01"], ""),
    ([f"00-{TRACE}-{'0' * 16}-01"], ""),
    ([f"00-{TRACE}-{PARENT}"], ""),
    ([f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-01"], ""),
    (["the applicant earns 1234"], ""),
)
"""What may come as ``traceparent``, and in which trace the span must be; empty for a new one."""


def test_a_span_is_in_the_trace_of_its_caller_or_in_one_of_its_own(
    place: Place, upstream: str, version: str, collector: Collector
) -> None:
    with shim(*arguments(place, version, upstream, "--otlp", collector.url)) as proxy:
        assert [ask_in(proxy, *parents) for parents, _ in PARENTS] == [200] * len(PARENTS)
    spans = sorted(collector.spans(), key=lambda span: span.start_time_unix_nano)
    for span, (parents, trace) in zip(spans, PARENTS, strict=True):
        found = (span.trace_id.hex(), span.parent_span_id.hex())
        if trace:
            assert found == (trace, PARENT), parents
        else:
            assert found[1] == "", parents
            assert found[0] not in ("", TRACE), parents
        # What travels with a trace is for the model server, and for nobody who collects spans.
        assert span.trace_state == ""
    assert not [body for body in collector.bodies if b"congo" in body or b"applicant" in body]


def test_calls_over_grpc_have_spans_of_the_same_form(
    place: Place, version: str, collector: Collector
) -> None:
    with (
        oip_process.running() as url,
        shim(*arguments(place, version, url, "--otlp", collector.url)) as proxy,
    ):
        answer, call = infer(proxy, b"")
        told = dict(call.trailing_metadata())
        _, refused = infer(proxy, b"refuse")
        with grpc.insecure_channel(f"127.0.0.1:{proxy.port}") as channel:
            stream: Any = channel.stream_stream(STREAM)
            parent = (("traceparent", f"00-{TRACE}-{PARENT}-01"),)
            said = [oip_server.request([1.0, 2.0], name) for name in (b"", b"several", b"error")]
            answers = list(stream(iter(said), metadata=parent, timeout=30))
    assert answer
    assert len(answers) == 5
    spans = collector.spans()
    assert {(span.trace_id.hex(), span.parent_span_id.hex()) for span in spans} == {(TRACE, PARENT)}
    of = {attributes(span)["attest.receipt.id"]: span for span in spans}
    assert len(of) == 5
    said_of = {name: attributes(span) for name, span in of.items()}
    unary = said_of[told["x-receipt-id"]]
    assert unary["attest.output.sha256"] == told["x-output-sha256"]
    assert unary["attest.output.profile"] == "output/tensor/v1"
    assert unary["gen_ai.request.model"] == "m"
    failed = said_of[dict(refused.trailing_metadata())["x-receipt-id"]]
    assert failed["error.type"] == "grpc status FAILED_PRECONDITION"
    errors = sorted(item["error.type"] for item in said_of.values() if "error.type" in item)
    assert errors == ["ModelStreamInferResponse.error_message", failed["error.type"]]
    for name, span in of.items():
        is_error = "error.type" in said_of[name]
        assert (span.status.code == span.status.STATUS_CODE_ERROR) is is_error
        assert (span.status.message, list(span.events), list(span.links)) == ("", [], [])
        assert span.kind == span.SPAN_KIND_SERVER
        assert set(said_of[name]) <= KNOWN


KNOWN = {
    "attest.receipt.id",
    "attest.output.sha256",
    "attest.output.profile",
    "attest.output.complete",
    "attest.model.sha256",
    "attest.model.release",
    "gen_ai.request.model",
    "gen_ai.response.finish_reasons",
    "error.type",
}
"""Everything that a span may say."""


class Broken(Model):
    """A model server that says half, and an error in words of its own."""

    def do_POST(self) -> None:  # noqa: N802 - http.server calls it so
        """Answer half."""
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("content-length", "100000")
        self.end_headers()
        said = {"choices": [{"delta": {"content": ABOUT_SOMEBODY}}], "error": ABOUT_SOMEBODY}
        self.wfile.write(b"data: " + json.dumps(said).encode() + b"\n\n")
        self.close_connection = True


def test_a_stream_that_ends_early_is_a_span_that_failed(
    place: Place, version: str, collector: Collector
) -> None:
    with (
        answering(Broken) as url,
        shim(*arguments(place, version, url, "--otlp", collector.url)) as proxy,
    ):
        ask(proxy, stream=True)
    [span] = collector.spans()
    said = attributes(span)
    assert said["error.type"]
    assert set(said) <= KNOWN
    assert (span.status.code, span.status.message) == (span.status.STATUS_CODE_ERROR, "")
    assert list(span.events) == []
    assert not [body for body in collector.bodies if b"applicant" in body]


def test_a_call_that_is_refused_here_has_a_span_that_says_why(
    place: Place, upstream: str, version: str, collector: Collector
) -> None:
    more = ("--otlp", collector.url, "--served-as", "other")
    with shim(*arguments(place, version, upstream, *more)) as proxy:
        assert ask(proxy).status == 404
    [span] = collector.spans()
    assert attributes(span)["error.type"] == "ANOTHER_MODEL"
