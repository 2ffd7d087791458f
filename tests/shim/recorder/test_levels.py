"""What becomes of what callers asked for: had, attached later, or missed; also across restarts."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from registry.core import digest
from registry.core.attestation.dsse import Envelope
from registry.core.records import inference
from registry.core.tlog.merkle import leaf_hash
from registry.errors import DamagedError, Reason, UnavailableError
from registry.shim.app import Shim, Timing, open_shim
from registry.shim.recorder import levels
from registry.shim.recorder.awaited_folder import AwaitedFolder
from registry.shim.recorder.levels import Reached, Waiting
from registry.shim.recorder.outcomes import Answered, Deployment
from registry.shim.recorder.patience import Patience
from registry.shim.recorder.sequence import Awaited
from registry.shim.uploader import Pace
from tests.shim.world import (
    DEPLOYMENT,
    FILES,
    NOON,
    PATIENT,
    RELEASE,
    MemoryRegistry,
    check_history,
    lay_out,
    response_to,
    written,
)

SECONDS = 20.0
NOON_MS = int(NOON.timestamp() * 1000)
ATTESTED = Deployment(
    DEPLOYMENT.model,
    DEPLOYMENT.binding,
    DEPLOYMENT.runtime,
    DEPLOYMENT.uncovered,
    evidence="ab" * 32,
)


@dataclass
class Auditors:
    """Who runs calls again: by leaf hash, what they say."""

    said: dict[bytes, "Said"] = field(default_factory=dict)
    asked: list[bytes] = field(default_factory=list)
    down: bool = False

    def replay_of(self, leaf: bytes) -> "Said | None":
        self.asked.append(leaf)
        if self.down:
            raise UnavailableError(Reason.UNREACHABLE, "nobody answers")
        return self.said.get(leaf)


@dataclass(frozen=True)
class Said:
    """A replay."""

    record_id: bytes
    agrees: bool
    proof_bytes: int = 700


@dataclass
class World:
    """A shim's folder, its registry, its clock and the auditors; runs as often as a test likes.

    Attributes:
        now: The time; a ``real`` clock tells its own.
    """

    folder: Path
    registry: MemoryRegistry = field(default_factory=MemoryRegistry.build)
    auditors: Auditors = field(default_factory=Auditors)
    now: datetime = NOON
    real: bool = False
    patience: Patience = field(default_factory=lambda: Patience(grace=60, poll=0.01))
    pace: Pace = PATIENT

    def run(self, act: Callable[[Shim], object]) -> list[inference.Record]:
        """Run a shim while ``act`` runs; returns all records so far."""
        models = lay_out(self.folder.parent / "models", FILES)
        with open_shim(
            self.folder,
            self.registry.node,
            self.registry,
            RELEASE,
            models,
            log_key=self.registry.log.key,
            clock=lambda: datetime.now(UTC) if self.real else self.now,
            pace=self.pace,
            timing=Timing(heartbeat=3600, drain=5, farewell=0.05),
            replays=self.auditors,
            patience=self.patience,
        ) as shim:
            act(shim)
        records = written(self.folder)
        check_history(records)
        return records

    def later(self, seconds: float) -> None:
        self.now = datetime.fromtimestamp(self.now.timestamp() + seconds, UTC)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "shim")


def ask(
    shim: Shim, level: inference.Level, deadline_ms: int = 1000, deployment: Deployment = DEPLOYMENT
) -> Waiting:
    """One call whose caller asks for a level, by a deadline from noon on."""
    opened = shim.recorder.intent(deployment, digest.sha256(b"question"))
    answer = Answered(response_to(b"answer"), level, None, deadline_ms)
    ticket = shim.recorder.answered(opened, answer)
    ticket.wait()
    return shim.levels.ask(
        Awaited(
            intent_n=opened.n,
            n=ticket.n,
            leaf=ticket.leaf.hex(),
            level=level,
            deadline_ms=NOON_MS + deadline_ms,
            evidence=deployment.evidence,
            since_us=NOON_MS * 1000,
        )
    )


def attached(records: list[inference.Record]) -> list[inference.Attached]:
    return [item for item in records if isinstance(item, inference.Attached)]


def until(true: Callable[[], object]) -> None:
    """Wait for something that happens in another thread."""
    end = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < end
        time.sleep(0.002)


def settled(shim: Shim) -> bool:
    """Whether it is durable what became of everything."""
    return shim.levels.oldest() is None


def batch_ids(world: World) -> list[str]:
    """The record ids of all batches."""
    return [Envelope.parse(item).record_id.hex() for item in world.registry.sent]


# --- Signed ---


def test_a_batch_is_closed_at_once_for_whoever_waits_for_it(world: World) -> None:
    def act(shim: Shim) -> None:
        waiting = ask(shim, "signed")
        assert waiting.reached.result(SECONDS) == Reached("signed")
        until(lambda: settled(shim))

    [said] = attached(world.run(act))
    assert (said.level, said.late_us, said.missed) == ("signed", 0, "")
    assert said.proof == batch_ids(world)[0]
    # The batch statement, and a receipt with it.
    assert said.proof_bytes > len(world.registry.sent[0]) + 100


def test_what_comes_after_the_deadline_is_attached_with_how_late_it_is(world: World) -> None:
    def act(shim: Shim) -> None:
        world.registry.down.set()
        waiting = ask(shim, "signed")
        until(lambda: shim.status().attempts)
        world.later(2.5)
        assert not waiting.reached.done()
        world.registry.down.clear()
        assert waiting.reached.result(SECONDS) == Reached("signed")
        until(lambda: settled(shim))

    [said] = attached(world.run(act))
    assert (said.late_us, said.evidence_us, said.missed) == (1_500_000, 2_500_000, "")
    assert isinstance(said.proof, str)


def test_what_never_comes_is_missed_once_nobody_waits_any_more(world: World) -> None:
    world.patience = Patience(grace=0.2, poll=0.01)

    def act(shim: Shim) -> None:
        world.registry.down.set()
        waiting = ask(shim, "signed", 0)
        world.later(0.19)
        assert not waiting.reached.done()
        world.later(0.02)
        assert waiting.reached.result(SECONDS) == Reached("", Reason.DEADLINE)
        until(lambda: settled(shim))

    [said] = attached(world.run(act))
    assert (said.missed, said.proof, said.late_us) == (Reason.DEADLINE, msgspec.UNSET, 210_000)
    assert (said.evidence_us, said.proof_bytes) == (210_000, 0)


def test_a_registry_that_refuses_makes_it_missed_at_the_deadline(world: World) -> None:
    def act(shim: Shim) -> None:
        world.registry.records[shim.shim_id] = [b"the records of another"]
        waiting = ask(shim, "signed", 1)
        until(lambda: shim.status().refused)
        world.later(1)
        ask(shim, "signed", 1)
        found = waiting.reached.result(SECONDS)
        assert found.level == ""
        assert found.missed == str(getattr(shim.status().refused, "reason", ""))

    world.run(act)


def test_a_batch_that_is_in_the_log_before_anybody_asks_proves_it_all_the_same(
    world: World,
) -> None:
    def act(shim: Shim) -> None:
        opened = shim.recorder.intent(DEPLOYMENT, digest.sha256(b"question"))
        ticket = shim.recorder.answered(opened, Answered(response_to(b"x"), "signed"))
        ticket.wait()
        shim.flush(SECONDS)
        waiting = shim.levels.ask(
            Awaited(
                intent_n=opened.n,
                n=ticket.n,
                leaf=ticket.leaf.hex(),
                level="signed",
                deadline_ms=NOON_MS,
            )
        )
        assert waiting.reached.result(0) == Reached("signed")

    [said] = attached(world.run(act))
    assert said.proof == batch_ids(world)[0]
    # Nobody told when its outcome was written; the batch is found with its receipt all the same.
    assert said.evidence_us == 0
    assert said.proof_bytes > len(world.registry.sent[0]) + 100


# --- Attested ---


def test_an_attested_call_is_proven_by_its_batch_and_its_evidence(world: World) -> None:
    def act(shim: Shim) -> None:
        waiting = ask(shim, "attested", deployment=ATTESTED)
        assert waiting.reached.result(SECONDS) == Reached("attested")
        until(lambda: settled(shim))

    [said] = attached(world.run(act))
    assert (said.level, said.proof) == ("attested", ATTESTED.evidence)


def test_a_call_of_an_unattested_key_misses_it_at_once(world: World) -> None:
    def act(shim: Shim) -> None:
        assert ask(shim, "attested").reached.result(0) == Reached("", Reason.UNATTESTED)

    [said] = attached(world.run(act))
    assert (said.missed, said.late_us) == (Reason.UNATTESTED, 0)


# --- Recomputed ---


def test_a_replay_that_agrees_is_attached_when_it_comes(world: World) -> None:
    def act(shim: Shim) -> None:
        waiting = ask(shim, "recomputed")
        shim.flush(SECONDS)
        until(lambda: len(world.auditors.asked) > 2)
        assert not waiting.reached.done()
        leaf = bytes.fromhex(waiting.awaited.leaf)
        world.auditors.said[leaf] = Said(b"r" * 32, agrees=True)
        assert waiting.reached.result(SECONDS) == Reached("recomputed")
        until(lambda: settled(shim))

    records = world.run(act)
    [said] = attached(records)
    assert (said.level, said.proof, said.missed) == ("recomputed", (b"r" * 32).hex(), "")
    [leaf] = {leaf_hash(inference.write(r)) for r in records if isinstance(r, inference.Completion)}
    assert set(world.auditors.asked) == {leaf}


def test_a_replay_that_does_not_agree_is_missed_and_named(world: World) -> None:
    def act(shim: Shim) -> None:
        waiting = ask(shim, "recomputed")
        leaf = bytes.fromhex(waiting.awaited.leaf)
        world.auditors.said[leaf] = Said(b"r" * 32, agrees=False)
        shim.flush(SECONDS)
        assert waiting.reached.result(SECONDS) == Reached("", Reason.REPLAY_MISMATCH)

    [said] = attached(world.run(act))
    assert (said.proof, said.missed) == ((b"r" * 32).hex(), Reason.REPLAY_MISMATCH)


def test_nobody_is_asked_for_replays_of_what_is_not_in_the_log(world: World) -> None:
    def act(shim: Shim) -> None:
        world.registry.down.set()
        waiting = ask(shim, "recomputed")
        until(lambda: waiting.kept)
        assert world.auditors.asked == []

    world.run(act)


def test_a_call_that_nobody_ran_again_misses_it_at_its_deadline(world: World) -> None:
    def act(shim: Shim) -> None:
        waiting = ask(shim, "recomputed", 1000)
        until(lambda: waiting.kept)
        world.auditors.down = True
        world.later(1)
        ask(shim, "signed")
        assert waiting.reached.result(SECONDS) == Reached("", Reason.DEADLINE)
        until(lambda: settled(shim))

    missed = [item for item in attached(world.run(act)) if item.level == "recomputed"]
    assert [item.missed for item in missed] == [Reason.DEADLINE]
    assert list(AwaitedFolder(world.folder / "awaited").read()) == []


def test_auditors_are_asked_about_each_call_in_turn(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(levels, "MAX_POLLED", 2)

    def act(shim: Shim) -> None:
        waiting = [ask(shim, "recomputed", 60_000) for _ in range(5)]
        shim.flush(SECONDS)
        until(lambda: {bytes.fromhex(w.awaited.leaf) for w in waiting} <= set(world.auditors.asked))

    world.run(act)


# --- Bounds ---


def test_more_calls_than_can_be_looked_after_are_told_so(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(levels, "MAX_WAITING", 3)

    def act(shim: Shim) -> None:
        world.registry.down.set()
        waiting = [ask(shim, "signed") for _ in range(4)]
        assert waiting[3].reached.result(0) == Reached("", Reason.LEVELS_BUSY)
        world.registry.down.clear()
        for each in waiting[:3]:
            assert each.reached.result(SECONDS) == Reached("signed")
        until(lambda: settled(shim))

    said = attached(world.run(act))
    assert sorted(item.missed for item in said) == ["", "", "", Reason.LEVELS_BUSY]


def test_many_callers_at_once_each_get_their_own_answer(world: World) -> None:
    reached: list[Reached] = []

    def act(shim: Shim) -> None:
        def one() -> None:
            reached.append(ask(shim, "signed").reached.result(SECONDS))

        threads = [threading.Thread(target=one) for _ in range(32)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        until(lambda: settled(shim))

    said = attached(world.run(act))
    assert reached == [Reached("signed")] * 32
    assert len({item.intent_n for item in said}) == 32


# --- Restarts ---


@pytest.mark.parametrize("level", ["signed", "attested", "recomputed"])
def test_what_waited_when_the_shim_ended_is_looked_after_by_the_next_run(
    world: World, level: inference.Level
) -> None:
    def unheard(shim: Shim) -> None:
        world.registry.down.set()
        setup = inference.Setup
        shim.recorder.note(
            lambda place, at: setup(
                sequence=place,
                at=at,
                model=DEPLOYMENT.model,
                binding="artifact_verified",
                level=2,
                runtime=DEPLOYMENT.runtime,
                evidence="ab" * 32,
            )
        ).wait()
        ask(shim, level, deployment=described_by(ATTESTED, setup_n=1))

    assert attached(world.run(unheard)) == []
    world.registry.down.clear()

    def heard(shim: Shim) -> None:
        if level == "recomputed":
            shim.flush(SECONDS)
            until(lambda: world.auditors.asked)
            world.auditors.said[world.auditors.asked[0]] = Said(b"r" * 32, agrees=True)
        kept = world.folder / "awaited"
        until(lambda: settled(shim) and not list(kept.glob("*.json")))

    [said] = attached(world.run(heard))
    assert (said.level, said.missed) == (level, "")
    if level == "attested":
        assert said.proof == "ab" * 32
    assert len(attached(world.run(lambda _shim: None))) == 1


def described_by(deployment: Deployment, setup_n: int) -> Deployment:
    """The same deployment, described by that record."""
    return Deployment(
        deployment.model,
        deployment.binding,
        deployment.runtime,
        deployment.uncovered,
        setup_n,
        deployment.evidence,
    )


def test_the_journal_keeps_what_waits_until_it_is_said_what_became_of_it(world: World) -> None:
    def act(shim: Shim) -> None:
        assert shim.levels.oldest() is None
        world.registry.down.set()
        waiting = ask(shim, "signed")
        assert shim.levels.oldest() == waiting.awaited.n
        kept = ask(shim, "recomputed")
        until(lambda: kept.kept)
        assert shim.levels.oldest() == waiting.awaited.n
        world.registry.down.clear()
        until(lambda: shim.levels.oldest() is None)

    world.run(act)


def test_nothing_is_written_after_the_last_record(world: World) -> None:
    world.registry.down.set()

    def act(shim: Shim) -> None:
        ask(shim, "signed")
        world.registry.down.clear()

    for _ in range(3):
        records = world.run(act)
        assert isinstance(records[-1], inference.Stop)


def test_a_file_that_is_no_waiting_call_keeps_the_shim_from_starting(world: World) -> None:
    folder = world.folder / "awaited"
    folder.mkdir(parents=True)
    (folder / f"{1:020}.json").write_bytes(b"{}")
    with pytest.raises(DamagedError):
        world.run(lambda _shim: None)


def test_files_of_other_names_are_not_touched(world: World) -> None:
    folder = world.folder / "awaited"
    folder.mkdir(parents=True)
    (folder / ".00000000000000000001.json.new").write_bytes(b"half")
    world.run(lambda _shim: None)
    assert (folder / ".00000000000000000001.json.new").exists()
