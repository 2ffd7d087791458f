"""The bytes of a recorded answer on their way to a client within this process.

What is written down of an answer is written down as the client takes its bytes; one that takes no
more before the end is gone.
"""

import asyncio
import hashlib
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Self

from registry.shim.proxies.answer_readers import kind_of
from registry.shim.proxies.exchange import named
from registry.shim.proxies.passage import Failed, Outcome, Passage, Step
from registry.shim.proxies.reply import is_framed
from registry.shim.recorder.answer import Answer
from registry.shim.recorder.asking import OUTPUT, RECEIPT, TOLD, Proven
from registry.shim.recorder.calls import Call, Calls
from registry.shim.recorder.outcomes import Sent
from registry.shim.spans import mark_current


class Passing:
    """One answer on its way to the caller, and what the caller was given of it."""

    def __init__(self, call: Call, passage: Passage, headers: Any) -> None:
        self.call = call
        self.passage = passage
        self._headers = headers
        self._size = 0
        self._hash: Any = None
        if call.receipt_id:
            self._headers[RECEIPT] = call.receipt_id

    @classmethod
    def of(cls, call: Call, path: str, body: bytes, response: Any, calls: Calls) -> Self:
        """The answer that begins with ``response``; what only the shim may say is taken from it."""
        headers = response.headers
        fields = named(headers.raw)
        for name in TOLD & fields.keys():
            del headers[name]
        http2 = response.extensions.get("http_version") == b"HTTP/2"
        passage = Passage(
            kind_of(path),
            fields,
            response.status_code,
            strict=calls.mode == "strict",
            framed=http2 or is_framed(fields, response.status_code),
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
            self._hash = self._hash or hashlib.sha256()
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


class SyncPieces:
    """The bytes of an answer, for the client to take."""

    def __init__(
        self,
        passing: Passing,
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
        """Take no more."""
        self._passing.left()
        self._close()


class AsyncPieces:
    """As :class:`SyncPieces`."""

    def __init__(
        self,
        passing: Passing,
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
        """Take no more."""
        self._passing.left()
        await self._close()
