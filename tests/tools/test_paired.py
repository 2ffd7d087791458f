"""Intervals of medians are as sure as they say, whatever the noise is like."""

import random

import pytest

from tools.bench.paired import CONFIDENCE, FEWEST, Interval

SEED = 20_261_125


def test_a_few_pairs_bound_nothing() -> None:
    found = Interval.of([1.0] * (FEWEST - 1))
    assert (found.low, found.median, found.high) == (float("-inf"), 1.0, float("inf"))


def test_as_many_as_are_needed_are_bounded_by_the_outermost() -> None:
    ratios = [0.9, 1.1, 1.0, 0.95, 1.2, 0.8, 1.05, 0.97]
    assert len(ratios) == FEWEST
    found = Interval.of(ratios)
    assert (found.low, found.high) == (0.8, 1.2)


def test_bounds_come_closer_with_more_pairs() -> None:
    widths = []
    for count in (8, 16, 64, 256):
        found = Interval.of([number / count for number in range(count)])
        assert found.low < found.median < found.high
        widths.append(found.high - found.low)
    assert widths == sorted(widths, reverse=True)


@pytest.mark.parametrize("count", [8, 9, 20, 41])
def test_the_median_is_within_as_often_as_is_said(count: int) -> None:
    chance = random.Random(SEED)  # noqa: S311 - a test's choices, repeatable
    tries = 2000
    within = 0
    for _ in range(tries):
        # Far from normal: most are near the median, and some are far off on one side.
        ratios = [chance.paretovariate(1.2) for _ in range(count)]
        found = Interval.of(ratios)
        within += found.low <= 2 ** (1 / 1.2) <= found.high
    assert within / tries >= CONFIDENCE - 0.006
