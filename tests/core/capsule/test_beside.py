"""What stands beside an outcome in a capsule: what ran, and what was attached to it later."""

from dataclasses import dataclass, replace
from typing import Any

import pytest

from registry.core.capsule.container import Capsule
from registry.core.capsule.facts import AttachedFact, BoundFact
from registry.core.capsule.parts import Beside
from registry.core.capsule.report import Report
from registry.core.capsule.walk import appraise
from registry.core.records import inference, replay
from registry.core.records.replay import Receipt, Replay, Why
from registry.core.tlog import merkle
from registry.core.verdict import Check, Verdict
from registry.errors import MalformedError, Reason
from tests.mint import AT, Journal, Logged, Told, World, a_manifest, tell

RUNTIME = inference.Runtime(engine="onnxruntime", version="1.22.0")


@dataclass(frozen=True)
class Story:
    """A shim's journal in two batches: what ran and the call, then what was attached to it.

    Attributes:
        cut: How many records are in the first batch.
        first: The batch of the outcome.
        second: The batch of what was attached.
    """

    world: World
    told: Told
    journal: Journal
    cut: int
    first: Logged
    second: Logged

    def beside(self, n: int) -> Beside:
        """Record ``n`` with its path in its batch."""
        start, end = (0, self.cut) if n < self.cut else (self.cut, len(self.journal.records))
        leaves = [merkle.leaf_hash(data) for data in self.journal.records[start:end]]
        position = n - start
        return Beside(self.journal.records[n], position, merkle.inclusion_path(leaves, position))

    def capsule(self, **members: Any) -> Capsule:
        """The capsule with what stands beside the outcome, or something else."""
        values: dict[str, Any] = {
            "other_batches": [self.world.proved(self.second)],
            "setup": self.beside(1),
            "attached": [self.beside(self.cut)],
        }
        return self.world.capsule(self.told, **(values | members))

    def judged(self, **members: Any) -> Report:
        """The report on that capsule."""
        capsule = self.capsule(**members)
        assert Capsule.parse(capsule.to_bytes()) == capsule
        return appraise(capsule, self.world.log.key)


def story(
    *,
    asked: inference.Level = "signed",
    setup: dict[str, Any] | None = None,
    attached: dict[str, Any] | None = None,
    signer: str = "node-1",
    world: World | None = None,
    second_shim: dict[str, Any] | None = None,
) -> Story:
    """A story in which ``attached`` and ``setup`` say these things."""
    world = world or World()
    base = tell(world)
    journal = Journal(shim_id="7" * 32)
    journal.boot()
    record = inference.parse(base.records[base.position])
    assert isinstance(record, inference.Completion)
    ran: dict[str, Any] = {
        "sequence": journal.sequence(),
        "at": AT,
        "model": record.model,
        "binding": "artifact_verified",
        "level": 2,
        "runtime": RUNTIME,
        "files_verified": 2,
        "adapters": ("a" * 64,),
        "tokenizer": "b" * 64,
        "chat_template": "c" * 64,
        "quantization": "Q4_K_M",
    }
    journal.append(inference.Setup(**(ran | (setup or {}))))
    journal.call(base.release, asked=asked, deadline_ms=500, setup_n=1)
    cut = len(journal.records)
    first = world.register(journal.batch_statement(), "node-1")
    more: dict[str, Any] = {
        "sequence": journal.sequence(),
        "at": AT,
        "intent_n": 2,
        "level": asked,
        "late_us": 2_000_000,
        "evidence_us": 2_500_000,
        "proof": first.envelope.record_id.hex(),
    }
    journal.append(inference.Attached(**(more | (attached or {}))))
    if signer != "node-1":
        world.key_event(signer, roles=["node"])
    second = world.register(journal.batch_statement(cut, **(second_shim or {})), signer)
    told = base.but(batch=first, records=tuple(journal.records[:cut]), position=cut - 1)
    return Story(world, told, journal, cut, first, second)


def link(report: Report, name: str) -> Check:
    [found] = [item for item in report.checks_now if item.link == name]
    return found


def only(report: Report) -> AttachedFact:
    [found] = report.facts.attached
    return found


def test_what_was_attached_to_a_receipt_is_shown_and_its_proof_is_checked() -> None:
    report = story().judged()
    assert report.verdict_now is Verdict.VALID
    found = only(report)
    assert (found.level, found.late_us, found.evidence_us) == ("signed", 2_000_000, 2_500_000)
    assert (found.proven_by, found.missed) == ("batch", "")
    assert "signed 2.5 s after the answer, 2.0 s late" in report.to_text()
    assert "checked here: batch" in report.to_text()


def test_what_ran_is_shown_with_adapters_tokenizer_template_and_quantisation() -> None:
    report = story().judged()
    ran = report.facts.setup
    assert ran is not None
    assert (ran.binding, ran.level, ran.files_verified) == ("artifact_verified", 2, 2)
    assert ran.adapters == (f"sha256:{'a' * 64}",)
    assert (ran.tokenizer, ran.chat_template) == (f"sha256:{'b' * 64}", f"sha256:{'c' * 64}")
    text = report.to_text()
    for part in ("level L2", "2 files compared", "Q4_K_M", "b" * 64, "c" * 64):
        assert part in text


def test_what_the_model_server_reported_is_shown_and_its_weights_are_looked_up() -> None:
    ours = digest_of("model.onnx")
    report = story(
        setup={
            "report": inference.Report(
                interface="ollama",
                model="x:latest",
                digest="d" * 64,
                weights=(ours, "e" * 64),
                chat_template="f" * 64,
                engine="ollama",
                engine_version="0.5.7",
            )
        }
    ).judged()
    assert report.facts.setup is not None
    said = report.facts.setup.report
    assert said is not None
    assert said.weights == ((f"sha256:{ours}", "model.onnx"), (f"sha256:{'e' * 64}", ""))
    text = report.to_text()
    for part in ("x:latest, by ollama 0.5.7", "d" * 64, "model.onnx", "no file that is listed"):
        assert part in text


def digest_of(path: str) -> str:
    """The SHA-256 of a file of the version."""
    [found] = [file for file in a_manifest().files if file.path == path]
    return found.digest.sha256


@pytest.mark.parametrize(
    ("outcome", "valid"),
    [("proven", True), ("unproven", False)],
)
def test_a_level_is_shown_by_what_the_capsule_holds_and_not_by_the_word_of_the_node(
    outcome: str, valid: bool
) -> None:
    claimed = story(setup={"level": 3, "evidence": "e" * 64}).judged()
    assert claimed.facts.bound == BoundFact(binding="artifact_verified", level=2, by="setup")
    assert claimed.facts.setup is not None
    assert claimed.facts.setup.level == 3
    again = replayed(input_=outcome)
    level = 4 if valid else 2
    assert again.facts.bound is not None
    assert again.facts.bound.level == level


def test_what_was_missed_is_shown_with_its_reason() -> None:
    report = story(asked="attested", attached={"missed": "UNATTESTED", "proof": "e" * 64}).judged()
    assert report.verdict_now is Verdict.VALID
    assert (only(report).missed, only(report).proven_by) == ("UNATTESTED", "")
    assert "attested MISSED(UNATTESTED)" in report.to_text()


def test_without_such_a_record_the_report_says_that_nothing_is_known() -> None:
    report = story().judged(other_batches=[], attached=[])
    assert report.verdict_now is Verdict.VALID
    assert any("What became of the level" in line for line in report.not_provable)
    assert not any("What became" in line for line in story().judged().not_provable)


def test_an_attestation_that_the_capsule_does_not_hold_is_not_called_checked() -> None:
    report = story(asked="attested", attached={"proof": "e" * 64}).judged()
    assert only(report).proven_by == ""
    assert "not in this capsule" in report.to_text()


@pytest.mark.parametrize(
    ("attached", "reason"),
    [
        ({"proof": "e" * 64}, Reason.OUTCOME_UNEXPLAINED),
        ({"intent_n": 0}, Reason.OUTCOME_UNEXPLAINED),
        ({"level": "attested"}, Reason.OUTCOME_UNEXPLAINED),
    ],
    ids=["another batch", "another call", "another level"],
)
def test_an_attached_record_that_contradicts_the_receipt_is_refused(
    attached: dict[str, Any], reason: Reason
) -> None:
    report = story(attached=attached).judged()
    assert link(report, "attached/0").reason == reason
    assert report.verdict_now is Verdict.INVALID
    assert report.facts.attached == ()


def test_a_record_of_another_nodes_batch_is_refused() -> None:
    report = story(signer="node-2").judged()
    assert link(report, "attached/0").reason == Reason.SIGNER_CHANGED


def test_a_record_whose_path_does_not_lead_to_its_batch_is_refused() -> None:
    told = story()
    setup = told.beside(1)
    report = told.judged(setup=replace(setup, position=2))
    assert link(report, "setup").verdict is Verdict.INVALID
    report = told.judged(setup=replace(setup, path=setup.path[:-1]))
    assert link(report, "setup").verdict is Verdict.INVALID


def test_a_record_whose_batch_is_missing_and_a_batch_without_a_record_are_refused() -> None:
    told = story()
    assert link(told.judged(other_batches=[]), "attached/0").reason == Reason.BATCH_CONTENT
    report = told.judged(attached=[])
    assert link(report, "other-batch/0").reason == Reason.CAPSULE_LINK
    assert report.verdict_now is Verdict.INVALID


@pytest.mark.parametrize(
    "setup",
    [
        {"binding": "name_only"},
        {"runtime": inference.Runtime(engine="other", version="1")},
        {
            "model": inference.Model(
                release=f"sha256:{'a' * 64}", manifest="b" * 64, name="acme/y", version="1"
            )
        },
    ],
    ids=["binding", "runtime", "model"],
)
def test_a_setup_that_says_something_else_than_the_record_is_refused(setup: dict[str, Any]) -> None:
    report = story(setup=setup).judged()
    assert link(report, "setup").reason == Reason.UNKNOWN_SETUP
    assert report.facts.setup is None


def test_a_record_of_another_kind_is_no_setup_and_nothing_attached() -> None:
    told = story()
    assert link(told.judged(setup=told.beside(2)), "setup").reason == Reason.FOREIGN_PREDICATE
    report = told.judged(attached=[told.beside(2)], other_batches=[])
    assert link(report, "attached/0").reason == Reason.FOREIGN_PREDICATE


def replayed(outcome: str = "bit_exact", input_: str = "proven") -> Report:
    """The report on a story whose call was run again, and whose node attached that."""
    bare = story(asked="recomputed")
    place = bare.told.position
    record = inference.parse(bare.told.records[place])
    assert isinstance(record, inference.Completion)
    why = (Why.ISA_UNRECORDED, Why.OPT_LEVEL_UNRECORDED, Why.PROVIDER_UNRECORDED)
    own = record.response.content_digest
    agrees = outcome == "bit_exact"
    said = Replay(
        receipt=Receipt(
            shim_id=record.sequence.shim_id,
            intent_n=record.intent_n,
            n=record.sequence.n,
            leaf=merkle.leaf_hash(bare.told.records[place]).hex(),
        ),
        model=record.model,
        model_file="model.onnx",
        input=input_,  # type: ignore[arg-type]
        outcome=outcome,  # type: ignore[arg-type]
        recorded=record.runtime,
        replayed=record.runtime,
        recorded_output=own,
        replayed_output=own if agrees else "0" * 64,
        reasons=why if agrees else (Why.EXACT_TYPE_DIFFERS, *why),
        run_us=9,
        issued_at=AT,
    )
    bare.world.key_event("auditor-1", roles=["auditor"])
    logged = bare.world.register(replay.statement(said), "auditor-1")
    journal = Journal(shim_id=bare.journal.shim_id, records=bare.journal.records[: bare.cut])
    journal.append(
        inference.Attached(
            sequence=journal.sequence(),
            at=AT,
            intent_n=2,
            level="recomputed",
            proof=logged.envelope.record_id.hex(),
        )
    )
    second = bare.world.register(journal.batch_statement(bare.cut), "node-1")
    told = replace(bare, journal=journal, second=second)
    return told.judged(replays=[bare.world.proved(logged)])


def test_a_replay_that_was_attached_is_the_one_in_the_capsule() -> None:
    report = replayed()
    assert report.verdict_now is Verdict.VALID
    assert only(report).proven_by == "replay/0"
    report = replayed("mismatch")
    assert link(report, "attached/0").reason == Reason.OUTCOME_UNEXPLAINED


def test_more_attached_records_than_a_capsule_takes_are_refused() -> None:
    told = story()
    capsule = told.world.capsule(
        told.told,
        other_batches=[told.world.proved(told.second)],
        attached=[told.beside(told.cut)] * 5,
    )
    with pytest.raises(MalformedError):
        Capsule.parse(capsule.to_bytes())


@pytest.mark.parametrize(
    ("demanded", "then"), [(1, Verdict.VALID), (2, Verdict.VALID), (3, Verdict.INVALID)]
)
def test_a_reader_demands_a_step_of_the_ladder(demanded: int, then: Verdict) -> None:
    # What the node says of itself does not count: it says 3.
    told = story(setup={"level": 3, "evidence": "e" * 64})
    capsule = told.world.capsule(told.told, setup=told.beside(1))
    report = appraise(capsule, told.world.log.key, demand_level=demanded)
    assert (report.verdict_then, report.verdict_now) == (then, then)
    expected = "" if then is Verdict.VALID else Reason.BINDING_TOO_WEAK
    assert link(report, "model binding").reason == expected
