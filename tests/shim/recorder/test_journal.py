"""Records in a folder, through torn ends, damage and full disks."""

import itertools
import math
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.errors import DamagedError, MalformedError, Reason, UnavailableError
from registry.shim.recorder.frames import SECTOR_BYTES, frame
from registry.shim.recorder.journal import MAX_CHORES, QUICK_SECONDS, Journal

ALL = 10**6
RECORDS = [b"record %d" % n for n in range(10)]


class Replayed(list[tuple[int, bytes]]):
    """What a journal hands out when it is opened."""

    def __call__(self, n: int, payload: bytes) -> None:
        self.append((n, payload))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def write(folder: Path, records: list[bytes], *, segment_bytes: int = 1 << 20) -> None:
    """Append ``records`` durably and close."""
    journal = Journal(folder, Replayed(), segment_bytes=segment_bytes)
    for record in records:
        journal.append(record).wait()
    journal.close()


def reopened(folder: Path) -> tuple[list[bytes], int]:
    """The records in ``folder`` and what was cut off its end."""
    replayed = Replayed()
    journal = Journal(folder, replayed)
    journal.close()
    assert [n for n, _ in replayed] == list(range(len(replayed)))
    return [payload for _, payload in replayed], journal.torn_bytes


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.segment"))


def test_records_come_back_in_order(folder: Path) -> None:
    write(folder, RECORDS)
    assert reopened(folder) == (RECORDS, 0)


def test_numbers_go_on_after_reopening(folder: Path) -> None:
    write(folder, RECORDS)
    journal = Journal(folder, Replayed())
    assert journal.append(b"next").n == len(RECORDS)
    journal.close()


def test_many_callers_get_every_number_once(folder: Path) -> None:
    journal = Journal(folder, Replayed(), segment_bytes=4096)
    got: list[tuple[int, bytes]] = []

    def call(name: int) -> None:
        for i in range(50):
            payload = b"%d of %d" % (i, name)
            ticket = journal.append(payload)
            ticket.wait()
            got.append((ticket.n, payload))

    threads = [threading.Thread(target=call, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal.close()
    assert reopened(folder)[0] == [payload for _, payload in sorted(got)]
    assert len(segments(folder)) > 1


@pytest.mark.parametrize("missing", range(1, len(frame(RECORDS[-1]))))
def test_a_torn_last_frame_is_cut_off(folder: Path, missing: int) -> None:
    write(folder, RECORDS)
    [segment] = segments(folder)
    whole = segment.read_bytes()
    segment.write_bytes(whole[:-missing])
    # Zeros are room for what comes, not something that was cut off.
    rest = frame(RECORDS[-1])[:-missing].rstrip(b"\0")
    assert reopened(folder) == (RECORDS[:-1], len(rest))


def test_what_was_cut_off_stays_away(folder: Path) -> None:
    write(folder, RECORDS)
    [segment] = segments(folder)
    segment.write_bytes(segment.read_bytes()[:-1])
    write(folder, [b"another"])
    assert reopened(folder) == ([*RECORDS[:-1], b"another"], 0)


@pytest.mark.parametrize(
    "tail",
    [b"\xff" * 100, frame(b"x")[:-1] + b"?", b"\0\0\0\1"],
    ids=["ones", "checksum", "length"],
)
def test_a_tail_that_is_no_frame_is_cut_off(folder: Path, tail: bytes) -> None:
    write(folder, RECORDS)
    [segment] = segments(folder)
    segment.write_bytes(segment.read_bytes() + tail)
    assert reopened(folder) == (RECORDS, len(tail))


def torn_group(folder: Path, sizes: list[int], hole: int) -> tuple[int, int]:
    """Two synced records, and a group of which one sector never reached the disk.

    Returns:
        How many records stand before the hole, and where it is.
    """
    synced = [b"a" * 700, b"b" * 300]
    write(folder, synced)
    [segment] = segments(folder)
    before = segment.read_bytes()
    group = [b"%d" % (n % 10) * size for n, size in enumerate(sizes)]
    data = bytearray(before + b"".join(map(frame, group)))
    start = (len(before) // SECTOR_BYTES + hole) * SECTOR_BYTES
    for position in range(max(start, len(before)), min(start + SECTOR_BYTES, len(data))):
        data[position] = 0
    segment.write_bytes(data + bytes(5000))
    ends = list(itertools.accumulate((len(frame(item)) for item in group), initial=len(before)))
    whole = sum(end <= start for end in ends[1:])
    return len(synced) + (whole if start > len(before) else 0), start


@pytest.mark.parametrize("hole", range(9))
@pytest.mark.parametrize("size", [1, 56, 57, 58, 59, 60, 61, 62, 63, 64, 300, 504, 900])
def test_a_sector_that_was_never_written_is_a_torn_end(folder: Path, size: int, hole: int) -> None:
    # Whole frames of the same group may stand behind it.
    kept, start = torn_group(folder, [size] * (4096 // (size + 8)), hole)
    records, _ = reopened(folder)
    assert len(records) == kept, start
    assert segments(folder)[0].stat().st_size == sum(len(frame(item)) for item in records)


def test_a_flipped_byte_in_the_last_group_is_damage(folder: Path) -> None:
    write(folder, [b"x" * 2000] * 10)
    [segment] = segments(folder)
    data = bytearray(segment.read_bytes())
    data[100] = 0
    segment.write_bytes(data + bytes(5000))
    with pytest.raises(DamagedError):
        reopened(folder)


def test_what_is_kept_ahead_is_cut_off_with_the_end_of_a_segment(folder: Path) -> None:
    journal = Journal(folder, Replayed(), segment_bytes=4096)
    for _ in range(3):
        journal.append(b"x" * 3000).wait()
    first, second = segments(folder)
    assert first.stat().st_size == 2 * 3008
    assert second.stat().st_size > 3008
    journal.close()
    assert second.stat().st_size == 3008


def test_a_payload_holds_no_zero_byte(folder: Path) -> None:
    journal = Journal(folder, Replayed())
    with pytest.raises(MalformedError) as caught:
        journal.append(b"a\0b")
    assert caught.value.reason is Reason.MALFORMED_STATEMENT
    journal.close()


@pytest.mark.parametrize("position", range(len(frame(RECORDS[0]))))
def test_a_flipped_byte_before_the_end_is_damage(folder: Path, position: int) -> None:
    # Among them every byte of the length: a frame that claims to reach beyond the end of the file
    # looks like a torn one, and would hide all good frames after it.
    write(folder, RECORDS)
    [segment] = segments(folder)
    damaged = bytearray(segment.read_bytes())
    damaged[position] ^= 0x55
    segment.write_bytes(damaged)
    with pytest.raises(DamagedError) as caught:
        reopened(folder)
    assert caught.value.reason is Reason.JOURNAL_DAMAGED


def test_a_torn_end_of_an_earlier_segment_is_damage(folder: Path) -> None:
    write(folder, RECORDS, segment_bytes=50)
    first = segments(folder)[0]
    first.write_bytes(first.read_bytes()[:-1])
    with pytest.raises(DamagedError):
        reopened(folder)


def test_a_missing_segment_is_damage(folder: Path) -> None:
    write(folder, RECORDS, segment_bytes=50)
    segments(folder)[1].unlink()
    with pytest.raises(DamagedError):
        reopened(folder)


def test_a_tail_longer_than_one_commit_is_damage(folder: Path) -> None:
    write(folder, RECORDS)
    [segment] = segments(folder)
    segment.write_bytes(segment.read_bytes() + b"\xff" * (1024 * 1024 + 1))
    with pytest.raises(DamagedError):
        reopened(folder)


def test_damage_leaves_the_folder_free(folder: Path) -> None:
    write(folder, RECORDS)
    [segment] = segments(folder)
    whole = segment.read_bytes()
    segment.write_bytes(b"?" + whole)
    with pytest.raises(DamagedError):
        reopened(folder)
    segment.write_bytes(whole)
    assert reopened(folder) == (RECORDS, 0)


def test_a_second_user_is_refused(folder: Path) -> None:
    journal = Journal(folder, Replayed())
    with pytest.raises(UnavailableError) as caught:
        Journal(folder, Replayed())
    assert caught.value.reason is Reason.JOURNAL_IN_USE
    journal.close()


@pytest.fixture
def filled(folder: Path) -> Iterator[Journal]:
    """A journal of ten records, a few to a segment."""
    write(folder, RECORDS, segment_bytes=50)
    journal = Journal(folder, Replayed(), segment_bytes=50)
    yield journal
    journal.close()


@pytest.mark.parametrize("first", range(11))
@pytest.mark.parametrize("count", [1, 3, 100])
def test_any_range_can_be_read(filled: Journal, first: int, count: int) -> None:
    assert filled.read(first, count, ALL) == RECORDS[first : first + count]


def test_reading_goes_back_and_forth(filled: Journal) -> None:
    for first in (7, 0, 3, 3, 9, 1):
        assert filled.read(first, 2, ALL) == RECORDS[first : first + 2]


def test_reading_stops_at_a_number_of_bytes_but_gives_one_record(filled: Journal) -> None:
    assert filled.read(2, 10, 2 * len(RECORDS[2])) == RECORDS[2:4]
    assert filled.read(4, 10, 1) == RECORDS[4:5]


def test_reading_follows_the_writer(filled: Journal) -> None:
    assert filled.read(0, 100, ALL) == RECORDS
    filled.append(b"more").wait()
    assert filled.read(len(RECORDS), 100, ALL) == [b"more"]


def test_damage_found_while_reading_latches(filled: Journal, folder: Path) -> None:
    second = segments(folder)[1]
    second.write_bytes(b"?" + second.read_bytes()[1:])
    with pytest.raises(DamagedError):
        filled.read(0, 100, ALL)
    with pytest.raises(UnavailableError) as caught:
        filled.append(b"more")
    assert caught.value.reason is Reason.JOURNAL_LATCHED


def test_forgetting_deletes_whole_segments_only(filled: Journal, folder: Path) -> None:
    before = len(segments(folder))
    filled.forget(5)
    assert 0 < len(segments(folder)) < before
    assert filled.first_n <= 5
    assert filled.read(5, 100, ALL) == RECORDS[5:]


def test_something_always_remains(filled: Journal, folder: Path) -> None:
    filled.forget(len(RECORDS))
    filled.close()
    replayed = Replayed()
    journal = Journal(folder, replayed)
    journal.close()
    assert replayed[-1] == (9, RECORDS[9])


def test_waiting_for_a_record_ends_when_it_is_durable(folder: Path) -> None:
    journal = Journal(folder, Replayed())
    threading.Timer(0.05, lambda: journal.append(b"x")).start()
    assert journal.wait_durable(0, 10)
    journal.close()


def test_waiting_for_a_record_ends_in_time(folder: Path) -> None:
    journal = Journal(folder, Replayed())
    assert not journal.wait_durable(0, 0.01)
    journal.close()


def test_closing_writes_what_waits(folder: Path) -> None:
    journal = Journal(folder, Replayed())
    tickets = [journal.append(record) for record in RECORDS]
    journal.close()
    for ticket in tickets:
        ticket.wait()
    assert reopened(folder) == (RECORDS, 0)


def test_nothing_is_appended_after_closing(folder: Path) -> None:
    journal = Journal(folder, Replayed())
    journal.close()
    with pytest.raises(UnavailableError) as caught:
        journal.append(b"late")
    assert caught.value.reason is Reason.JOURNAL_LATCHED


FULL = """
import resource, sys
from pathlib import Path
from registry.errors import UnavailableError
from registry.shim.recorder.journal import Journal

resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
journal = Journal(Path(sys.argv[1]), lambda n, payload: None)
durable = 0
reasons = []
for _ in range(12):
    try:
        journal.append(b"x" * 92).wait()
        durable += 1
    except UnavailableError as error:
        reasons.append(str(error.reason))
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
journal.close()
print(durable, journal.latched.split(":")[0], *set(reasons))
"""


def test_a_full_disk_latches_and_loses_nothing_acknowledged(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(folder)], capture_output=True, text=True, check=True
    )
    # The system writes 1000 bytes, which is what is left of the limit, before it says no.
    assert done.stdout.split() == ["10", "OSError", "JOURNAL_LATCHED"]
    assert reopened(folder)[0] == [b"x" * 92] * 10


def test_a_full_disk_in_mid_frame_is_a_torn_end(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL.replace("92", "100"), str(folder)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split()[0] == "9"
    assert reopened(folder) == ([b"x" * 100] * 9, 1000 - 9 * 108)


def test_the_limit_on_files_is_only_the_childs() -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000


def test_a_journal_is_quick_only_while_its_disk_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(folder, Replayed())
    assert journal.quick_seconds == math.inf  # nothing is known of the disk yet
    sync = os.fdatasync

    def slow(descriptor: int) -> None:
        time.sleep(QUICK_SECONDS)
        sync(descriptor)

    monkeypatch.setattr(os, "fdatasync", lambda _descriptor: None)
    for number in range(100):
        journal.append(b"%d" % number).wait()
        if journal.quick_seconds < QUICK_SECONDS:
            break
    assert journal.quick_seconds < QUICK_SECONDS
    monkeypatch.setattr(os, "fdatasync", slow)
    journal.append(b"slow").wait()
    assert journal.quick_seconds == math.inf
    journal.close()


def test_what_is_left_to_the_journals_thread_is_done_there(folder: Path) -> None:
    journal = Journal(folder, Replayed())
    done = threading.Event()
    names: list[str] = []

    def chore() -> None:
        names.append(threading.current_thread().name)
        journal.append(b"later", urgency="soon")
        done.set()

    assert journal.later(chore)
    assert done.wait(20)
    assert names == ["journal"]
    assert journal.wait_durable(0, 20)
    journal.close()


def test_what_is_left_is_done_before_the_journal_closes(folder: Path) -> None:
    journal = Journal(folder, Replayed())
    journal.append(b"now").wait()
    for number in range(3):

        def chore(number: int = number) -> None:
            journal.append(b"%d" % number, urgency="soon")

        assert journal.later(chore)
    journal.close()
    assert reopened(folder)[0] == [b"now", b"0", b"1", b"2"]


def test_no_more_is_left_than_may_be(folder: Path) -> None:
    journal = Journal(folder, Replayed())
    begun, held = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        held.wait(20)

    assert journal.later(hold)
    assert begun.wait(20)
    taken = [journal.later(lambda: None) for _ in range(MAX_CHORES + 1)]
    assert taken == [True] * MAX_CHORES + [False]
    held.set()
    journal.close()


def test_nothing_is_left_to_a_journal_that_is_latched_or_closed(folder: Path) -> None:
    journal = Journal(folder, Replayed())

    def broken() -> None:
        raise ZeroDivisionError

    assert journal.later(broken)
    while not journal.latched:
        time.sleep(0.001)
    assert journal.latched.startswith("ZeroDivisionError")
    assert not journal.later(lambda: None)
    journal.close()
    folder = folder.with_name("another")
    journal = Journal(folder, Replayed())
    journal.close()
    assert not journal.later(lambda: None)
