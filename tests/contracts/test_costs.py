"""Sums of costs: page by page or at once, now or when the log has grown, they are the same."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from registry.core import digest
from registry.core.digest import sha256
from registry.core.records import inference, replay
from registry.core.records.costs import Cost, Costs, Wanted
from registry.core.records.inference import Completion, Course
from registry.core.tlog.merkle import leaf_hash
from registry.errors import DamagedError, Reason
from registry.services import costs as service
from registry.signing.file import StatementSigner
from registry.storage.sql import tables as t
from tests.contracts.registry_under_test import UnderTest, opened
from tests.contracts.test_replays import AUDITOR, UNRECORDED
from tests.mint import AT, Journal, Logged, a_manifest, dataset_statement, release_statement

DAY = AT[:10]
ALL = Wanted()
X = "acme/x@1.2.0"


@pytest.fixture
def registry(tmp_path: Path, url: str) -> Iterator[UnderTest]:
    """A registry on either database, with three batches, something attached, and replays."""
    with opened(tmp_path / "data", url) as registry:
        manifest = a_manifest({"weights.bin": b"weights"})
        for data in (b"weights", manifest.to_bytes()):
            registry.services.artifacts.put(data)
        said = release_statement(manifest)
        released = Logged(said, registry.keys["acme"].sign(said), registry.register(said).index)
        journal = Journal()
        journal.boot()
        members: dict[str, str] = {}
        for number in range(3):
            first = len(journal.records) if number else 0
            for call in range(2):
                course = Course(transport="unary", mode="stream", added_us=10 + number)
                answer = b"answer %d %d" % (number, call)
                journal.call(released, answer, course=course, asked="attested")
            if number == 2:
                # About a call of the first batch, and about a call that there never was.
                attach(journal, 1)
                attach(journal, 0)
            statement = journal.batch_statement(first, **members)
            registry.register_batch(statement, journal.records[first:])
            envelope = registry.keys["node-1"].sign(statement)
            members["prev_batch"] = digest.text(envelope.record_id)
            replayed(registry, journal.records[first + 2 if number == 0 else first + 1])
            registry.register(dataset_statement(version=f"between-{number}"))
        yield registry


def attach(journal: Journal, intent_n: int) -> None:
    journal.append(
        inference.Attached(
            sequence=journal.sequence(),
            at=AT,
            intent_n=intent_n,
            level="recomputed",
            late_us=7,
            proof=sha256(b"proof").hex(),
            proof_bytes=100,
        )
    )


def replayed(registry: UnderTest, record: bytes) -> None:
    """Have an auditor say that a call gave the same bits again."""
    said = inference.parse(record)
    assert isinstance(said, Completion)
    if AUDITOR.name not in registry.keys:
        registry.keys[AUDITOR.name] = StatementSigner.generate()
        public = registry.keys[AUDITOR.name].public_key
        registry.services.access.add(AUDITOR.name, AUDITOR.roles, (), [public], None)
    receipt = replay.Receipt(
        shim_id=said.sequence.shim_id,
        intent_n=said.intent_n,
        n=said.sequence.n,
        leaf=leaf_hash(record).hex(),
    )
    statement = replay.statement(
        replay.Replay(
            receipt=receipt,
            model=said.model,
            model_file="weights.onnx",
            input="proven",
            outcome="bit_exact",
            recorded=said.runtime,
            replayed=said.runtime,
            recorded_output=said.response.content_digest,
            replayed_output=said.response.content_digest,
            reasons=UNRECORDED,
            run_us=50,
            issued_at=AT,
        )
    )
    data = registry.keys[AUDITOR.name].sign(statement).to_bytes()
    registry.services.registration.register(data, AUDITOR).result(30)


EXPECTED = (
    Cost(day=DAY, model=X, level="attested", calls=6, added_us=66),
    Cost(
        day=DAY,
        model=X,
        level="recomputed",
        late_us=7,
        proof_bytes=100,
        attached=1,
        replays=3,
        replay_us=150,
    ),
    Cost(day=DAY, model="unknown", level="recomputed", late_us=7, proof_bytes=100, attached=1),
)


def pages(
    registry: UnderTest, wanted: Wanted = ALL, end: int = 0
) -> tuple[tuple[Cost, ...], int, int]:
    """All pages, summed; how many there were, and how many records were read."""
    total, start, count, records = Costs(), 0, 0, 0
    while True:
        page = registry.services.sums.page(wanted, start, end)
        assert page.next > start
        total.merge(page.rows)
        start, end, count, records = page.next, page.end, count + 1, records + page.records
        if start >= end:
            return total.rows(), count, records


def test_all_that_was_registered_is_summed_at_once(registry: UnderTest) -> None:
    assert pages(registry) == (EXPECTED, 1, 15)
    assert pages(registry, Wanted("acme/y"))[0] == ()


@pytest.mark.parametrize(
    ("limit", "value", "count"),
    [("PAGE_BATCHES", 1, 4), ("PAGE_BYTES", 1, 4), ("PAGE_ROWS", 1, 4), ("PAGE_REPLAYS", 1, 3)],
)
def test_pages_of_any_size_come_to_the_same(
    registry: UnderTest, monkeypatch: pytest.MonkeyPatch, limit: str, value: int, count: int
) -> None:
    monkeypatch.setattr(service, limit, value)
    rows, pages_, records = pages(registry)
    assert (rows, records) == (EXPECTED, 15)
    assert pages_ <= count + 1
    assert pages_ > 1


def test_a_log_that_grows_meanwhile_changes_nothing(registry: UnderTest) -> None:
    end = registry.services.sums.page(ALL, 0, 0).end
    journal = Journal(shim_id="7" * 32)
    journal.boot()
    registry.register_batch(journal.batch_statement(), journal.records)
    assert pages(registry, end=end) == (EXPECTED, 1, 15)
    assert pages(registry)[2] == 16


def test_an_end_beyond_the_log_is_the_log_s(registry: UnderTest) -> None:
    page = registry.services.sums.page(ALL, 0, 10**9)
    assert (page.next, page.end) == (registry.size, registry.size)
    beyond = registry.services.sums.page(ALL, 10**6, 0)
    assert (beyond.rows, beyond.records) == ((), 0)
    assert beyond.next >= beyond.end


def test_damaged_records_are_not_summed(registry: UnderTest) -> None:
    with registry.services.database.read() as connection:
        row: Any = connection.execute(t.batches.select()).first()
    path = registry.services.blobs.path(bytes(row.leaves))
    path.write_bytes(path.read_bytes().replace(b"added_us", b"added_up"))
    with pytest.raises(DamagedError) as caught:
        pages(registry)
    assert caught.value.reason is Reason.STORED_BYTES


def test_a_batch_of_other_records_is_damaged(registry: UnderTest) -> None:
    wrong = registry.services.artifacts.put(b'\0\0\0\x15{"kind":"completion"}').sha256
    with registry.services.database.write() as connection:
        connection.execute(update(t.batches).values(leaves=wrong))
    with pytest.raises(DamagedError):
        pages(registry)
