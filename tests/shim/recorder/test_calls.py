"""Which thread waits for the disk when a call begins: the loop's, if that costs others little."""

import asyncio
import math
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from registry.shim.recorder import journal, loop_share
from registry.shim.recorder.calls import Calls, Mode
from tests.shim.world import DEPLOYMENT, MemoryRegistry, running

MAIN = threading.main_thread().name
REQUEST = bytes(32)


def writers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: Mode, count: int = 2
) -> list[str]:
    """The threads that wrote the intents of calls which began one after the other."""
    wrote: list[str] = []
    sync = os.fdatasync

    def watched(descriptor: int) -> None:
        wrote.append(threading.current_thread().name)
        sync(descriptor)

    async def begin(calls: Calls, quick: Callable[[], bool]) -> None:
        for _ in range(count):
            before = len(wrote)
            (await calls.begin(REQUEST)).abandoned()
            # Its outcome, too, so that nothing is being written when the next one begins.
            while len(wrote) < before + 2 or not quick():  # noqa: ASYNC110 - another thread writes
                await asyncio.sleep(0.001)

    with running(tmp_path, MemoryRegistry.build()) as shim:
        monkeypatch.setattr(os, "fdatasync", watched)
        calls = Calls(shim.recorder, shim.unrecorded, lambda: DEPLOYMENT, mode=mode)
        slow = journal.QUICK_SECONDS == 0
        asyncio.run(begin(calls, lambda: slow or shim.recorder.quick_seconds < math.inf))
        monkeypatch.setattr(os, "fdatasync", sync)
    return wrote[::2]


def test_the_loop_waits_for_a_quick_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "QUICK_SECONDS", 3600.0)
    monkeypatch.setattr(loop_share, "WAITING_SHARE", 0)
    assert writers(tmp_path, monkeypatch, "stream") == [MAIN, MAIN]


def test_the_loop_does_not_wait_for_a_slow_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "QUICK_SECONDS", 0.0)
    monkeypatch.setattr(loop_share, "WAITING_SHARE", 0)
    assert MAIN not in writers(tmp_path, monkeypatch, "stream")


def test_the_loop_waits_only_a_share_of_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "QUICK_SECONDS", 3600.0)
    # More than the test takes, however quick the disk is.
    monkeypatch.setattr(loop_share, "WAITING_SHARE", 1e12)
    assert writers(tmp_path, monkeypatch, "strict", 3).count(MAIN) == 1
