"""Whether one thing is slower than another, from pairs that were measured side by side.

What else happens on a machine changes slowly, so two measurements one after the other suffer alike,
and their ratio says more than the two alone. The median of such ratios is bounded without any
assumption about noise: half of all ratios are below the true median, so how many of n are below it
is a number of heads in n tosses of a coin (the sign test; W. J. Conover, *Practical Nonparametric
Statistics*, 1999, §3.2).
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

CONFIDENCE = 0.99
"""How sure an interval is. High, since one may look again after each further pair."""

FEWEST = 8
"""Pairs below which nothing can be that sure."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Between which bounds a median lies, as surely as :data:`CONFIDENCE` says."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, ratios: Sequence[float]) -> "Interval":
        """The interval of these ratios; without bounds if they are fewer than :data:`FEWEST`."""
        ordered, count = sorted(ratios), len(ratios)
        median = statistics.median(ordered)
        beyond = 0.0
        skipped = 0
        # The chance that the median is beyond the next pair of outermost ratios.
        while beyond + 2 * comb(count, skipped) / 2**count <= 1 - CONFIDENCE:
            beyond += 2 * comb(count, skipped) / 2**count
            skipped += 1
        if skipped == 0:
            return cls(float("-inf"), median, float("inf"))
        return cls(ordered[skipped - 1], median, ordered[count - skipped])

    def __str__(self) -> str:
        """``MEDIAN (LOW to HIGH)``."""
        return f"{self.median:.3f} ({self.low:.3f} to {self.high:.3f})"
