"""Replay: run a recorded call again, with the registered files and the recorded settings.

The receipt, its model version and every file are verified as always; the model runs in a confined
process; and what is said of it in the end is a statement that the auditor signs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from registry.client.closeness import DEFAULT_TOLERANCE, Comparison, compare
from registry.client.fetch import fetch
from registry.client.journals import JournalCalls, ProvenRecord
from registry.client.publish import Stages, silent
from registry.client.registry import KnownRelease, RegistryClient
from registry.client.replay_material import Input, RecordedOutput, read_output
from registry.core.capsule.container import Capsule
from registry.core.encoding import decimal, hex_bytes, time_text
from registry.core.formats.structure import OnnxStructure, parse_structure
from registry.core.profiles import tensor
from registry.core.records import inference, replay
from registry.core.records.manifest import File
from registry.core.records.replay import Difference, Outcome, Receipt, Replay, Tolerance, Why
from registry.core.tlog.merkle import leaf_hash
from registry.errors import (
    NotFoundError,
    Reason,
    UnsupportedError,
    VerificationError,
)
from registry.inspection import rerun
from registry.inspection.cpu import instruction_set
from registry.inspection.rerun import MAX_THREADS, Limits, Ran, Settings
from registry.inspection.session import CPU, DEFAULT_OPT_LEVEL, OPT_LEVELS

ENGINE: Final = "onnxruntime"
"""What records call the engine that replays run."""

SHIM_ID_BYTES: Final = 16
"""Bytes of a shim's id."""

MAX_STRUCTURE_BYTES: Final = 64 * 1024 * 1024
"""Bytes of the description of a model file."""

_SUFFIX: Final = ".onnx"


@dataclass(frozen=True, slots=True)
class Brought:
    """What the auditor brings.

    Attributes:
        input: A file with the input of the call.
        salt: What opens the commitment to it; None leaves it unproven.
        output: A file with the recorded output; None leaves open how near another one is.
        disclosure: What discloses the digest of the output, if the record only commits to it.
    """

    input: bytes
    salt: bytes | None = None
    output: bytes | None = None
    disclosure: bytes | None = None


@dataclass(frozen=True, slots=True)
class Choices:
    """How to run it.

    Attributes:
        model_file: Which file of the release; None if it has only one that can be run.
        opt_level: None for the recorded one.
        threads: None for the recorded ones.
        tolerance: How near the outputs must be.
        limits: What the run may take.
    """

    model_file: str | None = None
    opt_level: str | None = None
    threads: int | None = None
    tolerance: Tolerance = DEFAULT_TOLERANCE
    limits: Limits = field(default_factory=Limits)


def parse_receipt(text: str) -> tuple[bytes, int] | None:
    """Shim and intent of a receipt id, as ``x-receipt-id`` has it; None if it is none.

    Raises:
        MalformedError: ``MALFORMED_HEX`` or ``MALFORMED_DECIMAL`` if it nearly is.
    """
    shim_id, slash, n = text.partition("/")
    if not slash or len(shim_id) != 2 * SHIM_ID_BYTES or not n.isascii() or not n.isdigit():
        return None
    return hex_bytes(shim_id, SHIM_ID_BYTES), decimal(n)


def find(client: RegistryClient, shim_id: bytes, intent_n: int) -> ProvenRecord:
    """The record of the output of a call.

    Raises:
        NotFoundError: ``UNKNOWN_RECORD``.
        UnsupportedError: ``NOT_REPLAYABLE`` if the call gave no output, or none of tensors.
        RegistryError: What is wrong with the record.
    """
    found = JournalCalls(client).outcome(shim_id, intent_n)
    completion_of(found)
    return found


def find_output(client: RegistryClient, digests: Sequence[bytes], number: int = 1) -> ProvenRecord:
    """The record of an output, the ``number``-th of several.

    Raises:
        NotFoundError: ``UNKNOWN_OUTPUT``.
        UnsupportedError, RegistryError: As :func:`find`.
    """
    locations = client.find_output(digests)
    if not 1 <= number <= len(locations):
        raise NotFoundError(
            Reason.UNKNOWN_OUTPUT,
            "this output has no such receipt",
            expected=f"1 to {len(locations)}" if locations else "a registered output",
            actual=str(number),
        )
    traced = client.trace(digests, locations[number - 1])
    said = inference.parse(Capsule.parse(traced.capsule).record)
    place = said.sequence
    found = JournalCalls(client).record(bytes.fromhex(place.shim_id), place.n)
    if bytes.fromhex(completion_of(found).response.content_digest) not in digests:
        raise VerificationError(
            Reason.SUBJECT_MISMATCH, "the registry answered with the receipt of another output"
        )
    return found


def completion_of(found: ProvenRecord) -> inference.Completion:
    """What a record says of an output that can be compared with another one.

    Raises:
        UnsupportedError: ``NOT_REPLAYABLE``.
    """
    record = found.record
    where = f"{record.sequence.shim_id}/{record.sequence.n}"
    if not isinstance(record, inference.Completion):
        raise UnsupportedError(
            Reason.NOT_REPLAYABLE,
            "this call gave no output",
            where=where,
            actual=type(record).__name__.lower(),
        )
    response = record.response
    if not replay.is_comparable(response):
        raise UnsupportedError(
            Reason.NOT_REPLAYABLE,
            "only whole outputs of named tensors can be compared",
            where=where,
            expected=tensor.NAME,
            actual=response.profile if response.complete else "an output that was cut off",
        )
    return record


def run_again(
    client: RegistryClient,
    found: ProvenRecord,
    brought: Brought,
    choices: Choices,
    *,
    folder: Path,
    at: datetime,
    stages: Stages = silent,
) -> Replay:
    """Run a recorded call again, and say how the outputs compare.

    Args:
        client: The registry that has the receipt.
        found: The record of the output.
        brought: What the auditor brings.
        choices: How to run it.
        folder: Where the files of the version are, or where they are fetched to if there are none.
        at: The auditor's clock.
        stages: Told of fetching.

    Raises:
        VerificationError: ``REPLAY_INPUT`` or ``REPLAY_OUTPUT`` for another input or output than
            the recorded one, ``SUBJECT_MISMATCH`` for another model version.
        MalformedError: ``REPLAY_INPUT``, ``REPLAY_OUTPUT``, ``REPLAY_FAILED``, ``BAD_SETTING``.
        UnsupportedError: ``NOT_REPLAYABLE``.
        LimitExceededError: ``REPLAY_LIMIT``.
        RegistryError: What is wrong with the version or its files.
    """
    record = completion_of(found)
    given = Input.read(brought.input)
    if brought.salt is not None:
        given.verify(record.request, brought.salt)
    recorded = RecordedOutput.of(record, brought.disclosure)
    held = None
    if brought.output is not None:
        held = read_output(brought.output, recorded.content_digest)
    known = _release(client, record.model)
    model, weights = _files(client, known, choices.model_file)
    if not folder.exists() or not any(folder.iterdir()):
        fetch(client, record.model.name, record.model.version, folder, stages=stages)
    settings = _settings(record.runtime, choices)
    ran = rerun.run(
        folder,
        model,
        weights,
        given.tensors,
        # What is asked for twice is given once.
        tuple(dict.fromkeys(given.asked)),
        expected=bytes.fromhex(recorded.content_digest),
        settings=settings,
        limits=choices.limits,
    )
    output = recorded.shown(tensor.content_digest(ran.outputs))
    compared = None
    if held is not None and output != record.response.content_digest:
        compared = compare(held, ran.outputs, choices.tolerance)
    runtime = _runtime(ran, settings)
    proven = brought.salt is not None
    reasons = set(replay.settings_reasons(record.runtime, runtime))
    if not proven:
        reasons.add(Why.INPUT_UNPROVEN)
    if not ran.repeats:
        reasons.add(Why.NOT_REPEATABLE)
    said = _judge(reasons, compared, same=output == record.response.content_digest)
    compares = compared is not None and compared.difference is not None
    return Replay(
        receipt=Receipt(
            shim_id=record.sequence.shim_id,
            intent_n=record.intent_n,
            n=record.sequence.n,
            leaf=leaf_hash(found.data).hex(),
        ),
        model=record.model,
        model_file=model.path,
        input="proven" if proven else "unproven",
        outcome=said.outcome,
        recorded=record.runtime,
        replayed=runtime,
        recorded_output=record.response.content_digest,
        replayed_output=output,
        run_us=ran.run_us,
        issued_at=time_text(at),
        reasons=said.reasons,
        tolerance=choices.tolerance if compares else msgspec.UNSET,
        difference=said.difference,
    )


@dataclass(frozen=True, slots=True)
class _Judged:
    outcome: Outcome
    reasons: tuple[Why, ...]
    difference: Difference | msgspec.UnsetType


def _judge(reasons: set[Why], compared: Comparison | None, *, same: bool) -> _Judged:
    """What a comparison came to, and with what is known beside it.

    Args:
        reasons: What is known beside it.
        compared: How the outputs compare; None if that was not needed, or cannot be known.
        same: Whether they have the same digest.
    """
    difference: Difference | msgspec.UnsetType = msgspec.UNSET
    outcome: Outcome = "bit_exact"
    if not same and compared is None:
        # Under the same settings the same bits were to be expected; under others they were not.
        outcome = "indeterminate" if reasons else "mismatch"
        reasons.add(Why.OUTPUT_NOT_GIVEN)
    elif not same and compared is not None:
        difference = compared.difference or msgspec.UNSET
        refuted: Outcome = "mismatch"
        if reasons & replay.UNKNOWN or replay.is_rounding(reasons, compared.difference):
            refuted = "indeterminate"
        reasons.update(compared.apart)
        outcome = refuted if compared.apart else "within_tolerance"
    return _Judged(outcome, tuple(sorted(reasons)), difference)


def _runtime(ran: Ran, settings: Settings) -> inference.Runtime:
    return inference.Runtime(
        engine=ENGINE,
        version=ran.version,
        provider=CPU,
        opt_level=settings.opt_level,
        threads=settings.threads,
        isa=instruction_set(),
    )


def _release(client: RegistryClient, model: inference.Model) -> KnownRelease:
    """The release that the record names, and no other of its name."""
    known = client.release(model.name, model.version)
    actual = (known.logged.record_id, known.version_id.hex())
    if actual != (model.release, model.manifest):
        raise VerificationError(
            Reason.SUBJECT_MISMATCH,
            "the record is about another model version than the registered one",
            where=f"{model.name}@{model.version}",
            expected=f"{model.release}, manifest sha256:{model.manifest}",
            actual=f"{actual[0]}, manifest sha256:{actual[1]}",
        )
    return known


def _files(
    client: RegistryClient, known: KnownRelease, path: str | None
) -> tuple[File, tuple[File, ...]]:
    """The model file, and those that hold weights of it."""
    files = {file.path: file for file in known.manifest.files}
    runnable = [name for name in files if name.lower().endswith(_SUFFIX)]
    if path is None:
        if len(runnable) != 1:
            raise UnsupportedError(
                Reason.NOT_REPLAYABLE,
                "it is not clear which file of this version ran",
                expected="one .onnx file",
                actual=", ".join(runnable[:10]) or "none",
                hint="name it with --model-file" if runnable else "only ONNX models are run again",
            )
        path = runnable[0]
    if path not in runnable:
        raise NotFoundError(
            Reason.WRONG_MODEL_FILE,
            "this version has no such model file",
            where=path[:200],
            expected=", ".join(runnable[:10]),
        )
    structures = {file.path: file.structure for file in known.release.files}
    digests = structures[path]
    if isinstance(digests, msgspec.UnsetType):
        return files[path], ()
    structure = parse_structure(
        client.read_blob(bytes.fromhex(digests.sha256), MAX_STRUCTURE_BYTES)
    )
    outside = structure.external_data if isinstance(structure, OnnxStructure) else ()
    return files[path], tuple(files[name] for name in sorted({item.path for item in outside}))


def _settings(recorded: inference.Runtime, choices: Choices) -> Settings:
    """The recorded settings, as far as they can be had; what differs becomes a reason."""
    level = choices.opt_level
    if level is None:
        known = recorded.opt_level in OPT_LEVELS
        level = recorded.opt_level if known else DEFAULT_OPT_LEVEL
    threads = choices.threads
    if threads is None:
        threads = recorded.threads if recorded.threads <= MAX_THREADS else 0
    settings = Settings(level, threads)
    settings.validate()
    return settings
