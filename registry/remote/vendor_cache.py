"""Answers of vendors, kept until the vendor says otherwise, and bounded in number and bytes.

Vendors limit how often they are asked, and one answer serves a whole fleet. An answer is kept until
its own ``nextUpdate`` or a limit of ours, whichever comes first: a revocation must not wait for
weeks. That nobody answered is remembered, too, for a short while, so that a vendor who is down is
not asked for every piece of evidence.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from registry.core.evidence.endorsements import Role
from registry.errors import Reason, RegistryError, UnavailableError

Clock = Callable[[], datetime]
"""Says what time it is, in UTC."""

MAX_CACHED_ANSWERS: Final = 4096
"""Answers that are kept."""

MAX_CACHED_BYTES: Final = 64 * 1024 * 1024
"""Bytes of answers that are kept."""

MAX_AGE: Final = timedelta(hours=1)
"""How long an answer that the vendor may replace is kept."""

MAX_AGE_LASTING: Final = timedelta(days=1)
"""How long an answer that never changes is kept: a certificate, a manifest."""

FAILURE_AGE: Final = timedelta(seconds=30)
"""How long it is remembered that a vendor did not answer."""

NOTHING_AGE: Final = timedelta(minutes=10)
"""How long it is remembered that a vendor has no such thing."""

MAX_WAIT_SECONDS: Final = 30.0
"""Seconds that a question waits for the same question of somebody else."""

Items = tuple[tuple[Role, bytes], ...]
"""What one answer yields: endorsements, each with its role."""


@dataclass(frozen=True, slots=True)
class Fresh:
    """An answer that has just come.

    Attributes:
        items: What it yields.
        until: The last moment at which the vendor stands by it; None if it says nothing.
        lasting: Whether it never changes.
    """

    items: Items
    until: datetime | None = None
    lasting: bool = False


@dataclass(frozen=True, slots=True)
class _Kept:
    items: Items
    failure: RegistryError | None
    until: datetime

    @property
    def size(self) -> int:
        return sum(len(data) for _, data in self.items)


class VendorCache:
    """Answers by question. Any number of threads may use one; the same question is asked once."""

    def __init__(
        self,
        clock: Clock,
        *,
        max_answers: int = MAX_CACHED_ANSWERS,
        max_bytes: int = MAX_CACHED_BYTES,
    ) -> None:
        self._clock = clock
        self._max_answers = max_answers
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        # Used last, first to go last.
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._bytes = 0
        self._asking: dict[str, threading.Event] = {}

    def get(self, question: str, ask: Callable[[], Fresh]) -> Items:
        """The answer to ``question``: the one that is kept, or what ``ask`` finds out.

        Raises:
            RegistryError: What ``ask`` raises, or raised a short while ago.
            UnavailableError: ``DEADLINE`` if somebody else asks the same and gets no answer.
        """
        while True:
            with self._lock:
                kept = self._find(question)
                event = self._asking.get(question)
                if kept is None and event is None:
                    self._asking[question] = threading.Event()
            if kept is not None:
                if kept.failure is not None:
                    raise _again(kept.failure)
                return kept.items
            if event is None:
                return self._ask(question, ask)
            if not event.wait(MAX_WAIT_SECONDS):
                raise UnavailableError(
                    Reason.DEADLINE, "a vendor did not answer in time", where=question
                )

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def size_bytes(self) -> int:
        """Bytes of all answers that are kept."""
        return self._bytes

    def _find(self, question: str) -> _Kept | None:
        kept = self._kept.get(question)
        if kept is None:
            return None
        if self._clock() > kept.until:
            self._drop(question)
            return None
        self._kept.move_to_end(question)
        return kept

    def _ask(self, question: str, ask: Callable[[], Fresh]) -> Items:
        found: _Kept | None = None
        try:
            fresh = ask()
            limit = self._clock() + (MAX_AGE_LASTING if fresh.lasting else MAX_AGE)
            until = limit if fresh.until is None else min(limit, fresh.until)
            found = _Kept(fresh.items, None, until)
        except RegistryError as error:
            nothing = error.reason is Reason.NO_ENDORSEMENT
            age = NOTHING_AGE if nothing else FAILURE_AGE
            found = _Kept((), error, self._clock() + age)
            raise
        finally:
            with self._lock:
                if found is not None:
                    self._keep(question, found)
                self._asking.pop(question).set()
        return found.items

    def _keep(self, question: str, kept: _Kept) -> None:
        self._drop(question)
        # What is out of date already, or larger than all there is room for, serves this once.
        if kept.size > self._max_bytes or kept.until < self._clock():
            return
        self._kept[question] = kept
        self._bytes += kept.size
        while len(self._kept) > self._max_answers or self._bytes > self._max_bytes:
            self._drop(next(iter(self._kept)))

    def _drop(self, question: str) -> None:
        kept = self._kept.pop(question, None)
        if kept is not None:
            self._bytes -= kept.size


def _again(error: RegistryError) -> RegistryError:
    """The same refusal once more, without the trace of the first one."""
    return type(error)(
        error.reason,
        error.what,
        where=error.where,
        expected=error.expected,
        actual=error.actual,
        hint=error.hint,
    )
