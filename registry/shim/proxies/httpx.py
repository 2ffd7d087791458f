"""Recorded transports for ``httpx``, within the process that asks: one line around a client.

::

    described = Description.of(release, Engine(), upstream="https://…", files_verified=0)
    standing = Standing(shim.recorder, described)
    calls = Calls(shim.recorder, shim.unrecorded, standing, levels=shim.levels)
    recorded = RecordedTransport(httpx2.HTTPTransport(), calls)
    client = openai.OpenAI(http_client=httpx2.Client(transport=recorded))

For ``httpx`` and its successor ``httpx2``, which OpenAI's clients use; for clients that are
asynchronous there is :class:`AsyncRecordedTransport`. Every call has a record, and the same rules
as behind :class:`registry.shim.proxies.http.HttpProxy` say what is one, and when an answer is
whole: a client that closes after the protocol's end got its answer, one that closes before is gone.
A retry is a call of its own.

Changed of a request is only ``accept-encoding``, so that answers come uncompressed; headers for the
shim stay here. Answers have the headers ``x-receipt-id`` and ``x-output-sha256``; the latter, if
the answer is a stream or large, once its end was read. Whoever asks for a level has the answer, or
its last piece, when the level is reached or the deadline is over.
"""

import asyncio
import contextlib
import hashlib
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from types import TracebackType
from typing import Any, Self

from registry.core.digest import sha256
from registry.errors import LimitExceededError, Reason
from registry.shim.proxies.answer_readers import LONG_BYTES, kind_of
from registry.shim.proxies.call_paths import is_call
from registry.shim.proxies.exchange import ASKED_HEADERS, MAX_REQUEST_BYTES
from registry.shim.proxies.passage import MAX_HELD_BYTES, Failed, Outcome, Passage, Step, is_framed
from registry.shim.proxies.request_params import JSON_BYTES, params_of
from registry.shim.recorder.answer import Answer
from registry.shim.recorder.asking import OUTPUT, RECEIPT, TOLD, Asked, Proven
from registry.shim.recorder.calls import Call, Calls
from registry.shim.recorder.outcomes import Sent
from registry.shim.recorder.unread import Unread
from registry.shim.spans import mark_current

_LIBRARIES: list[Any] = []
with contextlib.suppress(ImportError):
    import httpx  # type: ignore[import-not-found, unused-ignore]

    _LIBRARIES.append(httpx)
with contextlib.suppress(ImportError):
    import httpx2  # type: ignore[import-not-found, unused-ignore]

    _LIBRARIES.append(httpx2)


class RecordedTransport:
    """A transport around another one; for any number of threads."""

    def __init__(self, inner: Any, calls: Calls) -> None:
        """Take the transport that asks the model server, and where calls are written down."""
        self._inner = inner
        self._calls = calls

    def handle_request(self, request: Any) -> Any:
        """Ask, and record it if it asks something of the model.

        Raises:
            UnavailableError: ``JOURNAL_LATCHED``, ``JOURNAL_FULL`` or ``JOURNAL_BUSY``: nothing was
                asked.
            MalformedError: ``MALFORMED_FIELD``.
            LimitExceededError: ``BODY_TOO_LARGE``.
        """
        body = request.read()
        if not is_call(request.method, request.url.path, body):
            return self._inner.handle_request(request)
        call = self._calls.begin_here(_request_digest(body), _asked(request, body))
        try:
            response = self._inner.handle_request(request)
        except Exception as error:
            call.failed(type(error).__name__)
            raise
        except BaseException:
            call.abandoned()
            raise
        passing = _Passing.of(call, request, body, response, self._calls)
        source = iter(response.stream)
        pieces: list[bytes] = []
        room = MAX_HELD_BYTES
        try:
            if passing.passage.is_document:
                for piece in source:
                    call.received()
                    pieces.append(piece)
                    room -= len(piece)
                    if room < 0:
                        break
                else:
                    outcome = passing.said(passing.passage.document(b"".join(pieces)))
                    if outcome is not None:
                        call.answered_here(outcome)
                        passing.tell(call.proven_here())
        except BaseException as error:
            passing.broke(error)
            response.close()
            raise
        response.stream = _SYNC_STREAM(passing, pieces, source, response.stream.close)
        return response

    def close(self) -> None:
        """Close the other transport."""
        self._inner.close()

    def __enter__(self) -> Self:
        self._inner.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        self._inner.__exit__(kind, error, trace)


class AsyncRecordedTransport:
    """A transport around another one, for one event loop."""

    def __init__(self, inner: Any, calls: Calls) -> None:
        """Take the transport that asks the model server, and where calls are written down."""
        self._inner = inner
        self._calls = calls

    async def handle_async_request(self, request: Any) -> Any:
        """Ask, and record it if it asks something of the model.

        Raises:
            RegistryError: As :meth:`RecordedTransport.handle_request`.
        """
        body = await request.aread()
        if not is_call(request.method, request.url.path, body):
            return await self._inner.handle_async_request(request)
        long = len(body) > LONG_BYTES
        digest = _request_digest(body)
        asked = await asyncio.to_thread(_asked, request, body) if long else _asked(request, body)
        call = await self._calls.begin(digest, asked)
        try:
            response = await self._inner.handle_async_request(request)
        except Exception as error:
            call.failed(type(error).__name__)
            raise
        except BaseException:
            call.abandoned()
            raise
        passing = _Passing.of(call, request, body, response, self._calls)
        source = aiter(response.stream)
        pieces: list[bytes] = []
        room = MAX_HELD_BYTES
        try:
            if passing.passage.is_document:
                async for piece in source:
                    call.received()
                    pieces.append(piece)
                    room -= len(piece)
                    if room < 0:
                        break
                else:
                    whole = b"".join(pieces)
                    read = partial(passing.passage.document, whole)
                    long = passing.passage.takes_long(len(whole))
                    outcome = passing.said(await asyncio.to_thread(read) if long else read())
                    if outcome is not None:
                        await call.answered(outcome)
                        passing.tell(await call.proven())
        except BaseException as error:
            passing.broke(error)
            await response.aclose()
            raise
        response.stream = _ASYNC_STREAM(passing, pieces, source, response.stream.aclose)
        return response

    async def aclose(self) -> None:
        """Close the other transport."""
        await self._inner.aclose()

    async def __aenter__(self) -> Self:
        await self._inner.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        await self._inner.__aexit__(kind, error, trace)


class _Passing:
    """One answer on its way to the caller, and what the caller was given of it."""

    def __init__(self, call: Call, passage: Passage, headers: Any) -> None:
        self.call = call
        self.passage = passage
        self._headers = headers
        self._size = 0
        self._hash = hashlib.sha256()
        if call.receipt_id:
            self._headers[RECEIPT] = call.receipt_id

    @classmethod
    def of(cls, call: Call, request: Any, body: bytes, response: Any, calls: Calls) -> Self:
        """The answer that begins with ``response``; what only the shim may say is taken from it."""
        headers = response.headers
        named = {name.lower(): value for name, value in headers.items()}
        for name in TOLD & named.keys():
            del headers[name]
        http2 = response.extensions.get("http_version") == b"HTTP/2"
        passage = Passage(
            kind_of(request.url.path),
            named,
            response.status_code,
            strict=calls.mode == "strict",
            framed=http2 or is_framed(named, response.status_code),
            gathering=calls.gathering(body),
        )
        return cls(call, passage, headers)

    def step(self, step: Step) -> Answer | None:
        """What is to be written down within a step."""
        return None if step.outcome is None else self.said(step.outcome)

    def tell(self, proven: Proven) -> None:
        """Tell the caller of the level that it asked for, and its own span of the record."""
        mark_current(self.call.receipt_id, self.call.response)
        self._headers.update(proven.headers())

    def given(self, piece: bytes) -> bytes:
        """Take note that the caller is given a piece now; after an outcome nobody asks."""
        if not self.call.ended:
            self._size += len(piece)
            self._hash.update(piece)
        return piece

    def broke(self, error: BaseException) -> None:
        """Write down that an answer did not come to its end."""
        if isinstance(error, Exception) and not isinstance(error, asyncio.CancelledError):
            self.call.failed(type(error).__name__, self._sent())
        else:
            self.left()

    def left(self) -> None:
        """Write down that the caller wants no more, unless the answer was whole."""
        if not self.call.ended:
            self.call.abandoned(self._sent())

    def said(self, outcome: Outcome) -> Answer | None:
        """What is to be written down of an answer; None if it is none."""
        self._headers[OUTPUT] = self.passage.content_digest
        if isinstance(outcome, Failed):
            self.call.failed(outcome.error, self._sent())
            return None
        return outcome

    def _sent(self) -> Sent:
        return Sent(self._size, self._hash.hexdigest() if self._size else "")


class _SyncPieces:
    """The bytes of an answer, for the client to take."""

    def __init__(
        self,
        passing: _Passing,
        before: list[bytes],
        source: Iterator[bytes],
        close: Callable[[], None],
    ) -> None:
        self._passing = passing
        self._before = before
        self._source = source
        self._close = close

    def __iter__(self) -> Iterator[bytes]:
        passing = self._passing
        passage = passing.passage
        try:
            if passage.settled:
                # It was held whole.
                yield from map(passing.given, self._before)
                return
            for piece in itertools.chain(self._before, self._source):
                passing.call.received()
                yield from self._do(passage.piece(piece))
            yield from self._do(passage.end())
        except GeneratorExit:
            passing.left()
            raise
        except BaseException as error:
            passing.broke(error)
            raise

    def _do(self, step: Step) -> Iterator[bytes]:
        # First, in any mode: a client that has what it wants never asks for the next piece.
        if (answer := self._passing.step(step)) is not None:
            self._passing.call.answered_here(answer)
            self._passing.tell(self._passing.call.proven_here())
        for piece in filter(None, (step.before, step.after)):
            yield self._passing.given(piece)

    def close(self) -> None:
        self._passing.left()
        self._close()


class _AsyncPieces:
    """As :class:`_SyncPieces`."""

    def __init__(
        self,
        passing: _Passing,
        before: list[bytes],
        source: AsyncIterator[bytes],
        close: Callable[[], Any],
    ) -> None:
        self._passing = passing
        self._before = before
        self._source = source
        self._close = close

    async def __aiter__(self) -> AsyncIterator[bytes]:
        passing = self._passing
        passage = passing.passage
        try:
            held = passage.settled
            for piece in self._before:
                if held:
                    yield passing.given(piece)
                    continue
                async for part in self._do(passage.piece(piece)):
                    yield part
            if held:
                return
            async for piece in self._source:
                passing.call.received()
                async for part in self._do(passage.piece(piece)):
                    yield part
            async for part in self._do(passage.end()):
                yield part
        except GeneratorExit:
            passing.left()
            raise
        except BaseException as error:
            passing.broke(error)
            raise

    async def _do(self, step: Step) -> AsyncIterator[bytes]:
        if (answer := self._passing.step(step)) is not None:
            await self._passing.call.answered(answer)
            self._passing.tell(await self._passing.call.proven())
        for piece in filter(None, (step.before, step.after)):
            yield self._passing.given(piece)

    async def aclose(self) -> None:
        self._passing.left()
        await self._close()


# Each library asks whether a stream is of its own class; these are of both.
_SYNC_STREAM: Any = type(
    "RecordedStream", (_SyncPieces, *(item.SyncByteStream for item in _LIBRARIES)), {}
)
_ASYNC_STREAM: Any = type(
    "AsyncRecordedStream", (_AsyncPieces, *(item.AsyncByteStream for item in _LIBRARIES)), {}
)


def _request_digest(body: bytes) -> bytes:
    if len(body) > MAX_REQUEST_BYTES:
        raise LimitExceededError(
            Reason.BODY_TOO_LARGE,
            "this request is too large",
            expected=f"at most {MAX_REQUEST_BYTES} bytes",
            actual=f"{len(body)} bytes",
        )
    return sha256(body)


def _asked(request: Any, body: bytes) -> Asked:
    """What the caller asks of the record; headers that are for the shim stay here."""
    # Read once: these mappings look through all that they have for each name.
    named = dict(request.headers.items())
    read = partial(params_of, body, request.url.path, named.get(JSON_BYTES))
    asked = Asked.read(named, Unread(read) if len(body) <= LONG_BYTES else read())
    for name in named.keys() & ASKED_HEADERS:
        del request.headers[name]
    if named.get("accept-encoding") != "identity":
        request.headers["accept-encoding"] = "identity"
    return asked
