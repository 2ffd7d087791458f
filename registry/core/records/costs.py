"""What verification cost, summed from the records of shims: per day, model version and level.

Everything is as the records claim it: the day by the shim's own clock, the level that the caller
asked for, and what the shim says that it added. A sum that no longer fits stays at the largest
number that JSON holds.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Final

import msgspec

from registry.core.encoding import MAX_SAFE_INTEGER, Count, Text, Value
from registry.core.records.inference import Level
from registry.core.records.replay import Replay

DEFAULT_LEVEL: Final[Level] = "logged"
"""The level of a call whose caller did not ask for any: what every record has."""

RECOMPUTED: Final[Level] = "recomputed"
"""The level that replays give."""

Day = Annotated[str, msgspec.Meta(pattern=r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")]
"""A day in UTC."""

_COMPLETION = b'"kind":"completion"'
_ATTACHED = b'"kind":"attached"'
_DAY_CHARACTERS = 10

ModelOf = Callable[[str, int], str]
"""The version, as ``name@version``, that intent ``n`` of a shim was about."""


class Cost(Value, frozen=True):
    """What the calls of one day to one version at one level cost.

    Attributes:
        calls: Answers that were recorded.
        untimed: How many of them say nothing of their course: within one process.
        added_us: Time that shims added to answers, in microseconds.
        evidence_us: Time until what was asked for beyond the record was there, or given up.
        late_us: How much of that was after the callers' deadlines.
        proof_bytes: Bytes of what was had beyond the record.
        attached: How often something was attached to a record.
        missed: How often it could not be had.
        replays: How often auditors ran a call again.
        replay_us: How long that took.
    """

    day: Day
    model: Text
    level: Level
    calls: Count = 0
    untimed: Count = 0
    added_us: Count = 0
    evidence_us: Count = 0
    late_us: Count = 0
    proof_bytes: Count = 0
    attached: Count = 0
    missed: Count = 0
    replays: Count = 0
    replay_us: Count = 0


SUMS: Final = tuple(
    name for name in Cost.__struct_fields__ if name not in ("day", "model", "level")
)
"""The members of a cost that are summed."""

Key = tuple[str, str, str]
"""Day, model and level."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which costs are asked for.

    Attributes:
        model: A name, or a name and version; empty for all.
        since: The first moment, as records write it without their ``Z``; empty for all.
        until: The first moment that is too late.
    """

    model: str = ""
    since: str = ""
    until: str = ""

    def covers(self, model: str, at: str) -> bool:
        """Whether a record about this version at this time is asked for."""
        moment = at.removesuffix("Z")
        if moment < self.since or (self.until and moment >= self.until):
            return False
        return not self.model or self.model in (model, model.partition("@")[0])


class Costs:
    """Sums of costs, in any order of additions the same."""

    def __init__(self) -> None:
        self._sums: dict[Key, dict[str, int]] = {}

    def __len__(self) -> int:
        return len(self._sums)

    def add(self, key: Key, **amounts: int) -> None:
        """Add amounts to the sums of one row."""
        sums = self._sums.setdefault(key, dict.fromkeys(SUMS, 0))
        for name, amount in amounts.items():
            sums[name] = min(sums[name] + amount, MAX_SAFE_INTEGER)

    def merge(self, rows: Iterable[Cost]) -> None:
        """Add what was summed elsewhere."""
        for row in rows:
            amounts = {name: getattr(row, name) for name in SUMS}
            self.add((row.day, row.model, row.level), **amounts)

    def rows(self) -> tuple[Cost, ...]:
        """All rows, by day, model and level."""
        return tuple(
            msgspec.convert({"day": key[0], "model": key[1], "level": key[2], **sums}, Cost)
            for key, sums in sorted(self._sums.items())
        )


class _Model(msgspec.Struct):
    name: str
    version: str


class _Course(msgspec.Struct):
    added_us: int = 0


class _Place(msgspec.Struct):
    shim_id: str


class _Completion(msgspec.Struct):
    at: str
    intent_n: int
    model: _Model
    asked: Level = DEFAULT_LEVEL
    course: _Course | None = None


class _Attached(msgspec.Struct):
    at: str
    intent_n: int
    level: Level
    sequence: _Place
    evidence_us: int = 0
    late_us: int = 0
    missed: str = ""
    proof_bytes: int = 0


class _CompletionLine(msgspec.Struct):
    predicate: _Completion


class _AttachedLine(msgspec.Struct):
    predicate: _Attached


_read_completion = msgspec.json.Decoder(_CompletionLine).decode
_read_attached = msgspec.json.Decoder(_AttachedLine).decode


def add_batch(costs: Costs, wanted: Wanted, records: Iterable[bytes], model_of: ModelOf) -> None:
    """Add the costs in the records of one batch, which were checked when they were registered.

    Read are only the members that count: this runs over every record that there is.

    Args:
        costs: To which they are added.
        wanted: Which are asked for.
        records: The leaf data of the batch.
        model_of: What a call was about whose completion is not in this batch.

    Raises:
        msgspec.DecodeError: These are no records.
    """
    models: dict[int, str] = {}
    for data in records:
        # A quote within a text is escaped, so that this stands only where the kind stands.
        if _COMPLETION in data:
            said = _read_completion(data).predicate
            model = f"{said.model.name}@{said.model.version}"
            models[said.intent_n] = model
            if wanted.covers(model, said.at):
                _add_completion(costs, model, said)
        elif _ATTACHED in data:
            late = _read_attached(data).predicate
            about = models.get(late.intent_n) or model_of(late.sequence.shim_id, late.intent_n)
            if wanted.covers(about, late.at):
                costs.add(
                    (late.at[:_DAY_CHARACTERS], about, late.level),
                    evidence_us=late.evidence_us,
                    late_us=late.late_us,
                    proof_bytes=late.proof_bytes,
                    attached=int(not late.missed),
                    missed=int(bool(late.missed)),
                )


def add_replay(costs: Costs, wanted: Wanted, said: Replay) -> None:
    """Add what a replay cost."""
    model = f"{said.model.name}@{said.model.version}"
    if wanted.covers(model, said.issued_at):
        key = (said.issued_at[:_DAY_CHARACTERS], model, RECOMPUTED)
        costs.add(key, replays=1, replay_us=said.run_us)


def _add_completion(costs: Costs, model: str, said: _Completion) -> None:
    key = (said.at[:_DAY_CHARACTERS], model, said.asked)
    course = said.course
    if course is None:
        costs.add(key, calls=1, untimed=1)
    else:
        costs.add(key, calls=1, added_us=course.added_us)
