"""What a shim says of its host's clocks."""

import ctypes
import errno
import time
from typing import Any

import msgspec
import pytest

from registry.core.records import inference
from registry.shim.recorder import clocks
from registry.shim.recorder.clocks import read_clocks
from tests.shim_story import Story


def test_the_monotonic_clock_is_the_hosts() -> None:
    before = time.monotonic_ns() // 1000
    said = read_clocks()
    assert before <= said.monotonic_us <= time.monotonic_ns() // 1000
    assert said.error_us is msgspec.UNSET or said.error_us >= 0


@pytest.mark.parametrize(
    ("state", "status", "max_error", "expected"),
    [
        (0, 0x2001, 12_345, 12_345),
        (0, 0x40, 12_345, None),
        (5, 0, 12_345, None),
        (-1, 0, 12_345, None),
        (0, 0, -1, None),
    ],
    ids=["kept right", "unsynchronised", "error", "forbidden", "nonsense"],
)
def test_the_bound_of_the_error_is_the_kernels(
    monkeypatch: pytest.MonkeyPatch,
    state: int,
    status: int,
    max_error: int,
    expected: int | None,
) -> None:
    class Library:
        """Answers as the kernel would."""

        def adjtimex(self, buffer: Any) -> int:
            if state < 0:
                ctypes.set_errno(errno.EPERM)
            clocks._TIMEX.pack_into(buffer, 0, 0, 0, 0, max_error, 0, status)
            return state

    monkeypatch.setattr(clocks, "_IS_KNOWN", True)
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: Library())
    error_us = read_clocks().error_us
    assert (None if error_us is msgspec.UNSET else error_us) == expected


def test_a_system_whose_clock_nobody_can_ask_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clocks, "_IS_KNOWN", False)
    assert read_clocks().error_us is msgspec.UNSET


def test_records_with_and_without_clocks_are_read_back() -> None:
    story = Story()
    story.boot()
    story.beat()
    story.beat(clock=msgspec.UNSET)
    story.beat(clock=inference.Clock(monotonic_us=0), unrecorded=7)
    story.stop()
    assert [inference.parse(data) for data in story.leaves] == story.records
