"""Every decoder against hundreds of inputs that somebody made on purpose, the same in each run."""

import tracemalloc
from collections.abc import Iterator
from contextlib import suppress

import pytest

from registry.errors import RegistryError
from tools.fuzz.engine import one_round
from tools.fuzz.target import Target
from tools.fuzz.targets import TARGETS

INPUTS = 200
"""Inputs of one target: about a second."""

SEED = 20_260_601
"""Another seed finds other inputs; ``python -m tools.fuzz`` takes a new one each time."""

BOMBS = (
    b"[" * 200_000,
    b'{"a":' * 40_000,
    b"\x30\x80" * 100_000,
    b"\x81" * 200_000,
    b"\xd2\x9b" + b"\xff" * 100_000,
    b"9" * 200_000,
    b'"' + b"\\u0041" * 30_000 + b'"',
    b"A" * 200_000,
    b"\n" * 200_000,
    b"\xe2\x80\x94 x AAAA\n" * 20_000,
    b"x001/" * 40_000,
    b"\x00" * 200_000,
)
"""Input that is small for the sender and expensive for a careless reader."""

BOMB_BYTES = 8 * 1024 * 1024
"""Memory that a decoder may take for one of them, the bomb itself (two copies) included."""

TARGET = pytest.mark.parametrize("target", TARGETS.values(), ids=list(TARGETS))


@TARGET
def test_an_example_is_accepted(target: Target) -> None:
    assert [target.examine(example) for example in target.examples] == [True] * len(target.examples)


@TARGET
def test_nothing_but_our_errors_leaves_a_decoder_and_what_it_takes_it_writes_back(
    target: Target,
) -> None:
    tally = one_round(target, INPUTS, SEED)
    # An edit is not always harmful: a target that accepts nothing is not reached at all.
    assert tally.inputs >= INPUTS
    assert tally.accepted > 0


def bombs(target: Target) -> Iterator[bytes]:
    """Each alone, and behind a valid beginning: the first byte is not all that is looked at."""
    first = target.examples[0]
    for bomb in BOMBS:
        yield from (bomb, first + bomb, first[: len(first) // 2] + bomb)


@TARGET
def test_a_bomb_costs_a_decoder_no_time(target: Target) -> None:
    for bomb in bombs(target):
        target.examine(bomb)


@TARGET
def test_a_bomb_costs_a_decoder_no_memory(target: Target) -> None:
    with suppress(RegistryError):
        # What a decoder imports when it is first asked is no bomb's.
        target.again(target.examples[0])
    tracemalloc.start()
    try:
        for bomb in bombs(target):
            before, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            with suppress(RegistryError):
                target.again(bomb)
            assert tracemalloc.get_traced_memory()[1] - before < BOMB_BYTES
    finally:
        tracemalloc.stop()
