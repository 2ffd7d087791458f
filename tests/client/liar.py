"""A registry that lies: it passes every call on to a real one, and changes what it is told to.

::

    with Liar(running.address) as liar:
        liar.answers["LogService/GetCheckpoint"] = lambda raw: other_bytes
        client = client_of(liar.address, …)

Messages are bytes here; whoever lies parses and writes them with the generated classes.
"""

from collections.abc import Callable, Iterator
from concurrent import futures
from types import TracebackType
from typing import Any, Self

import grpc

Change = Callable[[bytes], bytes]
"""What is done to one message."""

_PREFIX = "/registry.api.v1."


class Liar:
    """Stands between a client and a registry.

    Attributes:
        answers: What to do to each answer of a method, such as ``LogService/GetProof``.
        requests: What to do to each request of a method.
        streams: What to do to the stream of answers of a method.
        fail: Methods that fail, with the status and how many times.
        seen: ``(method, authorization)`` of every call.
    """

    def __init__(self, address: str) -> None:
        self.answers: dict[str, Change] = {}
        self.requests: dict[str, Change] = {}
        self.streams: dict[str, Callable[[Iterator[bytes]], Iterator[bytes]]] = {}
        self.fail: dict[str, tuple[grpc.StatusCode, int]] = {}
        self.seen: list[tuple[str, str]] = []
        self._real = grpc.insecure_channel(address)
        self._server = grpc.server(futures.ThreadPoolExecutor(4))
        self._server.add_generic_rpc_handlers((_Handler(self),))
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.stop(None).wait()
        self._real.close()

    def count(self, method: str) -> int:
        """How often a method was called."""
        return sum(name == method for name, _ in self.seen)

    def note(self, method: str, context: grpc.ServicerContext) -> list[tuple[str, Any]]:
        """Take note of a call, and let it fail if it should."""
        metadata = [
            (key, value) for key, value in context.invocation_metadata() if key == "authorization"
        ]
        self.seen.append((method, str(metadata[0][1]) if metadata else ""))
        code, times = self.fail.get(method, (grpc.StatusCode.OK, 0))
        if times:
            self.fail[method] = (code, times - 1)
            context.abort(code, "as the test wants it")
        return metadata

    def unary(self, method: str) -> Callable[[Any, grpc.ServicerContext], bytes]:
        """Answer calls with one answer."""
        kind = self._real.stream_unary if method.endswith("/Upload") else self._real.unary_unary
        real: Any = kind(_PREFIX + method)

        def answer(request: Any, context: grpc.ServicerContext) -> bytes:
            metadata = self.note(method, context)
            if isinstance(request, bytes):
                request = self.requests.get(method, _as_it_is)(request)
            try:
                told: bytes = real(request, metadata=metadata)
            except grpc.RpcError as error:
                _pass_on(error, context)
                raise
            return self.answers.get(method, _as_it_is)(told)

        return answer

    def stream(self, method: str) -> Callable[[bytes, grpc.ServicerContext], Iterator[bytes]]:
        """Answer calls with many answers."""
        real: Any = self._real.unary_stream(_PREFIX + method)

        def answer(request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
            metadata = self.note(method, context)
            request = self.requests.get(method, _as_it_is)(request)
            answers = real(request, metadata=metadata)
            change = self.streams.get(method)
            try:
                yield from answers if change is None else change(answers)
            except grpc.RpcError as error:
                _pass_on(error, context)
            except ConnectionError as error:
                context.abort(grpc.StatusCode.UNAVAILABLE, str(error))

        return answer


class _Handler(grpc.GenericRpcHandler):
    def __init__(self, liar: Liar) -> None:
        self._liar = liar

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        method = handler_call_details.method.removeprefix(_PREFIX)
        if method.endswith(("/Download", "/Watch", "/Reappraise")):
            return grpc.unary_stream_rpc_method_handler(self._liar.stream(method))
        if method.endswith("/Upload"):
            return grpc.stream_unary_rpc_method_handler(self._liar.unary(method))
        return grpc.unary_unary_rpc_method_handler(self._liar.unary(method))


def _as_it_is(raw: bytes) -> bytes:
    return raw


def _pass_on(error: grpc.RpcError, context: grpc.ServicerContext) -> None:
    if isinstance(error, grpc.Call):
        trailing = [
            (key, value)
            for key, value in error.trailing_metadata() or ()
            if key == "grpc-status-details-bin"
        ]
        context.set_trailing_metadata(tuple(trailing))
        context.abort(error.code(), error.details() or "")
