"""Which requests are calls: an output is recorded, however it is asked for."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from registry.core import digest
from registry.core.profiles import raw
from registry.core.records import inference
from registry.shim.proxies.call_paths import is_call
from registry.shim.recorder.calls import Mode
from tests.core.profiles.test_chat import LOAN, LOAN_DIGEST
from tests.shim.proxies import test_http, test_httpx
from tests.shim.proxies.http_server import END, STREAM_HEAD, Script, chunk, plain
from tests.shim.proxies.test_http import JSON, MODES, unchunked

OUTPUTS = [
    "/v1/responses/resp_1",
    "/openai/v1/responses/resp_1/",
    "/v1/chat/completions",
    "/v1/chat/completions/chatcmpl-1",
    "/v1/conversations/c/items",
    "/v1/conversations/c/items/i",
    "/v1/threads/t/messages",
    "/v1/threads/t/messages/m",
    "/v1/threads/t/runs/r/steps",
    "/v1/threads/t/runs/r/steps/s",
    "/v1/evals/e/runs/r/output_items",
    "/v1/evals/e/runs/r/output_items/o",
    "/v1/files/f/content",
    "/v1/containers/c/files/f/content",
    "/v1/videos/v/content",
    "/v1/messages/batches/b/results",
    "/v1/predictions/p",
]
OTHERS = [
    "/",
    "/health",
    "/metrics",
    "/v1/models",
    "/v1/models/responses",
    "/v2/models/m/ready",
    "/v1/responses",
    "/v1/responses/resp_1/input_items",
    "/v1/chat/completions/chatcmpl-1/messages",
    "/v1/files",
    "/v1/files/f",
    "/v1/batches/b",
    "/v1/threads/t/runs/r",
    "/v1/messages/batches/b",
    "/myresponses/1",
    "/v1/responses/resp_1\n/x",
]
STORED = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": LOAN},
                "finish_reason": "stop",
            }
        ],
        "metadata": {},
    }
).encode()


@pytest.mark.parametrize("path", OUTPUTS)
def test_to_fetch_an_output_is_a_call(path: str) -> None:
    assert is_call("GET", path, b"")


@pytest.mark.parametrize("method", ["HEAD", "DELETE", "OPTIONS", "get"])
@pytest.mark.parametrize("path", OUTPUTS[:4])
def test_what_has_no_output_as_its_answer_is_no_call(method: str, path: str) -> None:
    assert not is_call(method, path, b"")


@pytest.mark.parametrize("path", [path for path in OTHERS if "\n" not in path])
def test_what_tells_of_no_output_is_no_call(path: str) -> None:
    assert not is_call("GET", path, b"")
    assert is_call("POST", path, b"")
    assert is_call("GET", path, b"{}")


def test_a_line_end_in_a_path_hides_nothing() -> None:
    assert is_call("GET", "/v1/responses/resp_1\n", b"")
    assert not is_call("GET", "/v1/responses/resp_1\n/x", b"")


@pytest.mark.parametrize("path", ["/" * 65_536, "/responses" * 6_553, "/threads/" + "a" * 65_536])
def test_a_long_path_takes_no_time(path: str) -> None:
    start = time.process_time()
    is_call("GET", path, b"")
    assert time.process_time() - start < 0.5


@pytest.mark.parametrize("mode", MODES)
def test_a_stored_chat_has_the_digest_with_which_it_was_answered(
    tmp_path: Path, mode: Mode
) -> None:
    async def act(client: test_http.Client) -> None:
        _, headers, rest = await client.ask(b"GET /v1/chat/completions/chatcmpl-1")
        assert rest == STORED
        assert headers[b"x-output-sha256"] == LOAN_DIGEST.encode()
        assert headers[b"x-receipt-id"]

    _, outcome = test_http.run(tmp_path, Script([plain(STORED, JSON)]), act, mode)
    assert isinstance(outcome, inference.Completion)
    assert outcome.response.content_digest == LOAN_DIGEST


def test_a_stream_that_is_resumed_is_recorded_and_ends_by_its_own_event(tmp_path: Path) -> None:
    said = b'event: response.completed\ndata: {"sequence_number":7}\n\n'
    more = b"data: {}\n\n"

    async def act(client: test_http.Client) -> None:
        _, _, rest = await client.ask(b"GET /v1/responses/resp_1?stream=true&starting_after=6")
        assert unchunked(rest)[0] == said

    script = Script([STREAM_HEAD + chunk(said), chunk(more) + END], pause=0.05)
    _, outcome = test_http.run(tmp_path, script, act)
    assert isinstance(outcome, inference.Completion)
    assert outcome.response.complete
    assert outcome.response.content_digest == raw.content_digest(said).hex()


def test_an_output_that_is_not_there_is_a_failure(tmp_path: Path) -> None:
    async def act(client: test_http.Client) -> None:
        status, _, _ = await client.ask(b"GET /v1/responses/none")
        assert status == 404

    _, outcome = test_http.run(tmp_path, Script([plain(b"{}", JSON, status=b"404 No")]), act)
    assert isinstance(outcome, inference.Failure)
    assert outcome.error == "http status 404"


@pytest.mark.parametrize("asks", ["GET", "PUT"])
def test_within_a_client_the_same_is_a_call(tmp_path: Path, asks: str) -> None:
    said = b'{"id":"resp_1"}'
    content = b"{}" if asks == "PUT" else None
    path = "/v1/responses/resp_1" if asks == "GET" else "/v1/anything"

    def act(bench: test_httpx.Bench) -> None:
        with bench.client() as client:
            told = client.request(asks, path, content=content)
            assert told.content == said
            assert told.headers["x-receipt-id"]
            assert "x-receipt-id" not in client.get("/v1/models").headers

    _, outcome = test_httpx.run(tmp_path, Script([plain(said, JSON)]), act)
    assert isinstance(outcome, inference.Completion)
    assert outcome.response.wire_digest == digest.sha256(said).hex()


def test_within_an_asynchronous_client_the_same_is_a_call(tmp_path: Path) -> None:
    said = b'{"id":"resp_1"}'

    async def ask(bench: test_httpx.Bench) -> None:
        async with bench.async_client() as client:
            told = await client.get("/v1/responses/resp_1")
            assert told.headers["x-receipt-id"]
            assert "x-receipt-id" not in (await client.get("/v1/models")).headers

    def act(bench: test_httpx.Bench) -> Any:
        return asyncio.run(ask(bench))

    _, outcome = test_httpx.run(tmp_path, Script([plain(said, JSON)]), act)
    assert isinstance(outcome, inference.Completion)
