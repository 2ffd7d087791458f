"""The walk over a capsule: each broken link says what is wrong with it, and only that one."""

from collections.abc import Callable
from dataclasses import replace
from time import perf_counter
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from registry.core.attestation.dsse import Envelope
from registry.core.capsule.container import Capsule
from registry.core.capsule.parts import LoggedEnvelope
from registry.core.capsule.report import Report
from registry.core.capsule.walk import appraise
from registry.core.digest import sha256
from registry.core.records import inference
from registry.core.tlog.checkpoint import Checkpoint
from registry.core.verdict import Check, Verdict
from registry.errors import Reason
from registry.signing.file import LogSigner, StatementSigner
from tests.mint import (
    OUTPUT,
    Journal,
    Told,
    World,
    a_manifest,
    attribution_statement,
    dataset_statement,
    key_event_statement,
    release_statement,
    tell,
)

VALID = (Verdict.VALID, "")


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def told(world: World) -> Told:
    return tell(world)


def judged(world: World, capsule: Capsule, output: bytes | None = None) -> Report:
    """What a reader says who pinned the world's log, and got the capsule as a file."""
    held = None if output is None else [sha256(output)]
    return appraise(Capsule.parse(capsule.to_bytes()), world.log.key, held)


def state(check: Check) -> tuple[Verdict, str]:
    return check.verdict, check.reason


def then(report: Report, link: str) -> tuple[Verdict, str]:
    [check] = [item for item in report.checks_then if item.link == link]
    return state(check)


def now(report: Report, link: str) -> tuple[Verdict, str]:
    [check] = [item for item in report.checks_now if item.link == link]
    return state(check)


def both(report: Report, link: str) -> tuple[Verdict, str]:
    assert then(report, link) == now(report, link)
    return now(report, link)


def invalid(reason: Reason) -> tuple[Verdict, str]:
    return Verdict.INVALID, reason


def indeterminate(reason: Reason) -> tuple[Verdict, str]:
    return Verdict.INDETERMINATE, reason


# The whole chain.


def test_a_whole_story_is_valid_on_both_clocks(world: World, told: Told) -> None:
    report = judged(world, world.capsule(told), OUTPUT)
    assert (report.verdict_then, report.verdict_now) == (Verdict.VALID, Verdict.VALID)


def test_every_link_is_named_in_reading_order(world: World, told: Told) -> None:
    report = judged(world, world.capsule(told))
    assert [check.link for check in report.checks_now] == [
        "log key",
        "checkpoint",
        "operator",
        "key-event/0",
        "key-event/1",
        "node key",
        "batch",
        "record",
        "output",
        "publisher key",
        "release",
        "model version",
        "manifest",
        "attribution/0",
        "dataset/0",
        "training data",
    ]


def test_a_typical_capsule_is_judged_in_five_milliseconds(world: World, told: Told) -> None:
    world.fill(100_000)
    data = world.capsule(told).to_bytes()
    times = []
    for _ in range(20):
        started = perf_counter()
        appraise(Capsule.parse(data), world.log.key)
        times.append(perf_counter() - started)
    assert min(times) < 0.005


# The log.


def test_without_a_pinned_log_key_nothing_is_more_than_indeterminate(
    world: World, told: Told
) -> None:
    report = appraise(world.capsule(told), None)
    assert both(report, "log key") == indeterminate(Reason.LOG_KEY_NOT_PINNED)
    assert report.verdict_now is Verdict.INDETERMINATE
    assert report.proved == ()


def test_a_capsule_from_another_log_is_refused(world: World, told: Told) -> None:
    report = appraise(world.capsule(told), World("log.example").log.key)
    assert both(report, "log key") == invalid(Reason.WRONG_LOG)


def test_a_checkpoint_that_the_log_did_not_sign_is_refused(world: World, told: Told) -> None:
    forger = LogSigner.generate(world.log.key.name)
    capsule = world.capsule(told, head=forger.sign(world.head().checkpoint))
    report = judged(world, capsule)
    assert both(report, "checkpoint") == invalid(Reason.WRONG_LOG)
    assert both(report, "batch") == indeterminate(Reason.CAPSULE_LINK)


def test_a_checkpoint_over_other_entries_refutes_every_proof(world: World, told: Told) -> None:
    head = world.log.sign(Checkpoint(world.log.key.name, len(world.leaves), b"\x00" * 32))
    report = judged(world, world.capsule(told, head=head))
    assert both(report, "batch") == invalid(Reason.INCLUSION_PROOF)
    assert both(report, "operator") == invalid(Reason.INCLUSION_PROOF)


def test_a_proof_for_another_index_is_refused(world: World, told: Told) -> None:
    batch = replace(world.proved(told.batch), index=told.batch.index - 1)
    report = judged(world, world.capsule(told, batch=batch))
    assert both(report, "batch") == invalid(Reason.INCLUSION_PROOF)


def other_signature(told: Told) -> bytes:
    """The twin (r, n - s) of a signature, which verifies as well and is another leaf."""
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    r, s = decode_dss_signature(told.batch.envelope.signature)
    return encode_dss_signature(r, order - s)


def test_the_twin_of_a_signature_is_another_entry(world: World, told: Told) -> None:
    twin = replace(told.batch.envelope, signature=other_signature(told))
    report = judged(world, world.capsule(told.but(batch=replace(told.batch, envelope=twin))))
    assert both(report, "batch") == invalid(Reason.INCLUSION_PROOF)


# The operator.


def test_an_operator_who_is_not_entry_0_is_refused(world: World, told: Told) -> None:
    again = world.key_event("operator", roles=["operator"])
    capsule = world.capsule(told, operator=world.proved(again), key_events=())
    assert both(judged(world, capsule), "operator") == invalid(Reason.UNKNOWN_SIGNER)


def test_an_operator_admitted_by_somebody_else_is_refused() -> None:
    world = World()
    world.leaves.clear()
    world.key_events.clear()
    world.keys["mallory"] = StatementSigner.generate()
    world.key_event("operator", roles=["operator"], signer="mallory")
    told = tell(world)
    report = judged(world, world.capsule(told))
    assert both(report, "operator") == indeterminate(Reason.UNKNOWN_SIGNER)
    assert both(report, "batch") == indeterminate(Reason.CAPSULE_LINK)


def test_an_operator_without_the_role_is_refused() -> None:
    world = World()
    world.leaves.clear()
    world.key_events.clear()
    world.key_event("operator", roles=["admin"])
    report = judged(world, world.capsule(tell(world)))
    assert both(report, "operator") == invalid(Reason.ROLE)


def test_a_second_operator_may_admit_keys(world: World) -> None:
    world.key_event("operator-2", roles=["operator"])
    world.key_event("guest", roles=["node"], signer="operator-2")
    report = judged(world, world.capsule(tell(world)))
    assert report.verdict_now is Verdict.VALID


def test_a_key_that_somebody_else_than_an_operator_admitted_is_refused(world: World) -> None:
    world.key_event("acme", roles=["publisher"], namespaces=["acme/*"])
    world.key_event("guest", roles=["node"], signer="acme")
    report = judged(world, world.capsule(tell(world)))
    assert both(report, "key-event/1") == invalid(Reason.ROLE)


def test_an_operators_later_compromise_shakes_what_it_admitted(world: World, told: Told) -> None:
    world.key_event("operator", action="compromise")
    report = judged(world, world.capsule(told))
    assert report.verdict_then is Verdict.VALID
    assert now(report, "operator") == indeterminate(Reason.KEY_REVOKED)
    assert now(report, "key-event/1") == indeterminate(Reason.CAPSULE_LINK)
    assert now(report, "batch") == indeterminate(Reason.CAPSULE_LINK)


# The node and its batch.


def without_event_of(world: World, told: Told, principal: str) -> Capsule:
    events = [
        world.proved(item)
        for item in world.key_events
        if item.statement.predicate.principal != principal
    ]
    return world.capsule(told, key_events=events)


def test_a_signer_whose_key_the_capsule_does_not_introduce_is_open(
    world: World, told: Told
) -> None:
    report = judged(world, without_event_of(world, told, "node-1"))
    assert both(report, "batch") == indeterminate(Reason.UNKNOWN_SIGNER)
    assert both(report, "node key") == indeterminate(Reason.CAPSULE_LINK)
    assert both(report, "record") == indeterminate(Reason.CAPSULE_LINK)


def test_a_batch_from_before_its_key_was_admitted_is_refused(world: World, told: Told) -> None:
    world.keys["late"] = StatementSigner.generate()
    batch = world.register(told.batch.statement, "late")
    world.key_event("late", roles=["node"])
    report = judged(world, world.capsule(told.but(batch=batch)))
    assert both(report, "node key") == invalid(Reason.UNKNOWN_SIGNER)


def test_a_batch_by_a_retired_key_is_refused_on_both_clocks(world: World, told: Told) -> None:
    world.key_event("node-1", action="retire", roles=["node"])
    batch = world.register(told.batch.statement, "node-1")
    report = judged(world, world.capsule(told.but(batch=batch)))
    assert both(report, "node key") == invalid(Reason.KEY_REVOKED)
    assert both(report, "batch") == indeterminate(Reason.CAPSULE_LINK)


def test_a_batch_from_before_its_key_was_retired_stays_valid(world: World, told: Told) -> None:
    world.key_event("node-1", action="retire", roles=["node"])
    assert judged(world, world.capsule(told)).verdict_now is Verdict.VALID


def test_a_compromise_known_later_makes_a_batch_invalid_as_now(world: World, told: Told) -> None:
    world.key_event("node-1", action="compromise", compromised_since="2026-09-02T00:00:00Z")
    report = judged(world, world.capsule(told))
    assert then(report, "node key") == VALID
    assert now(report, "node key") == invalid(Reason.KEY_REVOKED)
    assert (report.verdict_then, report.verdict_now) == (Verdict.VALID, Verdict.INVALID)


def test_a_compromise_without_a_date_leaves_a_batch_open_as_now(world: World, told: Told) -> None:
    world.key_event("node-1", action="compromise")
    report = judged(world, world.capsule(told))
    assert now(report, "node key") == indeterminate(Reason.KEY_REVOKED)
    assert (report.verdict_then, report.verdict_now) == (Verdict.VALID, Verdict.INDETERMINATE)


def test_a_compromise_that_no_operator_reported_does_not_count(world: World, told: Told) -> None:
    world.key_event("node-1", action="compromise", signer="acme")
    report = judged(world, world.capsule(told))
    assert now(report, "node key") == VALID
    assert now(report, "key-event/2") == invalid(Reason.ROLE)


def test_a_batch_signed_by_a_publisher_is_refused(world: World, told: Told) -> None:
    batch = world.register(told.batch.statement, "acme")
    report = judged(world, world.capsule(told.but(batch=batch)))
    assert both(report, "batch") == invalid(Reason.ROLE)
    assert both(report, "node key") == VALID


def test_an_envelope_that_names_no_key_is_open(world: World, told: Told) -> None:
    nameless = replace(told.batch.envelope, keyid="")
    logged = world.append(told.batch.statement, nameless, world.keys["node-1"])
    report = judged(world, world.capsule(told.but(batch=logged)))
    assert both(report, "batch") == indeterminate(Reason.UNKNOWN_SIGNER)


def test_an_envelope_that_names_another_key_is_refused(world: World, told: Told) -> None:
    other = replace(told.batch.envelope, keyid=world.operator.public_key.key_id)
    logged = world.append(told.batch.statement, other, world.keys["node-1"])
    report = judged(world, world.capsule(told.but(batch=logged)))
    assert both(report, "batch") == invalid(Reason.BAD_SIGNATURE)


def test_another_kind_of_statement_in_the_place_of_a_batch_is_refused(
    world: World, told: Told
) -> None:
    report = judged(world, world.capsule(told, batch=world.proved(told.release)))
    assert both(report, "batch") == invalid(Reason.FOREIGN_PREDICATE)
    assert both(report, "record") == indeterminate(Reason.CAPSULE_LINK)


# The record and the output.


def test_a_record_that_is_not_in_the_batch_is_refused(world: World, told: Told) -> None:
    journal = Journal()
    journal.boot()
    forged = journal.call(told.release, OUTPUT)
    report = judged(world, world.capsule(told, record=forged))
    assert both(report, "record") == invalid(Reason.INCLUSION_PROOF)
    assert both(report, "output") == indeterminate(Reason.CAPSULE_LINK)


def test_a_record_at_another_place_of_the_batch_is_refused(world: World, told: Told) -> None:
    report = judged(world, world.capsule(told, position=told.position - 1))
    assert both(report, "record") == invalid(Reason.INCLUSION_PROOF)


def test_a_place_beyond_the_batch_is_refused(world: World, told: Told) -> None:
    report = judged(world, world.capsule(told, position=len(told.records)))
    assert both(report, "record") == invalid(Reason.INCLUSION_PROOF)


def batched(world: World, told: Told, **members: Any) -> Told:
    """The same records in a batch that says something else about them."""
    journal = Journal(records=list(told.records))
    return told.but(batch=world.register(journal.batch_statement(**members), "node-1"))


def test_a_record_with_another_number_than_its_place_says_is_refused(
    world: World, told: Told
) -> None:
    other = batched(world, told, n_first=1, n_last=len(told.records))
    assert both(judged(world, world.capsule(other)), "record") == invalid(Reason.BATCH_CONTENT)


def test_a_record_of_another_shim_than_its_batch_is_refused(world: World, told: Told) -> None:
    other = batched(world, told, shim_id="6" * 32)
    assert both(judged(world, world.capsule(other)), "record") == invalid(Reason.BATCH_CONTENT)


def test_a_record_that_is_about_no_output_is_refused(world: World, told: Told) -> None:
    report = judged(world, world.capsule(told.but(position=0)))
    assert both(report, "record") == invalid(Reason.FOREIGN_PREDICATE)
    assert both(report, "output") == indeterminate(Reason.CAPSULE_LINK)
    assert both(report, "model version") == indeterminate(Reason.CAPSULE_LINK)


def test_a_record_that_cannot_be_read_is_refused(world: World, told: Told) -> None:
    report = judged(world, world.capsule(told, record=b"{}"))
    assert both(report, "record") == invalid(Reason.MALFORMED_STATEMENT)


def test_another_output_than_that_of_the_record_is_refused(world: World, told: Told) -> None:
    report = judged(world, world.capsule(told), b"another answer")
    assert both(report, "output") == invalid(Reason.DIGEST_MISMATCH)
    assert report.verdict_then is Verdict.INVALID


def test_an_output_matches_under_any_of_its_profiles(world: World, told: Told) -> None:
    held = [sha256(b"as text"), sha256(OUTPUT)]
    assert appraise(world.capsule(told), world.log.key, held).verdict_now is Verdict.VALID


# The model.


def test_a_record_about_another_release_is_refused(world: World, told: Told) -> None:
    other = world.register(release_statement(told.manifest, version="1.2.1"), "acme")
    capsule = world.capsule(told.but(release=other), attributions=(), datasets=())
    report = judged(world, capsule)
    assert both(report, "model version") == invalid(Reason.SUBJECT_MISMATCH)


def test_a_record_that_names_another_manifest_is_refused(world: World, told: Told) -> None:
    journal = Journal()
    journal.boot()
    said = told.release.statement.predicate
    model = inference.Model(
        release=told.release.record_id, manifest="0" * 64, name=said.name, version=said.version
    )
    journal.call(told.release, OUTPUT, model=model)
    batch = world.register(journal.batch_statement(), "node-1")
    other = told.but(batch=batch, records=tuple(journal.records), position=2)
    report = judged(world, world.capsule(other))
    assert both(report, "record") == VALID
    assert both(report, "model version") == invalid(Reason.SUBJECT_MISMATCH)


def test_a_release_that_was_logged_after_the_batch_is_refused(world: World, told: Told) -> None:
    late = world.register(told.release.statement, "acme")
    report = judged(world, world.capsule(told.but(release=late)))
    assert both(report, "release") == invalid(Reason.CAPSULE_LINK)


def test_a_release_outside_its_publishers_namespace_is_refused(world: World) -> None:
    told = tell(world)
    world.key_event("rival", roles=["publisher"], namespaces=["rival/*"])
    release = world.register(told.release.statement, "rival")
    batch = world.register(told.batch.statement, "node-1")
    report = judged(world, world.capsule(told.but(release=release, batch=batch)))
    assert both(report, "release") == invalid(Reason.NAMESPACE)
    assert both(report, "publisher key") == VALID
    assert both(report, "model version") == indeterminate(Reason.CAPSULE_LINK)


def test_a_release_that_the_registry_does_not_have_leaves_the_model_open(
    world: World, told: Told
) -> None:
    capsule = world.capsule(told, release=None, attributions=(), datasets=())
    report = judged(world, capsule)
    assert both(report, "release") == indeterminate(Reason.UNKNOWN_REFERENCE)
    assert both(report, "record") == VALID


def test_a_release_that_cannot_be_read_leaves_what_rests_on_it_open(
    world: World, told: Told
) -> None:
    release = replace(world.proved(told.release), envelope=b"{}")
    report = judged(world, world.capsule(told, release=release))
    assert both(report, "release") == invalid(Reason.MALFORMED_ENVELOPE)
    assert both(report, "manifest") == indeterminate(Reason.CAPSULE_LINK)
    assert both(report, "attribution/0") == indeterminate(Reason.CAPSULE_LINK)


def test_another_manifest_than_that_of_the_release_is_refused(world: World, told: Told) -> None:
    other = a_manifest({"model.onnx": b"other weights"}).to_bytes()
    report = judged(world, world.capsule(told, manifest=other))
    assert both(report, "manifest") == invalid(Reason.SUBJECT_MISMATCH)
    assert report.facts.files == ()


def test_a_capsule_without_the_manifest_leaves_the_files_open(world: World, told: Told) -> None:
    report = judged(world, world.capsule(told, manifest=None))
    assert both(report, "manifest") == indeterminate(Reason.MISSING_BLOB)
    assert both(report, "model version") == VALID


# The data.


def test_a_dataset_that_the_capsule_lacks_leaves_what_names_it_open(
    world: World, told: Told
) -> None:
    report = judged(world, world.capsule(told.but(datasets=())))
    assert both(report, "training data") == indeterminate(Reason.UNKNOWN_REFERENCE)
    assert both(report, "attribution/0") == indeterminate(Reason.UNKNOWN_REFERENCE)


def test_a_dataset_that_nothing_names_does_not_ride_along(world: World, told: Told) -> None:
    stranger = world.register(dataset_statement(version="2020-01"), "acme")
    report = judged(world, world.capsule(told.but(datasets=(*told.datasets, stranger))))
    assert both(report, "dataset/1") == invalid(Reason.CAPSULE_LINK)
    assert [item.name for item in report.facts.datasets] == ["acme/reviews@2026-08"]


def test_an_attribution_of_another_release_is_refused(world: World, told: Told) -> None:
    other = world.register(release_statement(told.manifest, version="1.2.1"), "acme")
    claim = world.register(attribution_statement(other, told.datasets), "acme")
    report = judged(world, world.capsule(told.but(attributions=(claim,))))
    assert both(report, "attribution/0") == invalid(Reason.SUBJECT_MISMATCH)
    assert report.facts.attributions == ()


def test_a_dataset_of_another_publisher_is_valid_with_that_publishers_name(world: World) -> None:
    world.key_event("museum", roles=["publisher"], namespaces=["museum/*"])
    told = tell(world)
    scans = world.register(dataset_statement(name="museum/scans"), "museum")
    claim = world.register(attribution_statement(told.release, [scans]), "acme")
    told = told.but(datasets=(*told.datasets, scans), attributions=(*told.attributions, claim))
    report = judged(world, world.capsule(told))
    assert report.verdict_now is Verdict.VALID
    assert [item.publisher for item in report.facts.datasets] == ["acme", "museum"]


def test_an_attribution_by_an_unknown_key_is_open_and_not_told(world: World, told: Told) -> None:
    said = attribution_statement(told.release, told.datasets, note="as we see it")
    claim = world.register(said, StatementSigner.generate())
    report = judged(world, world.capsule(told.but(attributions=(claim,))))
    assert both(report, "attribution/0") == indeterminate(Reason.UNKNOWN_SIGNER)
    assert report.facts.attributions == ()


# Whatever a capsule holds.

PARTS: dict[str, Callable[[Capsule, bytes], Capsule]] = {
    "checkpoint": lambda capsule, data: replace(capsule, checkpoint=data),
    "record": lambda capsule, data: replace(capsule, record=data),
    "operator": lambda capsule, data: replace(capsule, operator=enveloped(capsule.operator, data)),
    "batch": lambda capsule, data: replace(capsule, batch=enveloped(capsule.batch, data)),
    "release": lambda capsule, data: replace(capsule, release=enveloped(capsule.release, data)),
    "manifest": lambda capsule, data: replace(capsule, manifest=data),
    "key-event/0": lambda capsule, data: replace(
        capsule, key_events=(enveloped(capsule.key_events[0], data), *capsule.key_events[1:])
    ),
    "attribution/0": lambda capsule, data: replace(
        capsule, attributions=(enveloped(capsule.attributions[0], data),)
    ),
    "dataset/0": lambda capsule, data: replace(
        capsule, datasets=(enveloped(capsule.datasets[0], data),)
    ),
}


def enveloped(logged: LoggedEnvelope | None, data: bytes) -> LoggedEnvelope:
    assert logged is not None
    return replace(logged, envelope=data)


@pytest.mark.parametrize("part", PARTS)
def test_a_changed_part_under_a_repaired_index_is_never_valid(part: str) -> None:
    world = World()
    capsule = world.capsule(tell(world))
    data = dict(capsule.parts())[part]
    for position in range(0, len(data), 5):
        changed = bytearray(data)
        changed[position] ^= 1 << position // 5 % 8
        report = judged(world, PARTS[part](capsule, bytes(changed)))
        assert report.verdict_then is not Verdict.VALID
        assert report.verdict_now is not Verdict.VALID


def test_a_changed_hash_of_any_proof_is_never_valid(world: World, told: Told) -> None:
    capsule = world.capsule(told)
    for name in ("operator", "batch", "release"):
        logged: LoggedEnvelope = getattr(capsule, name)
        for number in range(len(logged.proof)):
            proof = list(logged.proof)
            proof[number] = sha256(proof[number])
            other: dict[str, Any] = {name: replace(logged, proof=tuple(proof))}
            changed = replace(capsule, **other)
            assert both(judged(world, changed), name) == invalid(Reason.INCLUSION_PROOF)


def test_parts_of_two_worlds_do_not_go_together(world: World, told: Told) -> None:
    other = World()
    capsule = world.capsule(told)
    foreign = other.capsule(tell(other))
    for name in ("operator", "batch", "release", "key_events", "datasets", "attributions"):
        mixed = replace(capsule, **{name: getattr(foreign, name)})
        assert judged(world, mixed).verdict_now is not Verdict.VALID


def test_an_envelope_of_garbage_is_a_verdict_and_not_a_crash(world: World, told: Told) -> None:
    capsule = world.capsule(told)
    for part, place in PARTS.items():
        for data in (b"", b"{}", b"\xff" * 40, b"[" * 5000):
            report = judged(world, place(capsule, data))
            assert report.verdict_now is Verdict.INVALID, part


def test_a_key_event_that_admits_its_own_signer_is_open(world: World, told: Told) -> None:
    mallory = StatementSigner.generate()
    said = key_event_statement(mallory, "mallory", roles=["operator"])
    event = world.register(said, mallory)
    world.key_events.append(event)
    report = judged(world, world.capsule(told))
    assert both(report, "key-event/2") == indeterminate(Reason.CAPSULE_LINK)


def test_a_signed_envelope_is_read_with_the_bytes_that_were_signed(
    world: World, told: Told
) -> None:
    envelope = Envelope.parse(world.capsule(told).batch.envelope)
    assert envelope.record_id == told.batch.envelope.record_id
