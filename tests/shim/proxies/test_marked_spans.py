"""The caller's own span around a wrapped client: it is told of the record, and of nothing said."""

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from tests.core.profiles.test_chat import LOAN, LOAN_DIGEST, STREAMS
from tests.shim.proxies.http_server import END, STREAM_HEAD, Script, chunk, plain
from tests.shim.proxies.test_httpx import ASKED, JSON, PATH, WHOLE, Bench, run

sdk = pytest.importorskip("opentelemetry.sdk.trace")
export = pytest.importorskip("opentelemetry.sdk.trace.export")
memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")

STREAM = STREAM_HEAD + chunk(next(iter(STREAMS.values()))) + END
KINDS = pytest.mark.parametrize("pieces", [[plain(WHOLE, JSON)], [STREAM]], ids=["whole", "stream"])


class Traced:
    """Somebody whose program is traced already."""

    def __init__(self) -> None:
        self._exporter = memory.InMemorySpanExporter()
        provider = sdk.TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(export.SimpleSpanProcessor(self._exporter))
        self.tracer = provider.get_tracer("caller")

    def said(self) -> list[dict[str, Any]]:
        return [dict(span.attributes) for span in self._exporter.get_finished_spans()]


def expected(bench: Bench) -> dict[str, Any]:
    return {
        "attest.receipt.id": f"{bench.shim.shim_id}/1",
        "attest.output.sha256": LOAN_DIGEST,
        "attest.output.profile": "output/chat/v1",
        "attest.output.complete": True,
    }


@KINDS
def test_the_callers_span_names_the_record(tmp_path: Path, pieces: list[bytes]) -> None:
    traced = Traced()

    def act(bench: Bench) -> None:
        with bench.client() as client, traced.tracer.start_as_current_span("mine"):
            client.post(PATH, content=ASKED)
        assert traced.said() == [expected(bench)]
        assert LOAN not in json.dumps(traced.said())

    run(tmp_path, Script(pieces), act)


@KINDS
def test_the_span_of_an_asynchronous_caller_names_the_record(
    tmp_path: Path, pieces: list[bytes]
) -> None:
    traced = Traced()

    async def ask(bench: Bench) -> None:
        async with bench.async_client() as client:
            with traced.tracer.start_as_current_span("mine"):
                await client.post(PATH, content=ASKED)
        assert traced.said() == [expected(bench)]

    run(tmp_path, Script(pieces), lambda bench: asyncio.run(ask(bench)))


def test_a_stream_that_is_read_after_its_span_ended_says_nothing_to_anybody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    traced = Traced()

    def act(bench: Bench) -> None:
        mine = traced.tracer.start_as_current_span("mine", end_on_exit=False)
        with bench.client() as client, mine as span:
            asked = client.build_request("POST", PATH, content=ASKED)
            answer = client.send(asked, stream=True)
            span.end()
            answer.read()
        assert traced.said() == [{}]

    with caplog.at_level(logging.WARNING):
        run(tmp_path, Script([STREAM]), act)
    assert "ended span" not in caplog.text


def test_without_a_span_of_the_callers_nothing_is_told(tmp_path: Path) -> None:
    def act(bench: Bench) -> None:
        with bench.client() as client:
            assert client.post(PATH, content=ASKED).content == WHOLE

    run(tmp_path, Script([plain(WHOLE, JSON)]), act)
