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
from functools import partial
from types import TracebackType
from typing import Any, Self

from registry.core.digest import sha256
from registry.errors import LimitExceededError, Reason
from registry.shim.proxies.answer_readers import LONG_BYTES
from registry.shim.proxies.call_paths import is_call
from registry.shim.proxies.exchange import ASKED_HEADERS, MAX_REQUEST_BYTES, named
from registry.shim.proxies.passage import MAX_HELD_BYTES
from registry.shim.proxies.recorded_pieces import AsyncPieces, Passing, SyncPieces
from registry.shim.proxies.request_params import JSON_BYTES, params_of
from registry.shim.recorder.asking import Asked
from registry.shim.recorder.calls import Calls
from registry.shim.recorder.unread import Unread

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
        path = request.url.path
        if not is_call(request.method, path, body):
            return self._inner.handle_request(request)
        call = self._calls.begin_here(_request_digest(body), _asked(request, path, body))
        try:
            response = self._inner.handle_request(request)
        except Exception as error:
            call.failed(type(error).__name__)
            raise
        except BaseException:
            call.abandoned()
            raise
        passing = Passing.of(call, path, body, response, self._calls)
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
        path = request.url.path
        if not is_call(request.method, path, body):
            return await self._inner.handle_async_request(request)
        long = len(body) > LONG_BYTES
        digest = _request_digest(body)
        asked = (
            await asyncio.to_thread(_asked, request, path, body)
            if long
            else _asked(request, path, body)
        )
        call = await self._calls.begin(digest, asked)
        try:
            response = await self._inner.handle_async_request(request)
        except Exception as error:
            call.failed(type(error).__name__)
            raise
        except BaseException:
            call.abandoned()
            raise
        passing = Passing.of(call, path, body, response, self._calls)
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


# Each library asks whether a stream is of its own class; these are of both.
_SYNC_STREAM: Any = type(
    "RecordedStream", (SyncPieces, *(item.SyncByteStream for item in _LIBRARIES)), {}
)
_ASYNC_STREAM: Any = type(
    "AsyncRecordedStream", (AsyncPieces, *(item.AsyncByteStream for item in _LIBRARIES)), {}
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


def _asked(request: Any, path: str, body: bytes) -> Asked:
    """What the caller asks of the record; headers that are for the shim stay here."""
    # Read once: these mappings look through all that they have for each name.
    fields = named(request.headers.raw)
    read = partial(params_of, body, path, fields.get(JSON_BYTES))
    asked = Asked.read(fields, Unread(read) if len(body) <= LONG_BYTES else read())
    for name in fields.keys() & ASKED_HEADERS:
        del request.headers[name]
    if fields.get("accept-encoding") != "identity":
        request.headers["accept-encoding"] = "identity"
    return asked
