"""How strongly a capsule binds the output to a model: the step of the ladder that holds here.

What a node wrote down is its word. It is raised here only by what this capsule proves, and lowered
where a step rests on something that this capsule does not show:

======  ==============================================================================
step    is shown here by
======  ==============================================================================
L1      the record: these bytes, in this order, by this node
L2      the setup record, or the binding: the node compared the version's files
L3      the setup record, and an attestation of the node's key that is bound to the version
L3      a proof of another system, whose evidence binds its signer: ``provider_attested``
L4      a replay of this record on its own input that agrees
======  ==============================================================================

A proof of another system says of the weights what it says, and no more; that stands beside it.
"""

from typing import Final

from registry.core import verdict
from registry.core.capsule.attestation import ATTESTATION
from registry.core.capsule.facts import BoundFact, Facts
from registry.core.capsule.links import Link
from registry.core.foreign.proof import Strength
from registry.core.verdict import Verdict
from registry.errors import Reason, VerificationError

BINDING: Final = "model binding"
"""The link that is there only if the reader demands a step of the ladder."""

LEVELS: Final = (1, 4)
"""The lowest and the highest step that a capsule can show."""

_AGREES = ("bit_exact", "within_tolerance")
_MEASURED = (Strength.MEASURED, Strength.ZK)


def strongest(facts: Facts, sure: set[str]) -> BoundFact | None:
    """The strongest step that holds; None without an output.

    Args:
        facts: What was said by links that held.
        sure: The links that hold now as well.
    """
    output = facts.output
    if output is None:
        return None
    for replay in facts.replays:
        if replay.part in sure and replay.outcome in _AGREES and replay.input == "proven":
            return BoundFact(binding=output.binding, level=4, by=replay.part)
    if output.binding == "artifact_verified":
        vouched = any(
            "model" in item.bound_to and not item.configured_roots and not item.refuted
            for item in facts.attestations
        )
        attested = facts.setup is not None and facts.setup.level >= 3  # noqa: PLR2004 - L3
        if attested and vouched and {"setup", ATTESTATION} <= sure:
            return BoundFact(binding=output.binding, level=3, by=ATTESTATION)
    for proof in facts.foreign:
        measured = Strength(proof.code_strength) in _MEASURED
        if proof.part in sure and proof.here is Verdict.VALID and measured:
            return BoundFact(
                binding="provider_attested",
                level=3,
                by=proof.part,
                weights=proof.binding_strength,
            )
    level = 2 if output.binding == "artifact_verified" else 1
    return BoundFact(binding=output.binding, level=level, by="setup" if facts.setup else "record")


def judge_binding(bound: BoundFact | None, demanded: int) -> Link:
    """Judge whether the output is bound to its model as strongly as a reader demands."""
    actual = "no output" if bound is None else f"L{bound.level}, {bound.binding}, by {bound.by}"
    if bound is not None and bound.level >= demanded:
        return Link.both(verdict.valid(BINDING, f"{actual}; demanded is L{demanded}"))
    error = VerificationError(
        Reason.BINDING_TOO_WEAK,
        "this capsule does not bind the output to its model as strongly as is demanded",
        expected=f"L{demanded}",
        actual=actual,
    )
    return Link.both(verdict.invalid(BINDING, error))
