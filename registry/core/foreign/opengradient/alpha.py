"""Inferences on OpenGradient's chain: what an event says of a model, its input and its output.

Nobody signs it: the chain's consensus stands for it, of which nothing is at hand. So it is kept and
read, and left open.
"""

from typing import Any, Final

from registry.core.digest import sha256
from registry.core.evidence.checks import CheckError, Finding, Ledger, Severity
from registry.core.foreign.captured import Captured
from registry.core.foreign.opengradient import settling
from registry.core.foreign.opengradient.chain import ModelInference
from registry.core.foreign.opengradient.settlement import Found
from registry.core.foreign.reading import Reading

PARSER: Final = "opengradient-alpha/1"
"""This parser: another number reads the same bytes otherwise."""

FORMAT: Final = "alpha/precompile-f4"

_UNCOVERED: Final = (
    "everything: nothing here proves that the event is in a block of the chain",
    "model weights: the content identifier is what was asked for, not what was run",
    "the proof of a model run as ZKML or TEE, which the event does not hold",
    "types of numbers: each is told as a value and a count of decimals",
)
_NOT_THERE: Final = (
    *("P1", "P2", "P3", "P4", "S1", "S2"),
    *("C1", "C2", "C3", "C4", "C5", "A2", "A3"),
)
_TENSORS: Final = 64


def examine(ledger: Ledger, reading: Reading, captured: Captured) -> None:
    """Read the event of an inference on the chain.

    Raises:
        MalformedError: ``FOREIGN_PART`` if there are two transactions.
        UnavailableError: ``MISSING_EXTRA``.
    """
    reading.format_version, reading.parser_version = FORMAT, PARSER
    reading.uncovered += _UNCOVERED
    for check in _NOT_THERE:
        ledger.skip(check, Finding.NOT_APPLICABLE, "an event of the chain has no such thing")
    ledger.skip("A1", Finding.MISSING, "no evidence of the hardware comes with an event")
    told = settling.events(ledger, captured)
    ledger.skip("S3", Finding.MISSING, "no proof of the chain came with the event")
    found = [event for event in told or () if isinstance(event, ModelInference)]
    with ledger.check("C6"):
        if len(found) != 1:
            raise CheckError(
                Found.NO_EVENT,
                "there must be one inference in the transaction",
                severity=Severity.TIME,
                actual=f"{len(found)} of them",
            )
        event = found[0]
        # Its ABI encoding is one, however a node spells the JSON around it.
        reading.response_sha256 = sha256(event.response_bytes())
        reading.say(
            inference_id=event.inference_id,
            mode=event.mode,
            model_cid=event.model_cid,
            transaction=event.place.transaction or None,
            block=event.place.block or None,
            input=_shapes(event.request),
            output=_shapes(event.response),
            input_abi_sha256=sha256(event.request_bytes()).hex(),
            output_abi_sha256=sha256(event.response_bytes()).hex(),
        )
        if event.simulated:
            raise CheckError(
                Found.SIMULATED,
                "the transaction was only tried, and nothing was run",
                severity=Severity.TIME,
            )


def _shapes(tensors: tuple[Any, ...]) -> str:
    """Names and shapes of tensors, never what is in them."""
    numbers, texts = tensors[0], tensors[1]
    said = [f"{name} {list(shape)}" for name, _, shape in numbers]
    said += [f"{name} text" for name, _ in texts]
    return ", ".join(said[:_TENSORS])
