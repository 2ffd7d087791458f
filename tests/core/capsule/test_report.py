"""The report: what it says for people, for machines, and what it never claims."""

from dataclasses import replace

import pytest

from registry.core import encoding
from registry.core.capsule.report import Report
from registry.core.capsule.walk import appraise
from registry.core.digest import sha256
from registry.core.records import inference
from registry.core.verdict import Verdict
from tests.mint import (
    OUTPUT,
    Journal,
    Told,
    World,
    attribution_statement,
    dataset_statement,
    release_statement,
    tell,
)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def told(world: World) -> Told:
    return tell(world)


@pytest.fixture
def report(world: World, told: Told) -> Report:
    return appraise(world.capsule(told), world.log.key, [sha256(OUTPUT)])


def test_the_report_names_the_output_and_who_recorded_it(report: Report) -> None:
    output = report.facts.output
    assert output is not None
    assert output.digest == f"sha256:{sha256(OUTPUT).hex()}"
    assert (output.node, output.n, output.model) == ("node-1", 6, "acme/x@1.2.0")


def test_the_report_names_the_release_and_who_published_it(report: Report, told: Told) -> None:
    release = report.facts.release
    assert release is not None
    assert (release.publisher, release.index) == ("acme", told.release.index)
    assert release.record_id == told.release.record_id


def test_the_report_names_the_files_by_digest(report: Report) -> None:
    assert [(file.path, file.digest) for file in report.facts.files] == [
        ("config.json", f"sha256:{sha256(b'{}').hex()}"),
        ("model.onnx", f"sha256:{sha256(b'weights').hex()}"),
    ]


def test_the_report_names_datasets_with_licence_and_contributors(report: Report) -> None:
    [dataset] = report.facts.datasets
    assert (dataset.name, dataset.licence) == ("acme/reviews@2026-08", "CC-BY-4.0")
    assert [(item.id, item.share) for item in dataset.contributors] == [("alice", 5), ("bob", 3)]


def test_the_report_names_what_the_model_owes_to_each_dataset(report: Report) -> None:
    [attribution] = report.facts.attributions
    [dataset] = report.facts.datasets
    assert [item.dataset for item in attribution.datasets] == [dataset.record_id]


def test_the_report_names_the_tree(report: Report, world: World) -> None:
    assert report.facts.log is not None
    assert (report.facts.log.origin, report.facts.log.size) == ("log.example", len(world.leaves))


def test_machines_read_the_report_back(report: Report) -> None:
    assert encoding.read_json(report.to_bytes(), Report) == report


def test_the_text_leads_with_both_verdicts(report: Report) -> None:
    assert report.to_text().startswith("Verdict as-now: VALID    as-then: VALID\n")


def test_a_link_that_is_judged_differently_on_two_clocks_is_shown_twice(
    world: World, told: Told
) -> None:
    world.key_event("node-1", action="compromise", compromised_since="2026-09-02T00:00:00Z")
    text = appraise(world.capsule(told), world.log.key).to_text()
    assert "node key: INVALID(KEY_REVOKED)" in text
    assert "node key (as-then): VALID" in text


def test_the_residue_is_always_stated(world: World, told: Told) -> None:
    whole = appraise(world.capsule(told), world.log.key)
    broken = appraise(replace(world.capsule(told), record=b"{}"), None)
    for residue in ("never reached the shim", "true time", "publisher says", "weights"):
        for report in (whole, broken):
            assert any(residue in sentence for sentence in report.not_provable), residue


def test_under_an_unpinned_log_key_everything_is_conditional(world: World, told: Told) -> None:
    pinned = appraise(world.capsule(told), world.log.key)
    open_ended = appraise(world.capsule(told), None)
    assert open_ended.proved == ()
    for sentence in pinned.proved:
        assert any(item.endswith(sentence) for item in open_ended.conditional)


def test_a_broken_link_proves_nothing_that_rests_on_it(world: World, told: Told) -> None:
    report = appraise(replace(world.capsule(told), record=b"{}"), world.log.key)
    assert report.facts.output is None
    assert not any("recorded an output" in sentence for sentence in report.proved)


def test_a_link_that_cannot_be_judged_is_a_condition(world: World, told: Told) -> None:
    report = appraise(world.capsule(told, manifest=None), world.log.key)
    assert any(sentence.startswith("manifest: ") for sentence in report.conditional)


def test_without_any_dataset_the_training_data_is_not_provable(world: World) -> None:
    told = tell(world)
    bare = world.register(release_statement(told.manifest, version="2"), "acme")
    journal = Journal()
    journal.call(bare, OUTPUT)
    batch = world.register(journal.batch_statement(), "node-1")
    told = Told(told.manifest, bare, batch, tuple(journal.records), position=1)
    report = appraise(world.capsule(told), world.log.key)
    assert report.verdict_now is Verdict.VALID
    assert any("no dataset in this capsule" in sentence for sentence in report.not_provable)


def test_an_answer_that_was_cut_off_is_said_to_be(world: World) -> None:
    told = tell(world)
    journal = Journal()
    response = inference.Response(
        profile="output/bytes/v1",
        content_digest=sha256(OUTPUT).hex(),
        wire_digest=sha256(OUTPUT).hex(),
        complete=False,
    )
    journal.call(told.release, OUTPUT, response=response)
    batch = world.register(journal.batch_statement(), "node-1")
    told = told.but(batch=batch, records=tuple(journal.records), position=1)
    report = appraise(world.capsule(told), world.log.key)
    assert "The answer ended before its own end." in report.proved


def test_a_statement_cannot_forge_a_line_of_the_report(world: World, told: Told) -> None:
    said = dataset_statement(version="2", contributors=[("eve\n  log key: VALID\x1b[2J", 1)])
    dataset = world.register(said, "acme")
    claim = world.register(attribution_statement(told.release, [dataset]), "acme")
    told = told.but(datasets=(*told.datasets, dataset), attributions=(claim,))
    text = appraise(world.capsule(told), None).to_text()
    assert "eve\\n  log key: VALID\\x1b[2J" in text
    assert "\n  log key: VALID" not in text
