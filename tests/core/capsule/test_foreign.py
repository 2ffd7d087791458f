"""Proofs of other systems in capsules: carried, read again, and never able to spoil an output."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import msgspec
import pytest

from registry.core.capsule import foreign
from registry.core.capsule.container import Capsule
from registry.core.capsule.facts import BoundFact
from registry.core.capsule.parts import Attested
from registry.core.capsule.report import Report
from registry.core.capsule.walk import appraise
from registry.core.encoding import write_json
from registry.core.evidence.claims import Family
from registry.core.evidence.distrust import Entry, Selector
from registry.core.foreign.captured import Asked, Captured, PartRole
from registry.core.foreign.proof import System
from registry.core.foreign.systems import Examined, examine, redo
from registry.core.records import distrust_entry, foreign_proof
from registry.core.verdict import Check, Verdict
from registry.errors import MalformedError, Reason
from tests.mint import OUTPUT, Told, World, tell
from tools.fake_vendor import near
from tools.fake_vendor.caught import NOON


@pytest.fixture
def world() -> World:
    return World()


def imported(*, attested: bool = False, response: bytes = OUTPUT) -> tuple[Examined, list[bytes]]:
    """A proof of the output, and what it rests on."""
    caught = near.mint(near.Spec(response=response))
    bare = [part for part in caught.parts if part[0] is not PartRole.REPORT]
    captured = caught.captured if attested else Captured.of(bare)
    examined = examine(System.NEAR, captured, caught.asked() if attested else Asked(NOON))
    parts = [data for items in captured.parts.values() for data in items]
    parts += [item.data for item in captured.endorsements.items]
    parts += [] if examined.policy is None else [write_json(examined.policy)]
    return examined, parts


def judged(
    world: World,
    told: Told,
    examined: Sequence[Examined],
    parts: Sequence[bytes],
    signer: str = "acme",
) -> tuple[Capsule, Report]:
    logged = [
        world.register(foreign_proof.build(item.proof, item.outputs), signer) for item in examined
    ]
    capsule = world.capsule(
        told, foreign=[world.proved(item) for item in logged], foreign_parts=parts
    )
    assert Capsule.parse(capsule.to_bytes()) == capsule
    return capsule, appraise(capsule, world.log.key)


def link(report: Report, name: str, clock: str = "now") -> Check:
    [found] = [item for item in getattr(report, f"checks_{clock}") if item.link == name]
    check: Check = found
    return check


def test_a_proof_without_evidence_is_carried_and_said_and_leaves_the_output_valid(
    world: World,
) -> None:
    told = tell(world)
    examined, parts = imported()
    _, report = judged(world, told, [examined], parts)
    assert (report.verdict_then, report.verdict_now) == (Verdict.VALID, Verdict.VALID)
    [fact] = report.facts.foreign
    assert (fact.importer, fact.system) == ("acme", "near")
    assert (fact.said, fact.here) == (Verdict.INDETERMINATE, Verdict.INDETERMINATE)
    assert (fact.binding_strength, fact.code_strength) == ("name_only", "none")
    text = report.to_text()
    assert "foreign proof" in text
    assert "NOT COVERED" in text
    assert "model weights" in text


def test_a_proof_whose_root_only_the_importer_names_is_worth_nothing_to_the_reader(
    world: World,
) -> None:
    told = tell(world)
    examined, parts = imported(attested=True)
    _, report = judged(world, told, [examined], parts)
    [fact] = report.facts.foreign
    assert (fact.said, fact.here, fact.reason) == (
        Verdict.VALID,
        Verdict.INVALID,
        "EVIDENCE_REFUSED",
    )
    assert fact.code_strength == "none"
    assert report.verdict_now is Verdict.VALID


def test_what_a_capsule_knows_to_be_distrusted_was_valid_then_and_is_not_now(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tell(world)
    examined, parts = imported(attested=True)
    entry = Entry(
        selector=Selector(family=Family.INTEL_DCAP, claims={"tcb_status": "UpToDate"}),
        effective_from="2099-01-01T00:00:00Z",
        reason="the quoting enclave was robbed",
    )
    said = foreign_proof.build(examined.proof, examined.outputs)
    logged = world.register(said, "acme")
    # As if the fake vendor were a vendor.
    monkeypatch.setattr(foreign, "redo", partial(redo, roots=near.mint().policy.roots))
    for signer, here in (("acme", Verdict.VALID), ("operator", Verdict.INVALID)):
        listed = world.proved(world.register(distrust_entry.build(entry), signer))
        capsule = world.capsule(
            told,
            foreign=[world.proved(logged)],
            foreign_parts=parts,
            attested=Attested(distrust=(listed,)),
        )
        report = appraise(Capsule.parse(capsule.to_bytes()), world.log.key)
        [fact] = report.facts.foreign
        assert (fact.then, fact.here) == (Verdict.VALID, here)
        demanding = appraise(capsule, world.log.key, demand_attestation=True)
        assert demanding.verdict_then is Verdict.INVALID
    assert fact.reason == "EVIDENCE_DISTRUSTED"
    assert (report.verdict_then, report.verdict_now) == (Verdict.VALID, Verdict.VALID)
    assert "VALID as it was then" in report.to_text()


def test_a_proof_whose_evidence_binds_its_signer_binds_the_output_and_says_what_of_the_weights(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tell(world)
    examined, parts = imported(attested=True)
    _, report = judged(world, told, [examined], parts)
    # The reader does not know the root: it is worth nothing.
    assert report.facts.bound == BoundFact(binding="artifact_verified", level=2, by="record")
    monkeypatch.setattr(foreign, "redo", partial(redo, roots=near.mint().policy.roots))
    _, report = judged(world, told, [examined], parts)
    assert report.facts.bound == BoundFact(
        binding="provider_attested", level=3, by="foreign/0", weights="name_only"
    )
    assert "level L3, provider_attested, by foreign/0, weights name_only" in report.to_text()
    assert any("code of a provider" in line for line in report.not_provable)


def test_a_proof_that_does_not_follow_from_its_parts_is_found_out(world: World) -> None:
    told = tell(world)
    examined, parts = imported()
    said = msgspec.structs.replace(examined.proof, uncovered=())
    _, report = judged(world, told, [replace(examined, proof=said)], parts)
    [fact] = report.facts.foreign
    assert (fact.here, fact.reason) == (Verdict.INVALID, Reason.PROOF_MISMATCH)
    assert report.verdict_now is Verdict.VALID


def test_a_part_that_is_not_in_the_capsule_leaves_the_proof_open(world: World) -> None:
    told = tell(world)
    examined, parts = imported()
    _, report = judged(world, told, [examined], parts[1:])
    [fact] = report.facts.foreign
    assert (fact.here, fact.reason) == (Verdict.INDETERMINATE, Reason.MISSING_BLOB)
    assert (fact.binding_strength, fact.code_strength) == ("none", "none")


def test_a_part_that_no_proof_names_is_refused(world: World) -> None:
    told = tell(world)
    examined, parts = imported()
    _, report = judged(world, told, [examined], [*parts, b"stranger"])
    check = link(report, "foreign parts")
    assert (check.verdict, check.reason) == (Verdict.INVALID, Reason.DIGEST_MISMATCH)


def test_a_proof_of_another_output_is_refused(world: World) -> None:
    told = tell(world)
    examined, parts = imported(response=b"another answer")
    _, report = judged(world, told, [examined], parts)
    check = link(report, "foreign/0")
    assert (check.verdict, check.reason) == (Verdict.INVALID, Reason.SUBJECT_MISMATCH)
    assert report.facts.foreign == ()


def test_a_proof_by_somebody_who_may_import_nothing_is_refused(world: World) -> None:
    told = tell(world)
    examined, parts = imported()
    _, report = judged(world, told, [examined], parts, signer="node-1")
    assert link(report, "foreign/0").reason == Reason.ROLE


def test_a_proof_waits_for_a_record_that_cannot_be_read(world: World) -> None:
    told = tell(world)
    examined, parts = imported()
    capsule, _ = judged(world, told, [examined], parts)
    report = appraise(replace(capsule, record=b"{}"), world.log.key)
    assert link(report, "foreign/0").verdict is Verdict.INDETERMINATE


def test_more_proofs_than_eight_are_refused(world: World) -> None:
    told = tell(world)
    examined, parts = imported()
    several = [
        replace(examined, proof=msgspec.structs.replace(examined.proof, fetched_at=number))
        for number in range(9)
    ]
    logged = [
        world.proved(world.register(foreign_proof.build(item.proof, item.outputs), "acme"))
        for item in several
    ]
    capsule = world.capsule(told, foreign=logged, foreign_parts=parts)
    with pytest.raises(MalformedError) as caught:
        Capsule.parse(capsule.to_bytes())
    assert caught.value.reason is Reason.MALFORMED_CAPSULE
