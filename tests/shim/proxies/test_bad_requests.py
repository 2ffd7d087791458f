"""What clients do wrong: no other server is asked, nothing is lost, no call is without a record.

Targets that name another server, offers of another protocol, heads and bodies that do not come, and
headers that only a shim may say.
"""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from registry.core.records import inference
from registry.shim import serving
from registry.shim.proxies import connection, exchange, http
from registry.shim.proxies.open_inference import INFER
from tests.shim.proxies import test_http, test_open_inference
from tests.shim.proxies.http_server import END, STREAM_HEAD, Script, chunk, plain, serve
from tests.shim.proxies.oip_server import request
from tests.shim.proxies.test_bad_answers import frame

PATH = b"/v1/chat/completions"
POST = b"POST " + PATH
BODY = test_http.CHAT % b"x"
DONE = b"data: [DONE]\n\n"


async def exchanged(port: int, *pieces: bytes) -> bytes:
    """All bytes of the answer to these, of which the last ends the request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
    answer = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    return answer


def head(target: bytes, *lines: bytes, version: bytes = b"1.1") -> bytes:
    return b"\r\n".join(
        [
            b"POST " + target + b" HTTP/" + version,
            b"host: x",
            b"connection: close",
            *lines,
            b"",
            b"",
        ]
    )


def asked(tmp_path: Path, script: Script, *pieces: bytes) -> tuple[bytes, list[inference.Record]]:
    """What a client gets for these bytes, and what is written down."""
    got: list[bytes] = []

    async def act(client: test_http.Client) -> None:
        got.append(await exchanged(client.port, *pieces))

    records = test_http.run(tmp_path, script, act)
    return got[0], records


@pytest.mark.parametrize("target", ["*", "*@HOST/", "*.HOST/", "*:1@HOST"])
def test_a_target_that_is_no_path_asks_nobody(tmp_path: Path, target: str) -> None:
    other = Script([plain(BODY)])

    async def act(client: test_http.Client) -> None:
        async with serve(other) as url:
            where = target.replace("HOST", url.removeprefix("http://"))
            answer = await exchanged(client.port, head(where.encode(), b"content-length: 2"), b"{}")
        assert b" 400 " in answer.partition(b"\r\n")[0]
        assert b'"code":"BAD_TARGET"' in answer

    script = Script([plain(BODY)])
    assert test_http.run(tmp_path, script, act) == []
    assert script.heads == other.heads == []


def test_an_absolute_target_asks_the_model_server_and_no_other(tmp_path: Path) -> None:
    other = Script([plain(b"")])

    async def act(client: test_http.Client) -> None:
        async with serve(other) as url:
            await exchanged(client.port, head(url.encode() + PATH, b"content-length: 2"), b"{}")

    script = Script([plain(BODY)])
    test_http.run(tmp_path, script, act)
    assert script.heads[0].startswith(POST + b" HTTP/1.1\r\n")
    assert other.heads == []


@pytest.mark.parametrize("target", [b"/../admin", b"/a/%2e%2e/%2E./b", b"/..%5cadmin"])
def test_nothing_goes_up_from_the_path_of_the_model_servers_address(
    tmp_path: Path, target: bytes
) -> None:
    for prefix, status in ((b"/tenant", b" 400 "), (b"", b" 200 ")):
        script = Script([plain(BODY)])
        folder = tmp_path / str(len(prefix))

        async def act(
            client: test_http.Client, prefix: bytes = prefix, status: bytes = status
        ) -> None:
            answer = await exchanged(client.port, head(target, b"content-length: 2"), b"{}")
            assert status in answer.partition(b"\r\n")[0], prefix

        test_http.run(folder, script, act, below=prefix.decode())
        assert bool(script.heads) is not bool(prefix)


def test_connect_makes_no_tunnel(tmp_path: Path) -> None:
    async def act(client: test_http.Client) -> None:
        answer = await exchanged(client.port, b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nhost: x\r\n\r\n")
        assert b" 400 " in answer.partition(b"\r\n")[0]

    script = Script([plain(b"")])
    assert test_http.run(tmp_path, script, act) == []
    assert script.heads == []


@pytest.mark.parametrize("cut", [0, 30, 90, 130])
def test_an_offer_of_another_protocol_loses_no_body(tmp_path: Path, cut: int) -> None:
    data = (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"
        b"connection: Upgrade, close, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAM\r\n"
        b'content-length: 9\r\nx-own: 1\r\n\r\n{"seed":7}'[:-1]
    )
    script = Script([plain(BODY)])
    answer, records = asked(tmp_path, script, data[:cut], data[cut:])
    assert answer.endswith(BODY)
    assert script.bodies == [b'{"seed":7']
    assert b"x-own: 1\r\n" in script.heads[0]
    assert b"upgrade" not in script.heads[0].lower()
    assert [type(item).__name__ for item in records] == ["Intent", "Completion"]


def test_a_websocket_is_not_opened(tmp_path: Path) -> None:
    lines = b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\r\n"
    script = Script([plain(b"no", status=b"400 Bad Request")])

    async def act(client: test_http.Client) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
        writer.write(b"GET /v1/realtime HTTP/1.1\r\nhost: x\r\n" + lines)
        assert b" 400 " in await asyncio.wait_for(reader.readline(), 20)
        writer.close()

    test_http.run(tmp_path, script, act)
    assert b"upgrade" not in script.heads[0].lower()


@pytest.mark.parametrize("method", [b"PUT", b"PATCH", b"QUERY", b"GET"])
def test_whatever_has_a_body_is_recorded(tmp_path: Path, method: bytes) -> None:
    async def act(client: test_http.Client) -> None:
        _, headers, rest = await client.ask(method + b" " + PATH, b"{}")
        assert rest == BODY
        assert headers[b"x-receipt-id"] == f"{client.shim.shim_id}/1".encode()

    records = test_http.run(tmp_path, Script([plain(BODY)]), act)
    assert [type(item).__name__ for item in records] == ["Intent", "Completion"]


@pytest.mark.parametrize("value", ["é🙂".encode(), b"a\tb"], ids=["UTF-8", "tab"])
def test_a_header_arrives_byte_for_byte(tmp_path: Path, value: bytes) -> None:
    script = Script([plain(BODY)])
    asked(tmp_path, script, head(PATH, b"x-name: " + value, b"content-length: 2"), b"{}")
    assert b"\r\nx-name: " + value + b"\r\n" in script.heads[0]


def test_two_levels_are_none(tmp_path: Path) -> None:
    lines = (b"x-provreg-level: signed", b"x-provreg-level: logged", b"content-length: 2")
    answer, records = asked(tmp_path, Script([plain(BODY)]), head(PATH, *lines), b"{}")
    assert b'"code":"MALFORMED_FIELD"' in answer
    assert records == []


def test_a_client_of_http_1_0_gets_no_chunks(tmp_path: Path) -> None:
    script = Script([STREAM_HEAD + chunk(DONE) + END])
    data = head(PATH, b"content-length: 2", version=b"1.0")
    answer, records = asked(tmp_path, script, data, b"{}")
    top, _, rest = answer.partition(b"\r\n\r\n")
    assert rest == DONE
    assert b"transfer-encoding" not in top
    assert isinstance(records[1], inference.Completion)


def test_an_answer_that_is_cut_looks_cut_over_http_1_0(tmp_path: Path) -> None:
    async def act(client: test_http.Client) -> None:
        with pytest.raises(ConnectionResetError):
            await exchanged(client.port, head(PATH, b"content-length: 2", version=b"1.0") + b"{}")

    records = test_http.run(tmp_path, Script([STREAM_HEAD + chunk(b"data: {}\n\n")]), act)
    assert isinstance(records[1], inference.Failure)


def test_a_head_that_does_not_come_is_not_waited_for_on_a_used_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.2)

    async def act(client: test_http.Client) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
        writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}")
        await asyncio.wait_for(reader.readuntil(BODY), 20)
        writer.write(b"POST / HT")
        rest = await asyncio.wait_for(reader.read(), 20)
        writer.close()
        assert rest.endswith(b"took too long.")

    test_http.run(tmp_path, Script([plain(BODY)]), act)


def test_what_waits_behind_an_answer_does_not_end_up_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.05)
    data = chunk(b"data: {}\n\n")

    async def act(client: test_http.Client) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
        writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}POST / HT")
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n0\r\n"), 20)
        writer.close()
        assert answer.count(b"data: {}") == 3
        assert answer.count(b"HTTP/1.1 ") == 1

    script = Script([STREAM_HEAD, data, data, data, END], pause=0.1)
    test_http.run(tmp_path, script, act)


def test_a_body_that_does_not_come_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "PIECE_SECONDS", 0.05)
    script = Script([plain(BODY)])
    answer, records = asked(tmp_path, script, head(PATH, b"content-length: 9") + b"{}")
    assert b'"code":"SLOW_REQUEST"' in answer
    assert b"connection: close" in answer
    assert (script.heads, records) == ([], [])


def test_requests_together_hold_no_more_than_their_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "MAX_ALL_REQUESTS_BYTES", 1000)

    async def act(client: test_http.Client) -> None:
        waiting, writer = await asyncio.open_connection("127.0.0.1", client.port)
        writer.write(head(PATH, b"content-length: 801") + bytes(800))
        await test_open_inference.until(lambda: rooms[0].used == 800)
        status, _, rest = await client.ask(POST, bytes(300))
        assert (status, b'"code":"JOURNAL_BUSY"' in rest) == (503, True)
        writer.write(b"x")
        assert (await asyncio.wait_for(waiting.read(), 20)).endswith(BODY)
        writer.close()
        # What was answered, or refused, holds nothing any more.
        assert (await client.ask(POST, bytes(900)))[0] == 200
        await test_open_inference.until(lambda: rooms[0].used == 0)

    rooms: list[exchange.Room] = []
    made = exchange.Room.__init__

    def make(room: exchange.Room) -> None:
        made(room)
        rooms.append(room)

    monkeypatch.setattr(exchange.Room, "__init__", make)
    records = test_http.run(tmp_path, Script([plain(BODY)]), act)
    assert sum(isinstance(item, inference.Completion) for item in records) == 2


def test_whoever_says_nothing_makes_room_for_whoever_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "MAX_CONNECTIONS", 3)

    async def act(client: test_http.Client) -> None:
        busy = asyncio.ensure_future(client.ask(POST, b"{}"))
        await test_open_inference.until(lambda: len(script.heads) == 1)
        silent = [await asyncio.open_connection("127.0.0.1", client.port) for _ in range(2)]
        script.gate = None
        assert (await client.ask(POST, b"{}"))[0] == 200
        # The one that waited longest was closed, the other one not; nor the one that is answered.
        assert await asyncio.wait_for(silent[0][0].read(), 20) == b""
        assert not silent[1][0].at_eof()
        assert not busy.done()
        gate.set()
        assert (await busy)[0] == 200
        for _, writer in silent:
            writer.close()

    gate = asyncio.Event()
    script = Script([STREAM_HEAD, chunk(DONE) + END], gate=gate)
    test_http.run(tmp_path, script, act)


def test_whatever_goes_wrong_a_call_has_an_outcome(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextlib.asynccontextmanager
    async def fail(*_: object) -> AsyncIterator[Any]:
        message = "nobody foresaw this"
        raise ValueError(message)
        yield

    monkeypatch.setattr(http, "_asking", fail)

    async def act(client: test_http.Client) -> None:
        assert (await client.ask(POST, b"{}"))[0] == 500

    _, failure = test_http.run(tmp_path, Script([]), act)
    assert isinstance(failure, inference.Failure)
    assert failure.error == "ValueError"


def grpc_request(*more: tuple[bytes, bytes]) -> bytes:
    """A whole call in frames of HTTP/2, with further metadata, whatever it is."""
    lines = (
        *((b":method", b"POST"), (b":scheme", b"http"), (b":path", INFER.encode())),
        *((b":authority", b"x"), (b"content-type", b"application/grpc"), (b"te", b"trailers")),
        *more,
    )
    block = b"".join(
        b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value for name, value in lines
    )
    data = request([1.0, 2.0])
    message = b"\0" + struct.pack(">I", len(data)) + data
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"") + frame(4, 1, 0, b"")
    return preface + frame(1, 4, 1, block) + frame(0, 1, 1, message)


async def until_ended(reader: asyncio.StreamReader) -> None:
    """Read frames of HTTP/2 up to the trailers of the only call."""
    async with asyncio.timeout(20):
        while True:
            head = await reader.readexactly(9)
            await reader.readexactly(int.from_bytes(head[:3]))
            kind, flags = head[3], head[4]
            if kind == 1 and flags & 1:
                return


@pytest.mark.parametrize("value", [b"\xe9\xff", b"a\x01b"], ids=["Latin-1", "control character"])
def test_metadata_that_nobody_may_send_is_refused(tmp_path: Path, value: bytes) -> None:
    async def act(bench: test_open_inference.Bench) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
        writer.write(grpc_request((b"x-secret", value)))
        answer = b""
        async with asyncio.timeout(20):
            while b"MALFORMED_FIELD" not in answer:
                answer += await reader.readexactly(1)
        writer.close()
        assert bench.server.requests == []

    assert test_open_inference.run(tmp_path, act) == []


def test_a_deadline_beyond_all_clocks_is_none(tmp_path: Path) -> None:
    async def act(bench: test_open_inference.Bench) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
        writer.write(grpc_request((b"grpc-timeout", b"99999999H")))
        await test_open_inference.until(lambda: len(bench.server.requests) == 1)
        await until_ended(reader)
        writer.close()

    _, completion = test_open_inference.run(tmp_path, act)
    assert isinstance(completion, inference.Completion)


def test_two_levels_in_metadata_are_none(tmp_path: Path) -> None:
    async def act(bench: test_open_inference.Bench) -> None:
        levels = (("x-provreg-level", "signed"), ("x-provreg-level", "logged"))
        unary: Any = bench.channel.unary_unary(INFER)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await unary(request([1.0, 2.0]), metadata=levels)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT

    assert test_open_inference.run(tmp_path, act) == []
