"""Costs as a client asks for them: summed by the registry, or here from checked records."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from registry.api.v1 import journal_service_pb2 as pb
from registry.client import costs
from registry.client.costs import CostCalls, Summed
from registry.client.publish import Publication, publish
from registry.client.registry import RegistryClient
from registry.core import digest
from registry.core.digest import sha256
from registry.core.records import inference
from registry.core.records.costs import Cost
from registry.core.records.inference import Course
from registry.errors import Reason, RegistryError
from tests import mint
from tests.client.conftest import Place
from tests.client.liar import Liar

NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)


def quiet(_what: str, _done: int) -> None:
    """Say nothing."""


@pytest.fixture
def model(place: Place, client: RegistryClient, folder: Path, fresh_name: Callable[[], str]) -> str:
    """A version with two recorded calls, and a proof attached to one in a later batch."""
    name = fresh_name()
    publish(client, folder, Publication(name, "1"), place.publisher.signer, NOON)
    known = client.release(name, "1").logged
    released = mint.Logged(known.statement, known.envelope, known.index)
    journal = mint.Journal(shim_id=sha256(name.encode()).hex()[:32])
    journal.boot()
    for number in range(2):
        course = Course(transport="unary", mode="stream", added_us=3)
        journal.call(released, b"answer %d" % number, course=course)
    first = place.node.signer.sign(journal.batch_statement())
    seam = len(journal.records)
    journal.append(
        inference.Attached(
            sequence=journal.sequence(), at=mint.AT, intent_n=1, level="attested", missed="late"
        )
    )
    members = {"prev_batch": digest.text(first.record_id)}
    second = place.node.signer.sign(journal.batch_statement(seam, **members))
    with place.client(place.node.token) as node:
        node.register_batch(first.to_bytes(), journal.records[:seam])
        node.register_batch(second.to_bytes(), journal.records[seam:])
    return name


@pytest.fixture
def asking(place: Place, liar: Liar) -> Iterator[CostCalls]:
    """Ask through a liar."""
    with place.client(place.publisher.token, liar.address) as client:
        yield CostCalls(client)


def expected(model: str) -> tuple[Cost, ...]:
    day, version = mint.AT[:10], f"{model}@1"
    return (
        Cost(day=day, model=version, level="attested", missed=1),
        Cost(day=day, model=version, level="logged", calls=2, added_us=6),
    )


def test_the_sums_of_the_registry_are_those_of_its_records(asking: CostCalls, model: str) -> None:
    told: list[int] = []
    said = asking.sums(model, None, None, lambda _what, done: told.append(done))
    assert said.rows == expected(model)
    assert told[-1] == said.records > 0
    again = asking.recomputed(model, None, None, quiet)
    assert again == Summed(said.rows, again.entries, again.records)


def test_days_are_by_the_clock_of_the_shim(asking: CostCalls, model: str) -> None:
    second = timedelta(seconds=1)
    for ask in (asking.sums, asking.recomputed):
        assert ask(model, NOON, NOON + second, quiet).rows == expected(model)
        assert ask(model, NOON + second, None, quiet).rows == ()
        assert ask(model, None, NOON, quiet).rows == ()


def lie(liar: Liar, change: Callable[[pb.SumCostsResponse], None]) -> None:
    def forge(raw_answer: bytes) -> bytes:
        message = pb.SumCostsResponse.FromString(raw_answer)
        change(message)
        return message.SerializeToString()

    liar.answers["JournalService/SumCosts"] = forge


def refused(act: Callable[[], object]) -> Reason:
    with pytest.raises(RegistryError) as caught:
        act()
    return caught.value.reason


@pytest.mark.parametrize(
    "members",
    [{"next": 0, "end": 10**6}, {"next": 5, "end": 10**6}],
    ids=["never", "in circles"],
)
def test_sums_that_do_not_come_to_an_end_are_refused(
    asking: CostCalls, model: str, liar: Liar, members: dict[str, int]
) -> None:
    def change(message: pb.SumCostsResponse) -> None:
        for name, value in members.items():
            setattr(message, name, value)

    lie(liar, change)
    assert refused(lambda: asking.sums(model, None, None, quiet)) is Reason.SUBJECT_MISMATCH


@pytest.mark.parametrize(
    "members",
    [{"day": "today"}, {"level": "sure"}, {"calls": 2**60}],
    ids=["day", "level", "count"],
)
def test_a_row_that_is_none_is_refused(
    asking: CostCalls, model: str, liar: Liar, members: dict[str, object]
) -> None:
    def change(message: pb.SumCostsResponse) -> None:
        for name, value in members.items():
            setattr(message.costs[0], name, value)

    lie(liar, change)
    assert refused(lambda: asking.sums(model, None, None, quiet)) is Reason.MALFORMED_FIELD


def test_more_rows_than_one_answer_holds_are_refused(
    asking: CostCalls, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(costs, "MAX_ROWS", 1)
    for ask in (asking.sums, asking.recomputed):
        assert refused(lambda a=ask: a(model, None, None, quiet)) is Reason.MESSAGE_TOO_LARGE  # type: ignore[misc]


def test_a_node_may_not_have_everything_summed(place: Place) -> None:
    with place.client(place.node.token) as client:
        assert refused(lambda: CostCalls(client).sums("", None, None, quiet)) is Reason.ROLE


def test_a_name_that_no_model_has_is_refused(asking: CostCalls) -> None:
    assert refused(lambda: asking.sums("x" * 300, None, None, quiet)) is Reason.MALFORMED_FIELD
