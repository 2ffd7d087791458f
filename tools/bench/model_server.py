"""A model server for benchmarks: it answers at once over gRPC, and at a steady pace over HTTP.

::

    python -m tools.bench.model_server GRPC_PORT HTTP_PORT [TOKENS]

Over gRPC each ``ModelInfer`` gets the same small tensor. Over HTTP each chat gets so many
events (:data:`TOKENS` if not told otherwise), one every :data:`PACE_SECONDS`, as a model that
generates would send them; one that wants no stream gets a document at once.
"""

import asyncio
import contextlib
import sys
from functools import partial
from typing import Any

import grpc
import grpc.aio

TOKENS = 200
"""Events of one answer, if not told otherwise."""

PACE_SECONDS = 0.02
"""Between two events of one answer: 50 tokens a second."""

METHOD = "/inference.GRPCInferenceService/ModelInfer"
"""What is answered over gRPC."""

UNSTREAMED = b'"stream":false'
"""What a request says that wants a document."""

# outputs { name: "y" datatype: "FP32" shape: [1, 4] }, raw_output_contents: 16 bytes.
ANSWER = b"\n\x01m*\x0c\n\x01y\x12\x04FP32\x1a\x01\x042\x10" + bytes(16)
"""A ``ModelInferResponse``."""

_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_TOKEN = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":'
    b'[{"index":0,"delta":{"content":" token"},"finish_reason":null}]}\n\n'
)
_LAST = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'

_DOCUMENT = (
    b'{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"a whole answer"},"finish_reason":"stop"}]}'
)
_WHOLE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
    len(_DOCUMENT),
    _DOCUMENT,
)


class _Handler(grpc.GenericRpcHandler):
    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        if handler_call_details.method != METHOD:
            return None
        return grpc.unary_unary_rpc_method_handler(_infer)


async def _infer(_request: bytes, _context: Any) -> bytes:
    return ANSWER


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


async def _chat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, tokens: int) -> None:
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            size = head.lower().partition(b"content-length: ")[2].partition(b"\r")[0]
            body = await reader.readexactly(int(size or b"0"))
            if UNSTREAMED in body:
                writer.write(_WHOLE)
                continue
            loop = asyncio.get_running_loop()
            start = loop.time()
            writer.write(_HEAD)
            for number in range(tokens):
                writer.write(_chunk(_TOKEN))
                await writer.drain()
                await asyncio.sleep(start + (number + 1) * PACE_SECONDS - loop.time())
            writer.write(_chunk(_LAST) + b"0\r\n\r\n")
            await writer.drain()
    writer.close()


async def main(grpc_port: int, http_port: int, tokens: int) -> None:
    """Serve until the process is killed."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_Handler(),))
    server.add_insecure_port(f"127.0.0.1:{grpc_port}")
    await server.start()
    chats = await asyncio.start_server(partial(_chat, tokens=tokens), "127.0.0.1", http_port)
    await chats.serve_forever()


if __name__ == "__main__":
    given = [int(item) for item in sys.argv[1:]]
    asyncio.run(main(given[0], given[1], (*given, TOKENS)[2]))
