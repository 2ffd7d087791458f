"""Many real connections over gRPC: those that do nothing go, and those that ask are served."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from registry.shim import serving as serving_room
from registry.shim.app import Shim
from registry.shim.proxies.grpc_bounds import MAX_CALLERS, MAX_METADATA_BYTES, MAX_STREAMS, options
from registry.shim.proxies.open_inference import INFER, OPTIONS, SERVICE
from registry.shim.recorder.awaiting import Awaiting
from registry.shim.recorder.calls import Calls
from registry.shim.serving import Listen, Upstream, serving
from tests.shim.proxies.oip_server import Handler, Server, request, serve
from tests.shim.world import DEPLOYMENT, MemoryRegistry, check_history, kinds, running, written

HOST = "127.0.0.1"
SILENT = b""
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
"""The preface of a client with empty settings (RFC 9113 §3.4)."""


def is_open(connection: socket.socket) -> bool:
    """Whether the other side has not closed it."""
    try:
        while connection.recv(65536):
            pass
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


@contextlib.contextmanager
def connections(port: int, count: int, say: bytes) -> Iterator[list[socket.socket]]:
    """So many connections of somebody who says this, and nothing more."""
    with contextlib.ExitStack() as stack:
        opened = []
        for _ in range(count):
            connection = stack.enter_context(socket.create_connection((HOST, port)))
            with contextlib.suppress(OSError):
                connection.sendall(say)
            connection.setblocking(False)
            opened.append(connection)
        yield opened


async def left_open(opened: list[socket.socket], at_most: int) -> int:
    """How many are open: as soon as there are no more than so many, or after ten seconds."""
    for _ in range(500):
        if (count := sum(map(is_open, opened))) <= at_most:
            break
        await asyncio.sleep(0.02)
    return count


def through(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    bounds: tuple[tuple[str, int], ...],
    act: Callable[[int, Any], Awaitable[None]],
    server: Server | None = None,
) -> None:
    """Run ``act`` with the port of a shim that has these bounds, and a stock client's channel."""
    monkeypatch.setattr(serving_room, "OPTIONS", bounds)

    async def around(shim: Shim) -> None:
        awaiting = Awaiting(asyncio.get_running_loop())
        calls = Calls(shim.recorder, shim.unrecorded, lambda: DEPLOYMENT, awaiting)
        async with (
            serve(Handler(server or Server())) as address,
            serving(Listen(HOST, 0), Upstream(f"grpc://{address}"), calls) as port,
            grpc.aio.insecure_channel(f"{HOST}:{port}") as channel,
        ):
            await act(port, channel)

    with running(folder, MemoryRegistry.build()) as shim:
        asyncio.run(around(shim))
    check_history(written(folder))


@pytest.mark.parametrize("say", [SILENT, GREETING], ids=["silent", "greeting"])
def test_there_are_only_so_many_connections_and_who_has_one_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, say: bytes
) -> None:
    async def act(port: int, channel: Any) -> None:
        infer = channel.unary_unary(INFER)
        await infer(request([1.0, 2.0]), timeout=20)
        with connections(port, 60, say) as opened:
            # The client's own is one of them.
            assert 0 < await left_open(opened, 7) <= 7
            await infer(request([1.0, 2.0]), timeout=20)

    through(tmp_path / "shim", monkeypatch, options(callers=8), act)


def test_unless_told_otherwise_the_journal_has_half_of_the_files() -> None:
    assert dict(OPTIONS)["grpc.max_allowed_incoming_connections"] == MAX_CALLERS == 1024 // 2


@pytest.mark.parametrize("say", [SILENT, GREETING], ids=["silent", "greeting"])
def test_whoever_does_nothing_makes_room_for_who_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, say: bytes
) -> None:
    async def act(port: int, channel: Any) -> None:
        with connections(port, 60, say) as opened:
            # Waits for a place, as stock clients do that are told to.
            await channel.unary_unary(INFER)(request([1.0, 2.0]), timeout=20, wait_for_ready=True)
            assert await left_open(opened, 0) == 0

    through(tmp_path / "shim", monkeypatch, options(callers=8, greeting=0.5, idle=0.5), act)


def test_a_client_that_was_idle_too_long_notices_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def act(_port: int, channel: Any) -> None:
        for _ in range(3):
            await channel.unary_unary(INFER)(request([1.0, 2.0]), timeout=20)
            state = channel.get_state()
            assert state is grpc.ChannelConnectivity.READY
            async with asyncio.timeout(20):
                # The shim says goodbye; the next call connects again by itself.
                await channel.wait_for_state_change(state)

    through(tmp_path / "shim", monkeypatch, options(idle=0.2), act)
    assert kinds(written(tmp_path / "shim")).count("completion") == 3


def test_a_call_that_says_nothing_for_long_is_not_idle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(Server):
        async def infer(self, data: bytes, context: Any) -> bytes:
            await asyncio.sleep(1)
            return await super().infer(data, context)

    async def act(_port: int, channel: Any) -> None:
        await channel.unary_unary(INFER)(request([1.0, 2.0]), timeout=20)

    through(tmp_path / "shim", monkeypatch, options(idle=0.1), act, Slow())
    assert kinds(written(tmp_path / "shim")).count("completion") == 1


@pytest.mark.parametrize("fits", [True, False])
def test_metadata_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, fits: bool
) -> None:
    server = Server()
    size = MAX_METADATA_BYTES - 4096 if fits else 2 * MAX_METADATA_BYTES

    async def act(_port: int, channel: Any) -> None:
        call = channel.unary_unary(SERVICE + "ServerReady")(
            b"ready", timeout=20, metadata=(("said", "x" * size),)
        )
        if fits:
            assert await call == b"ydaer"
            assert len(server.metadata["said"]) == size
        else:
            assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED

    through(tmp_path / "shim", monkeypatch, OPTIONS, act, server)
    assert ("said" in server.metadata) is fits


def test_each_connection_is_told_how_many_calls_it_may_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def act(port: int, _channel: Any) -> None:
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(GREETING)
        async with asyncio.timeout(20):
            head = await reader.readexactly(9)
            settings = await reader.readexactly(int.from_bytes(head[:3]))
        writer.close()
        # The kind of a frame, and the name of a setting: RFC 9113 §6.5.
        assert head[3] == 4
        said = {
            int.from_bytes(settings[at : at + 2]): int.from_bytes(settings[at + 2 : at + 6])
            for at in range(0, len(settings), 6)
        }
        assert said[3] == MAX_STREAMS

    through(tmp_path / "shim", monkeypatch, OPTIONS, act)
