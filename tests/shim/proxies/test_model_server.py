"""Connections to a model server: made while something else is done, kept, and given back."""

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from registry.shim.proxies import model_server
from registry.shim.proxies.model_server import ModelServer, Way
from registry.shim.proxies.reply import NoAnswerError

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"


class Upstream:
    """A model server that counts its connections, and answers each request the same."""

    def __init__(self) -> None:
        self.made = 0
        self.open = 0
        self.heads: list[bytes] = []
        self.writers: list[asyncio.StreamWriter] = []
        self.url = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.made += 1
        self.open += 1
        self.writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                self.heads.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(ANSWER)
        self.open -= 1
        writer.close()


def run(act: Callable[[Upstream, ModelServer], Awaitable[None]], host: str = "127.0.0.1") -> None:
    async def main() -> None:
        upstream = Upstream()
        async with (
            asyncio.timeout(20),
            await asyncio.start_server(upstream.answer, "127.0.0.1", 0) as server,
        ):
            upstream.url = f"http://{host}:{server.sockets[0].getsockname()[1]}"
            with contextlib.closing(ModelServer(upstream.url)) as asked:
                await act(upstream, asked)
            await until(lambda: upstream.open == 0)

    asyncio.run(main())


async def until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110 - another side of a connection
        await asyncio.sleep(0.001)


async def ask(server: ModelServer, method: bytes = b"GET", body: bytes = b"") -> bytes:
    with Way(server) as way:
        reply = await way.ask(method, b"/a?b", [(b"x-mine", b"\xe9")], body)
        found = b""
        while piece := await reply.piece():
            found += piece
        return found


def test_a_connection_is_used_again() -> None:
    async def act(upstream: Upstream, server: ModelServer) -> None:
        for _ in range(3):
            assert await ask(server) == b"hi"
        assert upstream.made == 1
        port = upstream.url.rpartition(":")[2].encode()
        head = b"GET /a?b HTTP/1.1\r\nhost: 127.0.0.1:" + port + b"\r\nx-mine: \xe9\r\n\r\n"
        assert upstream.heads == [head] * 3

    run(act)


def test_calls_at_one_time_have_connections_of_their_own() -> None:
    async def act(upstream: Upstream, server: ModelServer) -> None:
        assert await asyncio.gather(*(ask(server) for _ in range(5))) == [b"hi"] * 5
        assert upstream.made == 5

    run(act)


def test_a_connection_is_made_before_anything_is_asked() -> None:
    async def act(upstream: Upstream, server: ModelServer) -> None:
        with Way(server) as way:
            way.begin()
            await until(lambda: upstream.open == 1)
            assert upstream.heads == []
            assert (await way.ask(b"POST", b"/", [], b"")).status == 200
        assert b"\r\ncontent-length: 0\r\n" in upstream.heads[0]
        assert upstream.made == 1

    run(act)


def test_a_connection_that_nobody_needs_is_closed() -> None:
    async def act(upstream: Upstream, server: ModelServer) -> None:
        with Way(server) as way:
            way.begin()
        with Way(server) as way:
            way.begin()
            await until(lambda: upstream.open == 1)
        await until(lambda: upstream.open == 0)

    run(act)


def test_an_answer_that_is_left_closes_its_connection() -> None:
    async def act(upstream: Upstream, server: ModelServer) -> None:
        with Way(server) as way:
            await way.ask(b"GET", b"/", [], b"")
            way.leave()
        way.leave()
        await ask(server)
        assert upstream.made == 2

    run(act)


def test_whoever_leaves_late_harms_nobody() -> None:
    async def act(upstream: Upstream, server: ModelServer) -> None:
        with Way(server) as way:
            reply = await way.ask(b"GET", b"/", [], b"")
            while await reply.piece():
                pass
        way.leave()
        await ask(server)
        assert upstream.made == 1

    run(act)


def test_a_connection_is_kept_only_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_server, "KEEP_SECONDS", 0.01)

    async def act(upstream: Upstream, server: ModelServer) -> None:
        await ask(server)
        await until(lambda: upstream.open == 0)
        await ask(server)
        assert upstream.made == 2

    run(act)


def test_only_so_many_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_server, "MAX_IDLE", 2)

    async def act(upstream: Upstream, server: ModelServer) -> None:
        await asyncio.gather(*(ask(server) for _ in range(5)))
        await until(lambda: upstream.open == 2)

    run(act)


def test_one_that_the_model_server_closed_meanwhile_is_not_asked() -> None:
    async def act(upstream: Upstream, server: ModelServer) -> None:
        await ask(server)
        with Way(server) as way:
            way.begin()
            upstream.writers[0].close()
            await until(lambda: upstream.open == 0)
            await asyncio.sleep(0.01)
            assert (await way.ask(b"GET", b"/", [], b"")).status == 200
        assert upstream.made == 2

    run(act)


def test_a_host_may_have_a_name() -> None:
    async def act(upstream: Upstream, server: ModelServer) -> None:
        assert await ask(server) == b"hi"
        assert b"\r\nhost: localhost:" in upstream.heads[0]

    run(act, "localhost")


def test_a_system_without_sockets_is_no_fault_of_the_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def act(upstream: Upstream, server: ModelServer) -> None:
        def refuse(*_: object, **__: object) -> Any:
            raise OSError(errno.EMFILE, "Too many open files")

        with Way(server) as way:
            monkeypatch.setattr(socket, "socket", refuse)
            way.begin()
            await asyncio.sleep(0.01)
            monkeypatch.undo()
            with pytest.raises(NoAnswerError) as caught:
                await way.ask(b"GET", b"/", [], b"")
        assert caught.value.kind == "UNREACHABLE"
        assert upstream.made == 0
        assert await ask(server) == b"hi"

    run(act)


def test_a_name_is_looked_up_while_something_else_is_done() -> None:
    async def act(upstream: Upstream, server: ModelServer) -> None:
        with Way(server) as way:
            way.begin()
            await until(lambda: upstream.open == 1)
            assert (await way.ask(b"GET", b"/", [], b"")).status == 200
        with Way(server) as way:
            way.begin()
        assert upstream.made == 1

    run(act, "localhost")


@pytest.mark.parametrize(
    "host", ["127.0.0.1:1", "[::1]:1", "no-such-host.invalid", "x" * 70 + ".invalid"]
)
def test_a_model_server_that_is_not_there_is_named_so(host: str) -> None:
    with pytest.raises(NoAnswerError) as caught:
        asyncio.run(ask(ModelServer(f"http://{host}")))
    assert caught.value.kind == "UNREACHABLE"


def test_one_that_never_answers_a_greeting_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_server, "CONNECT_SECONDS", 0.05)
    # Its backlog accepts, and nobody reads.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(NoAnswerError) as caught:
            asyncio.run(ask(ModelServer(url, ssl.create_default_context())))
    assert caught.value.kind == "UNREACHABLE"
