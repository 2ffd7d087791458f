"""Heartbeats: how often, what they tell, and how far apart an auditor lets them be."""

import errno
import threading
from pathlib import Path

import pytest

from registry.core.records import inference
from registry.core.records.audit_policy import DEFAULT_HEARTBEAT
from registry.shim.app import DEFAULT_TIMING
from registry.shim.recorder.heartbeat import Heartbeat
from registry.shim.recorder.sequence import Sequence, Started
from registry.shim.recorder.unrecorded import Unrecorded
from tests.shim.world import NOON, written


def test_a_heartbeat_comes_well_before_an_auditor_misses_it() -> None:
    assert DEFAULT_TIMING.heartbeat == 60
    assert DEFAULT_TIMING.heartbeat < DEFAULT_HEARTBEAT.total_seconds()


def test_between_two_heartbeats_lies_what_was_said_and_each_tells_of_lost_calls(
    tmp_path: Path,
) -> None:
    waited: list[float | None] = []

    class Stopping(threading.Event):
        """As if the time were over at once; twice."""

        def wait(self, timeout: float | None = None) -> bool:
            waited.append(timeout)
            return len(waited) > 2

    sequence = Sequence(tmp_path / "journal", lambda: NOON)
    sequence.boot(Started("test/1"))
    unrecorded = Unrecorded(tmp_path / "unrecorded")
    beating = Heartbeat(sequence, 7.0, unrecorded)
    beating.stop()
    for _ in range(3):
        unrecorded.add()
    # Its thread's life, in this one.
    beating._stopping = Stopping()
    beating._run()
    sequence.journal.close()
    unrecorded.close()
    assert waited == [7.0] * 3
    beats = [item for item in written(tmp_path) if isinstance(item, inference.Heartbeat)]
    # What one told of the next does not tell again.
    assert [beat.unrecorded for beat in beats] == [3, 0]


def test_calls_that_were_lost_at_the_end_are_told_before_the_end(tmp_path: Path) -> None:
    sequence = Sequence(tmp_path / "journal", lambda: NOON)
    sequence.boot(Started("test/1"))
    unrecorded = Unrecorded(tmp_path / "unrecorded")
    beating = Heartbeat(sequence, 3600.0, unrecorded)
    unrecorded.add()
    beating.stop()
    sequence.journal.close()
    assert unrecorded.count == 0
    unrecorded.close()
    last = written(tmp_path)[-1]
    assert isinstance(last, inference.Heartbeat)
    assert last.unrecorded == 1


def test_what_the_disk_refuses_told_nobody_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sequence = Sequence(tmp_path / "journal", lambda: NOON)
    sequence.boot(Started("test/1"))
    unrecorded = Unrecorded(tmp_path / "unrecorded")
    beating = Heartbeat(sequence, 3600.0, unrecorded)
    unrecorded.add()

    def refuse(_: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sequence.journal._open, "append", refuse)
    beating.stop()
    assert not beating._beat()
    assert unrecorded.count == 1
    unrecorded.close()
    sequence.journal.close()
