"""Attested outputs: what a capsule proves of the environment in which the node held its key."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from registry.core import encoding
from registry.core.capsule.container import Capsule
from registry.core.capsule.parts import Attested
from registry.core.capsule.report import Report
from registry.core.capsule.walk import appraise
from registry.core.digest import sha256
from registry.core.evidence.binding import Binding
from registry.core.evidence.claims import Family
from registry.core.evidence.families import FAMILIES
from registry.core.records import appraisal_policy, attestation_result
from registry.core.verdict import Verdict
from registry.errors import MalformedError, Reason, RegistryError
from registry.signing.file import StatementSigner
from tests.attested import (
    GPU_EVIDENCE,
    GPU_ID,
    ISSUED,
    MADE,
    MILAN,
    NONCE,
    OTHER_CHAIN,
    POLICIES,
    AttestedWorld,
    answered,
    appraised,
    attested_story,
    evidence_of,
    install,
)
from tests.core.capsule.test_walk import both, indeterminate, invalid, now, then
from tests.mint import Journal, Told, tell

VALID = (Verdict.VALID, "")


@pytest.fixture(autouse=True)
def families(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)


@pytest.fixture
def world() -> AttestedWorld:
    return AttestedWorld()


NOTHING_MEASURED = "nothing measured the run itself"


def judged(world: AttestedWorld, capsule: Capsule, **demands: Any) -> Report:
    """What a reader says who pinned the world's log, and got the capsule as a file."""
    parsed = Capsule.parse(capsule.to_bytes())
    assert parsed == capsule
    report = appraise(parsed, world.world.log.key, **demands)
    assert encoding.read_json(report.to_bytes(), Report) == report
    return report


def bound(world: AttestedWorld, told: Told, **members: Any) -> Binding:
    """The binding of the node that made an output."""
    manifest = sha256(told.manifest.to_bytes())
    return replace(Binding(nonce=NONCE, session_key=world.key(), model=manifest), **members)


# Attested.


def test_an_output_of_an_attested_node_is_valid_and_says_how(world: AttestedWorld) -> None:
    told = attested_story(world)
    report = judged(world, world.capsule(told), demand_attestation=True)
    assert (report.verdict_then, report.verdict_now) == (Verdict.VALID, Verdict.VALID)
    [fact] = report.facts.attestations
    assert (fact.tee, fact.tier, fact.tcb_status) == ("AMD SEV-SNP", "affirming", "UpToDate")
    assert (fact.in_force_from, fact.in_force_until) == (
        "2026-09-01T11:59:00Z",
        "2026-09-01T12:59:00Z",
    )
    assert fact.policy == "test/amd-snp"
    assert fact.bound_to == ("session key", "model")
    assert report.facts.unattested == ""
    assert any("attested in an AMD SEV-SNP when it signed" in said for said in report.proved)
    text = report.to_text()
    assert "attested       AMD SEV-SNP, affirming, TCB UpToDate" in text
    assert "UNATTESTED" not in text
    assert "NOT A REAL VENDOR" not in text
    assert "in an environment that was attested with this version" in text


def test_that_later_findings_may_have_been_left_out_is_told_of_attested_outputs_alone(
    world: AttestedWorld,
) -> None:
    told = attested_story(world)
    world.no_longer_believe()
    capsule = world.capsule(told)
    silent = replace(capsule, attested=replace(capsule.attested, distrust=()))
    for carried, verdict in ((capsule, Verdict.INVALID), (silent, Verdict.VALID)):
        report = judged(world, carried)
        assert report.verdict_now is verdict
        warned = any("may have left some out" in said for said in report.conditional)
        assert warned is (verdict is Verdict.VALID)
    bare = replace(capsule, attested=Attested())
    assert not any("left some out" in said for said in judged(world, bare).conditional)


def test_the_links_of_an_attested_output_stand_in_reading_order(world: AttestedWorld) -> None:
    report = judged(world, world.capsule(attested_story(world)))
    names = [check.link for check in report.checks_now]
    start = names.index("output") + 1
    assert names[start : start + 4] == ["attestation/0", "policy/0", "evidence/0", "attestation"]


def test_a_test_root_is_said_in_capitals(world: AttestedWorld) -> None:
    report = judged(world, world.capsule(attested_story(world, "test-root")))
    assert report.verdict_now is Verdict.VALID
    [fact] = report.facts.attestations
    assert fact.configured_roots == ("ab" * 32,)
    words = "NOT A REAL VENDOR: this evidence is from a test root."
    assert report.to_text().splitlines()[1] == words
    assert any(said.endswith(words) for said in report.proved)
    assert NOTHING_MEASURED in report.to_text()


def test_what_the_policy_only_warned_of_is_shown(world: AttestedWorld) -> None:
    report = judged(world, world.capsule(attested_story(world, "old")))
    [fact] = report.facts.attestations
    assert (fact.tier, fact.tcb_status) == ("warning", "OutOfDate")
    assert fact.findings == ("X3 EXPIRED: old firmware",)
    assert "accepted     X3 EXPIRED: old firmware" in report.to_text()


def test_evidence_that_is_bound_to_no_model_still_covers_the_key(world: AttestedWorld) -> None:
    told = tell(world.world)
    world.register_policies(Family.AMD_SNP)
    binding = bound(world, told, model=None)
    world.attest(evidence_of(binding), stated=binding)
    report = judged(world, world.capsule(answered(world, told)))
    assert both(report, "attestation") == VALID
    assert report.facts.attestations[0].bound_to == ("session key",)
    assert NOTHING_MEASURED in report.to_text()


def test_the_newest_result_that_covers_an_output_is_the_one_that_is_told(
    world: AttestedWorld,
) -> None:
    told = tell(world.world)
    world.register_policies(Family.AMD_SNP)
    binding = bound(world, told)
    for issued_at in (ISSUED - 300, ISSUED):
        evidence = evidence_of(binding, str(issued_at))
        world.attest(evidence, stated=binding, issued_at=issued_at)
    report = judged(world, world.capsule(answered(world, told)))
    assert report.verdict_now is Verdict.VALID
    assert report.facts.attestations[0].index == world.results[1].index


# Unattested.


def test_an_output_without_attestation_is_as_valid_as_ever_and_unattested(
    world: AttestedWorld,
) -> None:
    told = tell(world.world)
    capsule = world.world.capsule(told)
    assert capsule.attested == Attested()
    report = judged(world, capsule)
    assert (report.verdict_then, report.verdict_now) == (Verdict.VALID, Verdict.VALID)
    assert not [check for check in report.checks_now if check.link == "attestation"]
    assert "attested       UNATTESTED: no attestation result" in report.to_text()
    assert report.facts.unattested
    assert any(said.endswith("UNATTESTED.") for said in report.not_provable)


def test_an_output_without_attestation_is_refused_if_one_is_demanded(world: AttestedWorld) -> None:
    report = judged(world, world.world.capsule(tell(world.world)), demand_attestation=True)
    assert both(report, "attestation") == invalid(Reason.UNATTESTED)
    assert report.verdict_now is Verdict.INVALID


def test_a_part_that_is_there_for_nothing_attests_nothing(world: AttestedWorld) -> None:
    told = tell(world.world)
    report = judged(world, world.world.capsule(told, attested=Attested(evidence=(b"quote",))))
    assert both(report, "material") == invalid(Reason.DIGEST_MISMATCH)
    assert both(report, "attestation") == invalid(Reason.UNATTESTED)


# Results about something else: rows 128 to 130 of the catalogue of bad inputs.


def refused(world: AttestedWorld, told: Told, reason: Reason) -> Report:
    """The result of a world covers its output not at all, and says why."""
    report = judged(world, world.capsule(told))
    assert both(report, "attestation") == invalid(reason)
    assert both(report, "attestation/0") == invalid(reason)
    assert both(report, "evidence/0") == VALID, "it is genuine evidence all the same"
    assert report.facts.attestations == ()
    assert reason in report.facts.unattested
    assert "UNATTESTED" in report.to_text()
    return report


def test_evidence_for_another_model_does_not_cover_an_output(world: AttestedWorld) -> None:
    # Row 128.
    told = tell(world.world)
    world.register_policies(Family.AMD_SNP)
    binding = bound(world, told, model=sha256(b"another model"))
    world.attest(evidence_of(binding), stated=binding)
    refused(world, answered(world, told), Reason.WRONG_MODEL)


# Row 129.
def test_an_output_is_not_covered_by_evidence_that_was_logged_after_it(
    world: AttestedWorld,
) -> None:
    # Row 129, by the order of the log.
    told = tell(world.world)
    world.register_policies(Family.AMD_SNP)
    binding = bound(world, told)
    world.attest(evidence_of(binding), stated=binding)
    refused(world, told, Reason.EVIDENCE_AFTER_OUTPUT)


def test_an_output_is_not_covered_by_evidence_that_was_appraised_after_it(
    world: AttestedWorld,
) -> None:
    # Row 129, by the node's own clock: one batch has records from before and after.
    told = attested_story(world, issued_at=int(MADE.timestamp()) + 1)
    refused(world, told, Reason.EVIDENCE_AFTER_OUTPUT)


@pytest.mark.parametrize(
    ("ago", "covered"), [(0, True), (-1, False), (3599, True), (3600, False)], ids=str
)
def test_a_result_covers_what_is_made_from_its_first_second_until_its_end(
    world: AttestedWorld, ago: int, *, covered: bool
) -> None:
    told = attested_story(world, issued_at=int(MADE.timestamp()) - ago)
    if covered:
        assert both(judged(world, world.capsule(told)), "attestation") == VALID
    else:
        early = Reason.EVIDENCE_AFTER_OUTPUT if ago < 0 else Reason.RESULT_NOT_IN_FORCE
        refused(world, told, early)


def test_a_fraction_of_a_second_after_the_attestation_is_after_it(world: AttestedWorld) -> None:
    told = tell(world.world)
    world.register_policies(Family.AMD_SNP)
    binding = bound(world, told)
    world.attest(evidence_of(binding), stated=binding, issued_at=int(MADE.timestamp()))
    journal = Journal()
    journal.call(told.release, at="2026-09-01T12:00:00.000001Z")
    batch = world.world.register(journal.batch_statement(), "node-1")
    later = told.but(batch=batch, records=tuple(journal.records), position=1)
    assert both(judged(world, world.capsule(later)), "attestation") == VALID


def test_evidence_for_a_key_that_was_rotated_does_not_cover_the_new_key(
    world: AttestedWorld,
) -> None:
    # Row 130.
    told = tell(world.world)
    world.register_policies(Family.AMD_SNP)
    binding = bound(world, told)
    world.attest(evidence_of(binding), stated=binding)
    world.world.key_event("node-1", action="retire")
    world.world.keys["node-1"] = StatementSigner.generate()
    world.world.key_event("node-1", roles=["node"])
    refused(world, answered(world, told), Reason.WRONG_SESSION_KEY)


def test_evidence_that_is_bound_to_no_key_covers_nothing(world: AttestedWorld) -> None:
    told = tell(world.world)
    world.register_policies(Family.AMD_SNP)
    world.attest(evidence_of(Binding()))
    refused(world, answered(world, told), Reason.WRONG_SESSION_KEY)


def test_evidence_that_was_refused_covers_nothing(world: AttestedWorld) -> None:
    told = attested_story(world, "forged")
    refused(world, told, Reason.ATTESTATION_REFUSED)


def test_evidence_that_was_refused_again_before_the_batch_covers_nothing(
    world: AttestedWorld,
) -> None:
    told = attested_story(world)
    world.no_longer_believe()
    world.attest(world.evidence[0], now=True, distrusted=[MILAN], stated=bound(world, told))
    report = judged(world, world.capsule(answered(world, told)))
    assert both(report, "attestation") == invalid(Reason.ATTESTATION_REFUSED)


def test_what_others_submit_of_ones_evidence_refutes_nothing(world: AttestedWorld) -> None:
    told = attested_story(world)
    stolen = bound(world, told, session_key=world.key("acme"))
    world.attest(world.evidence[0], stated=stolen)
    assert appraised(world.evidence[0], stated=stolen).submods[Family.AMD_SNP].verdict == "INVALID"
    report = judged(world, world.capsule(answered(world, told)))
    assert both(report, "attestation") == VALID
    assert both(report, "attestation/1") == invalid(Reason.WRONG_SESSION_KEY)


def test_a_time_that_no_calendar_has_is_covered_by_nothing(world: AttestedWorld) -> None:
    told = attested_story(world)
    journal = Journal()
    journal.call(told.release, at="2026-02-30T12:00:00Z")
    batch = world.world.register(journal.batch_statement(), "node-1")
    strange = told.but(batch=batch, records=tuple(journal.records), position=1)
    report = judged(world, world.capsule(strange))
    assert both(report, "attestation") == invalid(Reason.BAD_TIME)


# Row 136.
def test_a_result_that_somebody_else_signed_attests_nothing(world: AttestedWorld) -> None:
    told = attested_story(world, signer="node-1")
    report = judged(world, world.capsule(told))
    assert both(report, "attestation/0") == invalid(Reason.ROLE)
    assert both(report, "evidence/0") == indeterminate(Reason.CAPSULE_LINK)
    assert both(report, "attestation") == invalid(Reason.UNATTESTED)


# Material: rows 132, 133 and 137.


def test_an_endorsement_that_was_swapped_for_another_valid_one_is_refused(
    world: AttestedWorld,
) -> None:
    # Row 132.
    told = attested_story(world)
    report = judged(world, world.capsule(told, endorsements=(OTHER_CHAIN,)))
    assert both(report, "material") == invalid(Reason.DIGEST_MISMATCH)
    assert both(report, "evidence/0") == indeterminate(Reason.MISSING_BLOB)
    assert report.verdict_now is Verdict.INVALID


@pytest.mark.parametrize("kind", ["evidence", "endorsements", "policies"])
def test_an_archive_that_lacks_one_thing_leaves_the_attestation_open(
    world: AttestedWorld, kind: str
) -> None:
    # Row 133.
    told = attested_story(world)
    report = judged(world, world.capsule(told, **{kind: ()}))
    assert both(report, "evidence/0") == indeterminate(Reason.MISSING_BLOB)
    assert both(report, "attestation") == indeterminate(Reason.CAPSULE_LINK)
    assert (report.verdict_then, report.verdict_now) == (Verdict.INDETERMINATE,) * 2
    assert report.facts.attestations == ()
    assert "UNATTESTED" in report.to_text()


def test_a_policy_whose_text_was_edited_is_refused(world: AttestedWorld) -> None:
    # Row 137.
    told = attested_story(world)
    edited = msgspec.structs.replace(POLICIES[Family.AMD_SNP], result_seconds=7200)
    said = world.world.register(appraisal_policy.build(edited), "operator")
    world.policies[0] = said
    report = judged(world, world.capsule(told))
    assert both(report, "material") == invalid(Reason.DIGEST_MISMATCH)
    assert both(report, "evidence/0") == indeterminate(Reason.MISSING_BLOB)


def test_a_policy_that_was_logged_after_its_result_is_refused(world: AttestedWorld) -> None:
    told = tell(world.world)
    binding = bound(world, told)
    world.attest(evidence_of(binding), stated=binding)
    world.register_policies(Family.AMD_SNP)
    report = judged(world, world.capsule(answered(world, told)))
    assert both(report, "evidence/0") == invalid(Reason.CAPSULE_LINK)


Change = Callable[[Any], Any]


# Row 136: a verdict, a tier or a claim above what the evidence leads to.
@pytest.mark.parametrize(
    "change",
    [
        {"verdict": Verdict.VALID, "status": "affirming"},
        {"status": "affirming"},
        {"trust": {"hardware": 2}},
        {"evidence_id": "00" * 32},
        {"configured_roots": ("00" * 32,)},
        {"appraised_at": 2**53 - 1},
        {"appraised_at": 0},
    ],
    ids=["verdict", "status", "trust", "evidence id", "roots", "no time", "epoch"],
)
def test_a_result_that_its_evidence_does_not_lead_to_is_refused(
    world: AttestedWorld, change: dict[str, Any]
) -> None:
    told = tell(world.world)
    world.register_policies(Family.AMD_SNP)
    binding = bound(world, told)
    evidence = evidence_of(binding, "old" if "verdict" not in change else "forged")
    said = appraised(evidence, stated=binding)
    lie = msgspec.structs.replace(said.submods[Family.AMD_SNP], **change)
    said = msgspec.structs.replace(said, submods={Family.AMD_SNP: lie})
    world.results.append(world.world.register(attestation_result.build(said), "operator"))
    world.evidence.append(evidence)
    report = judged(world, world.capsule(answered(world, told)))
    time = change.get("appraised_at") == 0
    assert both(report, "evidence/0") == invalid(
        Reason.BAD_TIME if time else Reason.RESULT_MISMATCH
    )
    assert both(report, "attestation") == indeterminate(Reason.CAPSULE_LINK)


def test_a_family_that_is_not_known_here_leaves_the_attestation_open(
    world: AttestedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = attested_story(world)
    monkeypatch.delitem(FAMILIES, Family.AMD_SNP)
    report = judged(world, world.capsule(told))
    assert both(report, "evidence/0") == indeterminate(Reason.UNKNOWN_FAMILY)
    assert report.verdict_now is Verdict.INDETERMINATE


# GPUs.


def with_gpu(world: AttestedWorld, *, gpu: bool = True, named: bytes = GPU_ID) -> Told:
    told = tell(world.world)
    world.register_policies(Family.AMD_SNP, Family.NVIDIA_SET)
    if gpu:
        world.attest(GPU_EVIDENCE, family=Family.NVIDIA_SET, stated=Binding(nonce=NONCE))
    binding = bound(world, told, gpu=named)
    world.attest(evidence_of(binding), stated=binding)
    return answered(world, told)


def test_gpus_that_the_cpus_evidence_names_are_attested_with_it(world: AttestedWorld) -> None:
    report = judged(world, world.capsule(with_gpu(world)))
    assert report.verdict_now is Verdict.VALID
    assert both(report, "gpu") == VALID
    cpu, gpu = report.facts.attestations
    assert cpu.bound_to == ("session key", "model", "GPUs")
    assert (gpu.tee, gpu.bound_to) == ("NVIDIA GPUs and NVSwitches", ("gpu",))
    assert any("attested with NVIDIA GPUs and NVSwitches" in said for said in report.proved)


def test_gpus_whose_evidence_is_not_there_stay_open(world: AttestedWorld) -> None:
    told = with_gpu(world, gpu=False)
    report = judged(world, world.capsule(told, policies=world.attested().policies[:1]))
    assert both(report, "attestation") == VALID
    assert both(report, "gpu") == indeterminate(Reason.MISSING_BLOB)


def test_evidence_of_another_hosts_gpus_is_refused(world: AttestedWorld) -> None:
    # Row 120.
    told = with_gpu(world, named=sha256(b"other GPUs"))
    report = judged(world, world.capsule(told))
    assert both(report, "gpu") == indeterminate(Reason.MISSING_BLOB)
    assert both(report, "attestation/0")[0] is Verdict.INVALID


# Then and now: row 147.


def test_a_distrust_entry_changes_the_answer_now_and_not_the_old_one(world: AttestedWorld) -> None:
    told = attested_story(world)
    world.no_longer_believe()
    report = judged(world, world.capsule(told))
    assert then(report, "attestation") == VALID
    assert now(report, "attestation") == invalid(Reason.DISTRUSTED)
    assert both(report, "evidence/0") == VALID
    assert (report.verdict_then, report.verdict_now) == (Verdict.VALID, Verdict.INVALID)
    [fact] = report.facts.attestations
    assert "its keys leaked" in fact.refuted
    assert not any("was attested" in said for said in report.proved)
    assert "REFUTED" in report.to_text()


def test_a_distrust_entry_about_something_else_changes_nothing(world: AttestedWorld) -> None:
    told = attested_story(world)
    selector = msgspec.structs.replace(MILAN.selector, claims={"line": "Turin"})
    world.no_longer_believe(msgspec.structs.replace(MILAN, selector=selector))
    report = judged(world, world.capsule(told))
    assert (report.verdict_then, report.verdict_now) == (Verdict.VALID, Verdict.VALID)


def test_results_of_a_distrusted_verifier_are_not_believed_now(world: AttestedWorld) -> None:
    told = attested_story(world)
    selector = msgspec.structs.replace(MILAN.selector, claims={}, verifiers=("provreg test",))
    world.no_longer_believe(msgspec.structs.replace(MILAN, selector=selector))
    report = judged(world, world.capsule(told))
    assert then(report, "attestation") == VALID
    assert now(report, "attestation") == invalid(Reason.DISTRUSTED)


def test_evidence_that_is_refused_later_is_not_believed_now(world: AttestedWorld) -> None:
    told = attested_story(world)
    world.no_longer_believe()
    world.attest(world.evidence[0], now=True, distrusted=[MILAN], stated=bound(world, told))
    capsule = world.capsule(told)
    report = judged(world, capsule)
    assert then(report, "attestation") == VALID
    assert now(report, "attestation") == invalid(Reason.DISTRUSTED)
    assert both(report, "attestation/1") == VALID
    assert both(report, "evidence/1") == VALID
    lacking = judged(world, world.capsule(told, distrust=()))
    assert both(lacking, "evidence/1") == indeterminate(Reason.MISSING_BLOB)


def test_evidence_that_is_found_valid_again_stays_so(world: AttestedWorld) -> None:
    told = attested_story(world)
    world.attest(world.evidence[0], now=True, stated=bound(world, told))
    report = judged(world, world.capsule(told))
    assert (report.verdict_then, report.verdict_now) == (Verdict.VALID, Verdict.VALID)


def test_engines_that_disagree_later_leave_the_answer_now_open(world: AttestedWorld) -> None:
    told = attested_story(world)
    world.attest(world.evidence[0], now=True, stated=bound(world, told), disputed="other: no")
    report = judged(world, world.capsule(told))
    assert then(report, "attestation") == VALID
    assert now(report, "attestation") == indeterminate(Reason.ENGINES_DISAGREE)


def test_a_stolen_operator_key_shakes_the_attestation_now(world: AttestedWorld) -> None:
    told = attested_story(world)
    world.world.key_event("operator", action="compromise", compromised_since="2026-08-01T00:00:00Z")
    report = judged(world, world.capsule(told))
    assert then(report, "attestation") == VALID
    assert now(report, "attestation")[0] is Verdict.INDETERMINATE


# The file.


def test_parts_about_the_environment_come_last_and_are_read_back(world: AttestedWorld) -> None:
    told = with_gpu(world)
    world.no_longer_believe()
    capsule = world.capsule(told)
    names = [name for name, _ in capsule.parts()]
    first = names.index("attestation/0")
    assert [name for name in names[first:] if not name.endswith(".proof")] == [
        "attestation/0",
        "attestation/1",
        "policy/0",
        "policy/1",
        "distrust/0",
        "evidence/0",
        "evidence/1",
        "endorsement/0",
    ]
    assert Capsule.parse(capsule.to_bytes()) == capsule


def test_a_capsule_without_attestation_is_written_as_ever(world: AttestedWorld) -> None:
    told = attested_story(world)
    bare = world.world.capsule(told)
    assert not any("attestation/" in name for name, _ in bare.parts())
    assert Capsule.parse(bare.to_bytes()) == bare
    assert b"attest" not in bare.to_bytes()


def test_flipping_any_bit_of_an_attested_capsule_is_refused(world: AttestedWorld) -> None:
    told = with_gpu(world)
    world.no_longer_believe()
    data = world.capsule(told).to_bytes()
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 1 << position % 8
        with pytest.raises(RegistryError):
            Capsule.parse(bytes(changed))


def test_no_changed_byte_of_a_part_verifies_even_if_the_index_names_it_as_it_is(
    world: AttestedWorld,
) -> None:
    told = with_gpu(world)
    selector = msgspec.structs.replace(MILAN.selector, claims={"line": "Turin"})
    world.no_longer_believe(msgspec.structs.replace(MILAN, selector=selector))
    capsule = world.capsule(told)
    assert judged(world, capsule).verdict_now is Verdict.VALID
    whole = capsule.attested
    for kind in ("results", "policies", "distrust", "evidence", "endorsements"):
        for number, item in enumerate(getattr(whole, kind)):
            data = item if isinstance(item, bytes) else item.envelope
            for position in range(0, len(data), max(1, len(data) // 40)):
                flipped = bytearray(data)
                flipped[position] ^= 1 << position % 8
                changed = bytes(flipped)
                part = changed if isinstance(item, bytes) else replace(item, envelope=changed)
                others = [each for n, each in enumerate(getattr(whole, kind)) if n != number]
                ordered = _ordered([*others, part])
                forged = replace(capsule, attested=replace(whole, **{kind: ordered}))
                try:
                    report = judged(world, forged)
                except RegistryError:
                    continue
                assert report.verdict_then is not Verdict.VALID
                assert report.verdict_now is not Verdict.VALID


def _ordered(items: list[Any]) -> tuple[Any, ...]:
    return tuple(
        sorted(items, key=lambda each: sha256(each) if isinstance(each, bytes) else each.index)
    )


def malformed(capsule: Capsule) -> RegistryError:
    with pytest.raises(MalformedError) as caught:
        Capsule.parse(capsule.to_bytes())
    assert caught.value.reason is Reason.MALFORMED_CAPSULE
    return caught.value


@pytest.mark.parametrize("kind", ["evidence", "results", "policies"])
def test_parts_in_another_order_or_twice_are_refused(world: AttestedWorld, kind: str) -> None:
    capsule = world.capsule(with_gpu(world))
    items = getattr(capsule.attested, kind)
    for wrong in (items[::-1], (items[0],) * 2):
        malformed(replace(capsule, attested=replace(capsule.attested, **{kind: wrong})))


@pytest.mark.parametrize(
    ("kind", "limit"),
    [("evidence", "MAX_EVIDENCE_BYTES"), ("endorsements", "MAX_ENDORSEMENT_BYTES")],
)
def test_a_part_larger_than_any_of_its_kind_is_refused(
    world: AttestedWorld, monkeypatch: pytest.MonkeyPatch, kind: str, limit: str
) -> None:
    capsule = world.capsule(attested_story(world))
    size = len(getattr(capsule.attested, kind)[0])
    monkeypatch.setattr(f"registry.core.capsule.parts.{limit}", size - 1)
    assert "too large" in malformed(capsule).what


@pytest.mark.parametrize(
    ("kind", "limit"),
    [("evidence", "MAX_RESULTS"), ("results", "MAX_RESULTS"), ("distrust", "MAX_DISTRUST")],
)
def test_more_parts_than_a_capsule_takes_are_refused(
    world: AttestedWorld, monkeypatch: pytest.MonkeyPatch, kind: str, limit: str
) -> None:
    told = with_gpu(world)
    for number in range(2):
        world.no_longer_believe(msgspec.structs.replace(MILAN, reason=str(number)))
    capsule = world.capsule(told)
    monkeypatch.setattr(f"registry.core.capsule.parts.{limit}", 1)
    only = Attested(**{kind: getattr(capsule.attested, kind)})
    assert "too many" in malformed(replace(capsule, attested=only)).what
