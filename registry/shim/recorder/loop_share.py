"""Whether an event loop may itself wait for the disk: then no thread has to be woken for it."""

import math
import time
from collections.abc import Callable
from typing import Final

WAITING_SHARE: Final = 5
"""An event loop waits for the disk for one part in so many of its time, at most."""


class LoopShare:
    """What of its time a loop may wait; others wait as long."""

    def __init__(self, quick_seconds: Callable[[], float]) -> None:
        """Take how long the disk takes: infinite where it was not quick the last time."""
        self._quick_seconds = quick_seconds
        self._from = 0.0

    def take(self) -> bool:
        """Take some of it, if there is any now."""
        now = time.monotonic()
        if now < self._from:
            return False
        seconds = self._quick_seconds()
        if math.isinf(seconds):
            return False
        self._from = now + WAITING_SHARE * seconds
        return True
