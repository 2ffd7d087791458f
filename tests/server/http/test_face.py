"""The face over real sockets: what strangers may send, and how it is bounded."""

import asyncio
import re
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from registry.server.http import connection as connection_module
from registry.server.http import face as face_module
from registry.server.http.connection import MAX_HEAD_BYTES, MAX_WAITING
from registry.server.http.face import MAX_UNREAD_BYTES, Face
from registry.server.http.routing import BYTES, Request, Response, Route, Routes
from tests.server.http.facing import Address, ask, drain, facing, raw
from tools.free_ports import free_port

LIMIT = 1000
BIG = b"x" * (8 * 1024 * 1024)
PIECE_BYTES = 1024 * 1024


async def echo(request: Request) -> Response:
    return Response(
        201, request.body, BYTES, (("x-query", request.query), ("x-token", request.token or "none"))
    )


async def big(_request: Request) -> Response:
    return Response(body=BIG, media_type=BYTES)


async def broken(_request: Request) -> Response:
    message = "a secret"
    raise KeyError(message)


class Counted:
    """A large body of one byte over and over, which counts how many pieces were asked for."""

    size = 64 * 1024 * 1024

    def __init__(self) -> None:
        self.asked = 0
        self.closed = threading.Event()

    async def __aiter__(self) -> AsyncIterator[memoryview]:
        piece = memoryview(bytes(PIECE_BYTES))
        for _ in range(0, self.size, PIECE_BYTES):
            self.asked += 1
            yield piece

    async def close(self) -> None:
        self.closed.set()


class Broken(Counted):
    """A large body that is not there."""

    async def __aiter__(self) -> AsyncIterator[memoryview]:
        message = "a secret"
        raise OSError(message)
        yield


STREAMS: list[Counted] = []


async def stream(request: Request) -> Response:
    STREAMS.append(Broken() if request.query else Counted())
    return Response(media_type=BYTES, stream=STREAMS[-1])


ROUTES = Routes(
    (
        Route("GET", "/here", echo),
        Route("POST", "/here", echo, max_body_bytes=LIMIT),
        Route("GET", "/big", big),
        Route("GET", "/stream", stream),
        Route("GET", "/broken", broken),
    )
)


@pytest.fixture(scope="module")
def address() -> Iterator[Address]:
    with facing(ROUTES) as address:
        yield address


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[Address]:
    monkeypatch.setattr(connection_module, "HEAD_SECONDS", 0.3)
    monkeypatch.setattr(connection_module, "BODY_SECONDS", 0.3)
    monkeypatch.setattr(face_module, "KEEP_ALIVE_SECONDS", 1)
    with facing(ROUTES) as address:
        yield address


def test_a_body_comes_back(address: Address) -> None:
    answer = ask(address, "POST", "/here?a=b", b"hello")
    assert (answer.status, answer.body) == (201, b"hello")
    assert answer.headers["content-length"] == "5"
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-query"] == "a=b"
    assert "server" not in answer.headers


def test_head_is_get_without_the_body(address: Address) -> None:
    answer = ask(address, "HEAD", "/big")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["content-length"] == str(len(BIG))


def test_a_stream_comes_whole_and_is_closed(address: Address) -> None:
    answer = ask(address, "GET", "/stream")
    assert answer.body == bytes(Counted.size)
    assert answer.headers["content-length"] == str(Counted.size)
    assert STREAMS[-1].closed.wait(20)


def test_head_asks_for_no_piece_of_a_stream(address: Address) -> None:
    answer = ask(address, "HEAD", "/stream")
    assert answer.headers["content-length"] == str(Counted.size)
    assert STREAMS[-1].closed.wait(20)
    assert STREAMS[-1].asked == 0


def test_no_more_of_a_stream_is_asked_for_than_is_taken(address: Address) -> None:
    with socket.create_connection(address, timeout=20) as connection:
        connection.sendall(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.recv(1000)
        # What the system holds for both sides is not counted; it is far from all.
        time.sleep(0.5)
        assert STREAMS[-1].asked * PIECE_BYTES < Counted.size // 2
    assert STREAMS[-1].closed.wait(20)


def test_a_stream_that_breaks_off_says_nothing_more(address: Address) -> None:
    reply = raw(address, b"GET /stream?broken HTTP/1.1\r\nHost: x\r\n\r\n")
    assert reply.startswith(b"HTTP/1.1 200 ")
    assert reply.endswith(b"\r\n\r\n")
    assert b"secret" not in reply
    assert STREAMS[-1].closed.wait(20)


def test_a_chunked_body_comes_back(address: Address) -> None:
    reply = raw(
        address,
        b"POST /here HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
        b"3\r\nabc\r\n",
        b"2\r\nde\r\n0\r\n\r\n",
    )
    assert reply.endswith(b"\r\n\r\nabcde")


def test_a_client_that_waits_to_be_told_so_sends_its_body_then(address: Address) -> None:
    head = b"POST /here HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
    with socket.create_connection(address, timeout=20) as connection:
        connection.sendall(head)
        assert connection.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"abc")
        assert connection.recv(4096).endswith(b"\r\n\r\nabc")


def test_requests_that_come_together_are_answered_in_order(address: Address) -> None:
    first, second = b"GET /nowhere HTTP/1.1\r\n\r\n", b"GET /here HTTP/1.1\r\n\r\n"
    reply = raw(address, first + second + b"GET /big HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert re.findall(rb"HTTP/1\.1 (\d+)", reply) == [b"404", b"201", b"200"]
    assert reply.endswith(BIG[:1000])


def test_two_requests_go_over_one_connection(address: Address) -> None:
    request = b"GET /here HTTP/1.1\r\nHost: x\r\n"
    reply = raw(address, request + b"\r\n", request + b"Connection: close\r\n\r\n")
    assert reply.count(b"HTTP/1.1 201") == 2


@pytest.mark.parametrize(
    ("size", "sent"), [(LIMIT + 1, LIMIT + 1), (LIMIT + MAX_UNREAD_BYTES + 1, 0), (10**30, 0)]
)
def test_a_body_beyond_the_limit_is_refused(address: Address, size: int, sent: int) -> None:
    head = f"POST /here HTTP/1.1\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n"
    reply = raw(address, head.encode(), b"x" * sent)
    assert reply.startswith(b"HTTP/1.1 4")
    assert b"BODY_TOO_LARGE" in reply or size > 2**64


def test_a_chunked_body_beyond_the_limit_is_refused(address: Address) -> None:
    head = b"POST /here HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    reply = raw(address, head, b"10000\r\n" + b"x" * 65_536 + b"\r\n1000\r\n" + b"x" * 4096)
    assert reply.startswith(b"HTTP/1.1 413 ")


def test_a_method_without_a_body_takes_none(address: Address) -> None:
    answer = ask(address, "GET", "/here", b"x")
    assert (answer.status, answer.reason) == (413, "BODY_TOO_LARGE")


def test_an_unknown_path_is_404_whatever_its_body(address: Address) -> None:
    answer = ask(address, "POST", "/nowhere", b"x" * 100)
    assert (answer.status, answer.reason) == (404, "UNKNOWN_PATH")


def test_a_failure_is_500_and_says_nothing(address: Address) -> None:
    answer = ask(address, "GET", "/broken")
    assert (answer.status, answer.reason) == (500, "INTERNAL")
    assert b"secret" not in answer.body


@pytest.mark.parametrize(
    "sent",
    [
        b"hello\r\n\r\n",
        b"GET /here SPDY/9\r\n\r\n",
        b"GET /here HTTP/1.1\r\nbad header\r\n\r\n",
        b"POST /here HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /here HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /here HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /here HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_what_is_not_http_is_refused(address: Address, sent: bytes) -> None:
    assert raw(address, sent).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /" + b"a" * MAX_HEAD_BYTES + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nx: " + b"a" * MAX_HEAD_BYTES + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * (MAX_HEAD_BYTES // 4) + b"\r\n",
        b"GET / HTTP/1.1\r\nx: " + b"a" * (MAX_HEAD_BYTES + 1),
    ],
)
def test_a_head_beyond_the_limit_is_refused(address: Address, sent: bytes) -> None:
    assert raw(address, sent).startswith(b"HTTP/1.1 400 ")


CHUNKED = b"POST /here HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (b"1\r\na\r\n0\r\n", b"x: y\r\n" * 1000),
        (b"1\r\na\r\n0\r\nx: ", b"y" * 6000),
        (b"1;", b"y" * 6000),
    ],
    ids=["trailers", "trailer", "extension"],
)
def test_what_surrounds_a_body_is_bounded(address: Address, start: bytes, more: bytes) -> None:
    with socket.create_connection(address, timeout=20) as connection:
        connection.sendall(CHUNKED + start)
        sent = 0
        with pytest.raises(OSError, match=r"reset|pipe"):
            while sent < 400 * MAX_HEAD_BYTES:
                connection.sendall(more)
                sent += len(more)
        assert sent < 400 * MAX_HEAD_BYTES


def test_a_trailer_is_no_part_of_the_head(address: Address) -> None:
    trailer = b"2\r\nhi\r\n0\r\nAuthorization: Bearer x\r\n\r\n"
    reply = raw(address, CHUNKED.replace(b"Host: x", b"Connection: close") + trailer)
    assert reply.startswith(b"HTTP/1.1 201 ")
    assert b"x-token: none" in reply
    reply = raw(
        address, b"GET /here HTTP/1.1\r\nAuthorization: Bearer x\r\nConnection: close\r\n\r\n"
    )
    assert b"x-token: x" in reply


def test_so_many_requests_may_wait_for_their_turn(address: Address) -> None:
    request = b"GET /here HTTP/1.1\r\nHost: x\r\n\r\n"
    last = b"GET /here HTTP/1.1\r\nConnection: close\r\n\r\n"
    assert raw(address, request * MAX_WAITING + last).count(b"HTTP/1.1 201 ") == MAX_WAITING + 1
    assert b"HTTP/1.1 400 " in raw(address, request * (MAX_WAITING + 2))


def test_a_silent_connection_is_closed(impatient: Address) -> None:
    assert raw(impatient).startswith(b"HTTP/1.1 400 ")


def test_a_head_that_drips_is_refused(impatient: Address) -> None:
    with socket.create_connection(impatient, timeout=20) as connection:
        connection.sendall(b"GET /here HTTP/1.1\r\n")
        with pytest.raises(OSError, match=r"reset|pipe"):
            for _ in range(20 * 10):
                connection.sendall(b"a: b\r\n")
                time.sleep(0.1)


def test_a_head_that_drips_after_a_request_is_refused(impatient: Address) -> None:
    request = b"GET /here HTTP/1.1\r\nHost: x\r\n\r\n"
    with socket.create_connection(impatient, timeout=20) as connection:
        connection.sendall(request)
        connection.recv(65_536)
        connection.sendall(b"GET /he")
        assert drain(connection).startswith(b"HTTP/1.1 400 ")


def test_a_body_that_drips_is_refused(impatient: Address) -> None:
    head = b"POST /here HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n"
    reply = raw(impatient, head, b"x")
    assert reply.startswith(b"HTTP/1.1 408 ")
    assert b"SLOW_REQUEST" in reply


def test_an_idle_connection_is_closed(impatient: Address) -> None:
    # It would wait for the end of the connection, and not for long.
    reply = raw(impatient, b"GET /here HTTP/1.1\r\nHost: x\r\n\r\n")
    assert reply.startswith(b"HTTP/1.1 201 ")


@pytest.mark.parametrize("header", [b"", b"Connection: close\r\n"])
def test_a_reader_that_stalls_is_dropped(impatient: Address, header: bytes) -> None:
    with socket.create_connection(impatient, timeout=20) as connection:
        connection.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n" + header + b"\r\n")
        time.sleep(3)
        received = 0
        with pytest.raises(ConnectionResetError):
            while data := connection.recv(1_000_000):
                received += len(data)
            assert received < len(BIG)
            raise ConnectionResetError


def test_a_client_that_leaves_hurts_nobody(address: Address) -> None:
    for _ in range(20):
        with socket.create_connection(address) as connection:
            connection.sendall(b"POST /here HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx")
    assert ask(address, "GET", "/here").status == 201


def test_beyond_so_many_connections_more_are_told_to_come_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(face_module, "MAX_CONNECTIONS", 3)
    with facing(ROUTES) as address:
        idle = [socket.create_connection(address) for _ in range(3)]
        assert ask(address, "GET", "/here").status == 503
        for connection in idle:
            connection.close()


@pytest.mark.parametrize("listen", ["127.0.0.1", "127.0.0.1:x", "127.0.0.1:70000", ":80"])
def test_what_is_no_address_is_refused(listen: str) -> None:
    with pytest.raises(Exception, match="BAD_SETTING"):
        Face(ROUTES, listen)


def test_a_second_face_on_the_same_port_is_refused(address: Address) -> None:
    with pytest.raises(Exception, match="BAD_SETTING"):
        Face(ROUTES, f"{address[0]}:{address[1]}")


def test_a_face_that_never_started_gives_its_port_back() -> None:
    async def twice() -> None:
        first = Face(ROUTES, f"127.0.0.1:{free_port()}")
        await first.stop(0)
        second = Face(ROUTES, first.url.removeprefix("http://"))
        await second.stop(0)

    asyncio.run(twice())
