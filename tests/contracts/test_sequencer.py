"""The sequencer: one place for each statement, durable before it is told."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from registry.core.access import Principal
from registry.core.attestation.statement import Statement
from registry.core.tlog import entry, merkle
from registry.core.tlog.receipt import Receipt
from registry.errors import ConflictError, Reason, RegistryError, VerificationError
from registry.services.registration import Opened, submission
from registry.services.submission import Submission
from registry.signing.file import StatementSigner
from tests.contracts.registry_under_test import SECONDS, UnderTest, opened
from tests.mint import (
    Journal,
    Logged,
    a_manifest,
    dataset_statement,
    key_event_statement,
    release_statement,
)


@pytest.fixture
def registry(tmp_path: Path, url: str) -> Iterator[UnderTest]:
    """A registry on either database."""
    with opened(tmp_path / "data", url) as registry:
        yield registry


def together(registry: UnderTest, *submissions: Submission) -> list[Receipt | RegistryError]:
    """Let submissions wait for one commit, and tell how each of them ended."""
    sequencer = registry.services.sequencer
    with registry.services.database.write():
        # The sequencer takes the first one and waits for the database; all others then come
        # while it waits, and so form one group.
        first = sequencer.submit(registry.submission(dataset_statement(name="acme/first")))
        while not sequencer._waiting.empty():
            pass
        asked = [sequencer.submit(item) for item in submissions]
    first.result(SECONDS)
    answers: list[Receipt | RegistryError] = []
    for answer in asked:
        error = answer.exception(SECONDS)
        assert error is None or isinstance(error, RegistryError)
        answers.append(answer.result() if error is None else error)
    return answers


def reasons(answers: list[Receipt | RegistryError]) -> list[str]:
    return [item.reason if isinstance(item, RegistryError) else "receipt" for item in answers]


def test_a_receipt_proves_the_statement(registry: UnderTest) -> None:
    said = dataset_statement()
    registry.verify(registry.register(said), said)


def test_indices_are_given_without_gaps(registry: UnderTest) -> None:
    start = registry.size
    receipts = [registry.register(dataset_statement(version=str(n))) for n in range(4)]
    assert [receipt.index for receipt in receipts] == [start + n for n in range(4)]


def test_a_statement_registered_again_keeps_its_index(registry: UnderTest) -> None:
    said = dataset_statement()
    first = registry.register(said)
    registry.register(dataset_statement(version="other"))
    second = registry.register(said)
    registry.verify(second, said)
    assert second.index == first.index


def test_a_statement_registered_again_gets_a_fresh_proof(registry: UnderTest) -> None:
    said = dataset_statement()
    registry.register(said)
    registry.register(dataset_statement(version="other"))
    assert registry.register(said).head.checkpoint.size == registry.size


def test_a_statement_registered_again_adds_nothing(registry: UnderTest) -> None:
    said = dataset_statement()
    registry.register(said)
    before = registry.stored()
    registry.register(said)
    assert registry.stored() == before


def test_duplicates_in_one_group_share_an_index(registry: UnderTest) -> None:
    said = registry.submission(dataset_statement())
    other = registry.submission(dataset_statement(version="other"))
    answers = together(registry, said, other, said, said)
    indices = [answer.index for answer in answers if isinstance(answer, Receipt)]
    assert [index - indices[0] for index in indices] == [0, 1, 0, 0]


def test_a_group_has_one_checkpoint(registry: UnderTest) -> None:
    many = [registry.submission(dataset_statement(version=str(n))) for n in range(20)]
    answers = together(registry, *many)
    assert len({answer.head.note for answer in answers if isinstance(answer, Receipt)}) == 1


def test_a_version_is_never_given_to_other_bytes(registry: UnderTest) -> None:
    registry.register(dataset_statement())
    before = registry.stored()
    with pytest.raises(ConflictError) as refused:
        registry.register(dataset_statement(description="other"))
    assert (refused.value.reason, registry.stored()) == (Reason.VERSION_EXISTS, before)


def test_of_two_claims_to_a_version_in_one_group_the_first_wins(registry: UnderTest) -> None:
    claims = [
        registry.submission(dataset_statement(description=description))
        for description in ("first", "second")
    ]
    assert reasons(together(registry, *claims)) == ["receipt", Reason.VERSION_EXISTS]


def test_a_refused_statement_does_not_harm_its_group(registry: UnderTest) -> None:
    registry.register(dataset_statement())
    answers = together(
        registry,
        registry.submission(dataset_statement(version="before")),
        registry.submission(dataset_statement(description="other")),
        registry.submission(dataset_statement(version="after")),
    )
    assert reasons(answers) == ["receipt", Reason.VERSION_EXISTS, "receipt"]


def test_a_key_that_ends_while_a_statement_waits_ends_the_statement(registry: UnderTest) -> None:
    waiting = registry.submission(dataset_statement())
    registry.services.access.revoke("acme", compromised=False)
    with pytest.raises(VerificationError) as refused:
        registry.services.sequencer.submit(waiting).result(SECONDS)
    assert refused.value.reason is Reason.KEY_REVOKED


def test_a_key_that_ends_in_one_group_ends_what_follows_in_it(registry: UnderTest) -> None:
    access = registry.services.access
    registry.keys["operator"] = access._operator._signer
    ended = key_event_statement(registry.keys["acme"], "acme", action="retire", roles=["publisher"])
    answers = together(
        registry,
        registry.submission(dataset_statement(version="before")),
        operator_submission(registry, ended),
        registry.submission(dataset_statement(version="after")),
    )
    assert reasons(answers) == ["receipt", "receipt", Reason.KEY_REVOKED]


def operator_submission(registry: UnderTest, said: Statement[Any]) -> Submission:
    """A key event, as the registry itself submits it."""
    key = registry.keys["operator"]
    envelope = key.sign(said)
    return submission(Opened(envelope.to_bytes(), envelope, said, key.public_key, "operator"))


# --- Bare entries: a signature that is logged before its statement. ---


def bare(registry: UnderTest, said: Statement[Any], signer: str = "acme") -> Submission:
    """The same leaf as the statement's, without the statement."""
    full = registry.submission(said, signer)
    return Submission(
        record_id=full.record_id,
        leaf_hash=full.leaf_hash,
        body=full.body,
        envelope=b"",
        predicate_type="",
        name="",
        version="",
        key_id=full.key_id,
        principal="",
    )


def log_bare(registry: UnderTest, said: Statement[Any]) -> Receipt:
    return registry.services.sequencer.submit(bare(registry, said)).result(SECONDS)


def test_a_bare_entry_is_proved(registry: UnderTest) -> None:
    said = dataset_statement()
    registry.verify(log_bare(registry, said), said)


def test_a_bare_entry_is_no_statement(registry: UnderTest) -> None:
    said = dataset_statement()
    log_bare(registry, said)
    record_id = bare(registry, said).record_id
    with pytest.raises(RegistryError) as refused:
        registry.services.registration.find(record_id)
    assert refused.value.reason is Reason.UNKNOWN_RECORD


def test_a_statement_joins_its_bare_entry(registry: UnderTest) -> None:
    said = dataset_statement()
    first = log_bare(registry, said)
    receipt = registry.register(said)
    assert receipt.index == first.index
    listed, stored = registry.services.registration.find(bare(registry, said).record_id)
    assert (listed.index, listed.name) == (first.index, "acme/reviews")
    assert stored.envelope == registry.keys["acme"].sign(said).to_bytes()


def test_a_statement_and_its_bare_entry_in_one_group_share_a_place(registry: UnderTest) -> None:
    said = dataset_statement()
    answers = together(registry, bare(registry, said), registry.submission(said))
    assert len({answer.index for answer in answers if isinstance(answer, Receipt)}) == 1
    listed, _ = registry.services.registration.find(bare(registry, said).record_id)
    assert listed.name == "acme/reviews"


def test_a_version_that_joined_its_bare_entry_is_taken(registry: UnderTest) -> None:
    said = dataset_statement()
    log_bare(registry, said)
    registry.register(said)
    with pytest.raises(ConflictError) as refused:
        registry.register(dataset_statement(description="other"))
    assert refused.value.reason is Reason.VERSION_EXISTS


def test_a_taken_version_joins_no_bare_entry(registry: UnderTest) -> None:
    said = dataset_statement(description="other")
    log_bare(registry, said)
    registry.register(dataset_statement())
    with pytest.raises(ConflictError) as refused:
        registry.register(said)
    assert refused.value.reason is Reason.VERSION_EXISTS


def test_a_batch_joins_no_bare_entry(registry: UnderTest, journal: Journal) -> None:
    said = journal.batch_statement()
    data = registry.keys["node-1"].sign(said)
    body = registry.body(said, "node-1")
    registry.services.sequencer.submit(
        Submission(
            record_id=data.record_id,
            leaf_hash=merkle.leaf_hash(body),
            body=body,
            envelope=b"",
            predicate_type="",
            name="",
            version="",
            key_id="",
            principal="",
        )
    ).result(SECONDS)
    with pytest.raises(ConflictError) as refused:
        registry.register_batch(said, journal.records)
    assert refused.value.reason is Reason.LOGGED_BARE


def test_a_key_admitted_after_the_bare_entry_does_not_speak_for_it(registry: UnderTest) -> None:
    said = dataset_statement()
    late = StatementSigner.generate()
    envelope = late.sign(said)
    body = entry.write(envelope.record_id, envelope.signature, late.public_key.der)
    registry.services.sequencer.submit(
        Submission(envelope.record_id, merkle.leaf_hash(body), body, b"", "", "", "", "", "")
    ).result(SECONDS)
    registry.services.access.add("late", ("publisher",), ("acme/*",), [late.public_key], None)
    registry.keys["late"] = late
    registry.callers["late"] = Principal("late", ("publisher",), ("acme/*",))
    with pytest.raises(VerificationError) as refused:
        registry.register(said, "late")
    assert refused.value.reason is Reason.UNKNOWN_SIGNER


def a_release() -> Logged:
    """A release to make records about; whether it is registered is no matter here."""
    said = release_statement(a_manifest())
    return Logged(said, StatementSigner.generate().sign(said), 0)


@pytest.fixture
def journal() -> Journal:
    """Seven records of one shim."""
    journal = Journal()
    journal.boot()
    for number in range(3):
        journal.call(a_release(), b"output %d" % number)
    return journal


def refuse_batch(
    registry: UnderTest, journal: Journal, first: int, signer: str = "node-1", **members: object
) -> str:
    before = registry.stored()
    said = journal.batch_statement(first, **members)
    with pytest.raises(ConflictError) as refused:
        registry.register_batch(said, journal.records[first:], signer)
    assert registry.stored() == before
    return refused.value.reason


def grown(journal: Journal) -> Journal:
    journal.call(a_release(), b"one more")
    return journal


def previous(registry: UnderTest, journal: Journal, first: int = 0) -> str:
    """Register what a journal holds; the record id of the batch."""
    said = journal.batch_statement(first)
    registry.register_batch(said, journal.records[first:])
    return f"sha256:{registry.keys['node-1'].sign(said).record_id.hex()}"


def test_a_batch_is_registered_with_a_proof(registry: UnderTest, journal: Journal) -> None:
    said = journal.batch_statement()
    receipt = registry.register_batch(said, journal.records)
    registry.verify(receipt, said, "node-1")


def test_a_batch_goes_on_where_the_last_one_ended(registry: UnderTest, journal: Journal) -> None:
    last = previous(registry, journal)
    said = grown(journal).batch_statement(7, prev_batch=last)
    receipt = registry.register_batch(said, journal.records[7:])
    registry.verify(receipt, said, "node-1")


def test_a_batch_registered_again_keeps_its_index(registry: UnderTest, journal: Journal) -> None:
    said = journal.batch_statement()
    first = registry.register_batch(said, journal.records)
    last = f"sha256:{registry.keys['node-1'].sign(said).record_id.hex()}"
    records = list(journal.records)
    registry.register_batch(grown(journal).batch_statement(7, prev_batch=last), journal.records[7:])
    assert registry.register_batch(said, records).index == first.index


def test_a_batch_after_a_hole_is_refused(registry: UnderTest, journal: Journal) -> None:
    last = previous(registry, journal)
    grown(grown(journal))
    assert refuse_batch(registry, journal, 9, prev_batch=last) == Reason.BATCH_CHAIN


def test_a_batch_that_does_not_begin_at_the_start_is_refused(
    registry: UnderTest, journal: Journal
) -> None:
    assert refuse_batch(registry, journal, 2) == Reason.BATCH_CHAIN


def test_a_batch_that_overlaps_the_last_one_is_refused(
    registry: UnderTest, journal: Journal
) -> None:
    last = previous(registry, journal)
    assert refuse_batch(registry, grown(journal), 5, prev_batch=last) == Reason.BATCH_CHAIN


def test_a_batch_that_names_another_before_it_is_refused(
    registry: UnderTest, journal: Journal
) -> None:
    previous(registry, journal)
    other = "sha256:" + "0" * 64
    assert refuse_batch(registry, grown(journal), 7, prev_batch=other) == Reason.BATCH_CHAIN


def test_a_batch_that_names_none_before_it_is_refused(
    registry: UnderTest, journal: Journal
) -> None:
    previous(registry, journal)
    assert refuse_batch(registry, grown(journal), 7) == Reason.BATCH_CHAIN


def test_a_batch_of_another_node_is_refused(registry: UnderTest, journal: Journal) -> None:
    last = previous(registry, journal)
    reason = refuse_batch(registry, grown(journal), 7, "node-2", prev_batch=last)
    assert reason == Reason.BATCH_CHAIN


def test_a_batch_that_does_not_chain_into_the_last_record_is_refused(
    registry: UnderTest, journal: Journal
) -> None:
    last = previous(registry, journal)
    forked = Journal()
    forked.boot()
    for number in range(3):
        forked.call(a_release(), b"forked %d" % number)
    grown(forked)
    before = registry.stored()
    with pytest.raises(RegistryError) as refused:
        registry.register_batch(forked.batch_statement(7, prev_batch=last), forked.records[7:])
    assert (refused.value.reason, registry.stored()) == (Reason.BATCH_CONTENT, before)


def test_the_proof_between_any_two_checkpoints_holds(registry: UnderTest) -> None:
    heads = [registry.register(dataset_statement(version=str(n))).head for n in range(12)]
    for old in heads:
        proof, new = registry.services.sequencer.consistency(old.checkpoint.size)
        merkle.verify_consistency(
            old.checkpoint.size,
            new.checkpoint.size,
            proof,
            old.checkpoint.root,
            new.checkpoint.root,
        )


def break_database(registry: UnderTest) -> None:
    """Let every commit of the writer fail from now on, for real."""
    database = registry.services.database
    with database.write() as connection:
        if database.dialect == "sqlite":
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
            connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
        else:
            connection.execute(text("ALTER TABLE log_checkpoints RENAME TO elsewhere"))


def repair_database(registry: UnderTest) -> None:
    database = registry.services.database
    with database.write() as connection:
        if database.dialect == "sqlite":
            connection.exec_driver_sql("PRAGMA max_page_count=1073741823")
        else:
            connection.execute(text("ALTER TABLE elsewhere RENAME TO log_checkpoints"))


def fail_a_write(registry: UnderTest) -> RegistryError:
    """Break the database and write until it is noticed."""
    break_database(registry)

    def write() -> None:
        for number in range(1000):
            registry.register(dataset_statement(name="acme/broken", version=str(number)))

    with pytest.raises(RegistryError) as refused:
        write()
    return refused.value


def test_a_failed_commit_latches_the_log(registry: UnderTest) -> None:
    assert fail_a_write(registry).reason is Reason.LOG_LATCHED


def test_a_latched_log_accepts_nothing_even_after_repair(registry: UnderTest) -> None:
    fail_a_write(registry)
    repair_database(registry)
    with pytest.raises(RegistryError) as refused:
        registry.register(dataset_statement())
    assert refused.value.reason is Reason.LOG_LATCHED


def test_a_latched_log_still_proves_what_it_has(registry: UnderTest) -> None:
    said = dataset_statement()
    index = registry.register(said).index
    fail_a_write(registry)
    registry.verify(registry.services.sequencer.receipt(index), said)


def test_a_latched_log_goes_on_after_a_restart(tmp_path: Path, url: str) -> None:
    keys: dict[str, StatementSigner] = {}
    with opened(tmp_path / "data", url, keys) as registry:
        fail_a_write(registry)
        acknowledged = registry.size
        repair_database(registry)
    with opened(tmp_path / "data", url, keys) as registry:
        assert registry.size >= acknowledged
        said = dataset_statement(version="after")
        registry.verify(registry.register(said), said)
