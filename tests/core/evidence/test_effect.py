"""What time alone does to a verdict is told apart from what is learned."""

import pytest

from registry.core.evidence.appraisal import Question, appraise, dispute, verdict_but_for_time
from registry.core.evidence.distrust import Entry, Selector
from registry.core.evidence.effect import Effect, effect_of
from registry.core.evidence.endorsements import Endorsements
from registry.core.evidence.result import Environment, Material, Verifier, build
from registry.core.verdict import Verdict
from tests.core.evidence.toy import NOON, POLICY, RULES, examine

MILAN = Entry(
    selector=Selector(family=RULES.family, claims={"line": "Milan"}),
    effective_from="2026-05-13T00:00:00Z",
    reason="its keys leaked",
)


def judged(words: str, *listed: Entry, disputed: str = "") -> Environment:
    held = Material(words.encode(), Endorsements(), POLICY, listed)
    asked = Question(now=True, distrusted=listed)
    examination = examine(held.evidence, held.endorsements, NOON, POLICY.trusted_roots())
    appraisal = dispute(appraise(examination, POLICY, RULES, asked), disputed)
    said = build(
        appraisal,
        held,
        asked,
        issued_at=int(NOON.timestamp()),
        verifier=Verifier(build="provreg test", developer="provreg"),
    )
    return said.submods[RULES.family]


def effect(before: Environment, now: Environment) -> Effect:
    return effect_of(before, now, POLICY, RULES)


@pytest.mark.parametrize("words", ["", "old", "debug", "forged", "late", "late debug", "bare"])
def test_the_same_again_changes_nothing(words: str) -> None:
    assert effect(judged(words), judged(words)) is Effect.UNCHANGED


def test_what_merely_ran_out_is_expired_whatever_was_thought_of_it() -> None:
    assert effect(judged(""), judged("late")) is Effect.EXPIRED
    assert effect(judged("old"), judged("late old")) is Effect.EXPIRED
    assert judged("debug").verdict is Verdict.INVALID
    assert effect(judged("debug"), judged("late debug")) is Effect.EXPIRED


def test_what_ran_out_and_came_back_is_renewed() -> None:
    assert effect(judged("late"), judged("")) is Effect.RENEWED
    assert effect(judged("late debug"), judged("debug")) is Effect.RENEWED


@pytest.mark.parametrize("before", ["", "late"])
@pytest.mark.parametrize("now", ["", "late"])
def test_what_is_learned_is_a_change_though_all_ran_out(before: str, now: str) -> None:
    assert effect(judged(before), judged(now, MILAN)) is Effect.CHANGED
    assert effect(judged(before, MILAN), judged(now)) is Effect.CHANGED


def test_what_is_learned_shows_though_the_verdict_is_the_same() -> None:
    before, now = judged("late"), judged("late", MILAN)
    assert before.verdict is now.verdict is Verdict.INDETERMINATE
    assert effect(before, now) is Effect.CHANGED


def test_a_missing_endorsement_is_no_passing_of_time() -> None:
    assert effect(judged(""), judged("bare")) is Effect.CHANGED


def test_a_dispute_is_a_change() -> None:
    before, now = judged("late"), judged("late", disputed="another engine says no")
    assert effect(before, now) is Effect.CHANGED


@pytest.mark.parametrize("words", ["", "old", "debug", "forged"])
def test_but_for_time_a_verdict_is_what_an_appraisal_says(words: str) -> None:
    for listed in ((), (MILAN,)):
        now = judged(words, *listed)
        late = judged(f"late {words}", *listed)
        assert verdict_but_for_time(now.checks, POLICY, RULES) is now.verdict
        assert verdict_but_for_time(late.checks, POLICY, RULES) is now.verdict
