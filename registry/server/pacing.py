"""How fast work is begun that must not keep other work waiting.

Threads of one process share its interpreter, so whatever one of them does is taken from all others.
Each piece of work is therefore begun only after those before it have, on average, used no more than
a share of one processor. Nobody waits unless somebody came just before.

What a thread itself uses is measured. It also costs the loop, which takes in calls and answers
them, and whoever waits for the interpreter meanwhile: that is a number which somebody measured.
"""

import time
from collections.abc import Callable
from typing import Final, TypeVar

BURST_SECONDS: Final = 0.2
"""For how long of doing nothing is made up at once."""

_WEIGHT: Final = 0.1
"""How much the last piece of work says about the next."""

T = TypeVar("T")


class Pacing:
    """Says when the next piece of work may begin. Only the loop may ask; any thread may work."""

    def __init__(self, share: float, guess_seconds: float, beside_seconds: float = 0.0) -> None:
        """Use no more than ``share`` of a processor.

        Args:
            share: More than 0, and at most 1.
            guess_seconds: What a piece of work uses in its thread, until that is known.
            beside_seconds: What it costs outside of it.
        """
        self._share = share
        self._cost = guess_seconds
        self._beside = beside_seconds
        self._free_at = 0.0

    def delay(self, now: float) -> float:
        """Seconds until a piece of work may begin that comes at ``now``; it is counted."""
        begins = max(now - BURST_SECONDS, self._free_at)
        self._free_at = begins + (self._cost + self._beside) / self._share
        return max(0.0, begins - now)

    def run(self, work: Callable[[], T]) -> T:
        """Do a piece of work in this thread, and learn what it costs."""
        before = time.thread_time()
        try:
            return work()
        finally:
            used = time.thread_time() - before
            self._cost += (used - self._cost) * _WEIGHT
