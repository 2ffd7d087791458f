"""What the bench of witnesses says of its promise, and when it says nothing."""

import pytest

from tools.bench.paired import Interval
from tools.bench.witness import ALONE, ASKING, PROMISED, Bench, Measured, Side, decided

NEVER = float("inf")


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (-NEVER, NEVER, None),
        (0.94, 1.1, None),
        (0.5, PROMISED, None),
        (PROMISED, 1.1, True),
        (0.8, 0.94, False),
    ],
)
def test_a_verdict_needs_both_bounds_on_one_side(
    low: float, high: float, verdict: bool | None
) -> None:
    assert decided(Interval(low, (low + high) / 2, high)) is verdict


class Unequal(Bench):
    """Two registries of which one is half as fast in any case, and asking costs a tenth."""

    def _stretch(self, asking: Side, alone: Side) -> list[Measured]:
        found = []
        for side, who in ((asking, ASKING), (alone, ALONE)):
            slower = 2.0 if side is self.sides[0] else 1.0
            costs = slower / (0.9 if who == ASKING else 1.0)
            found.append(Measured(1000 / costs, costs / 1000))
        return found


def test_which_registry_is_faster_anyway_does_not_matter() -> None:
    sides = (object(), object())
    bench = Unequal(sides, None)  # type: ignore[arg-type]
    for first in (True, False):
        bench.round(first_asks=first)
    assert bench.rates == pytest.approx([0.9, 0.9])
    assert bench.costs == pytest.approx([1 / 0.9, 1 / 0.9])
