"""Journals: every registered record is found by its number, with its proof, and so are outcomes."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from registry.core import digest
from registry.core.attestation.dsse import Envelope
from registry.core.digest import sha256
from registry.core.records import inference, predicate
from registry.core.tlog.merkle import leaf_hash, verify_inclusion
from registry.errors import DamagedError, NotFoundError, Reason
from registry.services import journals
from registry.services.journals import Found
from registry.storage.sql import tables as t
from tests.contracts.registry_under_test import UnderTest, opened
from tests.mint import AT, SHIM, Journal, Logged, a_manifest, release_statement

SHIM_ID = bytes.fromhex(SHIM)
SPLITS = (0, 3, 150, 151)
"""Where batches begin: the second one has several strides, the third a single record."""


class Written(UnderTest):
    """A registry, and what a shim wrote."""

    journal: Journal


@pytest.fixture
def registry(tmp_path: Path, url: str) -> Iterator[Written]:
    """A registry on either database, with one shim's records in four batches."""
    with opened(tmp_path / "data", url) as under_test:
        registry = Written(under_test.services, under_test.keys)
        registry.keys = under_test.keys
        files = {"weights.bin": b"weights"}
        manifest = a_manifest(files)
        for data in (*files.values(), manifest.to_bytes()):
            registry.services.artifacts.put(data)
        said = release_statement(manifest)
        index = registry.register(said).index
        released = Logged(said, registry.keys["acme"].sign(said), index)
        registry.journal = journal = Journal()
        journal.boot()
        for number in range(90):
            journal.call(released, b"answer %d" % number)
        attach(journal, 3)
        members: dict[str, str] = {}
        records = journal.records
        for first, end in zip(SPLITS, (*SPLITS[1:], len(records)), strict=True):
            journal.records = records[:end]
            statement = journal.batch_statement(first, **members)
            envelope = registry.keys["node-1"].sign(statement)
            caller = registry.callers["node-1"]
            registry.services.registration.register_batch(
                envelope.to_bytes(), records[first:end], caller
            ).result(30)
            members["prev_batch"] = digest.text(envelope.record_id)
        yield registry


def attach(journal: Journal, intent_n: int) -> None:
    journal.append(
        inference.Attached(
            sequence=journal.sequence(),
            at=AT,
            intent_n=intent_n,
            level="recomputed",
            proof=sha256(b"proof").hex(),
        )
    )


def verified(found: Found, n: int) -> inference.Record:
    """The record, if its path leads to the root that was signed."""
    said = Envelope.parse(found.entry.envelope)
    batch = predicate.parse(said.payload).predicate
    verify_inclusion(
        leaf_hash(found.data), n - batch.n_first, batch.count, found.path, bytes.fromhex(batch.root)
    )
    return inference.parse(found.data)


@pytest.mark.parametrize("landmarks", ["as stored", "of an earlier release"])
def test_every_record_is_found_by_its_number(registry: Written, landmarks: str) -> None:
    if landmarks != "as stored":
        set_landmarks(registry, None)
    for n, data in enumerate(registry.journal.records):
        found = registry.services.journals.record(SHIM_ID, n)
        assert (found.data, found.principal) == (data, "node-1")
        assert verified(found, n).sequence.n == n


def test_a_record_that_was_not_registered_is_unknown(registry: Written) -> None:
    beyond = len(registry.journal.records)
    for shim_id, n in ((SHIM_ID, beyond), (SHIM_ID, 2**53 - 1), (bytes(16), 0)):
        with pytest.raises(NotFoundError) as caught:
            registry.services.journals.record(shim_id, n)
        assert caught.value.reason is Reason.UNKNOWN_RECORD


def about(registry: Written, intent_n: int) -> list[inference.Record]:
    """All that is said about a call, asked for as a client does."""
    records, from_n = [], 0
    while True:
        found, next_n = registry.services.journals.about(SHIM_ID, intent_n, from_n)
        if found is not None:
            n = inference.parse(found.data).sequence.n
            records.append(verified(found, n))
        if not next_n:
            return records
        assert next_n > from_n
        from_n = next_n


@pytest.mark.parametrize("searched", [1, 64])
@pytest.mark.parametrize("landmarks", ["as stored", "of an earlier release"])
def test_all_that_is_about_a_call_is_found(
    registry: Written, monkeypatch: pytest.MonkeyPatch, searched: int, landmarks: str
) -> None:
    monkeypatch.setattr(journals, "MAX_SEARCHED", searched)
    if landmarks != "as stored":
        set_landmarks(registry, None)
    # The intents of these calls are the last record of a batch, one of many, and an attached one.
    for intent_n in (1, 149, 77, 3):
        kinds = [type(item) for item in about(registry, intent_n)]
        attached = [inference.Attached] if intent_n == 3 else []
        assert kinds == [inference.Completion, *attached]


def test_nothing_is_about_a_call_that_was_never_made(registry: Written) -> None:
    # 2 is a completion, and the text of its number stands in many records.
    assert about(registry, 2) == about(registry, 10**6) == []
    assert registry.services.journals.about(bytes(16), 0, 0) == (None, 0)


def test_batches_are_listed_in_order_from_the_one_that_holds_a_record(registry: Written) -> None:
    def firsts(from_n: int, limit: int = 100) -> list[int]:
        found = registry.services.journals.batches(SHIM_ID, from_n, limit)
        assert all(stored.index == entry.index for stored, entry in found)
        return [stored.n_first for stored, _ in found]

    assert firsts(0) == list(SPLITS)
    assert firsts(2) == list(SPLITS)
    assert firsts(3) == firsts(149) == list(SPLITS[1:])
    assert firsts(150, 1) == [150]
    assert firsts(len(registry.journal.records)) == []


def set_landmarks(registry: UnderTest, value: bytes | None) -> None:
    with registry.services.database.write() as connection:
        connection.execute(update(t.batches).values(landmarks=value))


@pytest.mark.parametrize("damage", ["landmarks", "no landmarks", "late landmarks", "leaves"])
def test_a_record_that_its_batch_does_not_hold_is_not_given_out(
    registry: Written, damage: str
) -> None:
    values = {
        "landmarks": b"?" * 36,
        "no landmarks": b"?",
        "late landmarks": b"\0\0\xff\xff" + b"?" * 32,
    }
    if damage in values:
        set_landmarks(registry, values[damage])
    else:
        with registry.services.database.read() as connection:
            for row in connection.execute(t.batches.select()):
                path = registry.services.blobs.path(bytes(row.leaves))
                path.write_bytes(path.read_bytes().replace(b"acme", b"evil"))
    for ask in (
        lambda: registry.services.journals.record(SHIM_ID, 2),
        lambda: registry.services.journals.about(SHIM_ID, 1, 0),
    ):
        with pytest.raises(DamagedError) as caught:
            ask()
        assert caught.value.reason is Reason.STORED_BYTES
