"""A gRPC proxy for the Open Inference Protocol v2: bytes pass untouched, answers are recorded.

No message is decoded on its way: unknown methods, fields and metadata go through as they came, and
so do deadlines, cancellation and errors. Recorded are ``ModelInfer``, one call each, and
``ModelStreamInfer``, where each request is a call and each answer belongs to the request whose id
it repeats, or else to the oldest one without an answer. A server that sends several answers to one
request says which is the last (``triton_final_response``); if it does not, each further answer is
recorded as a call of its own. Nothing that goes out is without a record.

Answers carry ``x-receipt-id`` and ``x-output-sha256`` in their trailing metadata, where they are
known in time; in a stream, of the last answer. A call that the model server refuses has the former.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, NoReturn

import grpc
import grpc.aio

from registry.errors import LimitExceededError, MalformedError, Reason, RegistryError
from registry.shim.privacy.gathering import Gathering
from registry.shim.proxies.call_metadata import (
    Metadata,
    asked_of,
    left,
    metadata_of,
    passing,
    theirs,
    timeout_of,
)
from registry.shim.proxies.grpc_bounds import options
from registry.shim.proxies.message_answers import (
    content_of,
    frames_digest,
    gathering_of,
    read_answers,
    receipt_of,
    unhurried,
)
from registry.shim.recorder.asking import Asked
from registry.shim.recorder.calls import Call, Calls
from registry.shim.recorder.outcomes import Sent
from registry.wire import open_inference
from registry.wire.status import to_status

MAX_OPEN_REQUESTS = 1024
"""Requests of one stream that wait for their answer at once."""

SERVICE: Final = "/inference.GRPCInferenceService/"
"""The protocol's service."""

INFER: Final = SERVICE + "ModelInfer"
"""One request, one answer."""

STREAM: Final = SERVICE + "ModelStreamInfer"
"""Triton's stream of requests and answers."""

OPTIONS: Final = options()
"""Options of the server and of the channel to the model server."""

_PRIVATE = "_cython_call"

Context = grpc.aio.ServicerContext[Any, Any]


class OpenInferenceProxy(grpc.GenericRpcHandler):
    """Forwards every method to one model server."""

    def __init__(self, upstream: grpc.aio.Channel, calls: Calls) -> None:
        """Take the channel to the model server, which has no interceptors and no serializers."""
        self._upstream = upstream
        self._calls = calls
        ask: Any = upstream.unary_unary(INFER)
        self._infer: Any = grpc.unary_unary_rpc_method_handler(_Unary(ask, calls).serve)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """The handler of a method, whatever it is."""
        method = handler_call_details.method
        # One message each way; everything else passes as a stream, which looks the same.
        if method == INFER:
            return self._infer
        stream: Any = self._upstream.stream_stream(method)
        record = self._calls if method == STREAM else None
        return grpc.stream_stream_rpc_method_handler(_Stream(stream, record).serve)


@dataclass(frozen=True, slots=True)
class _Unary:
    """``ModelInfer``."""

    ask: Callable[..., Any]
    calls: Calls

    async def serve(self, request: bytes, context: Context) -> bytes:
        """Forward one request, and its answer once that is allowed."""
        metadata = metadata_of(context)
        try:
            kept = passing(metadata)
            digest, asked = await unhurried(partial(_read, metadata, request), [request])
            call = await self.calls.begin(digest, asked)
        except RegistryError as error:
            await _refuse(context, error)
        upstream = self.ask(request, metadata=kept, timeout=timeout_of(context))
        try:
            answer: bytes = await upstream
            call.received()
            # Sent by itself only if there is any: an empty one goes with the answer.
            if initial := theirs(await upstream.initial_metadata()):
                await context.send_initial_metadata(initial)
            trailing = theirs(await upstream.trailing_metadata())
            read = partial(read_answers, [answer], open_inference.read_response)
            said = await unhurried(read, [answer])
            gathering = gathering_of(self.calls, [request])
            await call.answered(said.answer("unary", content=content_of(gathering, [answer])))
        except grpc.aio.AioRpcError as error:
            call.failed(f"grpc status {error.code().name}")
            trailing = (*theirs(error.trailing_metadata()), *receipt_of(call))
            await _abort(context, error.code(), error.details(), trailing)
        except RegistryError as error:
            call.failed(error.reason)
            await _refuse(context, error)
        except BaseException as error:
            upstream.cancel()
            _broke(call, error)
            raise
        proven = await call.proven(left(context))
        context.set_trailing_metadata((*trailing, *said.metadata(call), *proven.headers()))
        return answer


@dataclass(slots=True)
class _Pending:
    """A request of a stream that has no last answer yet."""

    id: str
    call: Call
    gathering: Gathering | None
    answers: list[bytes] = field(default_factory=list)


class _Open:
    """The requests of one stream that wait for an answer, in order."""

    def __init__(self, calls: Calls, metadata: Metadata) -> None:
        self._calls = calls
        self._metadata = metadata
        self._asked = asked_of(metadata, b"")
        self._pending: list[_Pending] = []
        self._last = bytes(32)
        self._answered: Call | None = None
        self._said: Metadata = ()
        self.strict = calls.mode == "strict"

    async def asked(self, request: bytes) -> None:
        """Write down a request before it is forwarded."""
        if len(self._pending) >= MAX_OPEN_REQUESTS:
            raise LimitExceededError(
                Reason.JOURNAL_BUSY,
                "too many requests of this stream wait for their answer",
                expected=f"at most {MAX_OPEN_REQUESTS}",
            )
        read = partial(_read, self._metadata, request)
        self._last, self._asked = await unhurried(read, [request])
        call = await self._calls.begin(self._last, self._asked)
        gathering = gathering_of(self._calls, [request])
        self._pending.append(_Pending(open_inference.request_head(request).id, call, gathering))

    async def answered(self, message: bytes) -> None:
        """Write down an answer before it goes out."""
        try:
            said = open_inference.read_stream_response(message)
        except MalformedError:
            said = None
        pending = await self._find(said.id if said is not None else "")
        pending.answers.append(message)
        pending.call.received()
        if said is not None and said.final is False:
            return
        if said is not None and said.error:
            self._pending.remove(pending)
            sent = Sent(sum(map(len, pending.answers)), frames_digest(pending.answers))
            pending.call.failed("ModelStreamInferResponse.error_message", sent)
            return
        read = partial(read_answers, pending.answers, open_inference.read_stream_response)
        whole = await unhurried(read, pending.answers)
        # Only now: if nobody waits any more, it is among those that have no outcome yet.
        self._pending.remove(pending)
        await pending.call.answered(
            whole.answer(
                "grpc_stream",
                len(pending.answers),
                content_of(pending.gathering, pending.answers),
            )
        )
        self._said, self._answered = whole.metadata(pending.call), pending.call

    async def metadata(self, at_most: float) -> Metadata:
        """What tells the caller of the last answer, once what it asked for is there or late."""
        if self._answered is None:
            return ()
        return (*self._said, *(await self._answered.proven(at_most)).headers())

    def ended(self, error: str) -> None:
        """Write down that no more answers come."""
        for pending in self._pending:
            sent = Sent(sum(map(len, pending.answers)), frames_digest(pending.answers))
            if error:
                pending.call.failed(error, sent)
            else:
                pending.call.abandoned(sent)
        self._pending.clear()

    async def _find(self, name: str) -> _Pending:
        for pending in self._pending:
            if name and pending.id == name:
                return pending
        if self._pending and not (name and any(item.id for item in self._pending)):
            return self._pending[0]
        # A further answer to a request that seemed to have had its last one.
        call = await self._calls.begin(self._last, self._asked)
        pending = _Pending(name, call, gathering_of(self._calls, []))
        self._pending.append(pending)
        return pending


@dataclass(frozen=True, slots=True)
class _Stream:
    """Any other method: messages pass both ways until both sides are done."""

    ask: Callable[..., Any]
    calls: Calls | None

    async def serve(self, requests: AsyncIterator[bytes], context: Context) -> None:
        """Forward messages both ways."""
        metadata = metadata_of(context)
        open_: _Open | None = None
        try:
            kept = passing(metadata)
            if self.calls is not None:
                open_ = _Open(self.calls, metadata)
        except RegistryError as error:
            await _refuse(context, error)
        upstream = self.ask(metadata=kept, timeout=timeout_of(context))
        asking = asyncio.ensure_future(_forward(requests, upstream, open_))
        answering = asyncio.ensure_future(self._answer(upstream, context, open_))
        try:
            # Answers may end before the requests do, and then nobody sends any more.
            await _until_answered(answering, asking)
            trailing = theirs(await upstream.trailing_metadata())
            code = await upstream.code()
            if code is not grpc.StatusCode.OK:
                await _abort(context, code, await upstream.details(), trailing)
            told = () if open_ is None else await open_.metadata(left(context))
            context.set_trailing_metadata((*trailing, *told))
        except grpc.aio.AioRpcError as error:
            if open_ is not None:
                open_.ended(f"grpc status {error.code().name}")
            trailing = theirs(error.trailing_metadata())
            await _abort(context, error.code(), error.details(), trailing)
        except RegistryError as error:
            if open_ is not None:
                open_.ended(error.reason)
            await _refuse(context, error)
        finally:
            asking.cancel()
            answering.cancel()
            upstream.cancel()
            if open_ is not None:
                open_.ended("")

    async def _answer(self, upstream: Any, context: Context, open_: _Open | None) -> None:
        await context.send_initial_metadata(theirs(await upstream.initial_metadata()))
        while (message := await upstream.read()) is not grpc.aio.EOF:
            # In strict mode nothing goes out before its record is durable; else nothing is
            # recorded before it went out.
            if open_ is not None and open_.strict:
                await open_.answered(message)
            await context.write(message)
            if open_ is not None and not open_.strict:
                await open_.answered(message)
        if open_ is not None:
            code = await upstream.code()
            open_.ended("UpstreamEof" if code is grpc.StatusCode.OK else f"grpc status {code.name}")


async def _until_answered(answering: "asyncio.Task[None]", asking: "asyncio.Task[None]") -> None:
    """Wait for the last answer, or for a request that does not go on; raises why."""
    while not answering.done():
        waiting = {answering} if asking.done() else {answering, asking}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if asking.done():
            # A model server that was never asked says nothing, not even that it has begun.
            await asking
    await answering


async def _write(upstream: Any, request: bytes) -> None:
    """Send a message, and leave it to the model server to say how the call ended.

    ``upstream.write`` would say INTERNAL instead of the server's own status if the server ends the
    call in the same moment, as one does that does not know the method (grpc/grpc#36066). What it
    calls is private to gRPC: a version that has it no more is spoken to as everybody does.
    """
    send = getattr(getattr(upstream, _PRIVATE, None), "send_serialized_message", None)
    if send is None:
        await upstream.write(request)
        return
    await upstream.wait_for_connection()
    if upstream.done():
        raise asyncio.InvalidStateError
    await send(request)


async def _forward(requests: AsyncIterator[bytes], upstream: Any, open_: _Open | None) -> None:
    try:
        async for request in requests:
            if open_ is not None:
                await open_.asked(request)
            await _write(upstream, request)
        await upstream.done_writing()
    except (grpc.aio.AioRpcError, grpc.aio.InternalError, asyncio.InvalidStateError):
        # The model server ended the call; its status says why.
        return


def _read(metadata: Metadata, request: bytes) -> tuple[bytes, Asked]:
    """What names a request, and what it asks."""
    return bytes.fromhex(frames_digest([request])), asked_of(metadata, request)


def _broke(call: Call, error: BaseException) -> None:
    """Write down why there is no answer: whoever asked left, or something else."""
    if isinstance(error, Exception):
        call.failed(type(error).__name__)
    else:
        call.abandoned()


async def _refuse(context: Context, error: RegistryError) -> NoReturn:
    code, details, trailing = to_status(error)
    await context.abort(code, details, trailing)
    raise AssertionError  # abort raises


async def _abort(
    context: Context, code: grpc.StatusCode, details: str | None, trailing: Metadata
) -> NoReturn:
    """End the call as the model server ended it, its own details included."""
    await context.abort(code, details or "", tuple(trailing))
    raise AssertionError  # abort raises
