"""Answers of a log that fails closed, held back until a quorum has seen their entries.

An answer waits for a bounded time, and no longer than the log accepts anything. If that ends first,
its entry *is* in the log: the same statement, sent again, keeps its place and gets its receipt as
soon as there is one to be shown.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from registry.core.tlog.receipt import Receipt
from registry.errors import Reason, UnavailableError
from registry.services.sequencing import Sequencer

ANSWER_SECONDS = 20.0
"""How long a caller waits for a quorum."""

MAX_HELD = 8192
"""Answers that may wait for a quorum; more submissions are told to come back."""


@dataclass(frozen=True, slots=True)
class _Held:
    index: int
    ends: float
    answer: "Future[Receipt]"


class Holding:
    """Holds answers back. Whoever knows of a new quorum calls :meth:`release`, and so does a clock.

    ``wake`` asks for a call of :meth:`release` soon.
    """

    def __init__(self, sequencer: Sequencer, quorum: str, wake: Callable[[], None]) -> None:
        self._sequencer = sequencer
        self._quorum = quorum
        self._wake = wake
        self._answer_seconds = ANSWER_SECONDS
        self._held: list[_Held] = []
        self._lock = threading.Lock()
        self._closed = False

    def gate(self, answer: "Future[Receipt]") -> "Future[Receipt]":
        """The answer that the caller gets for the sequencer's.

        Raises:
            UnavailableError: ``LOG_BUSY``.
        """
        if len(self._held) >= MAX_HELD:
            raise UnavailableError(
                Reason.LOG_BUSY,
                "too many statements wait for the witnesses",
                expected=f"at most {MAX_HELD}",
                hint="try again in a second",
            )
        gated: Future[Receipt] = Future()
        gated.set_running_or_notify_cancel()
        answer.add_done_callback(lambda done: self._placed(done, gated))
        return gated

    def release(self) -> None:
        """Answer whom the second slot covers, and whoever has waited long enough."""
        if not self._held:
            return
        now = time.monotonic()
        with self._lock:
            ready: list[_Held] = []
            waiting: list[_Held] = []
            for held in self._held:
                # Asked once: the slot may grow meanwhile.
                (ready if self._is_ready(held, now) else waiting).append(held)
            self._held = waiting
        for held in ready:
            try:
                held.answer.set_result(self._receipt(held.index))
            except Exception as error:  # noqa: BLE001 - whatever it was, the caller is waiting
                held.answer.set_exception(error)

    def close(self) -> None:
        """Let nobody wait any longer."""
        self._closed = True
        self.release()

    def _placed(self, done: "Future[Receipt]", gated: "Future[Receipt]") -> None:
        error = done.exception()
        if error is not None:
            gated.set_exception(error)
            return
        held = _Held(done.result().index, time.monotonic() + self._answer_seconds, gated)
        with self._lock:
            self._held.append(held)
        if self._closed:
            self.release()
        elif self._covers(held.index):
            # The quorum came a moment before.
            self._wake()

    def _is_ready(self, held: _Held, now: float) -> bool:
        # A log that latched asks no witness any more.
        over = self._closed or self._sequencer.latched is not None
        return over or held.ends <= now or self._covers(held.index)

    def _covers(self, index: int) -> bool:
        head = self._sequencer.heads.cosigned
        return head is not None and index < head.checkpoint.size

    def _receipt(self, index: int) -> Receipt:
        if self._covers(index):
            return self._sequencer.receipt(index, self._sequencer.heads.cosigned)
        raise UnavailableError(
            Reason.QUORUM,
            "this is in the log, but too few witnesses have seen it so far",
            where=f"entry {index}",
            expected=f"quorum {self._quorum}",
            hint="ask again with the same statement: it keeps its place, and is not logged twice",
        )
