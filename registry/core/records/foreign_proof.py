"""Foreign proofs as statements: what another system proves of an output, signed by who imported it.

The subjects are the output, by each digest that names it, and every part that the proof rests on.
A statement whose own checks do not bear its verdict or its strength is refused.
"""

from typing import Final

import msgspec

from registry.core.attestation.statement import STATEMENT_TYPE, Statement, Subject
from registry.core.foreign.proof import ForeignProof, Layer, Strength
from registry.core.foreign.reading import layer_verdicts, worst
from registry.core.records import NAMESPACE
from registry.core.verdict import Verdict
from registry.errors import MalformedError, Reason

PREDICATE_TYPE = NAMESPACE + "foreign-proof/v1"
"""The predicate type of a foreign proof."""

OUTPUT: Final = "output"
"""What a subject is called that is the output."""


def build(said: ForeignProof, outputs: tuple[bytes, ...]) -> Statement[ForeignProof]:
    """The statement of a proof.

    Args:
        said: What was made of it.
        outputs: Every digest that names the output; the first is the one in the proof.
    """
    named = (Subject.named(OUTPUT, raw) for raw in outputs)
    return Statement(
        type_=STATEMENT_TYPE,
        predicate=said,
        predicate_type=PREDICATE_TYPE,
        subject=(*named, *_parts(said)),
    )


def validate(subject: tuple[Subject, ...], said: ForeignProof) -> None:
    """Check the subjects, and that the checks bear what is said of them.

    Raises:
        MalformedError: ``SUBJECT_MISMATCH`` or ``MALFORMED_FIELD``.
    """
    parts = _parts(said)
    outputs = subject[: len(subject) - len(parts)]
    first = Subject.named(OUTPUT, bytes.fromhex(said.output))
    if (
        not outputs
        or outputs[0] != first
        or any(item.name != OUTPUT for item in outputs)
        or subject[len(outputs) :] != parts
    ):
        raise MalformedError(
            Reason.SUBJECT_MISMATCH,
            "the subjects are not the output and the parts of the proof",
            expected=f"{OUTPUT} sha256:{said.output} and {len(parts)} parts",
            actual=", ".join(f"{item.name} sha256:{item.digest.sha256}" for item in subject[:3]),
        )
    if said.layers != layer_verdicts(said.checks) or said.verdict is not worst(said.layers):
        raise _unfounded("verdict", said.verdict)
    verdicts = {item.layer: item.verdict for item in said.layers}
    genuine = all(verdicts.get(layer) is Verdict.VALID for layer in (Layer.PARSE, Layer.SIGNATURE))
    limit = Strength.NAME_ONLY if genuine else Strength.NONE
    weights = list(Strength).index(said.binding_strength)
    if said.verdict is not Verdict.VALID and weights > list(Strength).index(limit):
        raise _unfounded("binding_strength", said.binding_strength)
    if said.verdict is not Verdict.VALID and said.code_strength is not Strength.NONE:
        raise _unfounded("code_strength", said.code_strength)
    environment = said.environment
    attested = not isinstance(environment, msgspec.UnsetType) and (
        environment.verdict is Verdict.VALID
    )
    if said.verdict is Verdict.VALID and not attested:
        raise _unfounded("environment", "not valid")


def _parts(said: ForeignProof) -> tuple[Subject, ...]:
    return tuple(Subject.named(item.role, bytes.fromhex(item.sha256)) for item in said.raw)


def _unfounded(where: str, actual: str) -> MalformedError:
    return MalformedError(
        Reason.MALFORMED_FIELD,
        "the checks of this proof do not bear what is said",
        where=where,
        actual=actual,
    )
