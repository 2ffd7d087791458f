"""Inference batches: N records under one root, without a hole and in one chain."""

import hashlib
import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core.attestation.statement import Statement, Subject
from registry.core.digest import DigestSet, sha256
from registry.core.records import batch, inference
from registry.core.records.batch import Batch
from registry.core.tlog import merkle
from registry.errors import LimitExceededError, MalformedError, Reason, RegistryError
from tests.mint import OUTPUT, Journal, World, tell

WORLD = World()
TOLD = tell(WORLD)
RECORDS = TOLD.records


def opened(
    said: Statement[Any], records: tuple[bytes, ...] = RECORDS, previous: str | None = None
) -> batch.Content:
    return batch.open_content(said.subject, said.predicate, records, previous)


def refusal(
    said: Statement[Any], records: tuple[bytes, ...] = RECORDS, previous: str | None = None
) -> RegistryError:
    with pytest.raises(MalformedError) as caught:
        opened(said, records, previous)
    return caught.value


def resigned(records: tuple[bytes, ...], first: int = 0) -> Statement[Any]:
    """A batch statement whose roots fit ``records``, whatever those are."""
    journal = Journal(records=[b""] * first + list(records))
    return journal.batch_statement(first)


# Hashing.


def test_the_reference_vector_has_its_published_roots() -> None:
    hashed = batch.hash_records([b'{"n":0}', b'{"n":1}', b'{"n":2}'])
    assert hashed.root.hex() == "2cfef7627597e00b564975774ad728ef210706759fca6d64138c6dfc1cbf2cda"
    assert hashed.root_sha512.hex().startswith("23b8aafa1d88ecad499d7e8cae4458b6")
    assert (
        sha256(hashed.hashes_file).hex()
        == "644a936a386a988b4ac4160a0cf05fd8988cb6d6c3e87458012f01d057393ba4"
    )


def test_the_hashes_file_is_all_leaf_hashes_in_order() -> None:
    hashed = batch.hash_records(RECORDS)
    assert batch.split_hashes(hashed.hashes_file) == list(map(merkle.leaf_hash, RECORDS))


def test_every_record_is_provable_under_the_root() -> None:
    hashed = batch.hash_records(RECORDS)
    for index, leaf in enumerate(hashed.leaf_hashes):
        path = merkle.inclusion_path(hashed.leaf_hashes, index)
        merkle.verify_inclusion(leaf, index, len(RECORDS), path, hashed.root)


def test_the_twin_root_is_the_same_tree_with_sha_512() -> None:
    one, two = RECORDS[:2]
    left, right = (hashlib.sha512(b"\x00" + data).digest() for data in (one, two))
    expected = hashlib.sha512(b"\x01" + left + right).digest()
    assert batch.hash_records([one, two]).root_sha512 == expected


# The leaves file.


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_a_leaves_file_is_split_into_what_was_joined(records: list[bytes]) -> None:
    assert list(batch.split_leaves(batch.join_leaves(records))) == records


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=6))
def test_any_leaf_is_found_without_its_neighbours(records: list[bytes]) -> None:
    leaves = batch.join_leaves(records)
    assert [batch.nth_leaf(leaves, index) for index in range(len(records))] == records


@given(st.binary(max_size=40))
def test_whatever_is_split_is_joined_to_the_same_bytes(data: bytes) -> None:
    try:
        records = list(batch.split_leaves(data))
    except MalformedError:
        return
    assert batch.join_leaves(records) == data


@pytest.mark.parametrize("cut", [1, 3, 4, 6])
def test_a_leaves_file_that_ends_early_is_refused(cut: int) -> None:
    leaves = batch.join_leaves([b"one", b"two"])[:-cut]
    with pytest.raises(MalformedError) as caught:
        list(batch.split_leaves(leaves))
    assert caught.value.reason is Reason.BATCH_CONTENT


@pytest.mark.parametrize("index", [2, 3, 1000])
def test_a_leaf_beyond_the_file_is_refused(index: int) -> None:
    with pytest.raises(MalformedError) as caught:
        batch.nth_leaf(batch.join_leaves([b"one", b"two"]), index)
    assert caught.value.reason is Reason.BATCH_CONTENT


def test_a_leaf_that_is_cut_off_is_refused() -> None:
    with pytest.raises(MalformedError) as caught:
        batch.nth_leaf(struct.pack(">I", 10) + b"short", 0)
    assert caught.value.reason is Reason.BATCH_CONTENT


def test_a_hashes_file_of_half_a_hash_is_refused() -> None:
    with pytest.raises(MalformedError) as caught:
        batch.split_hashes(b"\x00" * 33)
    assert caught.value.reason is Reason.BATCH_CONTENT


# Content.


def test_a_whole_batch_is_opened_and_names_its_outputs() -> None:
    content = opened(TOLD.batch.statement)
    assert (sha256(OUTPUT), TOLD.position) in content.outputs
    assert len(content.outputs) == 3
    assert content.last_boot_id == TOLD.batch.statement.predicate.boot_id


def test_a_later_batch_follows_the_leaf_before_it() -> None:
    said = resigned(RECORDS[3:], first=3)
    previous = merkle.leaf_hash(RECORDS[2]).hex()
    assert opened(said, RECORDS[3:], previous).outputs


def test_a_later_batch_whose_predecessor_is_unknown_is_opened() -> None:
    assert opened(resigned(RECORDS[3:], first=3), RECORDS[3:]).outputs


def test_a_batch_after_another_leaf_breaks_the_chain() -> None:
    error = refusal(resigned(RECORDS[3:], first=3), RECORDS[3:], "0" * 64)
    assert (error.reason, error.where) == (Reason.BATCH_CONTENT, "prev_digest of n=3")


def test_the_first_record_of_all_follows_nothing_whatever_the_caller_knows() -> None:
    assert opened(TOLD.batch.statement, RECORDS, "f" * 64).outputs


def test_a_missing_record_shows_in_the_count() -> None:
    error = refusal(TOLD.batch.statement, RECORDS[:-1])
    assert (error.reason, error.where) == (Reason.BATCH_CONTENT, "count")


def test_a_hole_in_the_sequence_is_refused() -> None:
    holed = RECORDS[:2] + RECORDS[3:]
    error = refusal(resigned(holed), holed)
    assert (error.reason, error.where) == (Reason.BATCH_CONTENT, "sequence")


def test_swapped_records_are_refused_by_the_root() -> None:
    swapped = (RECORDS[0], RECORDS[2], RECORDS[1], *RECORDS[3:])
    error = refusal(TOLD.batch.statement, swapped)
    assert (error.reason, error.where) == (Reason.BATCH_CONTENT, "root")


def test_swapped_records_are_refused_by_their_numbers_too() -> None:
    swapped = (RECORDS[0], RECORDS[2], RECORDS[1], *RECORDS[3:])
    error = refusal(resigned(swapped), swapped)
    assert (error.reason, error.where) == (Reason.BATCH_CONTENT, "sequence")


def test_a_record_that_was_written_again_breaks_the_chain() -> None:
    heartbeat = inference.parse(RECORDS[1])
    other = inference.write(inference.Heartbeat(sequence=heartbeat.sequence, at=heartbeat.at))
    changed = (RECORDS[0], other, *RECORDS[2:])
    error = refusal(resigned(changed), changed)
    assert (error.reason, error.where) == (Reason.BATCH_CONTENT, "prev_digest of n=2")


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("root", "0" * 64),
        ("root_sha512", "0" * 128),
        ("shim_id", "6" * 32),
        ("boot_id", "c" * 32),
    ],
)
def test_a_batch_that_says_something_else_is_refused(member: str, value: str) -> None:
    members: dict[str, Any] = {member: value}
    said = Journal(records=list(RECORDS)).batch_statement(**members)
    where = "sequence" if member == "shim_id" else member
    error = refusal(said)
    assert (error.reason, error.where) == (Reason.BATCH_CONTENT, where)


def test_another_hashes_file_than_the_subject_is_refused() -> None:
    said = Journal(records=list(RECORDS)).batch_statement()
    other = (Subject.of(batch.SUBJECT_NAME, DigestSet.of(b"other")),)
    with pytest.raises(MalformedError) as caught:
        batch.open_content(other, said.predicate, RECORDS, None)
    assert caught.value.reason is Reason.SUBJECT_MISMATCH


def test_a_record_that_cannot_be_read_is_named_by_its_number() -> None:
    broken = (*RECORDS[:2], b"{}", *RECORDS[3:])
    error = refusal(resigned(broken), broken)
    assert (error.reason, error.where) == (Reason.MALFORMED_STATEMENT, "record n=2")


def test_too_many_records_are_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "MAX_RECORDS", len(RECORDS) - 1)
    with pytest.raises(LimitExceededError) as caught:
        opened(TOLD.batch.statement)
    assert caught.value.reason is Reason.BATCH_TOO_LARGE


def test_a_range_that_does_not_fit_its_count_is_refused() -> None:
    said: Batch = Journal(records=list(RECORDS)).batch_statement(n_last=99).predicate
    with pytest.raises(MalformedError) as caught:
        batch.validate(TOLD.batch.statement.subject, said)
    assert caught.value.reason is Reason.BATCH_CONTENT


# Records.

SEQUENCE = inference.parse(RECORDS[0]).sequence
AT = "2026-09-01T12:00:00.123456Z"
MAKERS: dict[str, Callable[[], inference.Record]] = {
    "boot": lambda: inference.parse(RECORDS[0]),
    "intent": lambda: inference.parse(RECORDS[1]),
    "completion": lambda: inference.parse(RECORDS[2]),
    "upstream_error": lambda: inference.Failure(sequence=SEQUENCE, at=AT, intent_n=1, error="gone"),
    "interrupted": lambda: inference.Interrupted(sequence=SEQUENCE, at=AT, intent_n=1),
    "heartbeat": lambda: inference.Heartbeat(sequence=SEQUENCE, at=AT),
    "stop": lambda: inference.Stop(sequence=SEQUENCE, at=AT),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_every_kind_of_record_is_read_back(kind: str) -> None:
    record = MAKERS[kind]()
    data = inference.write(record)
    assert b'"kind":"%s"' % kind.encode() in data
    assert inference.parse(data) == record


@pytest.mark.parametrize("kind", MAKERS)
def test_a_record_about_another_subject_is_refused(kind: str) -> None:
    data = inference.write(MAKERS[kind]())
    head, _, tail = data.rpartition(b'"subject":[{"digest":{"sha256":"')
    changed = head + b'"subject":[{"digest":{"sha256":"' + b"0" * 64 + tail[64:]
    with pytest.raises(MalformedError) as caught:
        inference.parse(changed)
    assert caught.value.reason is Reason.SUBJECT_MISMATCH


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b'"kind":"completion"', b'"kind":"guess"', Reason.MALFORMED_STATEMENT),
        (b'"complete":true', b'"complete":"yes"', Reason.MALFORMED_STATEMENT),
        (b'"intent_n":1', b'"intent_n":-1', Reason.MALFORMED_STATEMENT),
        (b'"intent_n":1', b'"intent_n":1.0', Reason.MALFORMED_STATEMENT),
        (b'"intent_n":1', b'"intent_n":NaN', Reason.MALFORMED_STATEMENT),
        (b'"intent_n":1', b'"intent_n":1,"intent_n":1', Reason.NOT_CANONICAL),
        (b'"intent_n":1', b'"intent_n": 1', Reason.NOT_CANONICAL),
        (b'"intent_n":1', b'"intent_n":1,"more":1', Reason.MALFORMED_STATEMENT),
        (b'"artifact_verified"', b'"trust_me"', Reason.MALFORMED_STATEMENT),
        (b"output/bytes/v1", b"output/bytes/v9", Reason.MALFORMED_STATEMENT),
        (b"inference-receipt/v1", b"inference-receipt/v2", Reason.FOREIGN_PREDICATE),
        (b'"name":"output"', b'"name":"input"', Reason.SUBJECT_MISMATCH),
    ],
)
def test_what_is_not_exactly_a_record_is_refused(old: bytes, new: bytes, reason: Reason) -> None:
    assert RECORDS[2].count(old) == 1
    with pytest.raises(MalformedError) as caught:
        inference.parse(RECORDS[2].replace(old, new))
    assert caught.value.reason is reason


def test_a_record_that_is_too_large_is_refused_unread() -> None:
    with pytest.raises(LimitExceededError) as caught:
        inference.parse(b"{" * (inference.MAX_RECORD_BYTES + 1))
    assert caught.value.reason is Reason.BATCH_TOO_LARGE
