"""Serving: a proxy on an address, in front of a model server, until it is told to stop.

A model server at ``grpc://`` or ``grpcs://`` is spoken to in gRPC, one at ``http://`` or
``https://`` in HTTP/1.1; the proxy speaks the same.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import grpc
import grpc.aio
import uvicorn

from registry.errors import MalformedError, Reason, UnavailableError
from registry.shim.descriptors import connections
from registry.shim.proxies.connection import ProxyProtocol
from registry.shim.proxies.http import HttpProxy
from registry.shim.proxies.model_server import ModelServer
from registry.shim.proxies.open_inference import OPTIONS, OpenInferenceProxy
from registry.shim.recorder.calls import Calls
from registry.shim.tls import Pair, client_context, client_files, server_pair

MAX_CONNECTIONS = 1024
"""Calls that are under way at once: no more than the journal takes."""

STOP_SECONDS = 30.0
"""How long calls under way may take to end once the proxy is told to stop."""


@dataclass(frozen=True, slots=True)
class Listen:
    """Where the proxy listens.

    Attributes:
        pair: Who the proxy is; None for no TLS.
    """

    host: str
    port: int
    pair: Pair | None = None


@dataclass(frozen=True, slots=True)
class Upstream:
    """The model server.

    Attributes:
        url: Its scheme, host and port, and for HTTP a path that goes before every path.
        ca_file: PEM certificates to believe; None for those of the system.
        pair: What the proxy shows to a model server that wants to know who asks.
    """

    url: str
    ca_file: Path | None = None
    pair: Pair | None = None

    def __post_init__(self) -> None:
        """Refuse a URL that is no model server's.

        Raises:
            MalformedError: ``BAD_SETTING``.
        """
        parts = urlsplit(self.url)
        known = parts.scheme in ("grpc", "grpcs", "http", "https") and _has_port(parts)
        # The address is in records: a name or a password in it would be, too.
        if not known or not parts.hostname or parts.query or parts.fragment or "@" in parts.netloc:
            raise MalformedError(
                Reason.BAD_SETTING,
                "this is not the address of a model server",
                expected="grpc://HOST:PORT, grpcs://HOST:PORT, http://HOST:PORT or https://…",
                actual=self.url.rpartition("@")[2][:200],
            )

    @property
    def speaks_grpc(self) -> bool:
        """Whether it is spoken to in gRPC."""
        return urlsplit(self.url).scheme.startswith("grpc")


def _has_port(parts: SplitResult) -> bool:
    """Whether the port of a URL is one, or is left to its scheme."""
    try:
        return parts.port != 0
    except ValueError:
        return False


@contextlib.asynccontextmanager
async def serving(listen: Listen, upstream: Upstream, calls: Calls) -> AsyncIterator[int]:
    """Serve while the block runs; gives the port.

    Raises:
        UnavailableError: ``UNREACHABLE`` if the address cannot be listened on.
        MalformedError: ``BAD_SETTING`` if a TLS file cannot be used.
    """
    around = _serve_grpc if upstream.speaks_grpc else _serve_http
    async with around(listen, upstream, calls) as port:
        yield port


def _is_ours_to_tell(record: logging.LogRecord) -> bool:
    """Whether a message of gRPC tells of anything but metadata, which may be a secret."""
    return "Invalid encoding" not in str(record.msg)


@contextlib.asynccontextmanager
async def _serve_grpc(listen: Listen, upstream: Upstream, calls: Calls) -> AsyncIterator[int]:
    logging.getLogger("grpc._cython.cygrpc").addFilter(_is_ours_to_tell)
    parts = urlsplit(upstream.url)
    target = parts.netloc
    async with contextlib.AsyncExitStack() as stack:
        if parts.scheme == "grpcs":
            files = client_files(upstream.ca_file, upstream.pair)
            channel = grpc.aio.secure_channel(
                target, grpc.ssl_channel_credentials(*files), options=OPTIONS
            )
        else:
            channel = grpc.aio.insecure_channel(target, options=OPTIONS)
        await stack.enter_async_context(channel)
        server = grpc.aio.server(options=OPTIONS, maximum_concurrent_rpcs=MAX_CONNECTIONS)
        server.add_generic_rpc_handlers((OpenInferenceProxy(channel, calls),))
        address = f"{listen.host}:{listen.port}"
        pair = None if listen.pair is None else server_pair(listen.pair)
        try:
            if pair is None:
                port = server.add_insecure_port(address)
            else:
                port = server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
        except RuntimeError as error:
            raise _taken(address) from error
        await server.start()
        stack.push_async_callback(server.stop, STOP_SECONDS)
        yield port


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Tell when clients are answered."""
        await super().startup(sockets)
        self.up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the process."""
        yield


@contextlib.asynccontextmanager
async def _serve_http(listen: Listen, upstream: Upstream, calls: Calls) -> AsyncIterator[int]:
    trust = client_context(upstream.ca_file, upstream.pair)
    if listen.pair is not None:
        server_pair(listen.pair)
    with contextlib.closing(ModelServer(upstream.url, trust)) as asked:
        config = uvicorn.Config(
            HttpProxy(asked, calls),
            host=listen.host,
            port=listen.port,
            http=ProxyProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            # What clients do wrong they are told, and nobody else: they could fill a disk with it.
            log_level="error",
            access_log=False,
            server_header=False,
            # Nobody here asks who is behind another proxy.
            proxy_headers=False,
            date_header=False,
            # One more than there may be: that one makes room for itself.
            limit_concurrency=connections(MAX_CONNECTIONS) + 1,
            timeout_graceful_shutdown=int(STOP_SECONDS),
            ssl_certfile=None if listen.pair is None else listen.pair.certificate,
            ssl_keyfile=None if listen.pair is None else listen.pair.key,
        )
        config.load()
        server = _Server(config)
        sock = _bind(listen)
        task = asyncio.ensure_future(server.serve(sockets=[sock]))
        try:
            await server.up.wait()
            yield sock.getsockname()[1]
        finally:
            server.should_exit = True
            await task


def _bind(listen: Listen) -> socket.socket:
    try:
        return socket.create_server(
            (listen.host, listen.port),
            family=socket.AF_INET6 if ":" in listen.host else socket.AF_INET,
            backlog=MAX_CONNECTIONS,
        )
    except OSError as error:
        raise _taken(f"{listen.host}:{listen.port}") from error


def _taken(address: str) -> UnavailableError:
    return UnavailableError(
        Reason.UNREACHABLE,
        "this address cannot be listened on",
        where=address,
        hint="choose another --listen, or stop what listens there",
    )
