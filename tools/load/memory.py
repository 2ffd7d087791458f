"""Whether memory is flat: looked at again and again while everything works, and judged by thirds.

Of the last life of each process the first third is for warming up: caches fill, and the allocator
takes what it will keep. What it holds in the last third must be what it held in the middle one, but
for :data:`MAX_GROWTH_BYTES`.

**What that bound sees.** Between the middles of two thirds a process takes a third of its life's
calls. In twenty minutes the last life of a shim is eight of them, and at 130 calls a second that
third is 20 000 calls: whoever kept a kilobyte of each, less than its two records have, would have
grown by 20 MB. In the 8 seconds of the test suite it sees only what runs away.

A registry that just started is not flat for a while: the connection that writes keeps up to 32 MiB
of the pages that it touched (``WRITER_CACHE_KIB``), and under this load takes ten minutes to fill
them. That is 4 MiB a minute at most, and within the bound as long as its last life is shorter than
twelve minutes; its objects, counted by the garbage collector, stay as many as they were.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

MAX_GROWTH_BYTES: Final = 16 * 1024 * 1024
"""By how much the memory of a process may grow from the middle third of its last life to the last:
Python's and SQLite's allocators move by a few MiB without anybody keeping anything."""

SHOWN: Final = 9
"""How many moments of a life are told."""

_MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Sample:
    """The memory of a process at one moment of one of its lives.

    Attributes:
        age: Seconds since this life answered first.
    """

    name: str
    life: int
    age: float
    resident_bytes: int


def last_life(samples: Sequence[Sample], name: str) -> list[Sample]:
    """The samples of the last life of a process; empty if it was never looked at."""
    lives = [each.life for each in samples if each.name == name]
    return [each for each in samples if lives and (each.name, each.life) == (name, max(lives))]


def grown(samples: Sequence[Sample], name: str) -> int:
    """By how many bytes more a process held in the last third of its last life than in the middle.

    Of each third the median: a single moment says little.
    """
    life = last_life(samples, name)
    if not life:
        return 0
    third = life[-1].age / 3
    middle = [each.resident_bytes for each in life if third <= each.age < 2 * third]
    last = [each.resident_bytes for each in life if each.age >= 2 * third]
    return int(median(last) - median(middle)) if middle else 0


def problem(samples: Sequence[Sample], name: str) -> str:
    """What is wrong with the memory of a process; empty if nothing is."""
    if not last_life(samples, name):
        return f"nobody looked at the memory of the {name}"
    more = grown(samples, name)
    return f"the {name} grew by {more} bytes" if more > MAX_GROWTH_BYTES else ""


def line(samples: Sequence[Sample], name: str) -> str:
    """The memory of a process over its last life, and how much it grew."""
    life = last_life(samples, name)
    if not life:
        return f"memory of {name}: not looked at"
    step = max(1, (len(life) - 1) // (SHOWN - 1))
    moments = [f"{each.age:.0f}s {each.resident_bytes / _MIB:.1f}" for each in life[::step]]
    lives = len({each.life for each in samples if each.name == name})
    largest = max(each.resident_bytes for each in samples if each.name == name) / _MIB
    return (
        f"memory of {name}, MiB in the last of {lives} lives: {', '.join(moments)}; "
        f"last third against middle third {grown(samples, name) / _MIB:+.1f}, "
        f"allowed {MAX_GROWTH_BYTES / _MIB:+.0f}; most of all lives {largest:.0f}"
    )
