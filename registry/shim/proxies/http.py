"""A reverse proxy for model servers that speak HTTP: OpenAI-compatible, Open Inference, others.

Headers, bodies and streams pass as they are. Every POST is a call and has a record: its intent
before the model server sees it, its outcome after. Answers are read beside the bytes that pass, see
:mod:`registry.shim.proxies.answer_readers`. In ``strict`` mode the last frame of a stream, or the
whole of another answer, is held until its record is durable.

Changed on the way are only what belongs to one connection (RFC 9110 §7.6.1), ``host``, and
``accept-encoding``, so that answers come uncompressed. Added to answers are ``x-receipt-id``, and
``x-output-sha256`` as a header if the answer is small enough to be held, else as a trailer.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
from yarl import URL

from registry.core import encoding
from registry.core.digest import sha256
from registry.errors import MalformedError, RegistryError
from registry.shim.proxies.answer_readers import AnswerReader, Kind, Named, announced, kind_of
from registry.shim.proxies.exchange import Exchange, GoneError, Headers, Receive, Send, passing
from registry.shim.recorder.calls import Answer, Asked, Call, Calls, asked_level

MAX_HELD_BYTES = 1024 * 1024
"""Bytes of an answer that is held whole, so that its digest can go before it."""

CONNECT_SECONDS = 10.0
"""How long the model server may take to accept a connection."""

_PARAMS = (
    "model",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "seed",
    "n",
    "max_tokens",
    "max_completion_tokens",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "reasoning_effort",
)


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
            async with self._ask(exchange, body) as response:
                await exchange.begin(response.status, passing(response.raw_headers))
                async for piece in response.content.iter_any():
                    await exchange.write(piece)
                await exchange.end(())
        except aiohttp.ClientError as error:
            await exchange.fail(error)

    async def _record(self, exchange: "Exchange", body: bytes) -> None:
        asked = Asked(
            level=asked_level(exchange.header("x-provreg-level")),
            trace=exchange.header("traceparent")[:256],
            params=_params(body),
        )
        call = await self._calls.begin(sha256(body), asked)
        kind = kind_of(exchange.path)
        try:
            async with self._ask(exchange, body) as response:
                await _Passage(exchange, call, kind, strict=self._calls.mode == "strict").go(
                    response
                )
        except aiohttp.ClientError as error:
            call.failed(type(error).__name__, exchange.sent())
            await exchange.fail(error)
        except (GoneError, asyncio.CancelledError):
            call.abandoned(exchange.sent())
            raise

    @contextlib.asynccontextmanager
    async def _ask(self, exchange: "Exchange", body: bytes) -> AsyncIterator[Any]:
        """Ask the model server, and give up as soon as whoever asked is gone."""
        url = URL(self._upstream + exchange.target, encoded=True)
        headers = [
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in exchange.headers
        ]
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


class _Passage:
    """One recorded answer on its way."""

    def __init__(self, exchange: "Exchange", call: Call, kind: Kind, *, strict: bool) -> None:
        self._exchange = exchange
        self._call = call
        self._kind = kind
        self._strict = strict

    async def go(self, response: Any) -> None:
        """Pass the answer on, read it, and write down how it ended."""
        call = self._call
        named = {name.lower(): value for name, value in response.headers.items()}
        reader = AnswerReader(self._kind, named)
        headers = passing(response.raw_headers)
        if call.receipt_id:
            headers.append((b"x-receipt-id", call.receipt_id.encode()))
        size = announced(named.get("content-length", ""))
        # A document says nothing before its end; of other answers it is not known.
        held = self._kind != "bytes" if size is None else size <= MAX_HELD_BYTES
        pieces: list[bytes] = []
        if held and not reader.streamed:
            room = MAX_HELD_BYTES
            async for piece in response.content.iter_any():
                call.received()
                pieces.append(piece)
                room -= len(piece)
                if room < 0:
                    break
            else:
                await self._hold(response, b"".join(pieces), reader, headers)
                return
        await self._stream(response, pieces, reader, headers)

    async def _hold(
        self, response: Any, body: bytes, reader: AnswerReader, headers: Headers
    ) -> None:
        reader.feed(body)
        said = reader.named(whole=True)
        if self._strict:
            await self._settle(said, response.status, "unary")
        headers.append((b"x-output-sha256", said.response.content_digest.encode()))
        await self._exchange.begin(response.status, headers)
        await self._exchange.write(body)
        await self._exchange.end(())
        if not self._strict:
            await self._settle(said, response.status, "unary")

    async def _stream(
        self, response: Any, before: list[bytes], reader: AnswerReader, headers: Headers
    ) -> None:
        exchange, call = self._exchange, self._call
        headers = [item for item in headers if item[0].lower() != b"content-length"]
        await exchange.begin(response.status, [*headers, (b"trailer", b"x-output-sha256")])
        held = b""
        said: Named | None = None
        async for piece in _pieces(before, response):
            call.received()
            reader.feed(piece)
            if said is None and reader.ended:
                # From here on the answer is whole, whatever the client does: stock clients close.
                said = reader.named(whole=True)
                if not self._strict:
                    await exchange.write(piece)
                await self._settle(said, response.status, "sse")
                if self._strict:
                    await exchange.write(piece)
                continue
            if self._strict and said is None and not reader.streamed:
                # An answer without frames ends with its last piece.
                if held:
                    await exchange.write(held)
                held = piece
                continue
            with contextlib.suppress(*((GoneError,) if said is not None else ())):
                await exchange.write(piece)
        if said is None:
            said = reader.named(whole=True)
            if reader.streamed and self._kind in ("chat", "text"):
                call.failed("the stream ended before its end", exchange.sent())
            else:
                await self._settle(said, response.status, "sse" if reader.streamed else "unary")
            if held:
                await exchange.write(held)
        digest = said.response.content_digest.encode()
        with contextlib.suppress(GoneError):
            await exchange.end(((b"x-output-sha256", digest),))

    async def _settle(self, said: Named, status: int, transport: Any) -> None:
        """Write down the outcome; in ``strict``, returns when that is durable."""
        if said.error or status >= 400:  # noqa: PLR2004 - RFC 9110 §15
            self._call.failed(said.error or f"http status {status}", self._exchange.sent())
            return
        await self._call.answered(
            Answer(
                said.response,
                transport,
                chunks=said.events,
                finish_reasons=said.finish_reasons,
                profile_error=said.profile_error,
            )
        )


async def _pieces(before: list[bytes], response: Any) -> AsyncIterator[bytes]:
    for piece in before:
        yield piece
    async for piece in response.content.iter_any():
        yield piece


def _params(body: bytes) -> dict[str, str]:
    """Sampling parameters of a request as it spells them; none if it is no JSON object."""
    try:
        members = encoding.read_foreign_numbers(body, what="request")
    except MalformedError:
        return {}
    if not isinstance(members, dict):
        return {}
    found = {name: members[name] for name in _PARAMS if name in members}
    return {
        name: str(value)[:128]
        for name, value in found.items()
        if isinstance(value, str) and value.isprintable()
    }
