"""Costs: sums of what records claim, the same in any order, and never larger than JSON holds."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core.digest import sha256
from registry.core.encoding import MAX_SAFE_INTEGER
from registry.core.records import costs, inference
from registry.core.records.costs import Cost, Costs, Wanted
from registry.core.records.inference import Course
from tests.core.records.test_replay import replayed
from tests.mint import Journal, World, a_manifest, release_statement

WORLD = World()
WORLD.key_event("acme", roles=["publisher"], namespaces=["acme/*"])
X, Y = (
    WORLD.register(release_statement(a_manifest(), name=f"acme/{name}"), "acme") for name in "xy"
)
DAY = "2026-09-01"


def course(**members: Any) -> Course:
    return Course(transport="unary", mode="stream", **members)


def attached(journal: Journal, intent_n: int, **members: Any) -> bytes:
    values: dict[str, Any] = {"level": "attested", "at": f"{DAY}T12:00:00Z"} | members
    return journal.append(
        inference.Attached(sequence=journal.sequence(), intent_n=intent_n, **values)
    )


def told() -> Journal:
    """A journal of which everybody can say what it cost."""
    journal = Journal()
    journal.boot()
    journal.call(X, b"1", at=f"{DAY}T00:00:00Z", course=course(added_us=10))
    journal.call(X, b"2", at=f"{DAY}T23:59:59.999999Z", course=course(added_us=5, first_us=99))
    journal.call(X, b"3", at="2026-09-02T00:00:00Z", course=course(added_us=1))
    journal.call(X, b"4", at=f"{DAY}T01:00:00Z")
    journal.call(X, b"5", at=f"{DAY}T02:00:00Z", asked="attested", course=course(added_us=70))
    journal.call(Y, b"6", at=f"{DAY}T03:00:00Z", asked="attested", course=course(added_us=2))
    # The intent of the last call is record 11.
    attached(journal, 11, late_us=800, evidence_us=900, proof=sha256(b"p").hex(), proof_bytes=300)
    attached(journal, 11, missed="the deadline passed", late_us=200)
    return journal


EXPECTED = (
    Cost(
        day=DAY,
        model="acme/x@1.2.0",
        level="attested",
        calls=1,
        added_us=70,
    ),
    Cost(day=DAY, model="acme/x@1.2.0", level="logged", calls=3, untimed=1, added_us=15),
    Cost(
        day=DAY,
        model="acme/y@1.2.0",
        level="attested",
        calls=1,
        added_us=2,
        evidence_us=900,
        late_us=1000,
        proof_bytes=300,
        attached=1,
        missed=1,
    ),
    Cost(day="2026-09-02", model="acme/x@1.2.0", level="logged", calls=1, added_us=1),
)


def nobody(shim_id: str, intent_n: int) -> str:
    raise AssertionError((shim_id, intent_n))


EVERYTHING = Wanted()


def summed(wanted: Wanted = EVERYTHING, records: list[bytes] | None = None) -> tuple[Cost, ...]:
    total = Costs()
    costs.add_batch(total, wanted, told().records if records is None else records, nobody)
    return total.rows()


def test_a_journal_costs_what_its_records_say() -> None:
    assert summed() == EXPECTED


@pytest.mark.parametrize(
    ("wanted", "rows"),
    [
        (Wanted("acme/x"), (0, 1, 3)),
        (Wanted("acme/x@1.2.0"), (0, 1, 3)),
        (Wanted("acme/y"), (2,)),
        (Wanted("acme/x@1.2"), ()),
        (Wanted("acme"), ()),
        (Wanted(since="2026-09-02T00:00:00"), (3,)),
        (Wanted(until="2026-09-02T00:00:00"), (0, 1, 2)),
        (Wanted(since="2026-09-02T00:00:00.000001"), ()),
    ],
)
def test_only_what_is_asked_for_is_summed(wanted: Wanted, rows: tuple[int, ...]) -> None:
    assert summed(wanted) == tuple(EXPECTED[place] for place in rows)


def test_a_moment_within_a_second_counts() -> None:
    [row] = summed(Wanted("acme/x", since=f"{DAY}T23:59:59.999999", until="2026-09-02T00:00:00"))
    assert (row.calls, row.added_us) == (1, 5)
    assert summed(Wanted("acme/x", since=f"{DAY}T12:00:00", until=f"{DAY}T23:59:59")) == ()


def test_what_is_attached_in_a_later_batch_belongs_to_the_calls_version() -> None:
    records = told().records
    total, asked = Costs(), []

    def model_of(shim_id: str, intent_n: int) -> str:
        asked.append((shim_id, intent_n))
        return "acme/y@1.2.0"

    for half in (records[-2:], records[:-2]):
        costs.add_batch(total, Wanted(), half, model_of)
    assert total.rows() == EXPECTED
    assert asked == [(Journal().shim_id, 11)] * 2


def test_sums_are_the_same_in_any_order_and_any_grouping() -> None:
    records = told().records
    assert summed(Wanted(), [*reversed(records[:-2]), *records[-2:]]) == EXPECTED
    total = Costs()
    total.merge(summed())
    total.merge(summed())
    assert [row.calls for row in total.rows()] == [2 * row.calls for row in EXPECTED]


def test_a_text_that_looks_like_a_kind_is_none() -> None:
    journal = Journal()
    journal.boot()
    runtime = inference.Runtime(engine='"kind":"attached"', version='"kind":"completion"')
    journal.call(X, b"1", runtime=runtime, at=f"{DAY}T00:00:00Z")
    journal.append(
        inference.NotForwarded(
            sequence=journal.sequence(),
            at=f"{DAY}T00:00:00Z",
            intent_n=1,
            reason='"kind":"attached"',
        )
    )
    assert [row.calls for row in summed(Wanted(), journal.records)] == [1]


def test_a_replay_costs_what_it_took() -> None:
    total = Costs()
    for wanted in (Wanted(), Wanted("acme/z"), Wanted(since="2027-01-01T00:00:00")):
        costs.add_replay(total, wanted, replayed(run_us=1200))
    [row] = total.rows()
    assert (row.level, row.model, row.replays, row.replay_us) == ("recomputed", "acme/x@1", 1, 1200)


AMOUNTS = st.lists(st.integers(0, MAX_SAFE_INTEGER), max_size=5)


@given(AMOUNTS)
def test_a_sum_stays_at_the_largest_number_in_any_order(amounts: list[int]) -> None:
    one, other = Costs(), Costs()
    for amount in amounts:
        one.add((DAY, "acme/x@1", "logged"), added_us=amount)
    for amount in reversed(amounts):
        other.add((DAY, "acme/x@1", "logged"), added_us=amount)
    assert one.rows() == other.rows()
    if amounts:
        assert one.rows()[0].added_us == min(sum(amounts), MAX_SAFE_INTEGER)


def test_what_is_no_record_is_not_summed() -> None:
    with pytest.raises(msgspec.DecodeError):
        summed(Wanted(), [b'{"kind":"completion"'])
