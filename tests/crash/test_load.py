"""64 clients; registry, model server and shims killed at random: nothing received is unproven."""

import asyncio
from pathlib import Path

import pytest

from registry.core.verdict import Verdict
from tests.shim_story import Story
from tools.load.clients import Received
from tools.load.judging import Journal, Sample, grown
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


def test_memory_that_grows_is_found_and_the_beginning_of_a_life_is_not() -> None:
    def life(each: int, at_the_end: int) -> list[Sample]:
        warm = [Sample("strict", each, age / 10, age << 20) for age in range(20)]
        return warm + [
            Sample("strict", each, age / 10, (20 << 20) + at_the_end * (age - 20))
            for age in range(20, 100)
        ]

    assert abs(grown([*life(1, 1 << 20), *life(2, 0)], "strict")) < 1 << 20
    assert grown([*life(1, 0), *life(2, 1 << 20)], "strict") > 30 << 20
