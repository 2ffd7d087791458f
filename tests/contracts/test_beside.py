"""What stands beside an outcome is found behind many batches, and is in its capsule."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from registry.core import digest
from registry.core.capsule.container import Capsule
from registry.core.capsule.walk import appraise
from registry.core.digest import sha256
from registry.core.records import inference
from registry.core.verdict import Verdict
from registry.services import beside, journals
from tests.contracts.registry_under_test import UnderTest, opened
from tests.mint import AT, Journal, Logged, a_manifest, release_statement

OUTPUT = b"the answer"
HOUR_MS = 3_600_000


class Told(UnderTest):
    """A registry, and a shim whose batches are closed ten minutes after another."""

    journal: Journal
    previous: dict[str, str]
    minutes: int
    first: int

    def cut(self) -> None:
        """Register what was written since the last time."""
        at = f"2026-09-01T{12 + self.minutes // 60:02d}:{self.minutes % 60:02d}:00Z"
        statement = self.journal.batch_statement(self.first, closed_at=at, **self.previous)
        envelope = self.keys["node-1"].sign(statement)
        self.services.registration.register_batch(
            envelope.to_bytes(), self.journal.records[self.first :], self.callers["node-1"]
        ).result(30)
        self.previous = {"prev_batch": digest.text(envelope.record_id)}
        self.first = len(self.journal.records)
        self.minutes += 10

    def beat(self, count: int) -> None:
        """Let the shim be heard, each time in a batch of its own."""
        for _ in range(count):
            place = self.journal.sequence()
            self.journal.append(inference.Heartbeat(sequence=place, at=AT))
            self.cut()

    def attach(self, **members: Any) -> None:
        """Write down what became of the call."""
        values: dict[str, Any] = {
            "sequence": self.journal.sequence(),
            "at": AT,
            "intent_n": 2,
            "level": "recomputed",
            "missed": "DEADLINE",
        }
        self.journal.append(inference.Attached(**(values | members)))
        self.cut()

    def capsule(self) -> Capsule:
        """The capsule of the output."""
        data, _, _ = self.services.lineage.trace([sha256(OUTPUT)], None)
        return Capsule.parse(data)


@pytest.fixture
def registry(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Told]:
    """A registry with a call whose caller asked for a replay within an hour."""
    monkeypatch.setattr(journals, "MAX_SEARCHED", 2)
    monkeypatch.setattr(beside, "MAX_ROUNDS", 1)
    with opened(tmp_path / "data", url) as under_test:
        registry = Told(under_test.services, under_test.keys)
        registry.keys = under_test.keys
        manifest = a_manifest({"weights.bin": b"weights"})
        for data in (b"weights", manifest.to_bytes()):
            registry.services.artifacts.put(data)
        said = release_statement(manifest)
        index = registry.register(said).index
        released = Logged(said, registry.keys["acme"].sign(said), index)
        registry.journal = journal = Journal()
        registry.previous, registry.minutes, registry.first = {}, 0, 0
        journal.boot()
        model = inference.Model(
            release=released.record_id,
            manifest=said.subject[0].digest.sha256,
            name=said.predicate.name,
            version=said.predicate.version,
        )
        journal.append(
            inference.Setup(
                sequence=journal.sequence(),
                at=AT,
                model=model,
                binding="artifact_verified",
                level=2,
                runtime=inference.Runtime(engine="onnxruntime", version="1.22.0"),
            )
        )
        journal.call(released, OUTPUT, asked="recomputed", deadline_ms=HOUR_MS, setup_n=1)
        yield registry


def test_what_was_attached_at_once_and_what_ran_are_in_the_capsule(registry: Told) -> None:
    registry.attach()
    capsule = registry.capsule()
    assert (capsule.setup is not None, len(capsule.attached)) == (True, 1)
    # All is in one batch.
    assert capsule.other_batches == ()
    report = appraise(capsule, capsule.log)
    assert report.verdict_now is Verdict.VALID
    assert [item.missed for item in report.facts.attached] == ["DEADLINE"]


def test_what_was_attached_after_the_deadline_is_found_behind_many_batches(
    registry: Told,
) -> None:
    registry.cut()
    registry.beat(6)
    registry.attach()
    registry.beat(6)
    capsule = registry.capsule()
    assert (len(capsule.attached), len(capsule.other_batches)) == (1, 1)
    assert appraise(capsule, capsule.log).verdict_now is Verdict.VALID


def test_what_is_not_where_it_can_be_is_left_out(registry: Told) -> None:
    registry.cut()
    registry.beat(12)
    registry.attach()
    capsule = registry.capsule()
    assert (capsule.setup is not None, capsule.attached) == (True, ())
    report = appraise(capsule, capsule.log)
    assert report.verdict_now is Verdict.VALID
    assert any("What became of the level" in line for line in report.not_provable)
