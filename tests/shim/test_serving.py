"""Serving: TLS on either side of both proxies, and back-pressure through them."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography.hazmat.primitives import serialization

from registry.core.records import inference
from registry.errors import MalformedError, Reason
from registry.shim.proxies.open_inference import INFER, OPTIONS, STREAM
from registry.shim.recorder.awaiting import Awaiting
from registry.shim.recorder.calls import Calls
from registry.shim.serving import Listen, Upstream, serving
from registry.shim.tls import Pair
from tests.certificates import PrivateAuthority
from tests.shim.proxies import http_server, oip_server
from tests.shim.proxies.http_server import Script, plain
from tests.shim.world import DEPLOYMENT, MemoryRegistry, check_history, running, written

HOST = "127.0.0.1"
BODY = b'{"choices":[{"message":{"content":"x"},"finish_reason":"stop"}]}'
MEBIBYTE = bytes(2**20)
LISTEN = "/flood.Service/Listen"


def recorded(
    folder: Path, act: Callable[[Calls], Awaitable[None]]
) -> list[inference.Completion | inference.Failure | inference.ClientGone]:
    """Run ``act`` with a shim, and return the outcomes that it wrote down."""

    async def around() -> None:
        awaiting = Awaiting(asyncio.get_running_loop())
        await act(Calls(shim.recorder, shim.unrecorded, lambda: DEPLOYMENT, awaiting))

    with running(folder, MemoryRegistry.build()) as shim:
        asyncio.run(around())
    records = written(folder)
    check_history(records)
    kinds = inference.Completion | inference.Failure | inference.ClientGone
    return [item for item in records if isinstance(item, kinds)]


@contextlib.asynccontextmanager
async def https_server(
    script: Script, pair: tuple[Path, Path], clients: PrivateAuthority | None = None
) -> AsyncIterator[str]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*pair)
    if clients is not None:
        context.load_verify_locations(clients.file)
        context.verify_mode = ssl.CERT_REQUIRED
    server = await asyncio.start_server(script.answer, HOST, 0, ssl=context)
    async with server:
        yield f"https://{HOST}:{server.sockets[0].getsockname()[1]}"


async def post(port: int, trust: ssl.SSLContext | None) -> bytes:
    """All bytes of the answer to a question."""
    reader, writer = await asyncio.open_connection(HOST, port, ssl=trust)
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
    writer.write(head + b"content-length: 2\r\n\r\n{}")
    answer = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    return answer


def trusting(authority: PrivateAuthority) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(authority.file))


@pytest.fixture
def ours(tmp_path: Path) -> PrivateAuthority:
    folder = tmp_path / "ours"
    folder.mkdir()
    return PrivateAuthority(folder)


@pytest.fixture
def others(tmp_path: Path) -> PrivateAuthority:
    folder = tmp_path / "others"
    folder.mkdir()
    return PrivateAuthority(folder)


def test_http_has_tls_on_both_sides(tmp_path: Path, ours: PrivateAuthority) -> None:
    async def act(calls: Calls) -> None:
        listen = Listen(HOST, 0, Pair(*ours.certify(HOST)))
        async with (
            https_server(Script([plain(BODY)]), ours.certify(HOST)) as url,
            serving(listen, Upstream(url, ours.file), calls) as port,
        ):
            assert (await post(port, trusting(ours))).endswith(BODY)

    [completion] = recorded(tmp_path / "shim", act)
    assert isinstance(completion, inference.Completion)


@pytest.mark.parametrize("known", ["another authority", "those of the system"])
def test_a_model_server_that_nobody_vouches_for_is_asked_nothing_over_http(
    tmp_path: Path, ours: PrivateAuthority, others: PrivateAuthority, known: str
) -> None:
    script = Script([plain(BODY)])
    ca_file = others.file if known == "another authority" else None

    async def act(calls: Calls) -> None:
        async with (
            https_server(script, ours.certify(HOST)) as url,
            serving(Listen(HOST, 0), Upstream(url, ca_file), calls) as port,
        ):
            answer = await post(port, None)
            assert b" 502 " in answer.partition(b"\r\n")[0]
            assert b'"code":"PEER_CERTIFICATE"' in answer

    [failure] = recorded(tmp_path / "shim", act)
    assert script.heads == []
    assert isinstance(failure, inference.Failure)
    assert failure.error == "PEER_CERTIFICATE"


def test_a_certificate_for_another_host_is_none(tmp_path: Path, ours: PrivateAuthority) -> None:
    script = Script([plain(BODY)])

    async def act(calls: Calls) -> None:
        async with (
            https_server(script, ours.certify("10.1.2.3")) as url,
            serving(Listen(HOST, 0), Upstream(url, ours.file), calls) as port,
        ):
            await post(port, None)

    [failure] = recorded(tmp_path / "shim", act)
    assert script.heads == []
    assert isinstance(failure, inference.Failure)


def test_a_client_that_does_not_know_the_proxy_asks_nothing(
    tmp_path: Path, ours: PrivateAuthority, others: PrivateAuthority
) -> None:
    async def act(calls: Calls) -> None:
        listen = Listen(HOST, 0, Pair(*ours.certify(HOST)))
        async with (
            http_server.serve(Script([plain(BODY)])) as url,
            serving(listen, Upstream(url), calls) as port,
        ):
            with pytest.raises(ssl.SSLCertVerificationError):
                await post(port, trusting(others))
            # Nor is anybody answered who speaks no TLS.
            with contextlib.suppress(ConnectionError):
                assert await post(port, None) == b""

    assert recorded(tmp_path / "shim", act) == []


@contextlib.asynccontextmanager
async def grpcs_server(
    server: oip_server.Server, pair: tuple[Path, Path], clients: PrivateAuthority | None = None
) -> AsyncIterator[str]:
    made = grpc.aio.server(options=OPTIONS)
    made.add_generic_rpc_handlers((oip_server.Handler(server),))
    certificate, key = (path.read_bytes() for path in pair)
    roots = None if clients is None else clients.file.read_bytes()
    credentials = grpc.ssl_server_credentials([(key, certificate)], roots, clients is not None)
    port = made.add_secure_port(f"{HOST}:0", credentials)
    await made.start()
    try:
        yield f"grpcs://{HOST}:{port}"
    finally:
        await made.stop(None)


async def infer(port: int, authority: PrivateAuthority | None) -> grpc.StatusCode:
    """How a question ends."""
    address = f"{HOST}:{port}"
    if authority is None:
        channel = grpc.aio.insecure_channel(address)
    else:
        credentials = grpc.ssl_channel_credentials(authority.file.read_bytes())
        channel = grpc.aio.secure_channel(address, credentials)
    async with channel:
        ask: Any = channel.unary_unary(INFER)
        code: grpc.StatusCode = await ask(oip_server.request([1.0, 2.0]), timeout=10).code()
        return code


def test_grpc_has_tls_on_both_sides(tmp_path: Path, ours: PrivateAuthority) -> None:
    async def act(calls: Calls) -> None:
        listen = Listen(HOST, 0, Pair(*ours.certify(HOST)))
        async with (
            grpcs_server(oip_server.Server(), ours.certify(HOST)) as url,
            serving(listen, Upstream(url, ours.file), calls) as port,
        ):
            assert await infer(port, ours) is grpc.StatusCode.OK

    [completion] = recorded(tmp_path / "shim", act)
    assert isinstance(completion, inference.Completion)


@pytest.mark.parametrize("known", ["another authority", "those of the system"])
def test_a_model_server_that_nobody_vouches_for_is_asked_nothing_over_grpc(
    tmp_path: Path, ours: PrivateAuthority, others: PrivateAuthority, known: str
) -> None:
    server = oip_server.Server()
    ca_file = others.file if known == "another authority" else None

    async def act(calls: Calls) -> None:
        async with (
            grpcs_server(server, ours.certify(HOST)) as url,
            serving(Listen(HOST, 0), Upstream(url, ca_file), calls) as port,
        ):
            assert await infer(port, None) is grpc.StatusCode.UNAVAILABLE

    [failure] = recorded(tmp_path / "shim", act)
    assert server.requests == []
    assert isinstance(failure, inference.Failure)
    assert failure.error == "grpc status UNAVAILABLE"


def test_a_grpc_client_that_does_not_know_the_proxy_asks_nothing(
    tmp_path: Path, ours: PrivateAuthority, others: PrivateAuthority
) -> None:
    server = oip_server.Server()

    async def act(calls: Calls) -> None:
        listen = Listen(HOST, 0, Pair(*ours.certify(HOST)))
        async with (
            grpcs_server(server, ours.certify(HOST)) as url,
            serving(listen, Upstream(url, ours.file), calls) as port,
        ):
            for authority in (others, None):
                assert await infer(port, authority) is grpc.StatusCode.UNAVAILABLE

    assert recorded(tmp_path / "shim", act) == []
    assert server.requests == []


@pytest.mark.parametrize("scheme", ["http", "grpc"])
@pytest.mark.parametrize("wrong", ["no PEM", "another key", "a key with a password", "absent"])
@pytest.mark.parametrize("end", ["listen", "upstream"])
def test_a_tls_file_that_cannot_be_used_is_refused(
    tmp_path: Path, ours: PrivateAuthority, scheme: str, wrong: str, end: str
) -> None:
    certificate, _ = ours.certify(HOST)
    _, other = ours.certify(HOST)
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_bytes(b"no certificate")
    bad = {
        "no PEM": Pair(certificate, nonsense),
        "another key": Pair(certificate, other),
        "a key with a password": Pair(*locked(ours, tmp_path)),
        "absent": Pair(certificate, tmp_path / "absent"),
    }[wrong]
    url = f"{scheme}s://127.0.0.1:9"
    listen = Listen(HOST, 0, bad) if end == "listen" else Listen(HOST, 0)

    async def act(calls: Calls) -> None:
        upstream = Upstream(url) if end == "listen" else Upstream(url, ours.file, bad)
        with pytest.raises(MalformedError) as caught:
            async with serving(listen, upstream, calls):
                pass
        assert caught.value.reason is Reason.BAD_SETTING
        assert str(bad.key) in caught.value.where

    assert recorded(tmp_path / "shim", act) == []


def locked(authority: PrivateAuthority, folder: Path) -> tuple[Path, Path]:
    """A good certificate whose key is of use to those only who know a password."""
    certificate, key = authority.certify(HOST)
    secret = serialization.load_pem_private_key(key.read_bytes(), None)
    path = folder / "locked.pem"
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path.write_bytes(
        secret.private_bytes(pem, pkcs8, serialization.BestAvailableEncryption(b"word"))
    )
    return certificate, path


@pytest.mark.parametrize("scheme", ["http", "grpc"])
@pytest.mark.parametrize("content", [b"no certificate", None])
def test_roots_that_cannot_be_used_are_refused(
    tmp_path: Path, scheme: str, content: bytes | None
) -> None:
    roots = tmp_path / "roots.pem"
    if content is not None:
        roots.write_bytes(content)

    async def act(calls: Calls) -> None:
        with pytest.raises(MalformedError) as caught:
            async with serving(Listen(HOST, 0), Upstream(f"{scheme}s://{HOST}:9", roots), calls):
                pass
        assert (caught.value.reason, caught.value.where) == (Reason.BAD_SETTING, str(roots))

    assert recorded(tmp_path / "shim", act) == []


@pytest.mark.parametrize("scheme", ["http", "grpc"])
@pytest.mark.parametrize("known", [True, False])
def test_a_model_server_may_want_to_know_who_asks(
    tmp_path: Path, ours: PrivateAuthority, others: PrivateAuthority, scheme: str, *, known: bool
) -> None:
    server, script = oip_server.Server(), Script([plain(BODY)])
    shown = Pair(*(ours if known else others).certify("the shim"))

    async def act(calls: Calls) -> None:
        around: Any = (
            https_server(script, ours.certify(HOST), ours)
            if scheme == "http"
            else grpcs_server(server, ours.certify(HOST), ours)
        )
        async with (
            around as url,
            serving(Listen(HOST, 0), Upstream(url, ours.file, shown), calls) as port,
        ):
            if scheme == "http":
                assert (await post(port, None)).endswith(BODY) is known
            else:
                assert (await infer(port, None) is grpc.StatusCode.OK) is known

    [found] = recorded(tmp_path / "shim", act)
    assert isinstance(found, inference.Completion if known else inference.Failure)
    assert bool(script.heads or server.requests) is known


@dataclass
class Flood:
    """A server that says, or is told, as much as the other side takes.

    Attributes:
        moved: Mebibytes that it sent or got so far.
        gate: What it waits for before it takes the second message.
    """

    total: int = 1024
    moved: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Send one large answer."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            size = b"%d" % (self.total * len(MEBIBYTE))
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: " + size + b"\r\n\r\n")
            for _ in range(self.total):
                writer.write(MEBIBYTE)
                await writer.drain()
                self.moved += 1
        writer.close()

    async def say(self, requests: AsyncIterator[bytes], _context: Any) -> AsyncIterator[bytes]:
        """Answer the first message with many."""
        await anext(requests)
        for _ in range(self.total):
            yield MEBIBYTE
            self.moved += 1

    async def listen(self, requests: AsyncIterator[bytes], _context: Any) -> AsyncIterator[bytes]:
        """Take one message, and the others when the gate is open."""
        async for _ in requests:
            self.moved += 1
            await self.gate.wait()
        yield b"%d" % self.moved

    async def at_rest(self) -> int:
        """How much moved when nothing moves any more."""
        async with asyncio.timeout(30):
            while True:
                before = self.moved
                await asyncio.sleep(0.3)
                if before == self.moved > 0:
                    return before

    def service(self, method: str) -> Any:
        handler = self.listen if method == LISTEN else self.say
        return grpc.stream_stream_rpc_method_handler(handler)


class FloodHandler(grpc.GenericRpcHandler):
    """The methods of a flood."""

    def __init__(self, flood: Flood) -> None:
        self.flood = flood

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return self.flood.service(handler_call_details.method)


HELD = 160
"""Mebibytes that may lie between both ends: in sockets, and in windows that adapt, on each hop."""


def test_a_client_that_reads_nothing_stops_the_model_server_over_http(tmp_path: Path) -> None:
    flood = Flood()

    async def act(calls: Calls) -> None:
        server = await asyncio.start_server(flood.http, HOST, 0)
        async with server:
            url = f"http://{HOST}:{server.sockets[0].getsockname()[1]}"
            async with serving(Listen(HOST, 0), Upstream(url), calls) as port:
                reader, writer = await asyncio.open_connection(HOST, port)
                writer.write(b"POST /v1/files HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")
                await reader.readuntil(b"\r\n\r\n")
                assert await flood.at_rest() < HELD
                writer.close()

    [gone] = recorded(tmp_path / "shim", act)
    assert isinstance(gone, inference.ClientGone)
    assert gone.sent_bytes < HELD * len(MEBIBYTE)


@pytest.mark.parametrize("method", ["/flood.Service/Say", STREAM])
def test_a_client_that_reads_nothing_stops_the_model_server_over_grpc(
    tmp_path: Path, method: str
) -> None:
    flood = Flood()

    async def act(calls: Calls) -> None:
        async with (
            oip_server.serve(FloodHandler(flood)) as address,
            serving(Listen(HOST, 0), Upstream(f"grpc://{address}"), calls) as port,
            grpc.aio.insecure_channel(f"{HOST}:{port}", options=OPTIONS) as channel,
        ):
            call: Any = channel.stream_stream(method)()
            await call.write(b"")
            assert len(await call.read()) == len(MEBIBYTE)
            assert await flood.at_rest() < HELD
            call.cancel()

    recorded(tmp_path / "shim", act)


def test_a_model_server_that_reads_nothing_stops_the_client_over_grpc(tmp_path: Path) -> None:
    flood = Flood()

    async def act(calls: Calls) -> None:
        async with (
            oip_server.serve(FloodHandler(flood)) as address,
            serving(Listen(HOST, 0), Upstream(f"grpc://{address}"), calls) as port,
            grpc.aio.insecure_channel(f"{HOST}:{port}", options=OPTIONS) as channel,
        ):
            call: Any = channel.stream_stream(LISTEN)()
            sent = 0
            with contextlib.suppress(TimeoutError):
                for _ in range(flood.total):
                    async with asyncio.timeout(1):
                        await call.write(MEBIBYTE)
                    sent += 1
            assert flood.moved == 1
            assert sent < HELD
            call.cancel()

    assert recorded(tmp_path / "shim", act) == []


@pytest.mark.parametrize("named", ["somebody:secret@", "somebody@", ":secret@", "@"])
def test_an_address_with_a_password_in_it_is_refused_and_not_repeated(named: str) -> None:
    with pytest.raises(MalformedError) as caught:
        Upstream(f"http://{named}127.0.0.1:8000")
    assert caught.value.reason is Reason.BAD_SETTING
    assert "secret" not in str(caught.value)
    assert "somebody" not in str(caught.value)
