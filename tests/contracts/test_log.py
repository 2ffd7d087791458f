"""Rows of the log: entries, tiles and checkpoints, as both databases keep them."""

import hashlib

import pytest
from sqlalchemy.exc import IntegrityError

from registry.errors import Reason, UnavailableError
from registry.storage.sql import log, migrate
from registry.storage.sql import tables as t
from registry.storage.sql.engine import Database
from registry.storage.sql.log import StoredEntry


def row(index: int, record: str = "") -> StoredEntry:
    body = b"body %d" % index
    return StoredEntry(
        index,
        hashlib.sha256(body).digest(),
        hashlib.sha256((record or str(index)).encode()).digest(),
        body,
        b"envelope \x00\xff %d" % index,
    )


def fill(database: Database, count: int) -> list[StoredEntry]:
    rows = [row(index) for index in range(count)]
    with database.write() as connection:
        log.append(connection, rows, [])
    return rows


def test_an_entry_is_read_back_byte_for_byte(database: Database) -> None:
    rows = fill(database, 3)
    with database.read() as connection:
        assert [log.entry(connection, index) for index in range(3)] == rows


def test_there_is_no_entry_behind_the_last(database: Database) -> None:
    fill(database, 3)
    with database.read() as connection:
        assert log.entry(connection, 3) is None


def test_an_empty_log_has_size_zero(database: Database) -> None:
    with database.read() as connection:
        assert log.size(connection) == 0


def test_the_size_counts_all_entries(database: Database) -> None:
    fill(database, 7)
    with database.read() as connection:
        assert log.size(connection) == 7


def test_a_record_is_found_at_its_first_entry(database: Database) -> None:
    rows = [row(0), row(1, "twice"), row(2, "twice")]
    with database.write() as connection:
        log.append(connection, rows, [])
    with database.read() as connection:
        assert log.entry_of_record(connection, rows[2].record_id) == rows[1]


def test_an_index_is_given_only_once(database: Database) -> None:
    fill(database, 1)
    again = StoredEntry(0, b"l" * 32, b"r" * 32, b"b", b"e")
    with pytest.raises(IntegrityError), database.write() as connection:
        log.append(connection, [again], [])


def test_a_leaf_is_stored_only_once(database: Database) -> None:
    first = fill(database, 1)[0]
    again = StoredEntry(1, first.leaf_hash, first.record_id, first.body, first.envelope)
    with pytest.raises(IntegrityError), database.write() as connection:
        log.append(connection, [again], [])


def test_a_failed_transaction_leaves_nothing(database: Database) -> None:
    fill(database, 1)
    with pytest.raises(IntegrityError), database.write() as connection:
        log.append(connection, [row(1), row(0)], [])
    with database.read() as connection:
        assert log.size(connection) == 1


def test_the_writer_goes_on_after_a_failed_transaction(database: Database) -> None:
    with pytest.raises(IntegrityError), database.write() as connection:
        log.append(connection, [row(0), row(0)], [])
    fill(database, 1)
    with database.read() as connection:
        assert log.size(connection) == 1


def test_many_leaves_are_found_in_one_question(database: Database) -> None:
    rows = fill(database, 1300)
    asked = [item.leaf_hash for item in rows[::2]] + [b"x" * 32]
    with database.read() as connection:
        found = log.find_leaves(connection, asked)
    assert found == {item.leaf_hash: item.index for item in rows[::2]}


def test_no_leaves_are_found_in_an_empty_question(database: Database) -> None:
    with database.read() as connection:
        assert log.find_leaves(connection, []) == {}


def test_leaf_hashes_come_in_log_order_without_the_end(database: Database) -> None:
    rows = fill(database, 10)
    with database.read() as connection:
        assert log.leaf_hashes(connection, 2, 9) == [item.leaf_hash for item in rows[2:9]]


def test_entries_are_read_in_pages(database: Database) -> None:
    rows = fill(database, 5)
    with database.read() as connection:
        pages = [log.entries_from(connection, start, 2) for start in (0, 2, 4, 6)]
    assert pages == [rows[0:2], rows[2:4], rows[4:], []]


def test_a_tile_is_found_by_level_and_index(database: Database) -> None:
    with database.write() as connection:
        log.add_tiles(connection, [(0, 0, b"a"), (0, 1, b"b"), (1, 0, b"c")])
    with database.read() as connection:
        found = [log.tile(connection, *where) for where in ((0, 1), (1, 0), (1, 1))]
    assert found == [b"b", b"c", None]


def test_a_tile_never_changes(database: Database) -> None:
    with database.write() as connection:
        log.add_tiles(connection, [(0, 0, b"a")])
    with pytest.raises(IntegrityError), database.write() as connection:
        log.add_tiles(connection, [(0, 0, b"b")])


def test_the_newest_checkpoint_is_the_largest(database: Database) -> None:
    with database.write() as connection:
        for size in (9, 10, 2):
            log.add_checkpoint(connection, size, b"note %d" % size)
    with database.read() as connection:
        assert log.newest_checkpoint(connection) == (10, b"note 10")


def test_checkpoints_are_listed_smallest_first(database: Database) -> None:
    with database.write() as connection:
        for size in (9, 10, 2):
            log.add_checkpoint(connection, size, b"note %d" % size)
    with database.read() as connection:
        assert [size for size, _ in log.checkpoints(connection)] == [2, 9, 10]


def test_two_checkpoints_of_one_size_are_refused(database: Database) -> None:
    with database.write() as connection:
        log.add_checkpoint(connection, 1, b"one")
    with pytest.raises(IntegrityError), database.write() as connection:
        log.add_checkpoint(connection, 1, b"other")


def test_a_reader_sees_nothing_that_is_not_committed(database: Database) -> None:
    with database.write() as connection:
        log.append(connection, [row(0)], [])
        with database.read() as other:
            assert log.size(other) == 0


def test_a_reader_keeps_its_snapshot_while_others_write(database: Database) -> None:
    with database.read() as connection:
        before = log.size(connection)
        fill(database, 1)
        assert (before, log.size(connection)) == (0, 0)


def test_a_glance_sees_what_was_committed_between_two_questions(database: Database) -> None:
    with database.glance() as connection:
        assert log.size(connection) == 0
        fill(database, 1)
        assert log.size(connection) == 1


def test_a_glance_sees_nothing_that_is_not_committed(database: Database) -> None:
    with database.write() as connection:
        log.append(connection, [row(0)], [])
        with database.glance() as glance:
            assert log.size(glance) == 0


def test_readers_keep_their_snapshot_on_a_connection_that_glanced(database: Database) -> None:
    with database.glance() as connection:
        assert log.size(connection) == 0
    with database.read() as connection:
        assert log.size(connection) == 0
        fill(database, 1)
        assert log.size(connection) == 0


def test_what_was_committed_is_there_after_opening_again(url: str) -> None:
    database = Database(url)
    migrate.upgrade(database)
    rows = fill(database, 2)
    database.close()
    again = Database(url)
    with again.read() as connection:
        found = log.entries_from(connection, 0, 10)
    again.close()
    assert found == rows


def test_clearing_what_is_derived_leaves_the_log(database: Database) -> None:
    rows = fill(database, 2)
    with database.write() as connection:
        log.add_tiles(connection, [(0, 0, b"a")])
        log.clear_derived(connection)
    with database.read() as connection:
        assert log.entries_from(connection, 0, 10) == rows
        assert log.tile(connection, 0, 0) is None


def test_a_database_without_tables_is_refused(bare_url: str) -> None:
    database = Database(bare_url)
    with pytest.raises(UnavailableError) as refused:
        migrate.check(database)
    database.close()
    assert refused.value.reason is Reason.SCHEMA_BEHIND


def test_a_migrated_database_is_accepted(database: Database) -> None:
    migrate.check(database)
    assert set(t.metadata.tables) >= {"log_entries", "log_checkpoints"}
