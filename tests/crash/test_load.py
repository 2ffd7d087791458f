"""64 clients; registry, model server and shims killed at random: nothing received is unproven."""

import asyncio
from pathlib import Path

import pytest

from registry.core.verdict import Verdict
from tests.shim_story import Story
from tools.load.clients import Received
from tools.load.hour import worth
from tools.load.judging import Journal
from tools.load.memory import MAX_GROWTH_BYTES, Sample, grown, line, problem
from tools.load.processes import MODES
from tools.load.run import run

SECONDS = 8.0
"""How long clients ask; ``python -m tools.load --seconds 3600`` goes on."""

CLIENTS = 64
SEED = 20_261_125


def test_every_answer_that_was_received_is_recorded_whatever_died_meanwhile(tmp_path: Path) -> None:
    report = asyncio.run(run(tmp_path, seconds=SECONDS, clients=CLIENTS, seed=SEED))
    assert report.problems == [], report.seed
    killed = {"registry", "model server", "strict shim", "stream shim"}
    assert set(report.kills) == killed, report.kills
    for mode in MODES:
        assert sum(1 for _ in report.memory.whole(mode)) > 20
    assert [audit.verdict for audit in report.audits] == [Verdict.VALID] * len(MODES)
    assert sum(audit.unclean for audit in report.audits) >= len(MODES)


# --- Whoever judges can be wrong, too. ---


@pytest.fixture
def story() -> Story:
    story = Story()
    story.boot()
    story.call()
    return story


def received(story: Story, n: int, mode: str, digest: str = "") -> Received:
    return Received(mode, f"{story.shim_id}/{n}", digest)


def digest_of(story: Story) -> str:
    [completion] = [each for each in story.records if hasattr(each, "response")]
    return str(completion.response.content_digest)


def test_an_answer_with_its_one_completion_is_right(story: Story) -> None:
    journal = Journal(story.records)
    assert journal.problem(received(story, 1, "strict", digest_of(story))) == ""
    assert journal.problem(received(story, 1, "stream")) == ""


@pytest.mark.parametrize("mode", MODES)
def test_an_answer_without_an_intent_is_found(story: Story, mode: str) -> None:
    assert "no intent" in Journal(story.records).problem(received(story, 2, mode))


def test_a_whole_answer_with_another_digest_is_found_in_strict(story: Story) -> None:
    journal = Journal(story.records)
    assert "completions" in journal.problem(received(story, 1, "strict", "0" * 64))
    assert journal.problem(received(story, 1, "strict")) == ""


def test_a_whole_answer_with_two_completions_is_found_in_strict(story: Story) -> None:
    story.complete(1)
    journal = Journal(story.records)
    digest = story.records[2].response.content_digest  # type: ignore[union-attr]  # a completion
    assert "completions" in journal.problem(received(story, 1, "strict", digest))


def test_a_whole_answer_without_a_completion_is_found_in_strict(story: Story) -> None:
    n = story.intent()
    assert "completions" in Journal(story.records).problem(received(story, n, "strict", "0" * 64))


def life(number: int, *, each_second: int, seconds: int = 90) -> list[Sample]:
    """A life whose memory grows while it warms up, and then by so many bytes each second."""
    warm = seconds // 3
    return [
        Sample("shim", number, age, (min(age, warm) << 20) + each_second * max(0, age - warm))
        for age in range(seconds + 1)
    ]


def test_memory_that_grows_is_found_and_the_beginning_of_a_life_is_not() -> None:
    leaking, flat = life(1, each_second=1 << 20), life(2, each_second=0)
    assert grown([*leaking, *flat], "shim") == 0
    assert problem([*leaking, *flat], "shim") == ""
    # A third of a life, from middle to middle.
    leaking = life(3, each_second=1 << 20)
    assert round(grown([*flat, *leaking], "shim") / (1 << 20), 1) == 30.5
    assert "grew" in problem([*flat, *leaking], "shim")
    assert "+30.5" in line([*flat, *leaking], "shim")


def test_what_the_bound_sees_is_a_kilobyte_of_each_call() -> None:
    calls_a_second, seconds = 130, int(20 * 60 * 0.4)
    kept = life(1, each_second=calls_a_second * 1000, seconds=seconds)
    assert grown(kept, "shim") > MAX_GROWTH_BYTES


def test_memory_that_nobody_looked_at_is_not_flat() -> None:
    assert "nobody" in problem([], "shim")


def test_a_run_is_worth_as_many_hours_as_it_has_calls_and_deaths() -> None:
    hours = worth(calls=230_400, clients=64, deaths=60)
    assert (hours.by_calls, hours.by_deaths) == (1.0, 0.5)


def test_an_answer_that_was_told_to_be_signed_and_is_not_is_found(story: Story) -> None:
    told = Received("stream", f"{story.shim_id}/1", told="signed")
    assert "told to be signed" in Journal(story.records).problem(told)
    story.attached(1)
    assert Journal(story.records).problem(told) == ""
    story.attached(1)
    assert "told to be signed" in Journal(story.records).problem(told)
