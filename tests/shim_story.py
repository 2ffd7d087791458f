"""The story of one shim, record by record, so that each test can tell it wrong in one place.

::

    story = Story()
    story.boot()
    intent_n = story.intent()
    story.complete(intent_n)
    story.stop()
    first, second = story.cut(3)          # batch statements, after record 2 and at the end
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from registry.core import digest, encoding
from registry.core.attestation.dsse import PAYLOAD_TYPE, pae
from registry.core.attestation.statement import Statement
from registry.core.digest import sha256
from registry.core.records import batch, inference
from registry.core.tlog.merkle import leaf_hash
from tests import mint

NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)
"""When a story begins."""

MODEL = inference.Model(
    release=f"sha256:{'a' * 64}", manifest="b" * 64, name="acme/x", version="1.2.0"
)
"""The model that answers in a story."""


@dataclass
class Story:
    """A shim's records; ``now`` is its clock, and moves only if a test moves it."""

    shim_id: str = "5" * 32
    model: inference.Model = MODEL
    now: datetime = NOON
    records: list[inference.Record] = field(default_factory=list)
    leaves: list[bytes] = field(default_factory=list)
    boots: int = 0
    skipped: int = 0

    @property
    def next_n(self) -> int:
        return len(self.records) + self.skipped

    def later(self, seconds: float) -> None:
        """Let time pass, or go back."""
        self.now += timedelta(seconds=seconds)

    def skip(self, count: int) -> None:
        """Leave numbers out."""
        self.skipped += count

    def place(self, **members: Any) -> inference.Sequence:
        """Where the next record stands."""
        previous = leaf_hash(self.leaves[-1]).hex() if self.leaves else inference.FIRST_PREVIOUS
        values: dict[str, Any] = {
            "shim_id": self.shim_id,
            "boot_id": self.boot_id(self.boots),
            "n": self.next_n,
            "prev_digest": previous,
        }
        return inference.Sequence(**(values | members))

    def boot_id(self, number: int) -> str:
        return sha256(b"boot %d" % number).hex()[:32]

    @property
    def at(self) -> str:
        return encoding.time_text(self.now)

    def clock(self) -> inference.Clock:
        """A monotonic clock that agrees with the wall clock."""
        since = self.now - NOON + timedelta(days=1)
        return inference.Clock(monotonic_us=since // timedelta(microseconds=1), error_us=1000)

    def append(self, record: inference.Record) -> int:
        """Write a record down; returns its number."""
        self.leaves.append(inference.write(record))
        self.records.append(record)
        return record.sequence.n

    def boot(self, **members: Any) -> int:
        """Start, after whatever came before."""
        last = self.records[-1] if self.records else None
        self.boots += 1
        values: dict[str, Any] = {
            "sequence": self.place(),
            "at": self.at,
            "prev_stop": "first"
            if last is None
            else "clean"
            if isinstance(last, inference.Stop)
            else "unclean",
            "previous_boot_id": msgspec.UNSET if last is None else last.sequence.boot_id,
            "software": "story 1",
            "clock": self.clock(),
        }
        return self.append(inference.Boot(**(values | members)))

    def setup(self, **members: Any) -> int:
        values: dict[str, Any] = {
            "sequence": self.place(),
            "at": self.at,
            "model": self.model,
            "binding": "name_only",
            "level": 1,
            "runtime": inference.Runtime(engine="none", version="1"),
        }
        return self.append(inference.Setup(**(values | members)))

    def intent(self, **members: Any) -> int:
        values: dict[str, Any] = {
            "sequence": self.place(),
            "at": self.at,
            "release": self.model.release,
            "request": sha256(b"request").hex(),
            "salt": sha256(b"salt").hex(),
        }
        return self.append(inference.Intent(**(values | members)))

    def complete(self, intent_n: int, **members: Any) -> int:
        values: dict[str, Any] = {
            "sequence": self.place(),
            "at": self.at,
            "intent_n": intent_n,
            "model": self.model,
            "binding": "name_only",
            "request": sha256(b"request").hex(),
            "response": inference.Response(
                profile="output/bytes/v1",
                content_digest=sha256(b"%d" % intent_n).hex(),
                wire_digest=sha256(b"wire").hex(),
                complete=True,
            ),
            "runtime": inference.Runtime(engine="none", version="1"),
            "uncovered": (),
            "salt": sha256(b"salt").hex(),
        }
        return self.append(inference.Completion(**(values | members)))

    def interrupted(self, intent_n: int) -> int:
        return self.append(
            inference.Interrupted(sequence=self.place(), at=self.at, intent_n=intent_n)
        )

    def failed(self, intent_n: int) -> int:
        return self.append(
            inference.Failure(sequence=self.place(), at=self.at, intent_n=intent_n, error="x")
        )

    def attached(self, intent_n: int, **members: Any) -> int:
        values: dict[str, Any] = {
            "sequence": self.place(),
            "at": self.at,
            "intent_n": intent_n,
            "level": "signed",
            "proof": "c" * 64,
        }
        return self.append(inference.Attached(**(values | members)))

    def beat(self, **members: Any) -> int:
        values: dict[str, Any] = {"sequence": self.place(), "at": self.at, "clock": self.clock()}
        return self.append(inference.Heartbeat(**(values | members)))

    def stop(self, **members: Any) -> int:
        values: dict[str, Any] = {"sequence": self.place(), "at": self.at, "clock": self.clock()}
        return self.append(inference.Stop(**(values | members)))

    def call(self) -> int:
        """A whole call; returns the number of its intent."""
        intent_n = self.intent()
        self.complete(intent_n)
        return intent_n

    def intents(self) -> list[int]:
        """The numbers of all intents."""
        return [item.sequence.n for item in self.records if isinstance(item, inference.Intent)]

    def cut(self, *ends: int) -> list[tuple[Statement[Any], list[bytes]]]:
        """The batches of this story, which end before these positions and at its end."""
        told: list[tuple[Statement[Any], list[bytes]]] = []
        previous: bytes | None = None
        start = 0
        for end in (*ends, len(self.records)):
            leaves = self.leaves[start:end]
            statement = self.batch(start, end, previous)
            told.append((statement, leaves))
            previous = record_id(statement)
            start = end
        return told

    def batch(self, start: int, end: int, previous: bytes | None, **members: Any) -> Statement[Any]:
        """The batch of the records at these positions."""
        journal = mint.Journal(shim_id=self.shim_id, records=self.leaves[start:end])
        first, last = self.records[start].sequence, self.records[end - 1].sequence
        values: dict[str, Any] = {
            "boot_id": last.boot_id,
            "n_first": first.n,
            "n_last": last.n,
            "prev_batch": msgspec.UNSET if previous is None else digest.text(previous),
        }
        return journal.batch_statement(**(values | members))


def record_id(statement: Statement[Any]) -> bytes:
    """How a batch names the one before it."""
    return sha256(pae(PAYLOAD_TYPE, encoding.write_json(statement)))


def said(statement: Statement[Any]) -> batch.Batch:
    """What a batch statement says."""
    predicate = statement.predicate
    assert isinstance(predicate, batch.Batch)
    return predicate
