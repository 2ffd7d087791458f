"""Clients that ask without end, and remember what they received, whatever happens around them."""

import asyncio
import contextlib
import itertools
import random
from collections.abc import Iterable
from dataclasses import dataclass, field

import aiohttp

from registry.core import encoding
from registry.shim.proxies.answer_readers import AnswerReader
from registry.shim.recorder.asking import DEADLINE, LEVEL, REACHED

SECONDS = 20.0
"""How long a client waits for an answer."""

PAUSE_SECONDS = 0.1
"""The longest pause of a client between two calls, and after one that failed."""

EARLY = 0.03
"""Which part of the streams a client leaves before their end."""

SIGNED = 0.05
"""Which part of the calls asks for a signed record."""

SIGNED_HEADERS = {LEVEL: "signed", DEADLINE: "2000"}
"""What asks for it."""


@dataclass(frozen=True, slots=True)
class Received:
    """What a client has of an answer.

    Attributes:
        receipt_id: As the answer names its record.
        content_digest: What names the answer, computed by the client; empty unless it came whole.
        left: Whether the client left before the end.
        told: The level that the answer says it reached; empty if nobody asked.
    """

    mode: str
    receipt_id: str
    content_digest: str = ""
    left: bool = False
    told: str = ""


@dataclass
class Memory:
    """What all clients received, and how many calls led to no answer."""

    received: list[Received] = field(default_factory=list)
    failed: int = 0

    def whole(self, mode: str) -> Iterable[Received]:
        """The answers that came whole."""
        return (each for each in self.received if each.mode == mode and each.content_digest)


async def ask(
    number: int, ports: dict[str, int], memory: Memory, until: asyncio.Event, chance: random.Random
) -> None:
    """Be one client: ask both shims in turn, unary and streaming, until told to stop."""
    timeout = aiohttp.ClientTimeout(total=SECONDS)
    modes = itertools.cycle(ports)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        for count in itertools.count():
            if until.is_set():
                return
            mode = next(modes)
            stream = chance.random() < 0.5  # noqa: PLR2004 - half of them
            body = {"stream": stream, "messages": [{"content": f"{number}-{count}"}]}
            early = stream and chance.random() < EARLY
            headers = SIGNED_HEADERS if chance.random() < SIGNED else {}
            url = f"http://127.0.0.1:{ports[mode]}/v1/chat/completions"
            try:
                async with session.post(
                    url, data=encoding.write_json(body), headers=headers
                ) as answer:
                    memory.received.append(await _read(answer, mode, early=early))
            except (aiohttp.ClientError, OSError, TimeoutError):
                memory.failed += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(until.wait(), PAUSE_SECONDS * chance.random())


async def _read(answer: aiohttp.ClientResponse, mode: str, *, early: bool) -> Received:
    """Read an answer; whatever became of it, its head was received."""
    receipt_id = answer.headers.get("x-receipt-id", "")
    if answer.status != 200 or not receipt_id:  # noqa: PLR2004 - OK
        raise aiohttp.ClientPayloadError
    told = answer.headers.get(REACHED, "")
    reader = AnswerReader("chat", {name.lower(): value for name, value in answer.headers.items()})
    try:
        async for piece in answer.content.iter_any():
            reader.feed(piece)
            if early:
                answer.close()
                return Received(mode, receipt_id, left=True)
    except (aiohttp.ClientError, OSError, TimeoutError):
        # A stream that came to the protocol's end is whole for any client.
        if not reader.ended:
            return Received(mode, receipt_id)
    named = reader.named(whole=True)
    if not named.response.complete:
        return Received(mode, receipt_id)
    return Received(mode, receipt_id, named.response.content_digest, told=told)
