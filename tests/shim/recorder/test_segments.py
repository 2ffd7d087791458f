"""The files of a journal: what is asked of the disk before a record counts as durable."""

import os
import sys
from pathlib import Path

import pytest

from registry.core.records.inference import MAX_RECORD_BYTES
from registry.errors import DamagedError, LimitExceededError, Reason
from registry.shim.recorder import segments
from registry.shim.recorder.frames import frame, whole_frame
from registry.shim.recorder.journal import Journal
from registry.shim.recorder.segments import OpenSegment, check, create, find
from tests.shim.disk import Step, watched

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")

ONE, TWO, THREE = (frame(item) for item in (b"one", b"two", b"three"))
FIRST = "0" * 20 + ".segment"
RESERVE = 4096


def ignore(_n: int, _payload: bytes) -> None:
    """Take no notice of a record."""


def test_room_is_on_disk_before_frames_are_written_into_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment = create(tmp_path, 0)
    opened = OpenSegment(segment.path, 0, RESERVE)
    with watched(monkeypatch) as steps:
        opened.append(ONE)
        opened.append(TWO)
    room = len(ONE) + RESERVE
    assert [step.holds for step in steps] == [
        bytes(room),
        ONE.ljust(room, b"\0"),
        (ONE + TWO).ljust(room, b"\0"),
    ]
    opened.close()


def test_a_finished_segment_ends_with_its_last_frame_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment = create(tmp_path, 0)
    opened = OpenSegment(segment.path, 0, RESERVE)
    opened.append(ONE)
    with watched(monkeypatch) as steps:
        opened.finish()
    assert steps == [Step("sync", segment.path, ONE)]
    opened.close()


def test_a_new_segment_has_its_name_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with watched(monkeypatch) as steps:
        segment = create(tmp_path, 7)
    assert steps == [Step("sync", tmp_path, frozenset({segment.path.name}))]
    assert segment.path.stat().st_mode & 0o777 == 0o600


def test_a_torn_end_is_cut_off_on_disk_before_anything_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment = create(tmp_path, 0)
    segment.path.write_bytes(ONE + TWO[:-1] + bytes(100))
    with watched(monkeypatch) as steps:
        assert check([segment], ignore) == (1, len(ONE), len(TWO) - 1)
    assert steps == [Step("sync", segment.path, ONE)]


def test_a_torn_end_is_damage_anywhere_but_at_the_very_end(tmp_path: Path) -> None:
    create(tmp_path, 0).path.write_bytes(ONE + TWO[:-1])
    create(tmp_path, 1).path.write_bytes(TWO)
    with pytest.raises(DamagedError) as caught:
        check(find(tmp_path), ignore)
    assert caught.value.reason is Reason.JOURNAL_DAMAGED
    assert (tmp_path / FIRST).read_bytes() == ONE + TWO[:-1]


def test_an_end_that_is_longer_than_a_crash_can_tear_is_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "MAX_GROUP_BYTES", 100)
    monkeypatch.setattr(segments, "RESERVE_BYTES", 100)
    segment = create(tmp_path, 0)
    segment.path.write_bytes(ONE + TWO[:-1] + bytes(201 - len(TWO) + 1))
    with pytest.raises(DamagedError) as caught:
        check([segment], ignore)
    assert caught.value.reason is Reason.JOURNAL_DAMAGED
    segment.path.write_bytes(ONE + TWO[:-1] + bytes(200 - len(TWO) + 1))
    assert check([segment], ignore)[0] == 1


def test_what_an_earlier_process_wrote_is_on_disk_before_it_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As a process leaves it that died after it wrote, and before it synced.
    create(tmp_path, 0).path.write_bytes(ONE)
    with watched(monkeypatch) as steps:
        journal = Journal(tmp_path, ignore)
    try:
        assert journal.durable_n == 1
        assert steps == [
            Step("sync", tmp_path / FIRST, ONE),
            Step("sync", tmp_path, frozenset({FIRST, "lock"})),
        ]
    finally:
        journal.close()


def test_a_segment_is_whole_on_disk_before_the_next_one_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path, ignore, segment_bytes=1)
    try:
        journal.append(b"one").wait()
        with watched(monkeypatch) as steps:
            journal.append(b"two").wait()
        following = f"{1:020}.segment"
        assert steps[:2] == [
            Step("sync", tmp_path / FIRST, ONE),
            Step("sync", tmp_path, frozenset({FIRST, following, "lock"})),
        ]
        last = steps[-1]
        assert last.path == tmp_path / following
        assert isinstance(last.holds, bytes)
        assert last.holds.startswith(TWO)
    finally:
        journal.close()


def test_an_error_other_than_a_full_disk_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment = create(tmp_path, 0)
    opened = OpenSegment(segment.path, 0, RESERVE)

    def fail(*_: object) -> int:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as failing:
        failing.setattr(os, "pwrite", fail)
        with pytest.raises(OSError, match="Input/output"):
            opened._reserve(1)
    opened.close()


@pytest.mark.parametrize(
    ("size", "is_one"), [(MAX_RECORD_BYTES, True), (MAX_RECORD_BYTES + 1, False)]
)
def test_no_frame_is_longer_than_a_record(size: int, *, is_one: bool) -> None:
    data = frame(b"x" * size)
    assert whole_frame(data, 0) == (len(data) if is_one else -1)


@pytest.mark.parametrize("size", [0, MAX_RECORD_BYTES + 1])
def test_what_no_frame_holds_is_not_taken(tmp_path: Path, size: int) -> None:
    journal = Journal(tmp_path, ignore)
    try:
        with pytest.raises(LimitExceededError) as caught:
            journal.append(b"x" * size)
        assert caught.value.reason is Reason.BATCH_TOO_LARGE
        assert (journal.next_n, journal.latched) == (0, "")
        journal.append(b"x" * MAX_RECORD_BYTES).wait()
    finally:
        journal.close()
