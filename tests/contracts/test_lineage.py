"""Lineage: an output leads to a capsule in which everything holds, or says what does not."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select, update

from registry.core.attestation.dsse import Envelope
from registry.core.capsule.container import Capsule
from registry.core.capsule.report import Report
from registry.core.capsule.walk import appraise
from registry.core.digest import sha256
from registry.core.records import predicate
from registry.core.verdict import Verdict
from registry.errors import DamagedError, NotFoundError, Reason
from registry.remote.http import HTTPClient
from registry.services import lineage
from registry.storage.sql import tables as t
from registry.storage.sql import timestamps
from registry.storage.sql.timestamps import StoredTimestamp
from tests.contracts.registry_under_test import UnderTest, opened
from tests.mint import (
    OUTPUT,
    Journal,
    Logged,
    a_manifest,
    attribution_statement,
    dataset_statement,
    key_event_statement,
    release_statement,
)
from tests.stamping import Server, stamping


@pytest.fixture
def registry(tmp_path: Path, url: str) -> Iterator[UnderTest]:
    """A registry on either database, that has recorded ``OUTPUT``."""
    with opened(tmp_path / "data", url) as registry:
        files = {"notes.txt": b"what it is", "weights.bin": b"weights"}
        manifest = a_manifest(files)
        for data in (*files.values(), manifest.to_bytes()):
            registry.services.artifacts.put(data)
        said = dataset_statement()
        dataset = logged(registry, said, registry.register(said).index)
        said = release_statement(manifest, trained_on=(dataset.record_id,))
        release = logged(registry, said, registry.register(said).index)
        registry.register(attribution_statement(release, [dataset]))
        journal = Journal()
        journal.boot()
        journal.call(release, OUTPUT)
        registry.register_batch(journal.batch_statement(), journal.records)
        yield registry


def logged(registry: UnderTest, said: object, index: int) -> Logged:
    envelope: Envelope = registry.keys["acme"].sign(said)  # type: ignore[arg-type]
    return Logged(said, envelope, index)  # type: ignore[arg-type]


def traced(registry: UnderTest, output: bytes = OUTPUT) -> Report:
    """What a reader says who got the capsule, and knows the log's key from elsewhere."""
    data, _, _ = registry.services.lineage.trace([sha256(output)], None)
    return appraise(Capsule.parse(data), registry.services.signer.key, [sha256(output)])


def test_a_recorded_output_leads_to_a_capsule_that_holds(registry: UnderTest) -> None:
    report = traced(registry)
    assert (report.verdict_then, report.verdict_now) == (Verdict.VALID, Verdict.VALID)


def test_the_capsule_leads_back_to_publisher_and_contributors(registry: UnderTest) -> None:
    facts = traced(registry).facts
    assert facts.output is not None
    assert facts.release is not None
    assert (facts.output.node, facts.release.publisher) == ("node-1", "acme")
    assert [item.path for item in facts.files] == ["notes.txt", "weights.bin"]
    [dataset] = facts.datasets
    assert [item.id for item in dataset.contributors] == ["alice", "bob"]
    assert len(facts.attributions) == 1


@pytest.mark.parametrize("missing", ["capsule", "manifest"])
def test_a_list_of_files_that_is_too_large_to_send_is_left_open(
    registry: UnderTest, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    whole = Capsule.parse(registry.services.lineage.trace([sha256(OUTPUT)], None)[0])
    assert whole.manifest is not None
    size = len(whole.to_bytes() if missing == "capsule" else whole.manifest)
    monkeypatch.setattr(lineage, "MAX_SENT_BYTES", size - 1)
    report = traced(registry)
    open_ = [check for check in report.checks_now if check.verdict is not Verdict.VALID]
    assert [(check.link, check.verdict, check.reason) for check in open_] == [
        ("manifest", Verdict.INDETERMINATE, Reason.MISSING_BLOB)
    ]
    assert report.facts.files == ()


def set_landmarks(registry: UnderTest, value: bytes | None) -> None:
    with registry.services.database.write() as connection:
        connection.execute(update(t.batches).values(landmarks=value))


def test_a_batch_that_an_earlier_release_listed_is_traced_as_well(registry: UnderTest) -> None:
    short = registry.services.lineage.trace([sha256(OUTPUT)], None)
    set_landmarks(registry, None)
    assert registry.services.lineage.trace([sha256(OUTPUT)], None) == short


@pytest.mark.parametrize("damage", ["landmarks", "no landmarks", "hashes", "leaves"])
def test_a_record_that_its_batch_does_not_hold_is_not_given_out(
    registry: UnderTest, damage: str
) -> None:
    with registry.services.database.read() as connection:
        row = connection.execute(select(t.batches)).one()
    if damage.endswith("landmarks"):
        set_landmarks(registry, b"?" * 36 if damage == "landmarks" else b"?")
    else:
        path = registry.services.blobs.path(bytes(getattr(row, damage)))
        data = path.read_bytes()
        # A neighbour's hash, or a byte of the last record, which is the output's.
        changed = b"?" + data[1:] if damage == "hashes" else data[:-2] + b"?" + data[-1:]
        path.write_bytes(changed)
    with pytest.raises(DamagedError) as caught:
        traced(registry)
    assert caught.value.reason is Reason.STORED_BYTES


def test_an_output_that_nobody_recorded_is_unknown(registry: UnderTest) -> None:
    with pytest.raises(NotFoundError) as caught:
        traced(registry, b"nobody said this")
    assert caught.value.reason is Reason.UNKNOWN_OUTPUT


def test_a_node_that_left_in_good_order_stays_believable(registry: UnderTest) -> None:
    registry.services.access.revoke("node-1", compromised=False)
    assert traced(registry).verdict_now is Verdict.VALID


def test_a_node_whose_key_was_compromised_later_is_open_as_now(registry: UnderTest) -> None:
    registry.services.access.revoke("node-1", compromised=True)
    report = traced(registry)
    assert (report.verdict_then, report.verdict_now) == (Verdict.VALID, Verdict.INDETERMINATE)


def test_a_node_whose_key_was_compromised_since_a_time_is_refused_as_now(
    registry: UnderTest,
) -> None:
    # No trusted time in this capsule says that the batch was there before.
    since = datetime(2026, 1, 1, tzinfo=UTC)
    registry.services.access.revoke("node-1", compromised=True, compromised_since=since)
    report = traced(registry)
    assert (report.verdict_then, report.verdict_now) == (Verdict.VALID, Verdict.INVALID)
    [why] = [check for check in report.checks_now if check.verdict is Verdict.INVALID]
    assert (why.link, why.reason) == ("node key", Reason.KEY_REVOKED)
    assert "compromised since 2026-01-01T00:00:00Z" in why.detail


def test_the_capsule_holds_what_became_of_the_operators_key(registry: UnderTest) -> None:
    access = registry.services.access
    key = access._operator.public_key
    access._log_key("compromise", key, "operator", ("operator",), ())
    report = traced(registry)
    assert (report.verdict_then, report.verdict_now) == (Verdict.VALID, Verdict.INDETERMINATE)


# By when it existed.


@pytest.fixture
def authorities() -> Iterator[tuple[Server, Server]]:
    with stamping("one") as one, stamping("two") as two:
        yield one, two


def stamped(registry: UnderTest, *servers: Server) -> None:
    """Have the log stamped as it is now."""
    head = registry.services.sequencer.head
    assert head is not None
    with HTTPClient() as client:
        for server in servers:
            token, stamp = server.remote(client).stamp(head.note)
            name = server.signer.authority.chain_digest
            row = StoredTimestamp(head.checkpoint.size, name, stamp.at, head.note, token)
            with registry.services.database.write() as connection:
                timestamps.add(connection, row)


def grow(registry: UnderTest, count: int) -> None:
    for _ in range(count):
        registry.register(dataset_statement(version=f"filler-{registry.size}"))


def traced_in_time(registry: UnderTest, *servers: Server) -> Report:
    data, _, _ = registry.services.lineage.trace([sha256(OUTPUT)], None)
    key = registry.services.signer.key
    pinned = [server.signer.authority for server in servers]
    return appraise(Capsule.parse(data), key, [sha256(OUTPUT)], authorities=pinned)


def test_the_capsule_carries_the_first_timestamps_after_the_batch(
    registry: UnderTest, authorities: tuple[Server, Server]
) -> None:
    assert traced(registry).facts.time is None
    grow(registry, 3)
    stamped(registry, *authorities)
    size = registry.size
    grow(registry, 10)
    stamped(registry, *authorities)
    grow(registry, 5)
    report = traced_in_time(registry, *authorities)
    assert report.verdict_now is Verdict.VALID
    assert report.facts.time is not None
    assert report.facts.time.size == size
    assert set(report.facts.time.authorities) == {
        f"CN={name} timestamp authority,O={name}" for name in ("one", "two")
    }


def test_a_stamp_from_before_the_batch_is_not_carried(
    registry: UnderTest, authorities: tuple[Server, Server]
) -> None:
    one, _ = authorities
    stamped(registry, one)
    journal = Journal(shim_id="7" * 32)
    journal.boot()
    data, _, _ = registry.services.lineage.trace([sha256(OUTPUT)], None)
    assert Capsule.parse(data).stamped is not None
    [released] = [Capsule.parse(data).release]
    assert released is not None
    envelope = Envelope.parse(released.envelope)
    said = predicate.parse(envelope.payload)
    journal.call(Logged(said, envelope, released.index), b"a later answer")
    registry.register_batch(journal.batch_statement(), journal.records)
    later, _, _ = registry.services.lineage.trace([sha256(b"a later answer")], None)
    assert Capsule.parse(later).stamped is None


def test_a_stamp_saves_what_a_node_signed_before_its_key_was_stolen(
    registry: UnderTest, authorities: tuple[Server, Server]
) -> None:
    stamped(registry, *authorities)
    theft = key_event_statement(
        registry.keys["node-1"],
        "node-1",
        action="compromise",
        roles=["node"],
        compromised_since="2999-01-01T00:00:00Z",
    )
    registry.services.access._operator.say(theft, genesis=False)
    assert traced(registry).verdict_now is Verdict.INVALID
    assert traced_in_time(registry, *authorities).verdict_now is Verdict.VALID
