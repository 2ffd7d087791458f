"""A reverse proxy for model servers that speak HTTP: OpenAI-compatible, Open Inference, others.

Headers, bodies and streams pass as they are. Every POST is a call and has a record: its intent
before the model server sees it, its outcome after. Answers are read beside the bytes that pass, see
:mod:`registry.shim.proxies.passage`. In ``strict`` mode the last frame of a stream, or the
whole of another answer, is held until its record is durable.

Changed on the way are only what belongs to one connection (RFC 9110 §7.6.1), ``host``, and
``accept-encoding``, so that answers come uncompressed. Added to answers are ``x-receipt-id``, and
``x-output-sha256`` as a header if the answer is small enough to be held, else as a trailer.
Trailers of the model server do not pass: what asks it here does not read them.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
from yarl import URL

from registry.core.digest import sha256
from registry.errors import Reason, RegistryError
from registry.shim.proxies.answer_readers import kind_of
from registry.shim.proxies.exchange import Exchange, GoneError, Headers, Receive, Send, passing
from registry.shim.proxies.passage import MAX_HELD_BYTES, Failed, Outcome, Passage, Step, is_framed
from registry.shim.proxies.request_params import params_of
from registry.shim.recorder.asking import OUTPUT, REACHED, RECEIPT, TOLD, Asked
from registry.shim.recorder.calls import Call, Calls

CONNECT_SECONDS = 10.0
"""How long the model server may take to accept a connection."""


_RECEIPT, _OUTPUT = RECEIPT.encode(), OUTPUT.encode()


class HttpProxy:
    """The ASGI application in front of one model server."""

    def __init__(self, upstream: str, session: aiohttp.ClientSession, calls: Calls) -> None:
        """Take the model server's address, a session that decodes nothing, and where calls go."""
        self._upstream = upstream.rstrip("/")
        self._session = session
        self._calls = calls

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        exchange = Exchange(scope, receive, send)
        try:
            body = await exchange.body()
            if scope["method"] == "POST":
                await self._record(exchange, body)
            else:
                await self._pass(exchange, body)
        except GoneError:
            return
        except RegistryError as error:
            await exchange.refuse(error)

    async def _pass(self, exchange: "Exchange", body: bytes) -> None:
        """Forward a request that asks nothing of the model."""
        try:
            async with self._ask(exchange, exchange.forwarded(), body) as response:
                await exchange.begin(response.status, passing(response.raw_headers))
                async for piece in response.content.iter_any():
                    await exchange.write(piece)
                await exchange.end(())
        except aiohttp.ClientError as error:
            await exchange.fail(_kind(error))

    async def _record(self, exchange: "Exchange", body: bytes) -> None:
        asked = Asked.read(exchange.all_headers, params_of(body, exchange.path))
        headers = exchange.forwarded()
        call = await self._calls.begin(sha256(body), asked)
        try:
            async with self._ask(exchange, headers, body) as response:
                named = {name.lower(): value for name, value in response.headers.items()}
                strict = self._calls.mode == "strict"
                passage = Passage(
                    kind_of(exchange.path),
                    named,
                    response.status,
                    strict=strict,
                    framed=is_framed(named, response.status),
                    gathering=self._calls.gathering(body),
                )
                await _go(exchange, call, passage, response)
        except aiohttp.ClientError as error:
            call.failed(_kind(error), exchange.sent())
            await exchange.fail(_kind(error))
        except (GoneError, asyncio.CancelledError):
            call.abandoned(exchange.sent())
            raise

    @contextlib.asynccontextmanager
    async def _ask(
        self, exchange: "Exchange", headers: list[tuple[str, str]], body: bytes
    ) -> AsyncIterator[Any]:
        """Ask the model server, and give up as soon as whoever asked is gone."""
        url = URL(self._upstream + exchange.target, encoded=True)
        asking = self._session.request(
            exchange.method,
            url,
            headers=[*headers, ("accept-encoding", "identity")],
            data=body or None,
            allow_redirects=False,
        )
        response = await exchange.unless_gone(asking)
        # Reading then ends with an error at once; cheaper than a second task for each piece.
        exchange.when_gone(response.close)
        try:
            yield response
        except aiohttp.ClientError:
            exchange.check_there()
            raise
        finally:
            # What was not read to its end is not worth keeping the connection for.
            response.close()


def _kind(error: aiohttp.ClientError) -> str:
    """What kind of failure it is; never its text, which may quote the answer."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return Reason.PEER_CERTIFICATE
    return type(error).__name__


async def _go(exchange: Exchange, call: Call, passage: Passage, response: Any) -> None:
    """Pass an answer on, read it, and write down how it ended."""
    headers = passing(response.raw_headers, dropped=TOLD)
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
        await _do(exchange, call, passage.piece(piece))
    async for piece in response.content.iter_any():
        call.received()
        if not passage.settled:
            await _do(exchange, call, passage.piece(piece))
            continue
        # The answer was whole before; what follows need not arrive.
        with contextlib.suppress(GoneError):
            await _do(exchange, call, passage.piece(piece))
    await _do(exchange, call, passage.end())
    digest = (_OUTPUT, passage.content_digest.encode())
    with contextlib.suppress(GoneError):
        await exchange.end((digest, *await _proven(exchange, call)))


async def _hold(
    exchange: Exchange, call: Call, passage: Passage, body: bytes, head: tuple[int, Headers]
) -> None:
    """Give an answer out whole, after the digest that names it."""
    outcome = passage.document(body)
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
