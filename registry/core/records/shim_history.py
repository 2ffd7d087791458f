"""The records of one shim in order: one outcome for each call, and no start or silence unexplained.

What a record may say depends on those before it: a call has exactly one outcome, in the boot of its
intent or struck at the next start; a start follows a stop or says that there was none; a completion
names a setup of its boot; between two heartbeats lies no more time than the policy allows.

Memory does not grow with the history: what is remembered is what is open.
"""

from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec

from registry.core.records import inference
from registry.core.records.audit_policy import Policy
from registry.core.records.inference import MAX_OPEN_INTENTS
from registry.core.records.level_answers import LevelAnswers
from registry.core.records.shim_starts import Starts
from registry.core.verdict import Verdict
from registry.errors import Reason

MAX_SETUPS = 1024
"""Setup records of one boot that completions may still name."""

NAMED_INTENTS = 8
"""Open calls that a finding names one by one."""

Report = Callable[[str, Verdict, Reason, str], None]
"""Told of a finding: about which link, what it makes of the verdict, the reason, the details."""

CALLS = "calls"
STARTS = "starts"
HEARTBEATS = "heartbeats"
SETUPS = "setups"
UNRECORDED = "unrecorded calls"
TIMES = "times"
LEVELS = "levels"


class _Call(NamedTuple):
    """A call without an outcome."""

    request: str
    release: str
    at: datetime | None


class _Beat(NamedTuple):
    """When a shim was last heard as it must be heard."""

    at: datetime | None
    monotonic_us: int | None


class History:
    """What the records so far say.

    Attributes:
        counts: How many records of each kind.
        unrecorded: Calls that went out and were never written down, as the shim counted them.
        unclean: Starts after a run that did not stop in good order.
        backwards: How often the wall clock went back.
        leaps: How often it was set ahead by more than a silence may last, or the host stood still.
        starts: How the shim started.
        last: The newest record.
        last_at: Its time; None if no calendar has it.
    """

    def __init__(self, policy: Policy, report: Report) -> None:
        self._policy = policy
        self._report = report
        self.counts: dict[str, int] = {}
        self.unrecorded = 0
        self.unclean = 0
        self.backwards = self.leaps = 0
        self.starts = Starts(
            lambda said: report(STARTS, Verdict.INVALID, Reason.BOOT_UNEXPLAINED, said)
        )
        self.last: inference.Record | None = None
        self.last_at: datetime | None = None
        self._boot_id = ""
        # Directly after the records that are missing, and what is not judged for their sake.
        self._adrift = False
        self._unjudged_below = 0
        self._open: OrderedDict[int, _Call] = OrderedDict()
        self._owed: set[int] = set()
        self._setups: OrderedDict[int, inference.Setup] = OrderedDict()
        self._levels = LevelAnswers(lambda said: self._unexplained(said, said.intent_n))
        self._beat = _Beat(None, None)

    @property
    def open(self) -> tuple[int, ...]:
        """The calls that have no outcome so far."""
        return tuple(self._open)

    def hole(self, next_n: int) -> None:
        """Take note that the records before ``next_n`` are not known."""
        self._adrift = True
        self._unjudged_below = next_n
        self._open.clear()
        self._owed.clear()
        self._setups.clear()
        self._levels.clear()
        self._beat = _Beat(None, None)

    def take(self, record: inference.Record) -> None:
        """Judge the next record."""
        kind = type(record).__struct_config__.tag
        self.counts[str(kind)] = self.counts.get(str(kind), 0) + 1
        at = _moment(record.at)
        if at is None:
            self._report(
                TIMES, Verdict.INDETERMINATE, Reason.BAD_TIME, f"{_n(record)}: {record.at}"
            )
        elif self.last_at is not None and at < self.last_at:
            self.backwards += 1
        if isinstance(record, inference.Boot):
            self._boot(record, at)
        else:
            self._within(record)
            self._other(record, at)
        self.last, self.last_at = record, at
        self._adrift = False

    def finish(self, at: datetime) -> None:
        """Judge what the newest records leave open, as of ``at``."""
        if self.last is None:
            return
        if (unsaid := self._levels.overdue(at)) or self._levels.forgotten:
            self._report(
                LEVELS,
                Verdict.INDETERMINATE,
                Reason.LEVEL_UNANSWERED,
                f"what callers asked for was neither had nor missed: {_named(unsaid)}",
            )
        if self._owed:
            self._report(
                CALLS,
                Verdict.INDETERMINATE,
                Reason.INTENT_UNSTRUCK,
                f"calls of an earlier run have no outcome yet: {_named(self._owed)}",
            )
        if isinstance(self.last, inference.Stop):
            return
        self._tail()
        if self.last_at is not None and at - self.last_at > self._policy.heartbeat:
            self._report(
                HEARTBEATS,
                Verdict.INDETERMINATE,
                Reason.SHIM_SILENT,
                f"nothing after {_n(self.last)} of {self.last.at}, and it did not stop: the shim "
                "is down, cannot send, or later batches are withheld",
            )
        late = [n for n, call in self._open.items() if n not in self._owed and self._is_late(call)]
        if late:
            self._report(
                CALLS,
                Verdict.INDETERMINATE,
                Reason.INTENT_OPEN,
                f"calls have no outcome so far: {_named(late)}",
            )

    def _is_late(self, call: _Call) -> bool:
        """Whether a call began so long before the newest record that its end should be known."""
        if call.at is None or self.last_at is None:
            return True
        return self.last_at - call.at > self._policy.heartbeat

    def _boot(self, boot: inference.Boot, at: datetime | None) -> None:
        last = self.last
        if last is None or self._adrift:
            fits = boot.prev_stop == "first" if boot.sequence.n == 0 else True
        else:
            if not isinstance(last, inference.Stop):
                self._tail()
            ending = "clean" if isinstance(last, inference.Stop) else "unclean"
            fits = (boot.prev_stop, boot.previous_boot_id) == (ending, last.sequence.boot_id)
        if not fits:
            previous = "nothing" if last is None else f"{_n(last)}, {_kind(last)}"
            self._report(
                STARTS,
                Verdict.INVALID,
                Reason.BOOT_UNEXPLAINED,
                f"{_n(boot)} says {boot.prev_stop!r} after {previous}",
            )
        judged = {n for n in boot.open_intents if n >= self._unjudged_below}
        if judged != set(self._open):
            self._report(
                STARTS,
                Verdict.INVALID,
                Reason.BOOT_UNEXPLAINED,
                f"{_n(boot)} lists open calls {_named(boot.open_intents)}; "
                f"those without an outcome are {_named(self._open)}",
            )
        self.starts.take(boot)
        self.unclean += boot.prev_stop == "unclean"
        self._count_unrecorded(boot.unrecorded, boot)
        self._boot_id = boot.sequence.boot_id
        self._owed = set(self._open) | set(boot.open_intents)
        self._setups.clear()
        self._beat = _beat_of(at, boot.clock)

    def _within(self, record: inference.Record) -> None:
        """Judge that a record belongs to the boot before it."""
        boot_id = record.sequence.boot_id
        if self._adrift:
            self._boot_id = boot_id
        if boot_id != self._boot_id or isinstance(self.last, inference.Stop):
            self._report(
                STARTS,
                Verdict.INVALID,
                Reason.BOOT_UNEXPLAINED,
                f"{_n(record)}, {_kind(record)}, follows no boot record of its own",
            )
            self._boot_id = boot_id
        if self._owed and not isinstance(record, inference.Interrupted):
            self._report(
                CALLS,
                Verdict.INVALID,
                Reason.INTENT_UNSTRUCK,
                f"calls of an earlier run are not struck before {_n(record)}: {_named(self._owed)}",
            )
            for n in self._owed:
                self._open.pop(n, None)
            self._owed.clear()

    def _other(self, record: inference.Record, at: datetime | None) -> None:
        match record:
            case inference.Intent():
                self._begin(record, at)
            case inference.Setup():
                self._set_up(record)
            case inference.Interrupted():
                self._struck(record)
            case inference.Attached():
                self._levels.answer(record)
                if record.intent_n >= record.sequence.n:
                    self._unexplained(record, record.intent_n)
            case inference.Heartbeat() | inference.Stop():
                self._heard(record, at)
            case inference.Boot():
                pass
            case _:
                self._end(record)
                if isinstance(record, inference.Completion):
                    self._levels.wish(record, at)

    def _begin(self, intent: inference.Intent, at: datetime | None) -> None:
        self._open[intent.sequence.n] = _Call(intent.request, intent.release, at)
        if len(self._open) > MAX_OPEN_INTENTS:
            n, _ = self._open.popitem(last=False)
            self._unjudged_below = max(self._unjudged_below, n + 1)
            self._report(
                CALLS,
                Verdict.INVALID,
                Reason.INTENT_OPEN,
                f"more than {MAX_OPEN_INTENTS} calls are open at {_n(intent)}, the oldest n={n}",
            )

    def _set_up(self, setup: inference.Setup) -> None:
        self._setups[setup.sequence.n] = setup
        if len(self._setups) > MAX_SETUPS:
            self._setups.popitem(last=False)

    def _struck(self, record: inference.Interrupted) -> None:
        if record.intent_n not in self._owed:
            self._unexplained(record, record.intent_n)
        self._owed.discard(record.intent_n)
        self._open.pop(record.intent_n, None)

    def _end(
        self,
        outcome: inference.Completion
        | inference.Failure
        | inference.ClientGone
        | inference.NotForwarded,
    ) -> None:
        call = self._open.pop(outcome.intent_n, None)
        if isinstance(outcome, inference.Completion):
            self._setup(outcome)
            if outcome.course is not msgspec.UNSET:
                self._count_unrecorded(outcome.course.unrecorded, outcome)
        if call is None:
            self._unexplained(outcome, outcome.intent_n)
        elif isinstance(outcome, inference.Completion) and (
            (outcome.request, outcome.model.release) != (call.request, call.release)
        ):
            self._report(
                CALLS,
                Verdict.INVALID,
                Reason.OUTCOME_UNEXPLAINED,
                f"{_n(outcome)} answers another request, or is of another model, than its intent "
                f"n={outcome.intent_n}",
            )

    def _unexplained(self, record: inference.Record, intent_n: int) -> None:
        if intent_n < self._unjudged_below:
            return
        self._report(
            CALLS,
            Verdict.INVALID,
            Reason.OUTCOME_UNEXPLAINED,
            f"{_n(record)}, {_kind(record)}, is about n={intent_n}, which is no open call",
        )

    def _setup(self, completion: inference.Completion) -> None:
        n = completion.setup_n
        if n is msgspec.UNSET or n < self._unjudged_below:
            return
        setup = self._setups.get(n)
        if setup is None or setup.model != completion.model:
            self._report(
                SETUPS,
                Verdict.INVALID,
                Reason.UNKNOWN_SETUP,
                f"{_n(completion)} names n={n}, which is no setup of this model in this run",
            )

    def _heard(self, record: inference.Heartbeat | inference.Stop, at: datetime | None) -> None:
        beat = _beat_of(at, record.clock)
        self._measure(self._beat, beat, f"before {_n(record)}")
        self._beat = beat
        if isinstance(record, inference.Heartbeat):
            self._count_unrecorded(record.unrecorded, record)
        elif self._open:
            self._report(
                STARTS,
                Verdict.INVALID,
                Reason.STOP_UNEXPLAINED,
                f"{_n(record)} ends a run whose calls are open: {_named(self._open)}",
            )

    def _tail(self) -> None:
        """Judge the time from the last heartbeat to the last record of a run without a stop."""
        if self.last is not None:
            self._measure(self._beat, _Beat(self.last_at, None), f"at {_n(self.last)}")

    def _measure(self, before: _Beat, after: _Beat, where: str) -> None:
        if before.monotonic_us is not None and after.monotonic_us is not None:
            elapsed = timedelta(microseconds=after.monotonic_us - before.monotonic_us)
            if before.at is not None and after.at is not None:
                self.leaps += after.at - before.at - elapsed > self._policy.heartbeat
        elif before.at is not None and after.at is not None:
            elapsed = after.at - before.at
        else:
            return
        if elapsed < timedelta(0):
            self._report(
                HEARTBEATS,
                Verdict.INDETERMINATE,
                Reason.CLOCK_BACKWARDS,
                f"the time {where} cannot be measured: the clock went back",
            )
        elif elapsed > self._policy.heartbeat:
            self._report(
                HEARTBEATS,
                Verdict.INVALID,
                Reason.HEARTBEAT_GAP,
                f"no heartbeat for {elapsed.total_seconds():.1f} s {where}",
            )

    def _count_unrecorded(self, count: int, record: inference.Record) -> None:
        if count:
            self.unrecorded += count
            self._report(
                UNRECORDED,
                Verdict.INVALID,
                Reason.UNRECORDED_CALLS,
                f"{count} calls before {_n(record)} went out and were never written down",
            )


def _beat_of(at: datetime | None, clock: inference.Clock | msgspec.UnsetType) -> _Beat:
    return _Beat(at, None if clock is msgspec.UNSET else clock.monotonic_us)


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        # The form of a time, and no calendar has it.
        return None


def _n(record: inference.Record) -> str:
    return f"n={record.sequence.n}"


def _kind(record: inference.Record) -> str:
    return str(type(record).__struct_config__.tag)


def _named(numbers: "OrderedDict[int, _Call] | set[int] | list[int] | tuple[int, ...]") -> str:
    """Some of these numbers, and how many they are."""
    first = ", ".join(str(n) for n in sorted(numbers)[:NAMED_INTENTS])
    more = len(numbers) - NAMED_INTENTS
    return (first or "none") + (f" and {more} more" if more > 0 else "")
