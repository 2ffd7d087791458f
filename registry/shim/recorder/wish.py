"""One caller's wish for a level: handed on once its outcome is written, and waited for.

For coroutines and for threads that may wait; what is waited for is the same.
"""

import math
import time
from concurrent import futures
from concurrent.futures import Future
from typing import Final

from registry.core.records import inference
from registry.core.records.replay import is_comparable
from registry.errors import Reason
from registry.shim.recorder.asking import MAX_HELD_SECONDS, Asked, Proven
from registry.shim.recorder.awaiting import Awaiting
from registry.shim.recorder.levels import Levels, Waiting
from registry.shim.recorder.outcomes import Open
from registry.shim.recorder.sequence import Awaited
from registry.shim.recorder.ticket import Ticket

TELLING_SECONDS: Final = 0.25
"""How long an answer waits to be told that its replay did not come by the deadline."""


class Wish:
    """What the caller of one call asked for, from its request on."""

    __slots__ = ("_asked", "_durable", "_ends", "_latest", "_levels", "_waiting", "_written")

    def __init__(self, levels: Levels, asked: Asked) -> None:
        self._levels = levels
        self._asked = asked
        self._ends = time.monotonic() + asked.deadline_ms / 1000
        self._latest = math.inf
        self._durable: Future[bool] | None = None
        self._waiting: Waiting | None = None
        self._written = False

    def want_durable(self) -> None:
        """Wait for the outcome to be durable, too: the mode does not see to it."""
        self._durable = Future()

    def settled(self, ticket: Ticket) -> None:
        """Take note of what became of the outcome's place in the journal."""
        if self._durable is not None:
            self._durable.set_result(not ticket.failed)

    def written(self, open_: Open, ticket: Ticket, response: inference.Response) -> None:
        """Hand on the wish, now that the outcome has its place in the journal."""
        self._written = True
        level = self._asked.level
        never = level == "recomputed" and not is_comparable(response)
        if level is not None and level != "logged":
            self._waiting = self._levels.ask(
                Awaited(
                    intent_n=open_.n,
                    n=ticket.n,
                    leaf=ticket.leaf.hex(),
                    level=level,
                    deadline_ms=self._levels.moment(self._ends - time.monotonic()),
                    evidence=open_.deployment.evidence,
                    since_us=self._levels.now_us(),
                ),
                Reason.NOT_REPLAYABLE if never else "",
            )

    async def proven(self, awaiting: Awaiting, at_most: float = math.inf) -> Proven:
        """Wait for what was asked, until the deadline and so many seconds at most."""
        self._latest = time.monotonic() + at_most
        self._ends = min(self._ends, self._latest)
        if self._written and self._durable is not None:
            await awaiting.promised(self._durable, self._held())
        if self._waiting is not None:
            await awaiting.promised(self._waiting.reached, self._patience())
        return self._proven()

    def proven_here(self) -> Proven:
        """As :meth:`proven`, for a thread that may wait."""
        if self._written and self._durable is not None:
            futures.wait([self._durable], self._held())
        if self._waiting is not None:
            futures.wait([self._waiting.reached], self._patience())
        return self._proven()

    def _held(self) -> float:
        """Seconds for which the answer may still be held back."""
        return min(max(0.0, self._ends - time.monotonic()), MAX_HELD_SECONDS)

    def _patience(self) -> float:
        """Seconds for which the answer may be held back for its level."""
        deadline_ms = self._asked.deadline_ms
        if self._asked.level != "recomputed" or not deadline_ms:
            return self._held()
        if deadline_ms > MAX_HELD_SECONDS * 1000:
            # Whoever has longer than that has the answer now, and the replay when it comes.
            return 0.0
        # Nothing is attached after this deadline, so whoever waited for it is told.
        return max(0.0, min(self._ends + TELLING_SECONDS, self._latest) - time.monotonic())

    def _proven(self) -> Proven:
        if not self._written:
            return Proven("none", Reason.JOURNAL_LATCHED)
        durable, waiting = self._durable, self._waiting
        reached = "logged" if durable is None or (durable.done() and durable.result()) else "none"
        if waiting is None:
            return Proven(reached)
        if waiting.signed:
            reached = "signed"
        if not waiting.reached.done():
            return Proven(reached)
        found = waiting.reached.result()
        return Proven(found.level or reached, found.missed)
