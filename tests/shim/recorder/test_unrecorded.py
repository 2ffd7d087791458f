"""The count of calls that went out and were not written down: kept, and told once."""

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from registry.errors import DamagedError, Reason, UnavailableError
from registry.shim.recorder.ticket import Ticket
from registry.shim.recorder.unrecorded import Unrecorded, unless_durable


@pytest.fixture
def counted(tmp_path: Path) -> Iterator[Unrecorded]:
    with closing(Unrecorded(tmp_path / "unrecorded")) as made:
        yield made


def read_again(tmp_path: Path) -> int:
    with closing(Unrecorded(tmp_path / "unrecorded")) as other:
        return other.count


def test_whoever_starts_next_knows_how_many_there_were(tmp_path: Path, counted: Unrecorded) -> None:
    for _ in range(3):
        counted.add()
    assert counted.count == read_again(tmp_path) == 3


def test_what_was_told_is_told_to_nobody_again(tmp_path: Path, counted: Unrecorded) -> None:
    for _ in range(3):
        counted.add()
    counted.told(2)
    assert counted.count == read_again(tmp_path) == 1


def test_a_full_disk_takes_the_count(
    tmp_path: Path, counted: Unrecorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    # To overwrite needs no space; and if even that fails, whoever runs still knows.
    assert (tmp_path / "unrecorded").stat().st_size == 8
    with monkeypatch.context() as failing:
        failing.setattr(os, "pwrite", refuse)
        counted.add()
    assert counted.count == 1


def test_many_threads_count_each_of_their_calls(tmp_path: Path, counted: Unrecorded) -> None:
    def count() -> None:
        for _ in range(200):
            counted.add()

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counted.count == read_again(tmp_path) == 800


def test_one_call_is_counted_once_whatever_is_lost_of_it(counted: Unrecorded) -> None:
    lost = counted.once()
    for _ in range(3):
        lost()
    assert counted.count == 1


@pytest.mark.parametrize("size", [0, 7, 9])
def test_another_file_is_no_count(tmp_path: Path, size: int) -> None:
    path = tmp_path / "unrecorded"
    path.write_bytes(bytes(size))
    with pytest.raises(DamagedError) as caught:
        Unrecorded(path)
    assert caught.value.reason is Reason.JOURNAL_DAMAGED


def test_the_count_is_for_the_owner_alone(tmp_path: Path, counted: Unrecorded) -> None:
    assert counted.count == 0
    assert (tmp_path / "unrecorded").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("fails", [True, False])
def test_only_a_record_that_never_becomes_durable_is_lost(
    counted: Unrecorded, *, fails: bool
) -> None:
    ticket = Ticket(0, b"", unless_durable(counted.once()))
    ticket.settle(UnavailableError(Reason.JOURNAL_LATCHED, "the disk is full") if fails else None)
    assert counted.count == fails
