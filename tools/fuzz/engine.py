"""Engines: who thinks of the inputs. Hypothesis, always; Atheris, where it is installed.

Hypothesis changes examples along their structure and shrinks what it finds. Atheris changes bytes,
led by coverage; it starts from the same examples, and needs its package: ``pip install atheris``.
"""

import importlib
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings

from tools.fuzz.target import FuzzFailure, Target

ROUND: Final = 500
"""Inputs of one round; each round has its own seed, so that any can be run again."""

Watch = Callable[[bytes], None]
"""Is told of each input before it is tried."""


@dataclass(slots=True)
class Tally:
    """What was tried so far."""

    inputs: int = 0
    accepted: int = 0


def by_hypothesis(target: Target, seconds: float, seed: int, watch: Watch) -> Tally:
    """Try inputs for so many seconds.

    Raises:
        FuzzFailure: The smallest input found that makes something happen that must not.
    """
    tally = Tally()
    end = time.monotonic() + seconds
    number = 0
    while time.monotonic() < end:
        _round(target, ROUND, seed + number, watch, tally, end)
        number += 1
    return tally


def one_round(target: Target, inputs: int, seed: int) -> Tally:
    """Try so many inputs, the same for the same seed.

    Raises:
        FuzzFailure: As :func:`by_hypothesis`.
    """
    tally = Tally()
    _round(target, inputs, seed, lambda _data: None, tally, None)
    return tally


def _round(  # noqa: PLR0917 - private, and called twice
    target: Target, inputs: int, seed: int, watch: Watch, tally: Tally, end: float | None
) -> None:
    failed = False

    @hypothesis.seed(seed)
    @settings(
        max_examples=inputs,
        database=None,
        deadline=None,
        derandomize=False,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
        report_multiple_bugs=False,
    )
    @given(target.inputs())
    def attempt(data: bytes) -> None:
        nonlocal failed
        # While a finding is shrunk, time plays no role: else it would seem to come and go.
        if end is not None and not failed and time.monotonic() > end:
            return
        watch(data)
        tally.inputs += 1
        try:
            tally.accepted += target.examine(data)
        except FuzzFailure:
            failed = True
            raise

    attempt()


def by_atheris(target: Target, seconds: float, seed: int, watch: Watch) -> Tally:
    """Try inputs for so many seconds; ends the process, as Atheris does."""
    atheris: Any = importlib.import_module("atheris")

    def attempt(data: bytes) -> None:
        watch(data)
        target.examine(data)

    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        for number, example in enumerate(target.examples):
            (Path(folder) / str(number)).write_bytes(example)
        options = [f"-max_total_time={seconds:.0f}", f"-seed={seed}", "-max_len=65536"]
        atheris.instrument_all()
        atheris.Setup(["fuzz", *options, folder], attempt)
        atheris.Fuzz()
    return Tally()


ENGINES: Final[dict[str, Callable[[Target, float, int, Watch], Tally]]] = {
    "hypothesis": by_hypothesis,
    "atheris": by_atheris,
}
"""Every engine by name."""
