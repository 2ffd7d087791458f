"""An address of its own that says how a shim is: ``GET /health``, 200 if it is green, 503 if red.

Not a path of the proxy: what its clients ask for is the model server's, all of it. The address
shows no content and no names of models, but whoever reads it knows how many calls there are.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from registry.core import encoding
from registry.errors import Reason, UnavailableError
from registry.shim.health import Health
from registry.shim.serving import Listen

PATH = "/health"
"""What is asked for."""

MAX_HEAD_BYTES = 8 * 1024
"""Bytes of a request: its line and its headers."""

ANSWER_SECONDS = 5.0
"""How long a request may take to arrive, and its answer to leave."""

MAX_ASKING = 32
"""Connections at once; more are closed unanswered."""

_PHRASES = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed"}


class HealthListener:
    """Answers one question for each connection."""

    def __init__(self, health: Callable[[], Health]) -> None:
        """Take what says how the shim is; it must not block."""
        self._health = health
        self._asking = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection, and close it."""
        self._asking += 1
        # Whatever is drained is gone, and nothing waits for whoever does not read it.
        writer.transport.set_write_buffer_limits(0)
        try:
            if self._asking <= MAX_ASKING:
                with contextlib.suppress(OSError, TimeoutError):
                    await asyncio.wait_for(self._answer(reader, writer), ANSWER_SECONDS)
        finally:
            self._asking -= 1
            if writer.transport.get_write_buffer_size():
                writer.transport.abort()
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            writer.write(_written(400, b"", head_only=False))
            await writer.drain()
            return
        line = head.partition(b"\r\n")[0].decode("latin-1").split(" ")
        writer.write(self._judged(line))
        await writer.drain()

    def _judged(self, line: list[str]) -> bytes:
        if len(line) != 3 or not line[2].startswith("HTTP/1."):  # noqa: PLR2004 - RFC 9112 §3
            return _written(400, b"", head_only=False)
        method, target, _ = line
        if target.partition("?")[0] != PATH:
            return _written(404, b"", head_only=method == "HEAD")
        if method not in ("GET", "HEAD"):
            return _written(405, b"", head_only=False)
        health = self._health()
        status = 200 if health.status == "green" else 503
        return _written(status, encoding.write_json(health) + b"\n", head_only=method == "HEAD")


def _written(status: int, body: bytes, *, head_only: bool) -> bytes:
    phrase = _PHRASES.get(status, "Service Unavailable")
    lines = [
        f"HTTP/1.1 {status} {phrase}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        "cache-control: no-store",
        "connection: close",
        *(["allow: GET, HEAD"] if status == 405 else []),  # noqa: PLR2004 - RFC 9110 §15.5.6
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (b"" if head_only else body)


@contextlib.asynccontextmanager
async def telling(where: Listen | None, health: Callable[[], Health]) -> AsyncIterator[int | None]:
    """Answer on an address while the block runs; gives the port. Without an address, do nothing.

    Raises:
        UnavailableError: ``UNREACHABLE`` if the address cannot be listened on.
    """
    if where is None:
        yield None
        return
    listener = HealthListener(health)
    try:
        server = await asyncio.start_server(
            listener.answer, where.host, where.port, limit=MAX_HEAD_BYTES
        )
    except OSError as error:
        raise UnavailableError(
            Reason.UNREACHABLE,
            "this address cannot be listened on",
            where=f"{where.host}:{where.port}",
            hint="choose another --health, or stop what listens there",
        ) from error
    async with server:
        yield server.sockets[0].getsockname()[1]
