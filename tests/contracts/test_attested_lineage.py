"""An output of an attested node leads to a capsule that proves, offline, what it ran on."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from registry.core.verdict import Verdict
from registry.inspection.appraisal_pool import AppraisalPool
from tests.attesting import Attesting, Clock, attesting, distrust, document
from tests.contracts.attested_outputs import record, traced, verdicts
from tests.mint import AT


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


def attest(world: Attesting, **members: object) -> None:
    """Attest the node's key; what else it is bound to is the caller's to say."""
    binding = replace(world.binding(), model=None)
    binding = replace(binding, **members)  # type: ignore[arg-type]
    world.present(document(binding, world.clock.at).evidence, binding)


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
