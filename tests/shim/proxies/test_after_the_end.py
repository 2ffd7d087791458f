"""What a model server sends after the end of its answer: covered by the record, or kept back."""

import asyncio
import gzip
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from registry.core import digest
from registry.core.records import inference
from registry.shim.proxies.answer_readers import kind_of
from registry.shim.recorder.calls import Mode
from tests.core.profiles.test_chat import LOAN_DIGEST, STREAMS
from tests.shim.proxies import test_http, test_httpx
from tests.shim.proxies.http_server import CLOSING, END, STREAM_HEAD, Script, chunk
from tests.shim.proxies.test_http import MODES, unchunked

PATH = b"POST /v1/chat/completions"
LOAN = STREAMS["nine characters"]
LF_LOAN = LOAN.replace(b"\r\n", b"\n")
MORE = b'data: {"choices":[{"index":0,"delta":{"content":" Pay now."}}]}\n\n'
ALL = pytest.mark.parametrize("mode", MODES)


def through_http(tmp_path: Path, pieces: list[bytes], mode: Mode, path: bytes = PATH) -> Any:
    """The bytes that a client was given, and the outcome that was written down."""
    given: list[bytes] = []

    async def act(client: test_http.Client) -> None:
        _, headers, rest = await client.ask(path, b"{}")
        chunked = b"transfer-encoding" in headers
        given.append(unchunked(rest)[0] if chunked else rest)

    _, outcome = test_http.run(tmp_path, Script(pieces, pause=0.05), act, mode)
    return given[0], outcome


def through_httpx(tmp_path: Path, pieces: list[bytes], mode: Mode) -> Any:
    """As :func:`through_http`, within the client."""
    given: list[bytes] = []

    def act(bench: test_httpx.Bench) -> None:
        with (
            bench.client() as client,
            client.stream("POST", test_httpx.PATH, content=b"{}") as answer,
        ):
            given.append(b"".join(answer.iter_raw()))

    _, outcome = test_httpx.run(tmp_path, Script(pieces, pause=0.05), act, mode)
    return given[0], outcome


BOTH = pytest.mark.parametrize("through", [through_http, through_httpx], ids=["http", "httpx"])


@ALL
@BOTH
def test_what_comes_after_the_end_goes_no_further(
    tmp_path: Path, through: Callable[..., Any], mode: Mode
) -> None:
    pieces = [STREAM_HEAD + chunk(LOAN), chunk(MORE), chunk(b"data: [DONE]\n\n") + END]
    given, outcome = through(tmp_path, pieces, mode)
    assert given == LOAN
    assert isinstance(outcome, inference.Completion)
    assert outcome.response.content_digest == LOAN_DIGEST
    assert outcome.response.wire_digest == digest.sha256(given).hex()


@ALL
@BOTH
def test_what_comes_with_the_end_is_covered(
    tmp_path: Path, through: Callable[..., Any], mode: Mode
) -> None:
    given, outcome = through(tmp_path, [STREAM_HEAD + chunk(LOAN + MORE) + END], mode)
    assert given == LOAN + MORE
    assert isinstance(outcome, inference.Completion)
    assert outcome.response.content_digest == LOAN_DIGEST
    assert outcome.response.wire_digest == digest.sha256(given).hex()


@ALL
@BOTH
def test_every_byte_of_an_announced_length_goes_out_and_is_covered(
    tmp_path: Path, through: Callable[..., Any], mode: Mode
) -> None:
    whole = LOAN + MORE
    head = b"\r\n".join(
        [
            b"HTTP/1.1 200 OK",
            b"content-type: text/event-stream",
            b"content-length: %d" % len(whole),
            CLOSING,
            b"",
            b"",
        ]
    )
    given, outcome = through(tmp_path, [head + LOAN, MORE[:9], MORE[9:]], mode)
    assert given == whole
    assert isinstance(outcome, inference.Completion)
    assert outcome.response.content_digest == LOAN_DIGEST
    assert outcome.response.wire_digest == digest.sha256(whole).hex()


@ALL
@BOTH
@pytest.mark.parametrize("name", ["CRLF and keep-alives", "CR only", "raw UTF-8"])
def test_the_last_end_of_line_may_come_by_itself(
    tmp_path: Path, through: Callable[..., Any], name: str, mode: Mode
) -> None:
    data = STREAMS[name]
    pieces = [STREAM_HEAD + chunk(data[:-1]), chunk(data[-1:]) + END]
    given, outcome = through(tmp_path, pieces, mode)
    assert given == data
    assert isinstance(outcome, inference.Completion)
    assert outcome.response.content_digest == LOAN_DIGEST
    assert outcome.response.wire_digest == digest.sha256(data).hex()


@ALL
@BOTH
def test_a_stream_of_crlf_without_its_last_byte_is_whole(
    tmp_path: Path, through: Callable[..., Any], mode: Mode
) -> None:
    data = STREAMS["CRLF and keep-alives"][:-1]
    given, outcome = through(tmp_path, [STREAM_HEAD + chunk(data), END], mode)
    assert given == data
    assert isinstance(outcome, inference.Completion)
    assert outcome.response.wire_digest == digest.sha256(data).hex()


@ALL
@BOTH
@pytest.mark.parametrize("follows", [b"", MORE], ids=["nothing", "something"])
def test_the_end_of_an_encoding_goes_out_and_what_it_hides_does_not(
    tmp_path: Path, through: Callable[..., Any], follows: bytes, mode: Mode
) -> None:
    packer = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
    packed = packer.compress(LOAN) + packer.flush(zlib.Z_SYNC_FLUSH)
    rest = packer.compress(follows) + packer.flush()
    head = STREAM_HEAD[:-2] + b"content-encoding: gzip\r\n\r\n"
    pieces = [head + chunk(packed), chunk(rest[:-8]), chunk(rest[-8:]) + END]
    given, outcome = through(tmp_path, pieces, mode)
    assert given == packed + (b"" if follows else rest)
    if not follows:
        assert gzip.decompress(given) == LOAN
    assert isinstance(outcome, inference.Completion)
    assert outcome.response.content_digest == LOAN_DIGEST
    assert outcome.response.wire_digest == digest.sha256(LOAN).hex()


STOPPED = b"event: message_stop\ndata: {}\n\n"
SAID = b"event: said\ndata: {}\n\n"


@ALL
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/responses", "/agents/7/watch"])
def test_only_where_the_protocol_is_known_does_an_event_end_it(
    tmp_path: Path, path: str, mode: Mode
) -> None:
    pieces = [STREAM_HEAD + chunk(SAID + STOPPED), chunk(SAID) + END]
    given, outcome = through_http(tmp_path, pieces, mode, b"POST " + path.encode())
    ends = kind_of(path) == "events"
    assert given == SAID + STOPPED + (b"" if ends else SAID)
    assert isinstance(outcome, inference.Completion)
    assert outcome.response.complete is ends
    assert outcome.response.wire_digest == digest.sha256(given).hex()


def test_the_connection_to_the_client_is_good_for_another_call(tmp_path: Path) -> None:
    pieces = [STREAM_HEAD + chunk(LF_LOAN), chunk(MORE), END]
    asked = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}"

    async def act(client: test_http.Client) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
        for _ in range(2):
            writer.write(asked)
            answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
            assert answer.startswith(b"HTTP/1.1 200 ")
            rest = await asyncio.wait_for(reader.readuntil(b"x-output-sha256: "), 20)
            assert b"Pay now" not in rest
            await reader.readuntil(b"\r\n\r\n")
        writer.close()

    records = test_http.run(tmp_path, Script(pieces, pause=0.05), act)
    completions = [item for item in records if isinstance(item, inference.Completion)]
    assert len(completions) == 2
    assert {item.response.content_digest for item in completions} == {LOAN_DIGEST}
