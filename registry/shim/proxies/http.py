"""A reverse proxy for model servers that speak HTTP: OpenAI-compatible, Open Inference, others.

Headers, bodies and streams pass as they are. What asks something of the model, or fetches what it
said, is a call (:mod:`registry.shim.proxies.call_paths`) and has a record: its intent before the
model server sees it, its outcome after. Answers are read beside the bytes that pass, see
:mod:`registry.shim.proxies.passage`. In ``strict`` mode the last frame of a stream, or the whole of
another answer, is held until its record is durable.

Changed on the way are only what belongs to one connection (RFC 9110 §7.6.1), ``host``, and
``accept-encoding``, so that answers come uncompressed. Added to answers are ``x-receipt-id``, and
``x-output-sha256`` as a header if the answer is small enough to be held, else as a trailer; a model
server that says such things itself is not believed. Trailers of the model server follow ours; those
of an answer that was held are dropped with its chunks (RFC 9110 §6.5.1).
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from registry.core.digest import sha256
from registry.errors import RegistryError
from registry.shim.proxies.answer_readers import LONG_BYTES, kind_of
from registry.shim.proxies.call_paths import is_call
from registry.shim.proxies.exchange import (
    Exchange,
    GoneError,
    Receive,
    Room,
    Send,
    named,
    passing,
)
from registry.shim.proxies.model_server import ModelServer, Way
from registry.shim.proxies.passage import MAX_HELD_BYTES, Failed, Outcome, Passage, Step
from registry.shim.proxies.reply import Headers, NoAnswerError, Reply, is_framed, unfit
from registry.shim.proxies.request_params import JSON_BYTES, params_of
from registry.shim.recorder.asking import OUTPUT, REACHED, RECEIPT, Asked
from registry.shim.recorder.calls import Call, Calls
from registry.shim.recorder.unread import Unread

FINAL = range(200, 600)
"""The statuses of an answer: 1xx come before one, and no others are defined (RFC 9110 §15)."""

_IDENTITY = (b"accept-encoding", b"identity")
Asking = contextlib.AbstractAsyncContextManager[Reply]
"""A question to the model server; entered, it is asked, and gives the answer as it begins."""

T = TypeVar("T")
_RECEIPT, _OUTPUT = RECEIPT.encode(), OUTPUT.encode()


class HttpProxy:
    """The ASGI application in front of one model server."""

    def __init__(self, server: ModelServer, calls: Calls) -> None:
        """Take the model server, and where calls are written down."""
        self._server = server
        self._room = Room()
        self._calls = calls

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        exchange = Exchange(scope, receive, send, self._room)
        try:
            target = exchange.target_below(self._server.prefix)
            body = await exchange.body()
            with Way(self._server) as way:
                if is_call(exchange.method, exchange.path, body):
                    await self._record(exchange, way, target, body)
                else:
                    await _pass(exchange, _asking(exchange, way, target, body))
        except GoneError:
            return
        except RegistryError as error:
            await exchange.refuse(error)
        finally:
            exchange.close()

    async def _record(self, exchange: Exchange, way: Way, target: str, body: bytes) -> None:
        long = len(body) > LONG_BYTES
        json_bytes = exchange.all_headers.get(JSON_BYTES)
        read = partial(params_of, body, exchange.path, json_bytes)
        params = await asyncio.to_thread(read) if long else Unread(read)
        asked = Asked.read(exchange.all_headers, params)
        call = await self._calls.begin(sha256(body), asked, way.begin)
        try:
            async with _asking(exchange, way, target, body) as reply:
                strict = self._calls.mode == "strict"
                headers = named(reply.headers)
                passage = Passage(
                    kind_of(exchange.path),
                    headers,
                    reply.status,
                    strict=strict,
                    framed=is_framed(headers, reply.status),
                    gathering=self._calls.gathering(body),
                )
                await _go(exchange, call, passage, reply)
        except NoAnswerError as error:
            call.failed(error.kind, exchange.sent())
            await exchange.fail(error.kind)
        except (GoneError, asyncio.CancelledError):
            call.abandoned(exchange.sent())
            raise
        except BaseException as error:
            # Whatever it is: no call is without an outcome.
            call.failed(type(error).__name__, exchange.sent())
            raise


@contextlib.asynccontextmanager
async def _asking(exchange: Exchange, way: Way, target: str, body: bytes) -> AsyncIterator[Reply]:
    """Ask the model server, and give up as soon as whoever asked is gone."""
    headers = [*exchange.asked_headers(), _IDENTITY]
    asking = way.ask(exchange.method.encode(), target.encode(), headers, body)
    reply = await exchange.unless_gone(asking)
    # Reading then ends with an error at once; cheaper than a second task for each piece.
    exchange.when_gone(way.leave)
    try:
        _check(reply)
        yield reply
    except NoAnswerError:
        exchange.check_there()
        raise


def _check(reply: Reply) -> None:
    """Refuse an answer that no client could be given.

    Raises:
        NoAnswerError: ``UNFIT_ANSWER``: it is none, or in a form that nobody asked for.
    """
    if reply.status not in FINAL:
        raise NoAnswerError(unfit(f"status {reply.status}"))
    codings = [value for name, value in reply.headers if name.lower() == b"transfer-encoding"]
    coding = b", ".join(codings)
    if codings and coding.lower() != b"chunked":
        # It is never passed on, so the client could not undo it (RFC 9112 §6.1).
        raise NoAnswerError(unfit(f"transfer coding {coding.decode('latin-1')[:40]}"))


def _announced(reply: Reply) -> Headers:
    """What the model server says of trailers, where there can be any; only ours are otherwise."""
    return [item for item in reply.headers if item[0].lower() == b"trailer"]


async def _pass(exchange: Exchange, asking: Asking) -> None:
    """Forward a request that asks nothing of the model."""
    try:
        async with asking as reply:
            await exchange.begin(reply.status, [*passing(reply.headers), *_announced(reply)])
            while piece := await reply.piece():
                await exchange.write(piece)
            await exchange.end(passing(reply.trailers))
    except NoAnswerError as error:
        await exchange.fail(error.kind)


async def _go(exchange: Exchange, call: Call, passage: Passage, reply: Reply) -> None:
    """Pass an answer on, read it, and write down how it ended."""
    headers = passing(reply.headers)
    if call.receipt_id:
        headers.append((_RECEIPT, call.receipt_id.encode()))
    pieces: list[bytes] = []
    if passage.is_document:
        room = MAX_HELD_BYTES
        while piece := await reply.piece():
            call.received()
            pieces.append(piece)
            room -= len(piece)
            if room < 0:
                break
        else:
            await _hold(exchange, call, passage, b"".join(pieces), (reply.status, headers))
            return
    headers = [item for item in headers if item[0].lower() != b"content-length"]
    told = _OUTPUT + (b"" if call.wish is None else b", " + REACHED.encode())
    await exchange.begin(reply.status, [*headers, (b"trailer", told), *_announced(reply)])
    for piece in pieces:
        await _take(exchange, call, passage, piece)
    while piece := await reply.piece():
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
        proven = await _proven(exchange, call)
        await exchange.end((digest, *proven, *passing(reply.trailers)))


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
