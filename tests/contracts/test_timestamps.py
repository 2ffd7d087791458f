"""Timestamps of checkpoints, as both databases keep them."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.exc import IntegrityError

from registry.storage.sql import log, timestamps
from registry.storage.sql.engine import Database
from registry.storage.sql.timestamps import StoredTimestamp

NOON = datetime(2026, 6, 1, 12, 0, 0, 123456, tzinfo=UTC)
OURS, THEIRS = b"\x01" * 32, b"\xff" * 32


def row(size: int, authority: bytes = OURS, minutes: int = 0) -> StoredTimestamp:
    at = NOON + timedelta(minutes=minutes)
    return StoredTimestamp(size, authority, at, b"note \x00\xff %d" % size, b"token" + authority)


def fill(database: Database, *rows: StoredTimestamp) -> None:
    for each in rows:
        with database.write() as connection:
            timestamps.add(connection, each)


def after(database: Database, index: int) -> list[StoredTimestamp]:
    with database.read() as connection:
        return timestamps.first_after(connection, index)


def test_a_timestamp_is_read_back_byte_for_byte(database: Database) -> None:
    fill(database, row(3))
    assert after(database, 0) == [row(3)]


@pytest.mark.parametrize("year", [1, 1969, 2200, 9999])
def test_a_time_of_any_year_is_kept(database: Database, year: int) -> None:
    at = datetime(year, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
    fill(database, StoredTimestamp(1, OURS, at, b"", b""))
    assert after(database, 0)[0].at == at


def test_the_newest_of_an_authority_is_over_its_largest_checkpoint(database: Database) -> None:
    fill(database, row(3), row(9), row(12, THEIRS), row(5))
    with database.read() as connection:
        assert timestamps.newest(connection, OURS) == row(9)
        assert timestamps.newest(connection, THEIRS) == row(12, THEIRS)
        assert timestamps.newest(connection, b"\x02" * 32) is None


@pytest.mark.parametrize(("index", "size"), [(0, 3), (2, 3), (3, 5), (4, 5), (5, 9), (8, 9)])
def test_the_first_after_an_entry_is_the_smallest_tree_that_has_it(
    database: Database, index: int, size: int
) -> None:
    fill(database, row(9), row(3), row(5))
    assert [each.size for each in after(database, index)] == [size]


def test_there_is_none_after_an_entry_that_nobody_has_stamped(database: Database) -> None:
    fill(database, row(3))
    assert after(database, 3) == []


def test_all_authorities_of_one_checkpoint_are_found_the_earliest_first(
    database: Database,
) -> None:
    fill(database, row(3, OURS, minutes=1), row(3, THEIRS), row(4, OURS))
    assert after(database, 1) == [row(3, THEIRS), row(3, OURS, minutes=1)]


def test_an_authority_stamps_a_checkpoint_once(database: Database) -> None:
    fill(database, row(3))
    with pytest.raises(IntegrityError):
        fill(database, row(3, minutes=5))
    assert after(database, 0) == [row(3)]


def test_timestamps_are_not_derived(database: Database) -> None:
    fill(database, row(3))
    with database.write() as connection:
        log.clear_derived(connection)
    assert after(database, 0) == [row(3)]
