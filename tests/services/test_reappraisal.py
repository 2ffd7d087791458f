"""Evidence is judged again by what is known now; results are added, and none is changed."""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from registry.core.attestation.dsse import Envelope
from registry.core.digest import sha256
from registry.core.encoding import write_json
from registry.core.evidence import result as results
from registry.core.evidence.claims import MAX_EVIDENCE_BYTES, Family
from registry.core.evidence.distrust import Entry, Selector
from registry.core.evidence.effect import Effect
from registry.core.evidence.endorsements import Endorsements, Role
from registry.core.evidence.families import rules_of
from registry.core.evidence.result import Environment, Material
from registry.core.verdict import Verdict
from registry.errors import (
    ConflictError,
    DamagedError,
    MalformedError,
    NotFoundError,
    Reason,
    RefusedError,
    UnavailableError,
    VerificationError,
)
from registry.inspection.appraisal_pool import AppraisalPool
from registry.services.reappraisal import Change
from registry.storage.sql.log import StoredEntry
from tests.attesting import (
    Attesting,
    attesting,
    distrust,
    document,
    nitro_policy,
)
from tests.mint import Journal, Logged, a_manifest, release_statement
from tools.fake_vendor import nitro
from tools.fake_vendor.nitro import NOON


class Vendor:
    """Says what a test told it to, or nothing."""

    def __init__(self) -> None:
        self.says: list[tuple[Role, bytes]] | None = []
        self.asked = 0

    def endorse(
        self, family: Family, evidence: bytes, at: datetime
    ) -> Iterable[tuple[Role, bytes]]:
        """What it was told to say."""
        assert family is Family.AWS_NITRO
        assert evidence
        assert at >= NOON
        self.asked += 1
        if self.says is None:
            raise UnavailableError(Reason.UNREACHABLE, "the vendor does not answer")
        return self.says


@pytest.fixture
def vendor() -> Vendor:
    return Vendor()


@pytest.fixture
def world(tmp_path: Path, pool: AppraisalPool, vendor: Vendor) -> Iterator[Attesting]:
    with attesting(tmp_path / "data", pool, endorser=vendor) as world:
        yield world


def name(world: Attesting, entry: StoredEntry) -> bytes:
    said = world.environment(entry).evidence_id
    assert isinstance(said, str)
    return bytes.fromhex(said)


def again(world: Attesting, entry: StoredEntry) -> Change:
    [change] = world.evidence.reappraisal.run(name(world, entry))
    return change


# Row 147: a distrust entry that is added later.


def test_a_later_distrust_entry_changes_as_now_and_no_stored_result(world: Attesting) -> None:
    entry = world.attest()
    world.clock.advance(minutes=5)
    world.distrust(distrust(world.clock.at))
    change = again(world, entry)
    assert (change.before, change.now) == ("VALID", "INVALID")
    assert change.effect is Effect.CHANGED
    said = world.environment(change.entry)
    assert (said.question, said.verdict) == ("now", Verdict.INVALID)
    assert len(said.distrusted) == 1
    found = world.evidence.appraisals.find(evidence_id=name(world, entry))
    assert found == [entry, change.entry]
    assert world.environment(found[0]).verdict is Verdict.VALID


def test_a_distrusted_key_is_no_longer_attested(world: Attesting) -> None:
    entry = world.attest()
    key = world.key.public_key
    assert world.evidence.attested.require(key).entry == entry
    world.distrust(distrust(world.clock.at + timedelta(days=1)))
    # The list alone ends nothing; the result that it leads to does.
    assert world.evidence.attested.require(key).entry == entry
    change = again(world, entry)
    with pytest.raises(RefusedError) as caught:
        world.evidence.attested.require(key)
    assert caught.value.reason is Reason.UNATTESTED
    # What was signed before is not touched by that.
    before = world.evidence.attested.in_force(key, world.clock.at, before=change.entry.index)
    assert before is not None
    assert before.entry == entry


def test_evidence_that_comes_after_a_distrust_entry_is_refused_at_once(world: Attesting) -> None:
    world.distrust(distrust(NOON - timedelta(days=1)))
    assert world.environment(world.attest()).verdict is Verdict.INVALID


def test_an_entry_of_the_future_says_nothing_of_evidence_before_it(world: Attesting) -> None:
    world.distrust(distrust(NOON + timedelta(days=1)))
    assert world.environment(world.attest()).verdict is Verdict.VALID


def test_what_has_ended_is_open_as_of_now(world: Attesting) -> None:
    entry = world.attest()
    world.clock.advance(hours=4)
    change = again(world, entry)
    assert (change.before, change.now) == ("VALID", "INDETERMINATE")
    assert change.effect is Effect.EXPIRED
    assert again(world, entry).effect is Effect.UNCHANGED


def test_a_distrust_entry_changes_evidence_that_has_ended(world: Attesting) -> None:
    entry = world.attest()
    world.clock.advance(hours=4)
    again(world, entry)
    world.distrust(distrust(NOON))
    change = again(world, entry)
    assert (change.before, change.now) == ("INDETERMINATE", "INDETERMINATE")
    assert change.effect is Effect.CHANGED


def test_a_change_names_node_key_version_and_batches(world: Attesting) -> None:
    files = {"weights.bin": b"weights"}
    manifest = a_manifest(files)
    for data in (*files.values(), manifest.to_bytes()):
        world.under.services.artifacts.put(data)
    said = release_statement(manifest)
    index = world.under.register(said).index
    release = Logged(said, world.under.keys["acme"].sign(said), index)
    binding = world.binding(model=sha256(manifest.to_bytes()))
    world.present(document(binding).evidence, binding)
    journal = Journal()
    journal.boot()
    journal.call(release)
    journal.call(release, b"another output")
    closed = (NOON + timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    statement = journal.batch_statement(closed_at=closed)
    batch = world.under.register_batch(statement, journal.records).index
    other = Journal(shim_id="ab" * 16)
    other.boot()
    old = other.batch_statement()
    world.under.register_batch(old, other.records)
    attested = world.evidence.attested
    assert attested.of_batch(batch) is not None
    assert attested.of_batch(batch + 1) is None
    world.clock.advance(minutes=5)
    [unchanged] = world.evidence.reappraisal.run()
    assert (unchanged.before, unchanged.now, unchanged.batches) == ("VALID", "VALID", ())
    world.distrust(distrust(NOON))
    [change] = world.evidence.reappraisal.run()
    assert (change.principal, change.key_id) == ("node-1", world.key.public_key.key_id)
    assert change.versions == (f"{said.predicate.name}@{said.predicate.version}",)
    [affected] = change.batches
    assert (affected.index, affected.n_first, affected.n_last, affected.outputs) == (batch, 0, 4, 2)
    # Whoever asks for the batch afterwards still sees what was in force when it was logged.
    assert attested.of_batch(batch) is not None


def test_all_evidence_is_judged_again_once(world: Attesting) -> None:
    entries = [world.attest(), world.attest("node-2"), world.attest()]
    again_ = list(world.evidence.reappraisal.run())
    assert [change.evidence_id for change in again_] == [name(world, item) for item in entries]
    # Results as of now are no evidence of their own.
    assert len(list(world.evidence.reappraisal.run())) == 3


def test_unknown_evidence_cannot_be_judged_again(world: Attesting) -> None:
    with pytest.raises(NotFoundError) as caught:
        list(world.evidence.reappraisal.run(bytes(32)))
    assert caught.value.reason is Reason.UNKNOWN_EVIDENCE


# Endorsements that are fetched


def lists(minted: nitro.Minted) -> list[tuple[Role, bytes]]:
    return [(item.role, item.data) for item in minted.endorsements.items]


def test_what_is_missing_is_fetched_and_archived(world: Attesting, vendor: Vendor) -> None:
    world.put(nitro_policy("test/with-lists", require=("N9",)))
    binding = world.binding()
    minted = document(binding)
    vendor.says = lists(minted)
    said = world.environment(world.present(minted.evidence, binding, policy="test/with-lists"))
    assert said.verdict is Verdict.VALID
    assert {item.sha256 for item in said.endorsements} == {
        item.sha256 for item in minted.endorsements.items
    }
    for _, data in lists(minted):
        assert world.under.services.blobs.read(sha256(data), MAX_EVIDENCE_BYTES) == data


def test_a_vendor_who_does_not_answer_leaves_it_open(world: Attesting, vendor: Vendor) -> None:
    world.put(nitro_policy("test/with-lists", require=("N9",)))
    vendor.says = None
    binding = world.binding()
    entry = world.present(document(binding).evidence, binding, policy="test/with-lists")
    assert world.environment(entry).verdict is Verdict.INDETERMINATE
    assert vendor.asked == 1


def test_nobody_is_asked_about_what_the_submitter_brought(world: Attesting, vendor: Vendor) -> None:
    binding = world.binding()
    minted = document(binding)
    entry = world.present(minted.evidence, binding, endorsements=lists(minted))
    assert world.environment(entry).verdict is Verdict.VALID
    assert vendor.asked == 0


def test_nobody_is_asked_about_bytes_that_are_no_evidence(world: Attesting, vendor: Vendor) -> None:
    binding = world.binding()
    broken = document(binding, signature=lambda data: data[:-1] + bytes([data[-1] ^ 1]))
    world.present(broken.evidence, binding)
    assert vendor.asked == 0


def test_a_newer_list_takes_the_place_of_the_archived_one(world: Attesting, vendor: Vendor) -> None:
    binding = world.binding()
    minted = document(binding)
    entry = world.present(minted.evidence, binding, endorsements=lists(minted))
    revoked = {2: (NOON + timedelta(minutes=1), None)}
    newer = nitro.revocation_lists(minted.chain, NOON, revoked=revoked, ago=timedelta(hours=1))
    vendor.says = [(Role.NITRO_CRL, der) for der in newer.values()]
    world.clock.advance(minutes=5)
    change = again(world, entry)
    assert (change.before, change.now) == ("VALID", "INVALID")
    said = world.environment(change.entry)
    assert {item.sha256 for item in said.endorsements} == {
        sha256(der).hex() for der in newer.values()
    }
    assert "REVOKED" in {item.finding for item in said.checks}


# Rows 132, 137, 149: what a result names is what it rests on.


def material(world: Attesting, said: Environment) -> Material:
    blobs = world.under.services.blobs

    def read(name: str) -> bytes:
        return blobs.read(bytes.fromhex(name), MAX_EVIDENCE_BYTES)

    return Material(
        read(said.raw_evidence),
        Endorsements.of((item.role, read(item.sha256)) for item in said.endorsements),
        world.evidence.policies.of_digest(said.policy),
        world.evidence.policies.distrusted(),
    )


def test_every_result_can_be_made_again_from_what_is_stored(
    world: Attesting, vendor: Vendor
) -> None:
    binding = world.binding()
    minted = document(binding)
    entry = world.present(minted.evidence, binding, endorsements=lists(minted))
    world.distrust(distrust(NOON - timedelta(days=1)))
    vendor.says = lists(document(world.binding()))
    change = again(world, entry)
    for each in (entry, change.entry):
        said = world.environment(each)
        results.redo(said, material(world, said), rules_of(Family.AWS_NITRO))


def test_an_archived_list_that_was_swapped_for_another_valid_one_is_noticed(
    world: Attesting,
) -> None:
    binding = world.binding()
    minted = document(binding)
    entry = world.present(minted.evidence, binding, endorsements=lists(minted))
    said = world.environment(entry)
    own = material(world, said)
    other = nitro.revocation_lists(minted.chain, NOON, ago=timedelta(hours=1))
    swapped = Endorsements.of((Role.NITRO_CRL, der) for der in other.values())
    with pytest.raises(VerificationError) as caught:
        results.redo(
            said,
            Material(own.evidence, swapped, own.policy, own.distrusted),
            rules_of(Family.AWS_NITRO),
        )
    assert caught.value.reason is Reason.RESULT_MISMATCH
    # Under its own name no other list can lie: the store notices.
    path = world.under.services.blobs.path(bytes.fromhex(said.endorsements[0].sha256))
    path.chmod(0o600)
    path.write_bytes(next(iter(other.values())))
    with pytest.raises(DamagedError):
        again(world, entry)


def test_a_policy_that_was_replaced_does_not_come_back_by_itself(world: Attesting) -> None:
    old, new = nitro_policy("test/replaced"), nitro_policy("test/replaced", result_seconds=60)
    world.evidence.policies.put(write_json(old))
    world.evidence.policies.put(write_json(new))
    with pytest.raises(ConflictError) as caught:
        world.evidence.policies.put(write_json(old))
    assert caught.value.reason is Reason.POLICY_REPLACED
    assert world.evidence.policies.find("test/replaced")[1] == new
    again = world.evidence.policies.put(write_json(new))
    assert again == world.evidence.policies.find("test/replaced")[0]


def test_a_distrust_entry_that_no_evidence_could_match_is_refused(world: Attesting) -> None:
    entry = Entry(
        selector=Selector(family=Family.AWS_NITRO, claims={"modul_id": "x"}),
        effective_from="2026-01-01T00:00:00Z",
        reason="misspelled",
    )
    with pytest.raises(MalformedError) as caught:
        world.evidence.policies.put_distrust(write_json(entry))
    assert caught.value.reason is Reason.MALFORMED_FIELD
    assert world.evidence.policies.list_distrust() == []


def test_policies_are_signed_by_the_operator_and_kept_once(world: Attesting) -> None:
    first = world.put(nitro_policy("test/once"))
    assert world.put(nitro_policy("test/once")) == first
    newer = world.put(nitro_policy("test/once", result_seconds=60))
    assert world.evidence.policies.find("test/once")[0] == newer
    assert first in world.evidence.policies.registered()
    operator = world.under.services.access._operator.public_key
    for entry in (first, newer):
        Envelope.parse(entry.envelope).verify(operator)


def test_distrust_entries_are_kept_once(world: Attesting) -> None:
    first = world.distrust(distrust())
    assert world.distrust(distrust()) == first
    assert world.evidence.policies.list_distrust() == [first]


def test_what_cannot_be_judged_again_keeps_nothing_else_from_it(world: Attesting) -> None:
    lost = world.environment(world.attest())
    world.attest("node-2")
    world.under.services.blobs.path(bytes.fromhex(lost.raw_evidence)).unlink()
    world.distrust(distrust(NOON - timedelta(days=1)))
    run = world.evidence.reappraisal.run()
    assert next(run).now == "INVALID"
    with pytest.raises(NotFoundError) as caught:
        next(run)
    assert caught.value.reason is Reason.UNKNOWN_BLOB
    assert caught.value.where == lost.evidence_id


def test_the_list_is_read_once_for_a_whole_run(world: Attesting) -> None:
    world.attest()
    world.attest("node-2")
    run = world.evidence.reappraisal.run()
    assert next(run).now == "VALID"
    world.distrust(distrust(NOON - timedelta(days=1)))
    assert next(run).now == "VALID"
    assert {change.now for change in world.evidence.reappraisal.run()} == {"INVALID"}
