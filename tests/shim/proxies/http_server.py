"""An HTTP server that answers byte for byte what a test tells it to, and remembers what it got."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field


@dataclass
class Script:
    """What to answer: pieces, with a pause before each but the first; and what was asked.

    Attributes:
        gate: What to wait for before the second piece; None waits for nothing.
        hang: Whether to say nothing more, instead of closing, after the last piece.
    """

    pieces: Sequence[bytes]
    pause: float = 0.0
    hang: bool = False
    gate: asyncio.Event | None = None
    heads: list[bytes] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head)
            lines = dict(
                line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line
            )
            self.bodies.append(await reader.readexactly(int(lines.get(b"content-length", b"0"))))
            for place, piece in enumerate(self.pieces):
                if place:
                    await asyncio.sleep(self.pause)
                if place == 1 and self.gate is not None:
                    await self.gate.wait()
                writer.write(piece)
                await writer.drain()
            if self.hang:
                await reader.read()
                self.gone.set()
        writer.close()


CLOSING = b"connection: close"
"""What a server says that answers once: a client that kept the connection could not use it."""


def plain(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    """A whole answer with a content length."""
    lines = [b"HTTP/1.1 " + status, b"content-length: %d" % len(body), CLOSING, *headers, b"", b""]
    return b"\r\n".join(lines) + body


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


STREAM_HEAD = b"\r\n".join(
    [
        b"HTTP/1.1 200 OK",
        b"content-type: text/event-stream",
        b"transfer-encoding: chunked",
        CLOSING,
        b"",
        b"",
    ]
)
END = b"0\r\n\r\n"


ENDED_SECONDS = 20.0
"""How long connections may take to end once nobody needs the server any more."""


@contextlib.asynccontextmanager
async def serve(script: Script) -> AsyncIterator[str]:
    """Serve a script; gives the server's address. Ends when its connections have."""
    answering: set[asyncio.Task[None]] = set()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answering.add(asyncio.ensure_future(script.answer(reader, writer)))

    server = await asyncio.start_server(begin, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    for task in answering:
        await asyncio.wait_for(task, ENDED_SECONDS)
