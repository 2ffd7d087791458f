"""What tests look for in a foreign proof."""

from registry.core.encoding import read_json, write_json
from registry.core.foreign.captured import Asked, Captured
from registry.core.foreign.proof import ForeignProof, Layer, System
from registry.core.foreign.systems import READERS, examine
from registry.core.verdict import Verdict


def judged(system: System, captured: Captured, asked: Asked) -> ForeignProof:
    """Examine, and check what holds for every proof."""
    proof = examine(system, captured, asked).proof
    table = READERS[system][1]
    assert {item.check for item in proof.checks} == set(table)
    assert read_json(write_json(proof), ForeignProof) == proof
    return proof


def found(proof: ForeignProof) -> set[tuple[str, str]]:
    """Every check that failed, or was skipped for want of something, with its finding."""
    return {
        (item.check, item.finding)
        for item in proof.checks
        if item.outcome == "fail" or item.finding in ("MISSING", "NOT_REACHED")
    }


def layers(proof: ForeignProof) -> dict[Layer, Verdict]:
    """The verdict on each layer."""
    return {item.layer: item.verdict for item in proof.layers}
