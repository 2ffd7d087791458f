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

import pytest

from registry.core.profiles.recognise import candidates
from tests.cli.conftest import Place, Shell
from tests.cli.test_shim import Proxy, arguments, shim, upstream, version

messages = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")

__all__ = ["upstream", "version"]

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
ABOUT_SOMEBODY = "the applicant earns 1234"


class Collector:
    """Takes OTLP over HTTP."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        collected = self.bodies

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                collected.append(body)
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
    assert attributes(span)["error.type"] == "ClientConnectorError"
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


def test_an_address_that_is_none_is_refused(place: Place, acme: Shell, version: str) -> None:
    given = arguments(place, version, "http://127.0.0.1:9", "--otlp", "localhost:4317")
    said = acme(*given)
    assert said.status == 2
    assert "--otlp" in said.err
