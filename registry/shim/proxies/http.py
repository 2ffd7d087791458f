"""A reverse proxy for model servers that speak HTTP: OpenAI-compatible, Open Inference, others.

Headers, bodies and streams pass as they are. Every POST, and whatever else has a body, is a call
and has a record: its intent before the model server sees it, its outcome after. Answers are read
beside the bytes that pass, see :mod:`registry.shim.proxies.passage`. In ``strict`` mode the last
frame of a stream, or the whole of another answer, is held until its record is durable.

Changed on the way are only what belongs to one connection (RFC 9110 §7.6.1), ``host``, and
``accept-encoding``, so that answers come uncompressed. Added to answers are ``x-receipt-id``, and
``x-output-sha256`` as a header if the answer is small enough to be held, else as a trailer; a model
server that says such things itself is not believed. Trailers of the model server do not pass: what
asks it here does not read them.
"""

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from typing import Any, TypeVar

import aiohttp
from yarl import URL

from registry.core.digest import sha256
from registry.errors import Reason, RegistryError
from registry.shim.proxies.answer_readers import LONG_BYTES, kind_of
from registry.shim.proxies.call_paths import is_call
from registry.shim.proxies.exchange import (
    Exchange,
    GoneError,
    Headers,
    Receive,
    Room,
    Send,
    named,
    passing,
)
from registry.shim.proxies.passage import MAX_HELD_BYTES, Failed, Outcome, Passage, Step, is_framed
from registry.shim.proxies.request_params import JSON_BYTES, Unread, params_of
from registry.shim.recorder.asking import OUTPUT, REACHED, RECEIPT, Asked
from registry.shim.recorder.calls import Call, Calls

CONNECT_SECONDS = 10.0
"""How long the model server may take to accept a connection."""

LARGE_BYTES = 64 * 1024
"""Bytes of a request above which it is written in pieces."""

FINAL = range(200, 600)
"""The statuses of an answer: 1xx come before one, and no others are defined (RFC 9110 §15)."""

Asking = contextlib.AbstractAsyncContextManager[Any]
"""A question to the model server; entered, it is asked, and gives the answer as it begins."""


class UnfitAnswerError(Exception):
    """The model server answered with something that cannot be passed on as an answer."""


T = TypeVar("T")
_RECEIPT, _OUTPUT = RECEIPT.encode(), OUTPUT.encode()


class HttpProxy:
    """The ASGI application in front of one model server."""

    def __init__(self, upstream: str, session: aiohttp.ClientSession, calls: Calls) -> None:
        """Take the model server's address, a session that decodes nothing, and where calls go."""
        self._upstream = upstream.rstrip("/")
        self._prefix = URL(self._upstream).raw_path.rstrip("/")
        self._room = Room()
        self._session = session
        self._calls = calls

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        exchange = Exchange(scope, receive, send, self._room)
        try:
            url = URL(self._upstream + exchange.target_below(self._prefix), encoded=True)
            headers = exchange.asked_headers()
            body = await exchange.body()
            asking = self._asking(exchange, url, headers, body)
            if is_call(exchange.method, exchange.path, body):
                await self._record(exchange, body, asking)
            else:
                await _pass(exchange, asking)
        except GoneError:
            return
        except RegistryError as error:
            await exchange.refuse(error)
        finally:
            exchange.close()

    async def _record(self, exchange: Exchange, body: bytes, asking: Asking) -> None:
        long = len(body) > LONG_BYTES
        json_bytes = exchange.all_headers.get(JSON_BYTES)
        read = partial(params_of, body, exchange.path, json_bytes)
        params = await asyncio.to_thread(read) if long else Unread(read)
        asked = Asked.read(exchange.all_headers, params)
        call = await self._calls.begin(sha256(body), asked)
        try:
            async with asking as response:
                strict = self._calls.mode == "strict"
                headers = named(response.raw_headers)
                passage = Passage(
                    kind_of(exchange.path),
                    headers,
                    response.status,
                    strict=strict,
                    framed=is_framed(headers, response.status),
                    gathering=self._calls.gathering(body),
                )
                await _go(exchange, call, passage, response)
        except (aiohttp.ClientError, UnfitAnswerError) as error:
            call.failed(_kind(error), exchange.sent())
            await exchange.fail(_kind(error))
        except (GoneError, asyncio.CancelledError):
            call.abandoned(exchange.sent())
            raise
        except BaseException as error:
            # Whatever it is: no call is without an outcome.
            call.failed(type(error).__name__, exchange.sent())
            raise

    @contextlib.asynccontextmanager
    async def _asking(
        self, exchange: Exchange, url: URL, headers: list[tuple[str, str]], body: bytes
    ) -> AsyncIterator[Any]:
        """Ask the model server, and give up as soon as whoever asked is gone."""
        asking = self._session.request(
            exchange.method,
            url,
            headers=[*headers, ("accept-encoding", "identity")],
            # What is large goes out in pieces, so that others have their turn meanwhile.
            data=io.BytesIO(body) if len(body) > LARGE_BYTES else body or None,
            allow_redirects=False,
        )
        response = await exchange.unless_gone(asking)
        # Reading then ends with an error at once; cheaper than a second task for each piece.
        exchange.when_gone(partial(_leave, response))
        try:
            _check(response)
            yield response
        except aiohttp.ClientError:
            exchange.check_there()
            raise
        finally:
            # What was not read to its end is not worth keeping the connection for.
            response.close()


def _check(response: Any) -> None:
    """Refuse an answer that no client could be given.

    Raises:
        UnfitAnswerError: It is none, or in a form that nobody asked for.
    """
    if response.status not in FINAL:
        message = f"status {response.status}"
        raise UnfitAnswerError(message)
    coding = named(response.raw_headers).get("transfer-encoding", "chunked")
    if coding.lower() != "chunked":
        # It is never passed on, so the client could not undo it (RFC 9112 §6.1).
        message = f"transfer coding {coding[:40]}"
        raise UnfitAnswerError(message)


def _leave(response: Any) -> None:
    """Read no more of an answer.

    Left to itself aiohttp raises one object for every answer that is closed, and that object keeps
    the frames through which it was raised: each call, with what it said, for as long as we live.
    """
    response.content.set_exception(aiohttp.ClientConnectionError())
    response.close()


def _kind(error: Exception) -> str:
    """What kind of failure it is; never its text, which may quote the answer."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return Reason.PEER_CERTIFICATE
    if isinstance(error, UnfitAnswerError):
        return f"{Reason.UNFIT_ANSWER}: {error}"
    return type(error).__name__


async def _pass(exchange: Exchange, asking: Asking) -> None:
    """Forward a request that asks nothing of the model."""
    try:
        async with asking as response:
            await exchange.begin(response.status, passing(response.raw_headers))
            async for piece in response.content.iter_any():
                await exchange.write(piece)
            await exchange.end(())
    except (aiohttp.ClientError, UnfitAnswerError) as error:
        await exchange.fail(_kind(error))


async def _go(exchange: Exchange, call: Call, passage: Passage, response: Any) -> None:
    """Pass an answer on, read it, and write down how it ended."""
    headers = passing(response.raw_headers)
    if call.receipt_id:
        headers.append((_RECEIPT, call.receipt_id.encode()))
    pieces: list[bytes] = []
    if passage.is_document:
        room = MAX_HELD_BYTES
        async for piece in response.content.iter_any():
            call.received()
            pieces.append(piece)
            room -= len(piece)
            if room < 0:
                break
        else:
            await _hold(exchange, call, passage, b"".join(pieces), (response.status, headers))
            return
    headers = [item for item in headers if item[0].lower() != b"content-length"]
    told = _OUTPUT + (b"" if call.wish is None else b", " + REACHED.encode())
    await exchange.begin(response.status, [*headers, (b"trailer", told)])
    for piece in pieces:
        await _take(exchange, call, passage, piece)
    async for piece in response.content.iter_any():
        call.received()
        if not passage.settled:
            await _take(exchange, call, passage, piece)
            continue
        # The answer was whole before; what follows need not arrive.
        with contextlib.suppress(GoneError):
            await _take(exchange, call, passage, piece)
    await _do(exchange, call, await _read(passage.end, apart=passage.takes_long()))
    digest = (_OUTPUT, passage.content_digest.encode())
    with contextlib.suppress(GoneError):
        await exchange.end((digest, *await _proven(exchange, call)))


async def _hold(
    exchange: Exchange, call: Call, passage: Passage, body: bytes, head: tuple[int, Headers]
) -> None:
    """Give an answer out whole, after the digest that names it."""
    outcome = await _read(partial(passage.document, body), apart=passage.takes_long(len(body)))
    first = passage.strict or call.wish is not None
    status, headers = head
    if first:
        await _write_down(exchange, call, outcome)
        headers += await _proven(exchange, call)
    await exchange.begin(status, [*headers, (_OUTPUT, passage.content_digest.encode())])
    await exchange.write(body)
    await exchange.end(())
    if not first:
        await _write_down(exchange, call, outcome)


async def _read(read: Callable[[], T], *, apart: bool) -> T:
    """Read something; in a thread if that may take long, since other calls wait meanwhile."""
    return await asyncio.to_thread(read) if apart else read()


async def _take(exchange: Exchange, call: Call, passage: Passage, piece: bytes) -> None:
    if passage.goes_first:
        await exchange.write(piece)
        if (outcome := passage.piece(piece).outcome) is not None:
            await _write_down(exchange, call, outcome)
        return
    take = partial(passage.piece, piece)
    await _do(exchange, call, await _read(take, apart=passage.is_coded))


async def _do(exchange: Exchange, call: Call, step: Step) -> None:
    if step.before:
        await exchange.write(step.before)
    if step.outcome is not None:
        await _write_down(exchange, call, step.outcome)
    if step.after:
        await exchange.write(step.after)


async def _proven(exchange: Exchange, call: Call) -> Headers:
    """What tells of the level that was asked for, once it is reached or its time is over."""
    if call.wish is None:
        return []
    proven = await exchange.unless_gone(call.proven())
    return [(name.encode(), value.encode()) for name, value in proven.headers()]


async def _write_down(exchange: Exchange, call: Call, outcome: Outcome) -> None:
    """Write down an outcome; in ``strict``, returns when an answer is durable."""
    if isinstance(outcome, Failed):
        call.failed(outcome.error, exchange.sent())
    else:
        await call.answered(outcome)
