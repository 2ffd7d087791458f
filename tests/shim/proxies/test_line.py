"""One connection to a model server, fed byte for byte: where answers end, and what is none."""

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.shim.proxies.line import MAX_HEAD_BYTES, PIECE_BYTES, Line
from registry.shim.proxies.reply import HIGH_BYTES, NoAnswerError, Reply
from tests.shim.proxies.http_server import chunk

HEAD = b"POST / HTTP/1.1\r\nhost: x\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
SIZED = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"


class Wire(asyncio.Transport):
    """The network: takes what is written, and does what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.line: Line | None = None
        self.written = b""
        self.is_paused = self.is_aborted = False

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def abort(self) -> None:
        if not self.is_aborted:
            self.is_aborted = True
            assert self.line is not None
            asyncio.get_running_loop().call_soon(self.line.connection_lost, None)

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False


class Bench:
    """A connection, and the network under it."""

    def __init__(self) -> None:
        self.lost: list[Line] = []
        self.wire = Wire()
        self.line = Line(asyncio.get_running_loop(), self.lost.append)
        self.wire.line = self.line
        self.line.connection_made(self.wire)

    async def asked(
        self, *pieces: bytes, body: bytes = b"", asked_head: bool = False
    ) -> asyncio.Task[Reply]:
        """Ask, and have these pieces come."""
        asking = asyncio.ensure_future(self.line.ask(HEAD, body, asked_head=asked_head))
        await asyncio.sleep(0)
        for piece in pieces:
            self.line.data_received(piece)
        return asking


def run(act: Callable[[Bench], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(20):
            await act(Bench())

    asyncio.run(main())


async def whole(asking: Awaitable[Reply]) -> tuple[int, bytes, list[tuple[bytes, bytes]]]:
    reply = await asking
    body = b""
    while piece := await reply.piece():
        body += piece
    return reply.status, body, reply.trailers


async def kind(asking: Awaitable[Reply]) -> str:
    with pytest.raises(NoAnswerError) as caught:
        await whole(asking)
    return caught.value.kind


ANSWERS = {
    "a length": (SIZED, (200, b"hi", [])),
    "chunks": (CHUNKED + chunk(b"h") + chunk(b"i") + b"0\r\n\r\n", (200, b"hi", [])),
    "trailers": (
        CHUNKED + chunk(b"hi") + b"0\r\nx-cost: 3\r\nX-More: a\r\n\r\n",
        (200, b"hi", [(b"x-cost", b"3"), (b"X-More", b"a")]),
    ),
    "what comes before": (
        b"HTTP/1.1 100 Continue\r\nx: 1\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + SIZED,
        (200, b"hi", []),
    ),
    "nothing": (b"HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n", (204, b"", [])),
    "not modified": (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", (304, b"", [])),
}


@given(st.sampled_from(sorted(ANSWERS)), st.lists(st.integers(1, 130), max_size=20))
def test_an_answer_is_the_same_however_it_is_cut(name: str, cuts: list[int]) -> None:
    data, expected = ANSWERS[name]
    places = sorted({0, *(cut for cut in cuts if cut < len(data)), len(data)})
    pieces = [data[one:other] for one, other in itertools.pairwise(places)]

    async def act(bench: Bench) -> None:
        assert await whole(await bench.asked(*pieces)) == expected

    run(act)


@given(st.binary(max_size=400), st.sampled_from([b"", CHUNKED, SIZED[:-2]]), st.booleans())
def test_whatever_comes_is_an_answer_or_a_named_failure(data: bytes, top: bytes, end: bool) -> None:
    async def act(bench: Bench) -> None:
        asking = await bench.asked(top, data)
        if end:
            bench.line.eof_received()
        bench.line.connection_lost(None)
        with contextlib.suppress(NoAnswerError):
            await whole(asking)
            return
        assert (await kind(asking)).partition(":")[0] in ("BROKEN_ANSWER", "UNFIT_ANSWER")

    run(act)


def test_a_request_goes_out_as_it_is_and_the_connection_serves_again() -> None:
    async def act(bench: Bench) -> None:
        for _ in range(3):
            bench.wire.written = b""
            assert (await whole(await bench.asked(SIZED, body=b"{}")))[0] == 200
            assert bench.wire.written == HEAD + b"{}"
            assert bench.line.is_usable

    run(act)


@pytest.mark.parametrize(
    "data",
    [
        SIZED.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"),
        SIZED.replace(b"1.1", b"1.0"),
        ANSWERS["nothing"][0],
    ],
    ids=range(3),
)
def test_a_connection_that_is_not_in_order_serves_no_more(data: bytes) -> None:
    async def act(bench: Bench) -> None:
        await whole(await bench.asked(data))
        assert not bench.line.is_usable
        assert bench.wire.is_aborted

    run(act)


def test_an_answer_to_head_has_no_body_whatever_length_it_says() -> None:
    async def act(bench: Bench) -> None:
        asking = await bench.asked(SIZED[:-2], asked_head=True)
        assert await whole(asking) == (200, b"", [])
        assert not bench.line.is_usable

    run(act)


def test_without_a_length_the_end_of_the_connection_is_the_end() -> None:
    async def act(bench: Bench) -> None:
        asking = await bench.asked(b"HTTP/1.1 200 OK\r\n\r\nhi")
        bench.line.eof_received()
        bench.line.connection_lost(None)
        assert await whole(asking) == (200, b"hi", [])

    run(act)


@pytest.mark.parametrize(
    "data",
    [b"", b"HTTP/1.1 200 OK\r\n", SIZED[:-1], CHUNKED, CHUNKED + chunk(b"hi") + b"0\r\n"],
    ids=range(5),
)
def test_an_answer_that_is_cut_is_broken_after_what_came(data: bytes) -> None:
    async def act(bench: Bench) -> None:
        asking = await bench.asked(data)
        bench.line.eof_received()
        bench.line.connection_lost(None)
        if b"\r\n\r\nh" in data or b"hi" in data:
            assert await (await asking).piece() in (b"h", b"hi")
        assert await kind(asking) == "BROKEN_ANSWER"

    run(act)


def test_a_connection_that_breaks_ends_nothing_well() -> None:
    async def act(bench: Bench) -> None:
        asking = await bench.asked(b"HTTP/1.1 200 OK\r\n\r\nhi")
        bench.line.connection_lost(ConnectionResetError())
        assert await (await asking).piece() == b"hi"
        assert await kind(asking) == "BROKEN_ANSWER"
        assert bench.lost == [bench.line]

    run(act)


UNFIT = {
    "no HTTP": b"SSH-2.0-x\r\n",
    "no status": b"HTTP/1.1 abc\r\n\r\n",
    "a header without a name": b"HTTP/1.1 200 OK\r\n: 1\r\n\r\n",
    "a folded header": b"HTTP/1.1 200 OK\r\nx: 1\r\n y\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nhi",
    "a length beside chunks": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n" + CHUNKED[17:] + b"hi",
    "no size of a chunk": CHUNKED + b"zz\r\nhi\r\n",
    "a chunk longer than it says": CHUNKED + b"1\r\nhi\r\n",
    "a second answer": SIZED + SIZED,
    "more than was announced": SIZED + b"!",
    "more after the end": SIZED.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n") + b"!",
}


@pytest.mark.parametrize("name", UNFIT)
def test_what_breaks_the_rules_is_no_answer(name: str) -> None:
    async def act(bench: Bench) -> None:
        said = await kind(await bench.asked(UNFIT[name]))
        assert said.startswith("UNFIT_ANSWER: ")
        assert bench.wire.is_aborted

    run(act)


@pytest.mark.parametrize("top", [b"HTTP/1.1 200 OK\r\nx: ", CHUNKED + chunk(b"a") + b"0\r\nx: "])
def test_a_head_and_trailers_are_only_so_long(top: bytes) -> None:
    async def act(bench: Bench) -> None:
        piece = b"x" * 16384
        asking = await bench.asked(top, *[piece] * (MAX_HEAD_BYTES // len(piece) + 2))
        assert await kind(asking) == "UNFIT_ANSWER: its head or its trailers are too long"

    run(act)


def test_a_long_body_is_not_taken_for_a_long_head() -> None:
    async def act(bench: Bench) -> None:
        pieces = [chunk(b"x" * 16384)] * (2 * MAX_HEAD_BYTES // 16384)
        reply = await (await bench.asked(CHUNKED, *pieces))
        assert len(await reply.piece()) == 2 * MAX_HEAD_BYTES

    run(act)


def test_what_nobody_asked_for_closes_the_connection() -> None:
    async def act(bench: Bench) -> None:
        await whole(await bench.asked(SIZED))
        bench.line.data_received(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
        assert not bench.line.is_usable
        assert bench.wire.is_aborted
        assert await kind(bench.line.ask(HEAD, b"")) == "BROKEN_ANSWER"

    run(act)


def test_more_than_may_wait_stops_the_other_side_until_it_is_taken() -> None:
    async def act(bench: Bench) -> None:
        reply = await (await bench.asked(CHUNKED, chunk(bytes(HIGH_BYTES))))
        assert not bench.wire.is_paused
        bench.line.data_received(chunk(b"x"))
        assert bench.wire.is_paused
        assert len(await reply.piece()) == HIGH_BYTES + 1
        assert not bench.wire.is_paused

    run(act)


def test_whoever_leaves_ends_the_reading_and_forgets_what_waits() -> None:
    async def act(bench: Bench) -> None:
        # Without a length, so that the end of the connection might be taken for that of the answer.
        reply = await (await bench.asked(b"HTTP/1.1 200 OK\r\n\r\n"))
        reading = asyncio.ensure_future(reply.piece())
        await asyncio.sleep(0)
        bench.line.data_received(b"hi")
        bench.line.leave()
        await asyncio.sleep(0)
        with pytest.raises(NoAnswerError):
            await reading
        assert bench.wire.is_aborted

    run(act)


def test_a_long_request_waits_for_a_slow_reader_and_an_early_answer_ends_it() -> None:
    async def act(bench: Bench) -> None:
        body = bytes(5 * PIECE_BYTES)
        asking = await bench.asked(body=body)
        bench.line.pause_writing()
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(bench.wire.written) < len(body)
        stopped = len(bench.wire.written)
        bench.line.data_received(SIZED.replace(b"200 OK", b"413 Too Large"))
        assert await whole(asking) == (413, b"hi", [])
        bench.line.resume_writing()
        await asyncio.sleep(0.01)
        assert len(bench.wire.written) == stopped
        assert not bench.line.is_usable

    run(act)


def test_a_long_request_goes_out_whole() -> None:
    async def act(bench: Bench) -> None:
        body = bytes(range(256)) * (PIECE_BYTES // 64)
        asking = await bench.asked(body=body)
        bench.line.pause_writing()
        await asyncio.sleep(0.01)
        bench.line.resume_writing()
        for _ in range(20):
            await asyncio.sleep(0)
        bench.line.data_received(SIZED)
        assert await whole(asking) == (200, b"hi", [])
        assert bench.wire.written == HEAD + body
        assert bench.line.is_usable

    run(act)
