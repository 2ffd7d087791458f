"""Numbers, and the hashes between them, across starts and deaths."""

import threading
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from registry.core.records import inference
from registry.errors import DamagedError, Reason
from registry.shim.recorder.frames import frame
from registry.shim.recorder.sequence import Sequence, Started, time_text
from tests.shim.world import NOON, kinds, leaf_of, written


def start(folder: Path) -> Sequence:
    sequence = Sequence(folder / "journal", lambda: NOON)
    sequence.boot(Started("test/1"))
    return sequence


def run(folder: Path, *, beats: int = 0, clean: bool = True) -> Sequence:
    """One whole run of a shim that nobody calls."""
    sequence = start(folder)
    for _ in range(beats):
        sequence.beat()
    if clean:
        sequence.stop()
    sequence.journal.close()
    return sequence


def boots(folder: Path) -> list[inference.Boot]:
    return [record for record in written(folder) if isinstance(record, inference.Boot)]


def test_the_first_record_says_that_it_is_the_first_start(tmp_path: Path) -> None:
    sequence = run(tmp_path)
    [boot, stop] = written(tmp_path)
    assert isinstance(boot, inference.Boot)
    assert isinstance(stop, inference.Stop)
    assert boot.prev_stop == "first"
    assert boot.software == "test/1"
    assert boot.sequence == inference.Sequence(
        shim_id=sequence.shim_id,
        boot_id=sequence.boot_id,
        n=0,
        prev_digest=inference.FIRST_PREVIOUS,
    )


def test_every_record_names_the_one_before(tmp_path: Path) -> None:
    run(tmp_path, beats=2)
    run(tmp_path, beats=2)
    records = written(tmp_path)
    assert [r.sequence.prev_digest for r in records[1:]] == [leaf_of(r) for r in records[:-1]]


def test_numbers_and_the_shims_id_survive_a_restart(tmp_path: Path) -> None:
    first = run(tmp_path, beats=1)
    second = run(tmp_path)
    assert [record.sequence.n for record in written(tmp_path)] == list(range(5))
    assert first.shim_id == second.shim_id
    assert first.boot_id != second.boot_id


def test_a_boot_names_the_boot_before(tmp_path: Path) -> None:
    first = run(tmp_path)
    run(tmp_path)
    assert boots(tmp_path)[1].previous_boot_id == first.boot_id


@pytest.mark.parametrize(("clean", "expected"), [(True, "clean"), (False, "unclean")])
def test_a_boot_says_how_the_last_run_ended(tmp_path: Path, clean: bool, expected: str) -> None:
    run(tmp_path, beats=1, clean=clean)
    run(tmp_path)
    assert boots(tmp_path)[1].prev_stop == expected


def test_a_boot_says_what_was_cut_off(tmp_path: Path) -> None:
    run(tmp_path, clean=False)
    [segment] = (tmp_path / "journal").glob("*.segment")
    segment.write_bytes(segment.read_bytes() + b"torn")
    run(tmp_path)
    assert [boot.torn_bytes for boot in boots(tmp_path)] == [0, 4]


def test_open_intents_are_interrupted_at_the_next_start(tmp_path: Path) -> None:
    sequence = start(tmp_path)
    for _ in range(2):
        sequence.add(an_intent).wait()
    sequence.add(
        lambda place, at: inference.Failure(sequence=place, at=at, intent_n=1, error="x")
    ).wait()
    sequence.journal.close()
    run(tmp_path)
    assert kinds(written(tmp_path))[4:] == ["boot", "interrupted", "stop"]
    interrupted = written(tmp_path)[5]
    assert isinstance(interrupted, inference.Interrupted)
    assert interrupted.intent_n == 2
    assert boots(tmp_path)[1].open_intents == (2,)


def test_an_interrupted_intent_is_interrupted_once(tmp_path: Path) -> None:
    sequence = start(tmp_path)
    sequence.add(an_intent).wait()
    sequence.journal.close()
    run(tmp_path, clean=False)
    run(tmp_path)
    assert kinds(written(tmp_path)) == ["boot", "intent", "boot", "interrupted", "boot", "stop"]


def test_a_start_that_died_half_way_is_made_up_for(tmp_path: Path) -> None:
    sequence = start(tmp_path)
    for _ in range(3):
        sequence.add(an_intent).wait()
    sequence.journal.close()
    run(tmp_path, clean=False)
    # As if the second start had died after the first of three outcomes.
    [segment] = (tmp_path / "journal").glob("*.segment")
    kept = written(tmp_path)[:6]
    segment.write_bytes(b"".join(frame(inference.write(record)) for record in kept))
    run(tmp_path)
    outcomes = [r.intent_n for r in written(tmp_path) if isinstance(r, inference.Interrupted)]
    assert outcomes == [1, 2, 3]


def test_a_lost_journal_means_another_id(tmp_path: Path) -> None:
    first = run(tmp_path)
    for segment in (tmp_path / "journal").glob("*.segment"):
        segment.unlink()
    assert run(tmp_path).shim_id != first.shim_id


def test_a_record_out_of_its_place_is_damage(tmp_path: Path) -> None:
    run(tmp_path, beats=3)
    [segment] = (tmp_path / "journal").glob("*.segment")
    records = written(tmp_path)
    records[1], records[2] = records[2], records[1]
    segment.write_bytes(b"".join(frame(inference.write(record)) for record in records))
    with pytest.raises(DamagedError) as caught:
        start(tmp_path)
    assert caught.value.reason is Reason.JOURNAL_DAMAGED


@pytest.mark.parametrize("what", ["the record before it", "its number", "its shim"])
def test_a_record_that_does_not_follow_is_damage(tmp_path: Path, what: str) -> None:
    """Whole frames with right checksums: as somebody writes them who can write to the disk."""
    run(tmp_path, beats=2)
    [segment] = (tmp_path / "journal").glob("*.segment")
    records = written(tmp_path)
    last = records[-1].sequence
    wrong = {
        "the record before it": msgspec.structs.replace(last, prev_digest="ab" * 32),
        "its number": msgspec.structs.replace(last, n=last.n + 1),
        "its shim": msgspec.structs.replace(last, shim_id="ab" * 16),
    }
    records[-1] = msgspec.structs.replace(records[-1], sequence=wrong[what])
    segment.write_bytes(b"".join(frame(inference.write(item)) for item in records))
    with pytest.raises(DamagedError) as caught:
        start(tmp_path)
    assert caught.value.reason is Reason.JOURNAL_DAMAGED
    assert caught.value.where == f"record {last.n}"


def test_a_record_that_was_rewritten_is_damage_for_the_next(tmp_path: Path) -> None:
    run(tmp_path, beats=2)
    [segment] = (tmp_path / "journal").glob("*.segment")
    records = written(tmp_path)
    records[1] = msgspec.structs.replace(records[1], at="2020-01-01T00:00:00.000000Z")
    segment.write_bytes(b"".join(frame(inference.write(item)) for item in records))
    with pytest.raises(DamagedError) as caught:
        start(tmp_path)
    assert caught.value.where == "record 2"


def test_a_record_that_is_none_is_damage(tmp_path: Path) -> None:
    run(tmp_path)
    [segment] = (tmp_path / "journal").glob("*.segment")
    segment.write_bytes(segment.read_bytes() + frame(b'{"predicate":1}'))
    with pytest.raises(DamagedError) as caught:
        start(tmp_path)
    assert caught.value.reason is Reason.JOURNAL_DAMAGED


def test_many_threads_make_one_chain(tmp_path: Path) -> None:
    sequence = start(tmp_path)

    def many() -> None:
        for _ in range(25):
            sequence.beat()

    threads = [threading.Thread(target=many) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sequence.journal.close()
    records = written(tmp_path)
    assert [r.sequence.n for r in records] == list(range(201))
    assert [r.sequence.prev_digest for r in records[1:]] == [leaf_of(r) for r in records[:-1]]


def test_times_are_written_to_the_microsecond() -> None:
    assert time_text(NOON) == "2026-05-04T12:00:00.000000Z"
    assert time_text(NOON + timedelta(microseconds=7)) == "2026-05-04T12:00:00.000007Z"


def an_intent(place: inference.Sequence, at: str) -> inference.Record:
    nothing = "00" * 32
    return inference.Intent(
        sequence=place, at=at, release=f"sha256:{nothing}", request=nothing, salt=nothing
    )
