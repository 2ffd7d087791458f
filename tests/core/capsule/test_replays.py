"""Replays in capsules: carried, judged, and a mismatch leaves the verdict open."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from registry.core.capsule.container import Capsule
from registry.core.capsule.report import Report
from registry.core.capsule.walk import appraise
from registry.core.records import inference, replay
from registry.core.records.inference import Completion
from registry.core.records.replay import Difference, Receipt, Replay, Tolerance, Why
from registry.core.tlog.merkle import leaf_hash
from registry.core.verdict import Check, Verdict
from registry.errors import MalformedError, Reason
from tests.mint import AT, Logged, Told, World, tell

UNRECORDED = (Why.ISA_UNRECORDED, Why.OPT_LEVEL_UNRECORDED, Why.PROVIDER_UNRECORDED)
ASIDE: dict[str, Any] = {
    "replayed_output": "0" * 64,
    "reasons": (Why.EXACT_TYPE_DIFFERS, *UNRECORDED),
}
OPEN: dict[str, Any] = {
    "outcome": "indeterminate",
    "replayed_output": "0" * 64,
    "reasons": tuple(sorted((Why.OUTPUT_NOT_GIVEN, *UNRECORDED))),
}


@pytest.fixture
def world() -> World:
    world = World()
    world.key_event("auditor-1", roles=["auditor"])
    return world


def said(told: Told, position: int | None = None, **members: Any) -> Replay:
    """What an auditor says about a record of a story; of its output, unless told otherwise."""
    place = told.position if position is None else position
    record = inference.parse(told.records[place])
    assert isinstance(record, Completion)
    values: dict[str, Any] = {
        "receipt": Receipt(
            shim_id=record.sequence.shim_id,
            intent_n=record.intent_n,
            n=record.sequence.n,
            leaf=leaf_hash(told.records[place]).hex(),
        ),
        "model": record.model,
        "model_file": "model.onnx",
        "input": "proven",
        "outcome": "bit_exact",
        "recorded": record.runtime,
        "replayed": record.runtime,
        "recorded_output": record.response.content_digest,
        "replayed_output": record.response.content_digest,
        "reasons": UNRECORDED,
        "run_us": 9,
        "issued_at": AT,
    }
    return Replay(**(values | members))


def judged(
    world: World, told: Told, *statements: Replay, signer: str = "auditor-1"
) -> tuple[Capsule, Report]:
    logged = [world.register(replay.statement(item), signer) for item in statements]
    capsule = world.capsule(told, replays=[world.proved(item) for item in logged])
    assert Capsule.parse(capsule.to_bytes()) == capsule
    return capsule, appraise(capsule, world.log.key)


def link(report: Report, name: str, clock: str = "now") -> Check:
    [found] = [item for item in getattr(report, f"checks_{clock}") if item.link == name]
    check: Check = found
    return check


def test_a_replay_is_carried_and_said(world: World) -> None:
    told = tell(world)
    _, report = judged(world, told, said(told))
    assert report.verdict_now is Verdict.VALID
    [fact] = report.facts.replays
    assert (fact.auditor, fact.outcome, fact.input) == ("auditor-1", "bit_exact", "proven")
    assert any("auditor-1 ran model.onnx of that version again" in text for text in report.proved)
    assert "replay" in report.to_text()
    assert "bit_exact" in report.to_text()


def test_a_mismatch_leaves_the_output_open_as_now(world: World) -> None:
    told = tell(world)
    _, report = judged(world, told, said(told), said(told, outcome="mismatch", **ASIDE))
    assert (report.verdict_then, report.verdict_now) == (Verdict.VALID, Verdict.INDETERMINATE)
    check = link(report, "replay/1")
    assert (check.verdict, check.reason) == (Verdict.INDETERMINATE, Reason.REPLAY_MISMATCH)
    assert link(report, "replay/0").verdict is Verdict.VALID
    assert any("mismatch" in text for text in report.conditional)
    assert not any("mismatch" in text for text in report.proved)


def test_what_other_settings_explain_opens_nothing_whatever_an_auditor_calls_it(
    world: World,
) -> None:
    told = tell(world)
    chosen: dict[str, Any] = {
        "outcome": "mismatch",
        "replayed_output": "0" * 64,
        "tolerance": Tolerance(abs="0", rel="0", top1=True),
        "reasons": tuple(sorted((*UNRECORDED, Why.VALUES))),
    }
    for distance, verdict in (("0.00001", Verdict.VALID), ("0.00002", Verdict.INDETERMINATE)):
        apart = Difference(abs=distance, rel="1", top1=True, elements=2)
        _, report = judged(world, told, said(told, difference=apart, **chosen))
        assert report.verdict_now is verdict


def test_a_replay_that_came_to_nothing_changes_nothing(world: World) -> None:
    told = tell(world)
    _, report = judged(world, told, said(told, **OPEN))
    assert report.verdict_now is Verdict.VALID
    assert report.facts.replays[0].outcome == "indeterminate"
    assert not any("again" in text for text in report.proved)


@pytest.mark.parametrize("what", ["another record", "another output", "another model"])
def test_a_replay_of_something_else_is_refused(world: World, what: str) -> None:
    told = tell(world)
    wrong = {
        "another record": said(told, position=2),
        "another output": said(told, recorded_output="0" * 64, replayed_output="0" * 64),
        "another model": said(told),
    }[what]
    if what == "another model":
        model = msgspec.structs.replace(wrong.model, manifest="0" * 64)
        wrong = msgspec.structs.replace(wrong, model=model)
    _, report = judged(world, told, wrong)
    check = link(report, "replay/0")
    assert (check.verdict, check.reason) == (Verdict.INVALID, Reason.SUBJECT_MISMATCH)
    assert report.facts.replays == ()


def test_a_replay_by_somebody_who_is_no_auditor_is_refused(world: World) -> None:
    told = tell(world)
    _, report = judged(world, told, said(told), signer="node-1")
    assert link(report, "replay/0").reason == Reason.ROLE


def test_an_auditor_whose_key_was_compromised_is_open_as_now(world: World) -> None:
    told = tell(world)
    logged = world.register(replay.statement(said(told)), "auditor-1")
    world.key_event("auditor-1", action="compromise", roles=["auditor"])
    capsule = world.capsule(told, replays=[world.proved(logged)])
    report = appraise(capsule, world.log.key)
    assert link(report, "replay/0", "then").verdict is Verdict.VALID
    assert link(report, "replay/0").verdict is Verdict.INDETERMINATE


def test_a_replay_waits_for_a_record_that_cannot_be_read(world: World) -> None:
    told = tell(world)
    capsule, _ = judged(world, told, said(told))
    broken = replace(capsule, record=b"{}")
    check = link(appraise(broken, world.log.key), "replay/0")
    assert check.verdict is Verdict.INDETERMINATE


def test_replays_beyond_the_limit_are_refused(world: World) -> None:
    told = tell(world)
    logged: list[Logged] = [
        world.register(replay.statement(said(told, run_us=number)), "auditor-1")
        for number in range(17)
    ]
    capsule = world.capsule(told, replays=[world.proved(item) for item in logged])
    with pytest.raises(MalformedError) as caught:
        Capsule.parse(capsule.to_bytes())
    assert caught.value.reason is Reason.MALFORMED_CAPSULE
