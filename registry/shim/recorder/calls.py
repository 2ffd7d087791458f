"""One call through a proxy: its intent before it is forwarded, one outcome, and its timing.

What the recorder leaves to whoever serves the call is settled here, once for all proxies: what to
wait for in which mode, and what to do with a call that the journal cannot take.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import Literal

from registry.core.records import inference
from registry.errors import RegistryError, UnavailableError
from registry.shim.privacy.gathering import Gathering
from registry.shim.privacy.keeping import Content, Keeping
from registry.shim.recorder.answer import Answer
from registry.shim.recorder.asking import Asked, Proven
from registry.shim.recorder.awaiting import Awaiting
from registry.shim.recorder.levels import Levels
from registry.shim.recorder.loop_share import LoopShare
from registry.shim.recorder.outcomes import NOTHING, Answered, Deployment, Open, Sent
from registry.shim.recorder.recorder import Recorder
from registry.shim.recorder.shown import Shown
from registry.shim.recorder.ticket import After, Ticket
from registry.shim.recorder.unrecorded import Unrecorded, uncounted, unless_durable
from registry.shim.recorder.wish import Wish
from registry.shim.spans import NoSpans, Spans

Mode = Literal["strict", "stream", "best_effort"]
"""What is durable before an answer goes out; see :mod:`registry.shim.recorder.recorder`."""


class Calls:
    """Begins calls to one deployment in one mode; for one event loop, or any number of threads."""

    def __init__(
        self,
        recorder: Recorder,
        unrecorded: Unrecorded,
        deployment: Callable[[], Deployment],
        awaiting: Awaiting | None = None,
        mode: Mode = "stream",
        *,
        allowed: Callable[[], None] = lambda: None,
        levels: Levels | None = None,
        spans: Spans | None = None,
        keeping: Keeping | None = None,
        served_as: Collection[str] = (),
    ) -> None:
        """Take where calls are written down, and what answers.

        Args:
            recorder: Where they are written down.
            unrecorded: Where those are counted that cannot be.
            deployment: Tells what answers a call that begins now.
            awaiting: How the event loop waits for the journal; None makes one when it is needed.
            mode: What is durable before an answer goes out.
            allowed: Raises while no call may be forwarded, in whatever mode.
            levels: What looks after callers' wishes; without it they are only written down.
            spans: Who is told of calls besides.
            keeping: What is kept of calls, and committed to; None for nothing.
            served_as: What the model server calls the model: only calls that name it so are made.
                None: any, for a server that has no other model.
        """
        self.mode = mode
        self._allowed = allowed
        self.levels = levels
        self.spans = spans or NoSpans()
        self._keeping = keeping
        self.shown = Shown(None if keeping is None else keeping.policy)
        self._served_as = frozenset(served_as)
        self._deployment = deployment
        self.recorder = recorder
        self._unrecorded = unrecorded
        self._awaiting = awaiting
        self._share = LoopShare(lambda: recorder.quick_seconds)

    async def begin(
        self,
        request_digest: bytes,
        asked: Asked | None = None,
        meanwhile: Callable[[], None] | None = None,
    ) -> "Call":
        """Write down that a call is about to be forwarded.

        Args:
            request_digest: What names the request.
            asked: What its caller asks of its record.
            meanwhile: Done once the call is allowed, and before anybody waits for the disk; must
                be quick, and not forward anything.

        Returns:
            The call. In ``strict`` and ``stream`` its intent is durable.

        Raises:
            UnavailableError: ``JOURNAL_LATCHED``, ``JOURNAL_BUSY`` or ``JOURNAL_FULL``.
            RegistryError: Why no call is allowed now. It must not be forwarded.
        """
        call, deployment = self._allow(request_digest, asked)
        if meanwhile is not None:
            meanwhile()
        if self.mode == "best_effort":
            self._try(call, deployment, request_digest)
        elif self._share.take():
            self._intend(call, deployment, request_digest)
        else:

            def write(after: After) -> None:
                call.open = self.recorder.begin(deployment, request_digest, after)

            try:
                await self._waits().durable(write)
            except asyncio.CancelledError:
                call.abandoned()
                raise
            except UnavailableError as error:
                call.unwritten(error.reason)
                raise
        call.forwarded()
        return call

    def begin_here(self, request_digest: bytes, asked: Asked | None = None) -> "Call":
        """As :meth:`begin`, for a thread that may wait."""
        call, deployment = self._allow(request_digest, asked)
        if self.mode == "best_effort":
            self._try(call, deployment, request_digest)
        else:
            self._intend(call, deployment, request_digest)
        call.forwarded()
        return call

    def _intend(self, call: "Call", deployment: Deployment, request_digest: bytes) -> None:
        try:
            call.open = self.recorder.intent(deployment, request_digest)
        except UnavailableError as error:
            call.unwritten(error.reason)
            raise

    def _allow(self, request_digest: bytes, asked: Asked | None) -> "tuple[Call, Deployment]":
        deployment = self._deployment()
        asked = asked or Asked()
        call = Call(self, self.shown.asked(asked), deployment.model)
        try:
            self._allowed()
            asked.check_model(self._served_as)
        except RegistryError as error:
            # That it is refused matters more than that nobody can write it down.
            with contextlib.suppress(UnavailableError):
                call.open = self.recorder.begin(deployment, request_digest)
            call.refused(error.reason)
            raise
        return call, deployment

    def _try(self, call: "Call", deployment: Deployment, request_digest: bytes) -> None:
        call.lost = self._unrecorded.once()
        try:
            call.open = self.recorder.begin(deployment, request_digest, unless_durable(call.lost))
        except UnavailableError:
            call.lost()

    async def end(self, call: "Call", answer: Answer) -> None:
        """Write down an answer; see :meth:`Call.answered`."""
        if self._keeping is not None:
            # Sealing waits for the disk; a caller that leaves meanwhile does not undo it.
            await asyncio.shield(asyncio.to_thread(self.end_here, call, answer))
            return
        if (open_ := call.open) is None or self.mode != "strict":
            self._follow(call, open_, answer)
            return
        said = self._said(call, open_, answer, time.monotonic_ns())
        ticket = await self._waits().durable(
            lambda after: self.recorder.answered(open_, said, after)
        )
        _written(call, open_, ticket)

    def end_here(self, call: "Call", answer: Answer) -> None:
        """As :meth:`end`, for a thread that may wait."""
        if (open_ := call.open) is None or self.mode != "strict":
            self._follow(call, open_, answer)
            return
        said = self._said(call, open_, answer, time.monotonic_ns())
        _written(call, open_, self.recorder.completed(open_, said))

    @property
    def keeps(self) -> bool:
        """Whether anything of what calls say is kept or committed to."""
        return self._keeping is not None

    def gathering(self, request: bytes) -> Gathering | None:
        """What holds the content of a call while it passes; None if nothing of it is kept."""
        return None if self._keeping is None else Gathering(request)

    def _said(self, call: "Call", open_: Open, answer: Answer, now_ns: int) -> Answered:
        asked, course = call.asked, call.course(answer, self.mode, now_ns)
        private: inference.Private | None = None
        if self._keeping is not None:
            content = Content(b"", b"", {}) if answer.content is None else answer.content()
            try:
                call.response, private = self._keeping.keep(
                    self.receipt_id(open_),
                    open_.n,
                    answer.response,
                    content,
                    strict=self.mode == "strict",
                )
            except UnavailableError as error:
                call.write(partial(self.recorder.failed, open_, error.reason))
                raise
        else:
            call.response = answer.response
        return Answered(call.response, asked.level, course, asked.deadline_ms, private)

    def _follow(self, call: "Call", open_: Open | None, answer: Answer) -> None:
        """Write down an answer that goes out meanwhile; unless its caller wants to see it safe."""
        if open_ is None:
            return
        make = partial(self._said, call, open_, answer, time.monotonic_ns())
        if self._keeping is None and call.wish is None:
            call.response = answer.response
            self.recorder.answered_later(open_, make, call.lost)
            return
        said = make()
        try:
            if self.mode == "best_effort" and call.wish is not None:
                call.wish.want_durable()
                ticket = self.recorder.answered(open_, said, call.wish.settled)
            else:
                ticket = self.recorder.answered(open_, said, urgency="soon")
        except UnavailableError:
            call.lost()
            return
        _written(call, open_, ticket)

    async def proven(self, wish: Wish, at_most: float) -> Proven:
        """Wait for what was asked; see :meth:`Call.proven`."""
        return await wish.proven(self._waits(), at_most)

    def _waits(self) -> Awaiting:
        """How the loop that runs here waits for the journal."""
        loop = asyncio.get_running_loop()
        if self._awaiting is None or self._awaiting.loop is not loop:
            self._awaiting = Awaiting(loop)
        return self._awaiting

    def receipt_id(self, open_: Open) -> str:
        """How a caller names the record of a call: shim id and number of its intent."""
        return f"{self.recorder.shim_id}/{open_.n}"


def _written(call: "Call", open_: Open, ticket: Ticket) -> None:
    if call.wish is not None and call.response is not None:
        call.wish.written(open_, ticket, call.response)


class Call:
    """One call under way. Its first outcome counts; what fails after that changes nothing.

    Attributes:
        asked: What its caller asks of its record.
        open: Its intent; None if the journal could not take it, which only best_effort lets pass.
        response: What its record says of the answer; None before there is one.
        ended: Whether its outcome was written down, or tried to be; there is only one.
        lost: Called if something of it is not written down, which only best_effort counts.
        wish: What its caller asked for, if somebody looks after it and it may still come true.
    """

    __slots__ = (
        *("_added_ns", "_calls", "_first_ns", "_last_ns", "_span", "_start_ns"),
        *("asked", "ended", "lost", "open", "response", "wish"),
    )

    def __init__(self, calls: Calls, asked: Asked, model: inference.Model) -> None:
        self._calls = calls
        self.asked = asked
        named = "" if isinstance(calls.spans, NoSpans) else asked.params.get("model", "")
        self._span = calls.spans.begin(asked.trace, model, named)
        self.open: Open | None = None
        self.response: inference.Response | None = None
        self.ended = False
        self.lost: Callable[[], None] = uncounted
        levels = calls.levels
        self.wish = None if levels is None or asked.level is None else Wish(levels, asked)
        self._start_ns = time.monotonic_ns()
        self._added_ns = 0
        self._first_ns = 0
        self._last_ns = 0

    @property
    def receipt_id(self) -> str:
        """How its caller names its record; empty if there is none."""
        return "" if self.open is None else self._calls.receipt_id(self.open)

    def forwarded(self) -> None:
        """Take note that the model server is asked now; what came before is the shim's doing."""
        self._added_ns = time.monotonic_ns() - self._start_ns

    def received(self) -> None:
        """Take note that a piece of the answer came."""
        self._last_ns = time.monotonic_ns()
        self._first_ns = self._first_ns or self._last_ns

    async def answered(self, answer: Answer) -> None:
        """Write down the answer; in ``strict``, returns when that is durable.

        Raises:
            UnavailableError: ``JOURNAL_LATCHED``, in ``strict``: the answer must not go out.
        """
        with self._telling(answer) as shown:
            await self._calls.end(self, shown)

    def answered_here(self, answer: Answer) -> None:
        """As :meth:`answered`, for a thread that may wait."""
        with self._telling(answer) as shown:
            self._calls.end_here(self, shown)

    @contextlib.contextmanager
    def _telling(self, answer: Answer) -> Iterator[Answer]:
        self.ended = True
        shown = self._calls.shown.answer(answer)
        try:
            yield shown
        except UnavailableError as error:
            self._span.ended(self.receipt_id, error.reason)
            raise
        if self.response is not None:
            self._span.answered(self.receipt_id, self.response, shown.finish_reasons)

    async def proven(self, at_most: float = math.inf) -> Proven:
        """Wait for the level that the caller asked for, until its deadline at most.

        Args:
            at_most: After so many seconds the answer must go out anyhow.

        Returns:
            What was reached as the answer goes out; nothing if nobody asked, or there is no answer.
        """
        return Proven() if self.wish is None else await self._calls.proven(self.wish, at_most)

    def proven_here(self) -> Proven:
        """As :meth:`proven`, for a thread that may wait."""
        return Proven() if self.wish is None else self.wish.proven_here()

    def failed(self, error: str, sent: Sent = NOTHING) -> None:
        """Write down that there is no whole answer, and what went out before."""
        if not self.ended and (open_ := self._end(error)) is not None:
            shown = self._calls.shown.sent(sent)
            self.write(lambda: self._calls.recorder.failed(open_, error, shown))

    def abandoned(self, sent: Sent = NOTHING) -> None:
        """Write down that whoever asked left, and what went out before."""
        if not self.ended and (open_ := self._end("client_gone")) is not None:
            shown = self._calls.shown.sent(sent)
            self.write(lambda: self._calls.recorder.abandoned(open_, shown))

    def write(self, write: Callable[[], object]) -> None:
        """Write down an outcome that nobody waits for, if the journal takes it."""
        try:
            write()
        except UnavailableError:
            self.lost()

    def unwritten(self, reason: str) -> None:
        """Take note that its intent could not be written: it is not made, and has no record."""
        self._span.ended("", reason)

    def refused(self, reason: str) -> None:
        """Write down that the call was refused here."""
        if (open_ := self._end(reason)) is not None:
            self.write(lambda: self._calls.recorder.refused(open_, reason))

    def _end(self, error: str) -> Open | None:
        self.ended = True
        self.wish = None
        self._span.ended(self.receipt_id, error)
        return self.open

    def course(self, answer: Answer, mode: Mode, now: int) -> inference.Course:
        """How the answer went out by ``now``, as its record says it; more of it may have come."""
        last = min(self._last_ns or now, now)
        return inference.Course(
            transport=answer.transport,
            mode=mode,
            first_us=max(0, (self._first_ns or now) - self._start_ns) // 1000,
            total_us=(now - self._start_ns) // 1000,
            added_us=(self._added_ns + now - last) // 1000,
            chunks=answer.chunks,
            finish_reasons=answer.finish_reasons,
            params=dict(self.asked.params),
            trace=self.asked.trace,
            profile_error=answer.profile_error[:200],
        )
