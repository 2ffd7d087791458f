"""Batches that are not what they commit to: refused, and nothing stored."""

import secrets
from collections.abc import Callable
from typing import Any

import pytest

from registry.api.v1 import lineage_service_pb2
from registry.core.attestation.statement import Subject
from registry.core.digest import DigestSet, sha256
from registry.core.records import batch
from registry.core.records.batch import MAX_RECORDS
from registry.core.records.inference import FIRST_PREVIOUS, MAX_RECORD_BYTES
from registry.errors import Reason
from registry.signing.file import StatementSigner
from tests.mint import (
    Journal,
    Logged,
    a_manifest,
    dataset_statement,
    release_statement,
    statement,
)
from tests.server.served import Served, fresh


def a_release() -> Logged:
    said = release_statement(a_manifest())
    return Logged(said, StatementSigner.generate().sign(said), 0)


def a_journal(calls: int = 3) -> Journal:
    """A journal of a shim that nobody knows."""
    journal = Journal(shim_id=secrets.token_hex(16))
    journal.boot()
    for number in range(calls):
        journal.call(a_release(), b"%d of %s" % (number, journal.shim_id.encode()))
    return journal


def committed(journal: Journal, records: list[bytes], **members: Any) -> Any:
    """A statement that commits to any records, in order or not."""
    hashed = batch.hash_records(records)
    said = journal.batch_statement().predicate
    values = {name: getattr(said, name) for name in said.__struct_fields__} | {
        "n_last": len(records) - 1,
        "count": len(records),
        "root": hashed.root.hex(),
        "root_sha512": hashed.root_sha512.hex(),
        "leaves": DigestSet.of(batch.join_leaves(records)),
    }
    subject = Subject.of(batch.SUBJECT_NAME, DigestSet.of(hashed.hashes_file))
    return statement(batch.PREDICATE_TYPE, subject, batch.Batch(**(values | members)))


def refused(registry: Served, said: Any, records: list[bytes]) -> str:
    return registry.refused(lambda: registry.register_batch(said, records, registry.node))


def test_an_honest_batch_is_registered_and_its_outputs_are_found(registry: Served) -> None:
    journal = a_journal()
    receipt = registry.register_batch(journal.batch_statement(), journal.records, registry.node)
    answer = registry.lineage.FindOutput(
        lineage_service_pb2.FindOutputRequest(
            content_digests=[sha256(b"1 of %s" % journal.shim_id.encode())]
        ),
        metadata=registry.auditor.metadata,
    )
    assert [(item.batch_index, item.position) for item in answer.locations] == [(receipt.index, 4)]


Spoil = Callable[[Journal], tuple[Any, list[bytes]]]


def members(**changed: Any) -> Spoil:
    """A batch that says something else of its records."""
    return lambda journal: (journal.batch_statement(**changed), journal.records)


def records(change: Callable[[list[bytes]], list[bytes]]) -> Spoil:
    """A batch that comes with other records than it commits to."""
    return lambda journal: (journal.batch_statement(), change(list(journal.records)))


def lies(change: Callable[[list[bytes]], list[bytes]]) -> Spoil:
    """A batch that commits to records that are no journal."""

    def make(journal: Journal) -> tuple[Any, list[bytes]]:
        changed = change(list(journal.records))
        return committed(journal, changed), changed

    return make


def with_foreign(records_: list[bytes]) -> list[bytes]:
    return [*records_[:-1], a_journal().records[len(records_) - 1]]


BATCHES: dict[str, tuple[Spoil, str]] = {
    "another root": (members(root="0" * 64), "BATCH_CONTENT"),
    "another SHA-512 root": (members(root_sha512="0" * 128), "BATCH_CONTENT"),
    "another leaves file": (members(leaves=DigestSet.of(b"other")), "BATCH_CONTENT"),
    "another count": (members(count=6), "BATCH_CONTENT"),
    "another range": (members(n_first=1, n_last=7), "BATCH_CONTENT"),
    "another shim": (members(shim_id="0" * 32), "BATCH_CONTENT"),
    "another boot": (members(boot_id="0" * 32), "BATCH_CONTENT"),
    "no records": (records(lambda _: []), "BATCH_CONTENT"),
    "a record less": (records(lambda all_: all_[:-1]), "BATCH_CONTENT"),
    "a record twice": (records(lambda all_: [*all_, all_[-1]]), "BATCH_CONTENT"),
    "records in another order": (records(lambda all_: all_[::-1]), "BATCH_CONTENT"),
    "a changed record": (
        records(lambda all_: [*all_[:-1], all_[-1].replace(b"onnxruntime", b"onnxruntimf")]),
        "BATCH_CONTENT",
    ),
    "a hole that it commits to": (lies(lambda all_: [*all_[:3], *all_[4:]]), "BATCH_CONTENT"),
    "an order that it commits to": (lies(lambda all_: [all_[1], all_[0]]), "BATCH_CONTENT"),
    "a record of another journal": (lies(with_foreign), "BATCH_CONTENT"),
    "a broken chain": (
        lies(
            lambda all_: [
                all_[0],
                all_[1].replace(sha256(b"\0" + all_[0]).hex().encode(), FIRST_PREVIOUS.encode()),
            ]
        ),
        "BATCH_CONTENT",
    ),
    "a record that is none": (lies(lambda all_: [all_[0], b"nonsense"]), "MALFORMED_STATEMENT"),
    "a record with white space": (
        lies(lambda all_: [all_[0].replace(b'{"_type"', b'{ "_type"')]),
        "NOT_CANONICAL",
    ),
    "a record that is too large": (
        lies(lambda all_: [all_[0], b" " * (MAX_RECORD_BYTES + 1)]),
        "BATCH_TOO_LARGE",
    ),
    "a record of another kind": (
        lies(lambda all_: [all_[0].replace(b"/inference-receipt/v1", b"/inference-receipt/v2")]),
        "FOREIGN_PREDICATE",
    ),
    "a start in the middle": (
        lambda journal: (journal.batch_statement(2), journal.records[2:]),
        "BATCH_CHAIN",
    ),
}


@pytest.mark.parametrize("what", BATCHES)
def test_a_batch_with_this_is_refused_and_nothing_of_it_is_kept(
    registry: Served, what: str
) -> None:
    spoil, reason = BATCHES[what]
    assert refused(registry, *spoil(a_journal())) == reason


def test_a_batch_has_so_many_records_at_most(registry: Served) -> None:
    journal = a_journal(0)
    sent = [b"x"] * (MAX_RECORDS + 1)
    assert refused(registry, journal.batch_statement(), sent) == Reason.BATCH_TOO_LARGE


def test_a_message_is_only_so_large(registry: Served) -> None:
    sent = [b"x" * 1024 * 1024] * 17
    assert refused(registry, a_journal(0).batch_statement(), sent) == Reason.MESSAGE_TOO_LARGE


def test_a_batch_does_not_come_without_its_records(registry: Served) -> None:
    both = registry.admit(fresh("both"), "node", "publisher")
    envelope = both.signer.sign(a_journal().batch_statement()).to_bytes()
    assert registry.refused(lambda: registry.register(envelope, both)) == (
        Reason.PREDICATE_NOT_ALLOWED
    )


def test_only_a_batch_comes_with_records(registry: Served) -> None:
    both = registry.admit(fresh("both"), "node", "publisher", namespaces=["acme/*"])
    said = dataset_statement(version=fresh())
    assert (
        registry.refused(lambda: registry.register_batch(said, [b"x"], both))
        == Reason.PREDICATE_NOT_ALLOWED
    )


def test_a_shim_goes_on_under_one_node_only(registry: Served) -> None:
    journal = a_journal()
    said = journal.batch_statement()
    registry.register_batch(said, journal.records, registry.node)
    last = f"sha256:{registry.node.signer.sign(said).record_id.hex()}"
    first = len(journal.records)
    journal.call(a_release())
    following = journal.batch_statement(first, prev_batch=last)
    reason = registry.refused(
        lambda: registry.register_batch(following, journal.records[first:], registry.other_node)
    )
    assert reason == Reason.BATCH_CHAIN


def test_a_refused_batch_takes_nothing_from_one_with_the_same_records(registry: Served) -> None:
    journal = a_journal()
    registry.register_batch(journal.batch_statement(), journal.records, registry.node)
    again = journal.batch_statement(closed_at="2026-09-02T00:00:00Z")
    assert refused(registry, again, journal.records) == Reason.BATCH_CHAIN
