"""Work is begun no faster than a share of a processor allows, and at once if nobody came before."""

import time

import pytest

from registry.server.pacing import BURST_SECONDS, Pacing


def test_whoever_comes_alone_waits_for_nobody() -> None:
    pacing = Pacing(0.05, 0.001)
    assert [pacing.delay(now) for now in (100.0, 101.0, 102.0)] == [0.0, 0.0, 0.0]


def test_a_burst_is_begun_at_once_and_then_a_share_is_kept() -> None:
    pacing = Pacing(0.05, 0.001)
    delays = [pacing.delay(100.0) for _ in range(1000)]
    at_once = sum(delay == 0 for delay in delays)
    # A piece takes 1 ms of a processor, of which 5 % may be used: one in 20 ms.
    assert at_once == pytest.approx(BURST_SECONDS / 0.02, abs=2)
    assert delays[-1] == pytest.approx((1000 - at_once) * 0.02, abs=0.05)


def test_the_share_is_kept_for_what_work_really_costs() -> None:
    pacing = Pacing(0.05, 0.001)

    def work() -> str:
        ends = time.thread_time() + 0.01
        while time.thread_time() < ends:
            pass
        return "done"

    assert [pacing.run(work) for _ in range(40)] == ["done"] * 40
    first = pacing.delay(0.0)
    second = pacing.delay(0.0)
    assert second - first == pytest.approx(0.01 / 0.05, rel=0.3) or second == 0.0
    assert pacing._cost == pytest.approx(0.01, rel=0.3)


def test_work_that_fails_is_counted_too() -> None:
    pacing = Pacing(0.05, 0.5)
    with pytest.raises(ZeroDivisionError):
        pacing.run(lambda: 1 // 0)
    assert pacing._cost < 0.5


def test_what_work_costs_outside_of_its_thread_is_counted() -> None:
    pacing = Pacing(0.05, 0.001, 0.001)
    delays = [pacing.delay(100.0) for _ in range(1000)]
    # A piece takes 2 ms of a processor, of which 5 % may be used: one in 40 ms.
    assert delays[-1] - delays[-2] == pytest.approx(0.04)
