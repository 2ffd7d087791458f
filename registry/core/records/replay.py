"""Replays: somebody ran a recorded call again, and says how the outputs compare.

The auditor brings the input, which is not in the log: it is *proven* if it opens the commitment of
the intent, and else *unproven*. How near the outputs must be is said with how near they were, so
that the numbers of a statement can be checked against its outcome:

====================  =============================================================================
``bit_exact``         the new output has the recorded content digest
``within_tolerance``  every element is near the recorded one: apart by at most ``tolerance.abs``, or
                      by at most ``tolerance.rel`` of the larger of the two
``mismatch``          the recorded model and settings do not give the recorded output
``indeterminate``     nothing of this can be said; the reasons say why
====================  =============================================================================

What decides about the last bits is the replay key: engine and version, execution provider,
optimisation level, instruction set, threads. Where it was another one, or was not recorded, a
reason says so; it is then no mismatch that digests differ, or values by what rounding may do, but
values may still be far apart. A model that draws random numbers gives others each time: that
refutes nobody, and a reason says so.
"""

from collections.abc import Collection
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Final, Literal

import msgspec

from registry.core.attestation.statement import STATEMENT_TYPE, Statement, Subject, check_subject
from registry.core.encoding import Count, Hex16, Hex32, Text, Time, Value
from registry.core.profiles import tensor
from registry.core.records import NAMESPACE
from registry.core.records.inference import Model, Response, Runtime
from registry.core.records.manifest import check_path
from registry.errors import MalformedError, Reason

PREDICATE_TYPE = NAMESPACE + "replay/v1"
"""The predicate type of a replay."""

SUBJECT: Final = "inference-receipt"
"""What the subject, the leaf hash of the record of the output, is called."""

DecimalText = Annotated[
    str,
    msgspec.Meta(
        pattern=r"\A(?:0|[1-9][0-9]{0,308})(?:\.[0-9]{0,59}[1-9])?\Z",
    ),
]
"""A number from 0 on, in decimal digits, without exponent or zeros that say nothing."""


class Why(StrEnum):
    """What must be known of a comparison beside its outcome."""

    ENGINE_DIFFERS = "ENGINE_DIFFERS"
    ENGINE_UNRECORDED = "ENGINE_UNRECORDED"
    ENGINE_VERSION_DIFFERS = "ENGINE_VERSION_DIFFERS"
    ENGINE_VERSION_UNRECORDED = "ENGINE_VERSION_UNRECORDED"
    PROVIDER_DIFFERS = "PROVIDER_DIFFERS"
    PROVIDER_UNRECORDED = "PROVIDER_UNRECORDED"
    OPT_LEVEL_DIFFERS = "OPT_LEVEL_DIFFERS"
    OPT_LEVEL_UNRECORDED = "OPT_LEVEL_UNRECORDED"
    ISA_DIFFERS = "ISA_DIFFERS"
    ISA_UNRECORDED = "ISA_UNRECORDED"
    THREADS_DIFFER = "THREADS_DIFFER"
    INPUT_UNPROVEN = "INPUT_UNPROVEN"
    NOT_REPEATABLE = "NOT_REPEATABLE"
    OUTPUT_NOT_GIVEN = "OUTPUT_NOT_GIVEN"
    OUTPUT_SHAPE = "OUTPUT_SHAPE"
    NOT_FINITE = "NOT_FINITE"
    EXACT_TYPE_DIFFERS = "EXACT_TYPE_DIFFERS"
    VALUES = "VALUES"
    TOP1 = "TOP1"


SETTINGS: Final = frozenset(
    item for item in Why if item.endswith(("_DIFFERS", "_UNRECORDED", "_DIFFER"))
) - {Why.EXACT_TYPE_DIFFERS}
"""Reasons to expect other bits although the model and the input are the same."""

APART: Final = frozenset(
    {Why.OUTPUT_SHAPE, Why.NOT_FINITE, Why.EXACT_TYPE_DIFFERS, Why.VALUES, Why.TOP1}
)
"""Reasons to say that two outputs are not near each other."""

UNKNOWN: Final = frozenset({Why.INPUT_UNPROVEN, Why.NOT_REPEATABLE, Why.OUTPUT_NOT_GIVEN})
"""Reasons not to say so."""

UNKNOWN_ENGINE: Final = "unknown"
"""What a record calls an engine of which nothing was said."""

LEAST_TOLERANCE: Final = ("0.00001", "0.001")
"""Distance and part of the larger of two numbers: outputs that are as near refute nobody if they
were made under different settings, however small a tolerance somebody chose."""

Outcome = Literal["bit_exact", "within_tolerance", "mismatch", "indeterminate"]
"""What a replay came to."""


class Receipt(Value, frozen=True):
    """Which inference receipt: its shim, the numbers of intent and outcome, the outcome's leaf."""

    shim_id: Hex16
    intent_n: Count
    n: Count
    leaf: Hex32


class Tolerance(Value, frozen=True):
    """How near two outputs must be.

    Attributes:
        abs: How far apart two numbers may be, in the unit of the output.
        rel: Or by which part of the larger of the two.
        top1: Whether the largest element of each row must be the same one.
    """

    abs: DecimalText
    rel: DecimalText
    top1: bool


class Difference(Value, frozen=True):
    """How near they are; numbers are rounded up.

    Attributes:
        abs: The largest distance of two elements.
        rel: The largest distance as a part of the larger of the two, among those elements that are
            further apart than the tolerance's ``abs``; 0 if there are none.
        top1: Whether the largest element of each row is the same one.
        elements: How many elements were compared.
    """

    abs: DecimalText
    rel: DecimalText
    top1: bool
    elements: Count


class Replay(Value, frozen=True):
    """The auditor says: I ran this call again, and this is how the outputs compare.

    Attributes:
        model_file: Which file of the release was run.
        input: Whether what was run opens the commitment of the intent.
        recorded: What ran the call, as the shim recorded it.
        replayed: What ran it now.
        recorded_output: The content digest of the recorded output, as the record has it: in clear,
            or as a salted commitment.
        replayed_output: That of the new one, in the same way and with the same salt.
        run_us: How long the model took, in microseconds.
    """

    receipt: Receipt
    model: Model
    model_file: Text
    input: Literal["proven", "unproven"]
    outcome: Outcome
    recorded: Runtime
    replayed: Runtime
    recorded_output: Hex32
    replayed_output: Hex32
    run_us: Count
    issued_at: Time
    reasons: Annotated[tuple[Why, ...], msgspec.Meta(max_length=len(Why))] = ()
    tolerance: Tolerance | msgspec.UnsetType = msgspec.UNSET
    difference: Difference | msgspec.UnsetType = msgspec.UNSET


def spelled(said: Replay) -> str:
    """The outcome for people: ``within_tolerance`` with the tolerance that it is about."""
    near = said.tolerance
    if said.outcome != "within_tolerance" or isinstance(near, msgspec.UnsetType):
        return said.outcome
    return f"{said.outcome}(abs={near.abs}, rel={near.rel}{', top1' if near.top1 else ''})"


def statement(said: Replay) -> Statement[Replay]:
    """The statement of a replay."""
    return Statement(
        type_=STATEMENT_TYPE,
        predicate=said,
        predicate_type=PREDICATE_TYPE,
        subject=(Subject.named(SUBJECT, bytes.fromhex(said.receipt.leaf)),),
    )


def is_comparable(response: Response) -> bool:
    """Whether replays compare outputs of this kind: whole ones of named tensors."""
    return response.profile == tensor.NAME and response.complete


def is_near(difference: Difference, tolerance: Tolerance) -> bool:
    """Whether outputs that are so far apart are near enough."""
    near = Decimal(difference.abs) <= Decimal(tolerance.abs)
    return (near or Decimal(difference.rel) <= Decimal(tolerance.rel)) and (
        difference.top1 or not tolerance.top1
    )


def is_rounding(
    reasons: Collection[Why], difference: Difference | msgspec.UnsetType | None
) -> bool:
    """Whether other settings may well be why an output is not the recorded one.

    Else whoever chooses settings and tolerance could have any honest node refuted.
    """
    if not isinstance(difference, Difference) or not SETTINGS & set(reasons):
        return False
    return is_near(difference, Tolerance(*LEAST_TOLERANCE, top1=False))


def settings_reasons(recorded: Runtime, replayed: Runtime) -> tuple[Why, ...]:
    """In what the replay key of two runs differs, or is not known."""
    reasons = []
    engine = "" if recorded.engine == UNKNOWN_ENGINE else recorded.engine
    for was, now, differs, unrecorded in (
        (engine, replayed.engine, Why.ENGINE_DIFFERS, Why.ENGINE_UNRECORDED),
        (
            recorded.version,
            replayed.version,
            Why.ENGINE_VERSION_DIFFERS,
            Why.ENGINE_VERSION_UNRECORDED,
        ),
        (recorded.provider, replayed.provider, Why.PROVIDER_DIFFERS, Why.PROVIDER_UNRECORDED),
        (recorded.opt_level, replayed.opt_level, Why.OPT_LEVEL_DIFFERS, Why.OPT_LEVEL_UNRECORDED),
        (recorded.isa, replayed.isa, Why.ISA_DIFFERS, Why.ISA_UNRECORDED),
    ):
        if not was:
            reasons.append(unrecorded)
        elif was != now:
            reasons.append(differs)
    if recorded.threads != replayed.threads:
        reasons.append(Why.THREADS_DIFFER)
    return tuple(sorted(reasons))


def validate(subject: tuple[Subject, ...], said: Replay) -> None:
    """Check what types cannot express: that outcome, digests, numbers and reasons agree.

    Raises:
        MalformedError: ``SUBJECT_MISMATCH``, ``MALFORMED_FIELD``, or what is wrong with the path.
    """
    check_subject(subject, SUBJECT)
    if subject[0] != Subject.named(SUBJECT, bytes.fromhex(said.receipt.leaf)):
        raise MalformedError(
            Reason.SUBJECT_MISMATCH,
            "the subject is not the record that was replayed",
            expected=said.receipt.leaf,
            actual=subject[0].digest.sha256,
        )
    check_path(said.model_file)
    reasons = set(said.reasons)
    if list(said.reasons) != sorted(reasons):
        raise _contradiction("reasons", "each once, in alphabetical order")
    if reasons & SETTINGS != set(settings_reasons(said.recorded, said.replayed)):
        raise _contradiction("reasons", "those in which the two runtimes differ")
    if (Why.INPUT_UNPROVEN in reasons) != (said.input == "unproven"):
        raise _contradiction("reasons", "INPUT_UNPROVEN if the input is unproven")
    if (said.outcome == "bit_exact") != (said.recorded_output == said.replayed_output):
        raise _contradiction("outcome", "bit_exact if the digests are equal")
    _check_numbers(said, reasons)


def _check_numbers(said: Replay, reasons: set[Why]) -> None:
    tolerance, difference = said.tolerance, said.difference
    if isinstance(tolerance, msgspec.UnsetType) or isinstance(difference, msgspec.UnsetType):
        if said.outcome == "within_tolerance":
            raise _contradiction("outcome", "a tolerance, and a difference that is within it")
        if isinstance(tolerance, msgspec.UnsetType) != isinstance(difference, msgspec.UnsetType):
            raise _contradiction("difference", "a difference together with a tolerance")
    elif is_near(difference, tolerance) != (said.outcome in ("bit_exact", "within_tolerance")):
        raise _contradiction("difference", "within the tolerance if the outcome says so")
    apart, unknown, settings = reasons & APART, reasons & UNKNOWN, reasons & SETTINGS
    compared = said.outcome in ("bit_exact", "within_tolerance")
    if compared and (apart or Why.OUTPUT_NOT_GIVEN in unknown):
        raise _contradiction("reasons", "none that the outputs are apart, or were not compared")
    # Values that are apart are apart under any settings, if the input is the right one. Digests
    # alone tell only under the same settings.
    refuted = (not unknown and apart) or reasons == {Why.OUTPUT_NOT_GIVEN}
    # Of rounding both are said: it is no refutation, but some called it a mismatch.
    if said.outcome in ("mismatch", "indeterminate") and (
        (said.outcome == "mismatch") != bool(refuted)
        and not (refuted and is_rounding(reasons, difference))
    ):
        raise _contradiction(
            "outcome",
            "a mismatch if values of a proven input are apart, or digests under the same settings",
        )
    if said.outcome == "indeterminate" and not (unknown or settings):
        raise _contradiction("reasons", "why nothing can be said")


def _contradiction(where: str, expected: str) -> MalformedError:
    return MalformedError(
        Reason.MALFORMED_FIELD,
        "this replay contradicts itself",
        where=where,
        expected=expected,
    )
