"""Capsules by a reader's policy: cosigned to quorum, not yet, wrongly, or by another log."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from registry.core.capsule.container import Capsule
from registry.core.capsule.report import Report
from registry.core.capsule.walk import appraise
from registry.core.capsule.witnesses import WITNESSES
from registry.core.tlog.checkpoint import Checkpoint, SignedCheckpoint
from registry.core.tlog.policy import Policy
from registry.core.verdict import Check, Verdict
from registry.errors import Reason
from registry.signing.cosigner import Cosigner
from tests.mint import World, tell

AT = datetime(2026, 7, 1, 12, tzinfo=UTC)
FIRST, SECOND = Cosigner.generate("first.example"), Cosigner.generate("second.example")
POST_QUANTUM = Cosigner.generate("log.example", post_quantum=True)


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.fixture(scope="module")
def capsule(world: World) -> Capsule:
    return world.capsule(tell(world))


def cosigned(capsule: Capsule, *cosigners: Cosigner, head: Checkpoint | None = None) -> Capsule:
    checkpoint = head or SignedCheckpoint.parse(capsule.checkpoint).checkpoint
    lines = "".join(str(cosigner.cosign(checkpoint, AT)) for cosigner in cosigners)
    return replace(capsule, checkpoint=capsule.checkpoint + lines.encode())


def policy(world: World, quorum: str = "both") -> Policy:
    return Policy.parse(
        f"log {world.log.key}\nwitness w1 {FIRST.key}\nwitness w2 {SECOND.key}\n"
        f"witness pq {POST_QUANTUM.key}\ngroup both all w1 w2\nquorum {quorum}\n".encode()
    )


def judged(world: World, capsule: Capsule, asked: Policy | None) -> Report:
    return appraise(Capsule.parse(capsule.to_bytes()), world.log.key, None, asked)


def link(report: Report) -> Check:
    [found] = [check for check in report.checks_now if check.link == WITNESSES]
    assert [check for check in report.checks_then if check.link == WITNESSES] == [found]
    return found


def test_without_a_policy_nothing_is_said_of_witnesses(world: World, capsule: Capsule) -> None:
    report = judged(world, cosigned(capsule, FIRST, SECOND), None)
    assert WITNESSES not in {check.link for check in report.checks_now}
    assert any("no policy of yours" in line for line in report.conditional)


def test_a_capsule_with_a_quorum_is_valid(world: World, capsule: Capsule) -> None:
    report = judged(world, cosigned(capsule, FIRST, SECOND), policy(world))
    assert link(report).verdict is Verdict.VALID
    assert report.verdict_now is Verdict.VALID
    assert any("the witnesses of your policy say so" in line for line in report.conditional)


def test_a_capsule_without_a_quorum_is_indeterminate_and_says_who_is_missing(
    world: World, capsule: Capsule
) -> None:
    report = judged(world, cosigned(capsule, FIRST), policy(world))
    assert (link(report).verdict, link(report).reason) == (Verdict.INDETERMINATE, Reason.QUORUM)
    assert "missing w2" in link(report).detail
    assert report.verdict_now is Verdict.INDETERMINATE


def test_a_cosignature_of_another_tree_makes_a_capsule_invalid(
    world: World, capsule: Capsule
) -> None:
    other = Checkpoint(world.log.key.name, 1, bytes(32))
    wrong = cosigned(cosigned(capsule, FIRST), SECOND, head=other)
    report = judged(world, wrong, policy(world))
    assert (link(report).verdict, link(report).reason) == (Verdict.INVALID, Reason.COSIGNATURE)


def test_a_capsule_of_a_log_that_the_policy_does_not_name_is_invalid(
    world: World, capsule: Capsule
) -> None:
    report = judged(world, cosigned(capsule, FIRST, SECOND), policy(World("other.example")))
    assert (link(report).verdict, link(report).reason) == (Verdict.INVALID, Reason.WRONG_LOG)


def test_a_reader_can_demand_the_logs_post_quantum_signature(
    world: World, capsule: Capsule
) -> None:
    asked = policy(world, "pq")
    assert link(judged(world, cosigned(capsule, POST_QUANTUM), asked)).verdict is Verdict.VALID
    report = judged(world, cosigned(capsule, FIRST, SECOND), asked)
    assert link(report).reason == Reason.QUORUM
