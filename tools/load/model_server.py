"""A model server for load: no answer is like another one.

What is asked for with ``"stream": true`` comes as an event stream whose pieces take a while, so
that a kill meets answers in their middle.
"""

import asyncio
import json
import random
import secrets

PIECES = 5
"""Events of a stream, the end not counted."""

PIECE_SECONDS = 0.01
"""The longest pause between two events."""


async def serve(port: int) -> None:
    """Answer until killed."""
    server = await asyncio.start_server(_connection, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


async def _connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
            asked = json.loads(await reader.readexactly(length))
            text = f"{asked['messages'][0]['content']} {secrets.token_hex(8)}"
            if asked.get("stream"):
                await _stream(writer, text)
            else:
                _whole(writer, text)
            await writer.drain()
    except (OSError, asyncio.IncompleteReadError):
        writer.close()


def _whole(writer: asyncio.StreamWriter, text: str) -> None:
    choice = {"index": 0, "message": {"content": text}, "finish_reason": "stop"}
    body = json.dumps({"choices": [choice]}).encode()
    writer.write(
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\n\r\n%s" % (len(body), body)
    )


async def _stream(writer: asyncio.StreamWriter, text: str) -> None:
    writer.write(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    size = -(-len(text) // PIECES)
    for at in range(0, len(text), size):
        _event(writer, {"content": text[at : at + size]}, None)
        await writer.drain()
        await asyncio.sleep(PIECE_SECONDS * random.random())  # noqa: S311 - no secret
    _event(writer, {}, "stop")
    _chunk(writer, b"data: [DONE]\n\n")
    writer.write(b"0\r\n\r\n")


def _event(writer: asyncio.StreamWriter, delta: dict[str, str], ends: str | None) -> None:
    said = {"choices": [{"index": 0, "delta": delta, "finish_reason": ends}]}
    _chunk(writer, b"data: " + json.dumps(said).encode() + b"\n\n")


def _chunk(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(b"%x\r\n%s\r\n" % (len(data), data))
