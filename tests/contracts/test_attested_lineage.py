"""An output of an attested node leads to a capsule that proves, offline, what it ran on."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from registry.core.attestation.dsse import Envelope
from registry.core.capsule.container import Capsule
from registry.core.capsule.report import Report
from registry.core.capsule.walk import appraise
from registry.core.digest import sha256
from registry.core.verdict import Verdict
from registry.inspection.appraisal_pool import AppraisalPool
from tests.attesting import Attesting, Clock, attesting, distrust, document
from tests.mint import AT, OUTPUT, Journal, Logged, a_manifest, release_statement


@pytest.fixture(scope="module")
def pool() -> Iterator[AppraisalPool]:
    opened_pool = AppraisalPool(1)
    yield opened_pool
    opened_pool.close()


@pytest.fixture
def world(tmp_path: Path, url: str, pool: AppraisalPool) -> Iterator[Attesting]:
    clock = Clock(datetime.fromisoformat(AT) - timedelta(minutes=1))
    with attesting(tmp_path / "data", pool, url, clock=clock) as world:
        yield world


def record(world: Attesting) -> None:
    """Publish a model, and let the node record one output of it."""
    under = world.under
    files = {"notes.txt": b"what it is", "weights.bin": b"weights"}
    manifest = a_manifest(files)
    for data in (*files.values(), manifest.to_bytes()):
        under.services.artifacts.put(data)
    said = release_statement(manifest)
    index = under.register(said).index
    envelope: Envelope = under.keys["acme"].sign(said)
    journal = Journal()
    journal.boot()
    journal.call(Logged(said, envelope, index), OUTPUT)
    under.register_batch(journal.batch_statement(), journal.records)


def attest(world: Attesting, **members: object) -> None:
    """Attest the node's key; what else it is bound to is the caller's to say."""
    binding = replace(world.binding(), model=None)
    binding = replace(binding, **members)  # type: ignore[arg-type]
    world.present(document(binding, world.clock.at).evidence, binding)


def traced(world: Attesting) -> tuple[Report, Capsule]:
    """What a reader says who got the capsule, and knows the log's key from elsewhere."""
    services = world.under.services
    data, _, _ = services.lineage.trace([sha256(OUTPUT)], None)
    capsule = Capsule.parse(data)
    return appraise(capsule, services.signer.key, [sha256(OUTPUT)]), capsule


def verdicts(report: Report, link: str) -> tuple[Verdict, Verdict]:
    """As-then and as-now."""
    return (
        next(item.verdict for item in report.checks_then if item.link == link),
        next(item.verdict for item in report.checks_now if item.link == link),
    )


def test_the_capsule_carries_what_attested_its_node_and_proves_it_again(world: Attesting) -> None:
    attest(world)
    record(world)
    report, capsule = traced(world)
    assert len(capsule.attested.results) == len(capsule.attested.policies) == 1
    assert len(capsule.attested.evidence) == 1
    for link in ("attestation", "attestation/0", "evidence/0"):
        assert verdicts(report, link) == (Verdict.VALID, Verdict.VALID), report
    assert report.verdict_now is Verdict.VALID


def test_a_node_without_a_result_in_force_is_unattested(world: Attesting) -> None:
    record(world)
    report, capsule = traced(world)
    assert capsule.attested.results == ()
    assert report.verdict_now is Verdict.VALID
    assert report.facts.unattested
    assert any("UNATTESTED" in line for line in report.not_provable)


def test_evidence_for_another_model_attests_nothing(world: Attesting) -> None:
    attest(world, model=bytes(32))
    record(world)
    assert traced(world)[1].attested.results == ()


def test_what_is_distrusted_later_changes_the_answer_as_now_alone(world: Attesting) -> None:
    attest(world)
    record(world)
    world.distrust(distrust(world.clock.at + timedelta(days=1)))
    report, capsule = traced(world)
    assert len(capsule.attested.distrust) == 1
    assert verdicts(report, "attestation") == (Verdict.VALID, Verdict.INVALID)
