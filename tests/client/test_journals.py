"""Journals as a client reads them: what the registry does not prove is refused."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from registry.api.v1 import journal_service_pb2 as pb
from registry.client.journals import JournalCalls
from registry.client.publish import Publication, publish
from registry.client.registry import RegistryClient
from registry.core import digest
from registry.core.digest import sha256
from registry.core.records import inference
from registry.core.tlog.merkle import leaf_hash
from registry.errors import NotFoundError, Reason, RegistryError
from tests import mint
from tests.client.conftest import Place
from tests.client.liar import Liar

NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Told:
    """A shim's journal, registered in two batches."""

    shim_id: bytes
    records: list[bytes]
    journals: JournalCalls


@pytest.fixture
def released(
    place: Place, client: RegistryClient, folder: Path, fresh_name: Callable[[], str]
) -> mint.Logged:
    """A release in a registry."""
    name = fresh_name()
    publish(client, folder, Publication(name, "1"), place.publisher.signer, NOON)
    known = client.release(name, "1").logged
    return mint.Logged(known.statement, known.envelope, known.index)


@pytest.fixture
def told(place: Place, liar: Liar, released: mint.Logged) -> Iterator[Told]:
    """A journal in a registry, which is asked through a liar."""
    shim_id = sha256(released.record_id.encode())[:16]
    journal = mint.Journal(shim_id=shim_id.hex())
    journal.boot()
    journal.call(released, b"one")
    first = place.node.signer.sign(journal.batch_statement())
    seam = len(journal.records)
    journal.call(released, b"two")
    second = place.node.signer.sign(
        journal.batch_statement(seam, prev_batch=digest.text(first.record_id))
    )
    with place.client(place.node.token) as node:
        node.register_batch(first.to_bytes(), journal.records[:seam])
        node.register_batch(second.to_bytes(), journal.records[seam:])
    with place.client(place.publisher.token, liar.address) as asking:
        yield Told(shim_id, journal.records, JournalCalls(asking))


def test_a_record_comes_with_its_proof_and_its_batch(told: Told) -> None:
    found = told.journals.record(told.shim_id, 3)
    assert (found.data, found.position) == (told.records[3], 0)
    assert isinstance(found.record, inference.Intent)
    assert found.batch.granted.principal == "node-1"


def test_the_outcome_of_a_call_is_found(told: Told) -> None:
    assert told.journals.outcome(told.shim_id, 1).data == told.records[2]
    assert told.journals.outcome(told.shim_id, 3).data == told.records[4]
    assert [item.data for item in told.journals.about(told.shim_id, 3)] == [told.records[4]]


def test_a_call_without_an_outcome_is_told_apart(told: Told) -> None:
    for shim_id, intent_n in ((told.shim_id, 99), (bytes(16), 1)):
        with pytest.raises(NotFoundError) as caught:
            told.journals.outcome(shim_id, intent_n)
        assert caught.value.reason is Reason.UNKNOWN_RECORD


def test_the_batches_of_a_shim_lead_through_all_its_records(told: Told) -> None:
    records: list[bytes] = []
    for logged in told.journals.batches(told.shim_id):
        link = leaf_hash(records[-1]) if records else None
        read, content = told.journals.content(logged, link)
        assert len(content.outputs) == 1
        records += read
    assert records == told.records
    assert len(list(told.journals.batches(told.shim_id, 4))) == 1
    assert list(told.journals.batches(told.shim_id, 5)) == []


@pytest.mark.parametrize("lie", ["another record", "a changed record", "no path"])
def test_a_record_that_is_not_proven_is_refused(told: Told, liar: Liar, lie: str) -> None:
    def forge(raw_answer: bytes) -> bytes:
        message = pb.GetRecordResponse.FromString(raw_answer)
        if lie == "no path":
            del message.record.path[:]
        elif lie == "another record":
            message.record.record = told.records[4]
        else:
            message.record.record = told.records[3].replace(b'"at":"2026', b'"at":"2027')
        return message.SerializeToString()

    liar.answers["JournalService/GetRecord"] = forge
    assert refused(lambda: told.journals.record(told.shim_id, 3)) is Reason.INCLUSION_PROOF


def test_a_proven_record_of_another_number_is_refused(told: Told, liar: Liar) -> None:
    other = pb.GetRecordRequest(shim_id=told.shim_id, n=4).SerializeToString()
    liar.requests["JournalService/GetRecord"] = lambda _: other
    assert refused(lambda: told.journals.record(told.shim_id, 3)) is Reason.SUBJECT_MISMATCH
    assert refused(lambda: told.journals.record(bytes(16), 4)) is Reason.SUBJECT_MISMATCH


def test_a_proven_record_of_another_call_is_refused(told: Told, liar: Liar) -> None:
    other = pb.FindAboutRequest(shim_id=told.shim_id, intent_n=3).SerializeToString()
    liar.requests["JournalService/FindAbout"] = lambda _: other
    assert refused(lambda: told.journals.outcome(told.shim_id, 1)) is Reason.SUBJECT_MISMATCH


def test_a_search_that_does_not_go_on_is_refused(told: Told, liar: Liar) -> None:
    liar.answers["JournalService/FindAbout"] = lambda _: pb.FindAboutResponse(
        next_n=2
    ).SerializeToString()
    assert refused(lambda: told.journals.outcome(told.shim_id, 1)) is Reason.SUBJECT_MISMATCH


def test_a_batch_that_is_left_out_is_noticed(told: Told, liar: Liar) -> None:
    def forge(raw_answer: bytes) -> bytes:
        message = pb.ListBatchesResponse.FromString(raw_answer)
        del message.batches[0]
        return message.SerializeToString()

    liar.answers["JournalService/ListBatches"] = forge
    assert refused(lambda: list(told.journals.batches(told.shim_id))) is Reason.SUBJECT_MISMATCH


def test_records_that_do_not_go_on_where_the_batch_before_ended_are_refused(told: Told) -> None:
    [_, second] = told.journals.batches(told.shim_id)
    with pytest.raises(RegistryError) as caught:
        told.journals.content(second, bytes(32))
    assert caught.value.reason is Reason.BATCH_CONTENT


def refused(ask: Callable[[], Any]) -> Reason:
    with pytest.raises(RegistryError) as caught:
        ask()
    return caught.value.reason
