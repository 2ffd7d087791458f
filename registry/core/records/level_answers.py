"""Wishes of callers, and what became of them: each has its answer, in time or late, or missed.

Whoever asks for more than a logged record gets an *attached* record of the same call in the end. A
shim gives up an hour after the caller's deadline; one whose journal tells of a wish and never of
its answer says neither that it was had nor that it was missed.
"""

from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import msgspec

from registry.core.records import inference

PATIENCE: Final = timedelta(hours=2)
"""How long after a caller's deadline its answer may come: a shim gives up after one hour."""

MAX_WISHES: Final = 4096
"""Wishes without an answer that are remembered; a shim looks after 1024 at once."""


class _Wish(NamedTuple):
    level: str
    ends: datetime | None


class LevelAnswers:
    """The wishes of one shim's callers that have no answer so far."""

    def __init__(self, contradicts: Callable[[inference.Attached], None]) -> None:
        """Take what is told of an answer to another wish than was made."""
        self._contradicts = contradicts
        self._open: OrderedDict[int, _Wish] = OrderedDict()
        self.forgotten = 0

    def wish(self, said: inference.Completion, at: datetime | None) -> None:
        """Take note of an answer whose caller may ask for more."""
        if said.asked is msgspec.UNSET or said.asked == "logged":
            return
        ends = None if at is None else at + timedelta(milliseconds=said.deadline_ms)
        self._open[said.intent_n] = _Wish(said.asked, ends)
        if len(self._open) > MAX_WISHES:
            self._open.popitem(last=False)
            self.forgotten += 1

    def answer(self, said: inference.Attached) -> None:
        """Take note of what became of a wish; a second time it says nothing new."""
        wish = self._open.pop(said.intent_n, None)
        if wish is not None and wish.level != said.level:
            self._contradicts(said)

    def clear(self) -> None:
        """Forget all wishes: their answers may be among records that are not known."""
        self._open.clear()

    def overdue(self, at: datetime) -> list[int]:
        """The calls whose wish should have its answer by now."""
        return [
            n for n, wish in self._open.items() if wish.ends is None or at - wish.ends > PATIENCE
        ]
