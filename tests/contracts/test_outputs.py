"""The outputs index against a dictionary: whatever is merged, every receipt is found again."""

import random
from collections import defaultdict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from registry.core.digest import sha256
from registry.storage.sql import outputs
from registry.storage.sql import tables as t
from registry.storage.sql.engine import Database
from registry.storage.sql.outputs import FAN_OUT, MAX_MATCHES, PAGE_ENTRIES, Compaction

LAST_KEY = b"\xff" * 32
FIRST_KEY = b"\x00" * 32
EDGES = [FIRST_KEY, LAST_KEY, b"\x7f" + b"\xff" * 31, b"\x80" + b"\0" * 31]
SEED = 20_260_901


def add(database: Database, batch_index: int, *digests: bytes) -> None:
    with database.write() as connection:
        outputs.add(
            connection, batch_index, [(item, position) for position, item in enumerate(digests)]
        )


def compact(database: Database, compaction: Compaction | None = None) -> int:
    """Merge until there is nothing to merge; how many steps that took."""
    compaction = compaction or Compaction()
    steps = 0
    more = True
    while more:
        with database.write() as connection:
            more = compaction.step(connection)
        steps += more
    return steps


def find(database: Database, digest: bytes) -> list[tuple[int, int]]:
    with database.read() as connection:
        return [outputs.split_locator(value) for value in outputs.find(connection, digest)]


def runs(database: Database) -> list[tuple[int, int]]:
    """Level and state of every run."""
    table = t.output_runs.c
    with database.read() as connection:
        rows = connection.execute(select(table.level, table.complete).order_by(table.run_id))
        return [(row.level, row.complete) for row in rows]


def test_an_output_is_found_where_it_was_added(database: Database) -> None:
    add(database, 7, b"a" * 32, b"b" * 32)
    assert find(database, b"b" * 32) == [(7, 1)]


def test_an_unknown_output_is_not_found(database: Database) -> None:
    add(database, 7, b"a" * 32)
    assert find(database, b"c" * 32) == []


def test_nothing_is_found_in_an_empty_index(database: Database) -> None:
    assert find(database, b"a" * 32) == []


def test_a_batch_without_outputs_adds_no_run(database: Database) -> None:
    add(database, 7)
    assert runs(database) == []


def test_neighbouring_keys_are_told_apart(database: Database) -> None:
    keys = [(2**62 + n).to_bytes(8, "big").ljust(32, b"\0") for n in range(4)]
    add(database, 1, *keys)
    assert [find(database, key) for key in keys] == [[(1, n)] for n in range(4)]


@pytest.mark.parametrize("edge", EDGES, ids=lambda edge: edge[:8].hex())
def test_the_edges_of_the_key_space_are_found(database: Database, edge: bytes) -> None:
    add(database, 1, sha256(b"1"), edge, sha256(b"2"))
    assert find(database, edge) == [(1, 1)]


@pytest.mark.parametrize("edge", [FIRST_KEY, LAST_KEY], ids=["first", "last"])
def test_the_edges_of_the_key_space_survive_merging(database: Database, edge: bytes) -> None:
    for index in range(FAN_OUT):
        add(database, index, sha256(b"%d" % index), edge)
    compact(database)
    assert find(database, edge) == [(index, 1) for index in range(FAN_OUT)]


def test_one_output_across_pages_is_found_everywhere(database: Database) -> None:
    same, smaller, larger = b"m" * 32, b"a" * 32, b"z" * 32
    add(database, 3, smaller, *[same] * 300, larger)
    for index in range(4, 4 + FAN_OUT):
        add(database, index, *[sha256(b"%d %d" % (index, n)) for n in range(PAGE_ENTRIES)], same)
    expected = [(3, n) for n in range(1, 301)] + [
        (index, PAGE_ENTRIES) for index in range(4, 4 + FAN_OUT)
    ]
    before = find(database, same)
    compact(database)
    assert (before, find(database, same)) == (expected, expected)


def test_a_page_full_of_one_output_hides_no_other(database: Database) -> None:
    count = 2 * PAGE_ENTRIES
    add(database, 1, b"a" * 32, *[b"m" * 32] * count, b"z" * 32)
    ends = [find(database, b"a" * 32), find(database, b"z" * 32)]
    assert ends == [[(1, 0)], [(1, count + 1)]]


def test_at_most_so_many_receipts_of_one_output_are_given(database: Database) -> None:
    add(database, 1, *[b"m" * 32] * (2 * PAGE_ENTRIES))
    assert len(find(database, b"m" * 32)) == MAX_MATCHES


def test_full_levels_are_merged_into_one_run(database: Database) -> None:
    for index in range(FAN_OUT):
        add(database, index, sha256(b"%d" % index))
    compact(database)
    assert runs(database) == [(1, 1)]


def test_levels_that_are_not_full_are_left_alone(database: Database) -> None:
    for index in range(FAN_OUT - 1):
        add(database, index, sha256(b"%d" % index))
    assert (compact(database), runs(database)) == (0, [(0, 1)] * (FAN_OUT - 1))


def test_merged_levels_are_merged_again(database: Database) -> None:
    for index in range(FAN_OUT**2):
        add(database, index, sha256(b"%d" % index), b"m" * 32)
        compact(database)
    assert runs(database) == [(2, 1)]
    assert find(database, b"m" * 32) == [(index, 1) for index in range(FAN_OUT**2)]


def test_everything_is_found_between_the_steps_of_a_merge(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs, "STEP_ENTRIES", 16)
    digests = {
        index: [sha256(b"%d %d" % (index, n)) for n in range(20)] for index in range(FAN_OUT)
    }
    for index, items in digests.items():
        add(database, index, *items)
    compaction, steps, more = Compaction(), 0, True
    while more:
        with database.write() as connection:
            more = compaction.step(connection)
        steps += 1
        for index, items in digests.items():
            assert find(database, items[steps % 20]) == [(index, steps % 20)]
    assert steps > FAN_OUT


def test_batches_may_come_while_runs_are_merged(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs, "STEP_ENTRIES", 4)
    compaction = Compaction()
    for index in range(3 * FAN_OUT):
        add(database, index, sha256(b"%d" % index), b"m" * 32)
        with database.write() as connection:
            compaction.step(connection)
    compact(database, compaction)
    assert find(database, b"m" * 32) == [(index, 1) for index in range(3 * FAN_OUT)]


def test_a_merge_that_died_is_dropped_and_done_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs, "STEP_ENTRIES", 2)
    for index in range(FAN_OUT):
        add(database, index, sha256(b"%d" % index), b"m" * 32)
    dying = Compaction()
    for _ in range(3):
        with database.write() as connection:
            dying.step(connection)
    assert (1, 0) in runs(database)
    with database.write() as connection:
        Compaction.drop_unfinished(connection)
    dropped = runs(database)
    compact(database)
    assert (dropped, runs(database)) == ([(0, 1)] * FAN_OUT, [(1, 1)])
    assert find(database, b"m" * 32) == [(index, 1) for index in range(FAN_OUT)]


def test_dropping_leaves_no_page_behind(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs, "STEP_ENTRIES", 2)
    for index in range(FAN_OUT):
        add(database, index, sha256(b"%d" % index))
    with database.write() as connection:
        Compaction().step(connection)
        Compaction.drop_unfinished(connection)
    pages, known = select(t.output_pages.c.run_id), select(t.output_runs.c.run_id)
    with database.read() as connection:
        assert set(connection.execute(pages).scalars()) == set(connection.execute(known).scalars())


def test_a_lookup_agrees_with_a_dictionary_after_thousands_of_random_adds(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs, "PAGE_ENTRIES", 7)
    monkeypatch.setattr(outputs, "STEP_ENTRIES", 100)
    chance = random.Random(SEED)  # noqa: S311 - a test's choices, repeatable
    model: dict[bytes, list[tuple[int, int]]] = defaultdict(list)
    popular = [chance.randbytes(32) for _ in range(5)] + [FIRST_KEY, LAST_KEY]
    compaction = Compaction()
    for index in range(70):
        digests = [
            chance.choice(popular) if chance.random() < 0.2 else chance.randbytes(32)
            for _ in range(chance.randrange(40))
        ]
        add(database, index, *digests)
        for position, digest in enumerate(digests):
            model[digest].append((index, position))
        for _ in range(chance.randrange(4)):
            with database.write() as connection:
                compaction.step(connection)
    for digest in [*popular, *chance.sample(sorted(model), 150)]:
        assert find(database, digest) == model[digest]


# Few and close keys, so that they collide, fill pages and lie at slice borders.
keys = st.sampled_from(
    [0, 1, 2**53, 2**53 + 1, 2**61 - 1, 2**61, 2**63 - 1, 2**63, 2**63 + 1, 2**64 - 2, 2**64 - 1]
)


@settings(
    deadline=None,
    max_examples=20,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(batches=st.lists(st.lists(keys, max_size=12), max_size=30), steps=st.integers(0, 6))
def test_a_lookup_agrees_with_a_dictionary(
    database: Database, batches: list[list[int]], steps: int
) -> None:
    with database.write() as connection:
        connection.execute(t.output_pages.delete())
        connection.execute(t.output_runs.delete())
    model: dict[bytes, list[tuple[int, int]]] = defaultdict(list)
    with pytest.MonkeyPatch.context() as patch, database.write() as connection:
        patch.setattr(outputs, "PAGE_ENTRIES", 3)
        patch.setattr(outputs, "STEP_ENTRIES", 8)
        compaction = Compaction()
        for index, batch in enumerate(batches):
            digests = [key.to_bytes(8, "big").ljust(32, b"\0") for key in batch]
            outputs.add(connection, index, list(zip(digests, range(len(digests)), strict=True)))
            for position, digest in enumerate(digests):
                model[digest].append((index, position))
            for _ in range(steps):
                compaction.step(connection)
    for digest, places in model.items():
        assert find(database, digest) == places
