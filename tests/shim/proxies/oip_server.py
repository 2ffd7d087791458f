"""A small model server that speaks the Open Inference Protocol over gRPC: ONNX Runtime behind it.

The protocol's own messages are built by hand from their field numbers, so that nothing here is read
by the code under test.
"""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import numpy as np
import onnxruntime  # type: ignore[import-untyped]

from registry.shim.proxies.open_inference import INFER, OPTIONS, SERVICE, STREAM
from tests.shim.proxies.test_onnx import linear


def varint(value: int) -> bytes:
    """A protobuf varint."""
    out = b""
    while True:
        value, low = value >> 7, value & 0x7F
        if not value:
            return out + bytes([low])
        out += bytes([low | 0x80])


def field(number: int, payload: bytes) -> bytes:
    """A length-delimited field."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def flag(name: bytes, *, value: bool) -> bytes:
    """A boolean parameter of a response."""
    return field(4, field(1, name) + field(2, b"\x08" + varint(int(value))))


def fields(data: bytes) -> dict[int, list[bytes]]:
    """The length-delimited fields of a message."""
    found: dict[int, list[bytes]] = {}
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        if tag & 7 == 2:
            size, at = _varint(data, at)
            found.setdefault(tag >> 3, []).append(data[at : at + size])
            at += size
        else:
            _, at = _varint(data, at)
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return value, at


def parameter(name: str, kind: int, value: object) -> bytes:
    """One entry of a message's parameters; ``kind`` is the number of its field."""
    match value:
        case bool() | int():
            said = varint(kind << 3) + varint(value & (2**64 - 1))
        case float():
            said = varint(kind << 3 | 1) + struct.pack("<d", value)
        case _:
            said = field(kind, str(value).encode())
    return field(4, field(1, name.encode()) + field(2, said))


def saying(**parameters: object) -> bytes:
    """Parameters of a request, or of an input."""
    kinds = {bool: 1, int: 2, str: 3, float: 4}
    return b"".join(parameter(name, kinds[type(v)], v) for name, v in parameters.items())


def request(
    values: list[float], name: bytes = b"", more: bytes = b"", *, tensor: bytes = b""
) -> bytes:
    """A ``ModelInferRequest`` for the model of these tests, with raw contents."""
    raw = struct.pack(f"<{len(values)}f", *values)
    tensor += field(1, b"x") + field(2, b"FP32") + field(3, varint(1) + varint(len(values)))
    said = field(1, b"m") + (field(3, name) if name else b"")
    return said + field(5, tensor) + field(7, raw) + more


def response(values: Any, name: bytes, more: bytes = b"") -> bytes:
    """A ``ModelInferResponse`` with raw contents."""
    array = np.asarray(values, dtype="<f4")
    shape = b"".join(varint(size) for size in array.shape)
    tensor = field(1, b"y") + field(2, b"FP32") + field(3, shape)
    said = field(1, b"m") + (field(3, name) if name else b"")
    return said + more + field(5, tensor) + field(6, array.tobytes())


class Server:
    """Answers with what ONNX Runtime says. Attributes tell what it was asked."""

    def __init__(self) -> None:
        self.session = onnxruntime.InferenceSession(linear())
        self.metadata: dict[str, Any] = {}
        self.requests: list[bytes] = []
        self.remaining: float | None = None
        self.cancelled = asyncio.Event()

    def run(self, data: bytes) -> bytes:
        self.requests.append(data)
        said = fields(data)
        values = np.frombuffer(said[7][0], dtype="<f4").reshape(-1, 2)
        [answer] = self.session.run(["y"], {"x": values})
        return response(answer, said.get(3, [b""])[0])

    async def infer(self, data: bytes, context: Any) -> bytes:
        self.metadata = dict(context.invocation_metadata())
        self.remaining = context.time_remaining()
        name = fields(data).get(3, [b""])[0]
        if name == b"refuse":
            trailing = (("why", "because"), ("grpc-status-details-bin", b"\x08\x09"))
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not this one", trailing)
        if name == b"slow":
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        # As another shim would, behind the one that is asked.
        told = (("x-receipt-id", "another/1"),) if name == b"another" else ()
        await context.send_initial_metadata((("server", "small"), *told))
        context.set_trailing_metadata((("cost", "1"), *told))
        return self.run(data)

    async def stream(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        context.set_trailing_metadata((("cost", "1"), ("x-receipt-id", "another/1")))
        async for data in requests:
            name = fields(data).get(3, [b""])[0]
            if name == b"error":
                yield field(1, b"no such model")
            elif name == b"several":
                for last in (False, False, True):
                    more = flag(b"triton_final_response", value=last)
                    yield field(2, response([[1.0]], name, more))
            elif name == b"decoupled":
                for value in (1.0, 2.0):
                    yield field(2, response([[value]], name))
            elif name == b"half":
                more = flag(b"triton_final_response", value=False)
                yield field(2, response([[1.0]], name, more))
                await asyncio.sleep(30)
            elif name == b"silent":
                continue
            elif name == b"die":
                await context.abort(grpc.StatusCode.INTERNAL, "died")
            else:
                yield field(2, self.run(data))

    async def ready(self, data: bytes, context: Any) -> bytes:
        self.metadata = dict(context.invocation_metadata())
        return data[::-1]

    async def talk(self, requests: AsyncIterator[bytes], _context: Any) -> AsyncIterator[bytes]:
        async for data in requests:
            yield data.upper()


@contextlib.asynccontextmanager
async def serve(
    *handlers: grpc.GenericRpcHandler, compression: grpc.Compression | None = None
) -> AsyncIterator[str]:
    """Serve these handlers on a port of their own."""
    server = grpc.aio.server(options=OPTIONS, compression=compression)
    server.add_generic_rpc_handlers(handlers)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


class Handler(grpc.GenericRpcHandler):
    """The methods of the small server."""

    def __init__(self, server: Server) -> None:
        self._methods: dict[str, Any] = {
            INFER: grpc.unary_unary_rpc_method_handler(server.infer),
            STREAM: grpc.stream_stream_rpc_method_handler(server.stream),
            SERVICE + "ServerReady": grpc.unary_unary_rpc_method_handler(server.ready),
            "/other.Service/Talk": grpc.stream_stream_rpc_method_handler(server.talk),
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return self._methods.get(handler_call_details.method)
