"""Have a model run in a confined process: its time, memory and answer are bounded.

Whatever kills the process is one failure, ``REPLAY_LIMIT``: it says nothing about the output that
was recorded.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from registry.core.profiles.tensor import Tensor
from registry.core.records.manifest import File
from registry.errors import (
    LimitExceededError,
    MalformedError,
    NotFoundError,
    Reason,
    VerificationError,
)
from registry.inspection.confinement import ENVIRONMENT, INTERPRETER, EndedError, converse
from registry.inspection.rerun_exchange import (
    MAX_MESSAGE_BYTES,
    MAX_TENSOR_BYTES,
    Answer,
    ModelFile,
    Request,
    head_of,
    read_message,
    write_message,
)
from registry.inspection.sandbox import open_regular
from registry.inspection.session import DEFAULT_OPT_LEVEL, OPT_LEVELS, relative_name, require_engine

TIME_LIMIT: Final = timedelta(minutes=5)
"""How long a run may take, loading included, unless told otherwise."""

MEMORY_BYTES: Final = 4 * 1024 * 1024 * 1024
"""Address space of a run beside three copies of the model, unless told otherwise."""

MAX_THREADS: Final = 256
"""Threads of a run."""

WORKER: Sequence[str] = (*INTERPRETER, "-m", "registry.inspection.rerun_worker")
"""The command of the confined process."""

# The C library would reserve an arena of address space for every thread.
_ENVIRONMENT: Final = {**ENVIRONMENT, "MALLOC_ARENA_MAX": "2"}


@dataclass(frozen=True, slots=True)
class Settings:
    """What decides about the last bits.

    Attributes:
        opt_level: How far ONNX Runtime rewrites the graph.
        threads: For one run; 0 leaves it to ONNX Runtime.
    """

    opt_level: str = DEFAULT_OPT_LEVEL
    threads: int = 0

    def validate(self) -> None:
        """Check that ONNX Runtime knows these settings.

        Raises:
            MalformedError: ``BAD_SETTING``.
        """
        if self.opt_level not in OPT_LEVELS:
            raise MalformedError(
                Reason.BAD_SETTING,
                "ONNX Runtime knows no such optimisation level",
                expected=", ".join(OPT_LEVELS),
                actual=self.opt_level[:80],
            )
        if not 0 <= self.threads <= MAX_THREADS:
            raise MalformedError(
                Reason.BAD_SETTING,
                "a run has no so many threads",
                expected=f"0 to {MAX_THREADS}",
                actual=str(self.threads),
            )


@dataclass(frozen=True, slots=True)
class Limits:
    """What a run may take at most.

    Attributes:
        time: From start to answer.
        memory_bytes: Address space, beside three copies of the model.
    """

    time: timedelta = TIME_LIMIT
    memory_bytes: int = MEMORY_BYTES


@dataclass(frozen=True, slots=True)
class Ran:
    """What a run gave.

    Attributes:
        version: Of ONNX Runtime.
        run_us: How long the run took, loading not included, in microseconds.
        repeats: Whether the model gave the same a second time; true if it was not asked to.
    """

    outputs: tuple[Tensor, ...]
    version: str
    run_us: int
    repeats: bool = True


def run(
    folder: Path,
    model: File,
    weights: Sequence[File],
    inputs: Sequence[Tensor],
    asked: Sequence[str] = (),
    *,
    expected: bytes,
    settings: Settings,
    limits: Limits,
) -> Ran:
    """Run a model whose files lie in ``folder``, if they are the registered ones.

    Args:
        folder: Where the files of the release are.
        model: The model file, as the manifest says.
        weights: Files that hold weights of it.
        inputs: What is fed to it.
        asked: The outputs that are wanted, in order; none means all.
        expected: The content digest that the outputs should have. If they have another one the
            model is run a second time, to see whether it repeats itself.
        settings: What decides about the last bits.
        limits: What the run may take.

    Raises:
        UnavailableError: ``MISSING_EXTRA``.
        VerificationError: ``WRONG_MODEL_FILE`` if a file is not the registered one.
        NotFoundError: ``WRONG_MODEL_FILE`` if it is missing.
        MalformedError: ``BAD_SETTING``, ``MALFORMED_ONNX``, ``UNSUPPORTED_TENSOR``,
            ``NOT_A_REGULAR_FILE`` or ``REPLAY_FAILED``.
        LimitExceededError: ``REPLAY_LIMIT``.
        OSError: A file cannot be opened.
    """
    require_engine()
    settings.validate()
    if sum(len(item.raw) for item in inputs) > MAX_TENSOR_BYTES:
        raise _failure("inputs of more bytes", f"at most {MAX_TENSOR_BYTES} bytes")
    with ExitStack() as stack:

        def handed_over(file: File, name: str) -> ModelFile:
            descriptor = _open(folder, file.path)
            stack.callback(os.close, descriptor)
            return ModelFile(
                name=name, descriptor=descriptor, size=file.size, sha256=file.digest.sha256
            )

        parts = [handed_over(model, "")]
        parts += [handed_over(item, relative_name(item.path, model.path)) for item in weights]
        seconds = int(limits.time.total_seconds()) + 1
        request = Request(
            model=parts[0],
            weights=tuple(parts[1:]),
            inputs=tuple(map(head_of, inputs)),
            asked=tuple(asked),
            opt_level=settings.opt_level,
            threads=settings.threads,
            memory_bytes=limits.memory_bytes + 3 * sum(part.size for part in parts),
            cpu_seconds=seconds * max(settings.threads, os.cpu_count() or 1),
            expected=expected.hex(),
        )
        try:
            raw = converse(
                WORKER,
                write_message(request, inputs),
                descriptors=[part.descriptor for part in parts],
                time_limit=limits.time,
                most_bytes=MAX_MESSAGE_BYTES,
                environment=_ENVIRONMENT,
            )
        except EndedError as error:
            raise _failure(str(error), f"{limits.time.total_seconds():g} seconds") from error
    return _read(raw)


def _open(folder: Path, path: str) -> int:
    try:
        return open_regular(folder / path, path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFoundError(
            Reason.WRONG_MODEL_FILE,
            "a file of the model is not there",
            where=str(folder / path),
            hint="run: provreg model fetch",
        ) from error


def _read(raw: bytes) -> Ran:
    try:
        answer, outputs = read_message(raw, Answer)
        for item in outputs:
            item.validate()
    except MalformedError as error:
        raise _failure("an answer that cannot be read") from error
    refusal = answer.refusal
    if refusal is None:
        return Ran(outputs, answer.version, answer.run_us, answer.repeats)
    kind = _CLASSES.get(refusal.reason, MalformedError)
    raise kind(
        refusal.reason,
        refusal.what,
        where=refusal.where,
        expected=refusal.expected,
        actual=refusal.actual,
        hint=refusal.hint,
    )


_CLASSES: Final[Mapping[Reason, type[LimitExceededError | VerificationError]]] = {
    Reason.REPLAY_LIMIT: LimitExceededError,
    Reason.WRONG_MODEL_FILE: VerificationError,
}


def _failure(actual: str, expected: str = "") -> LimitExceededError:
    return LimitExceededError(
        Reason.REPLAY_LIMIT,
        "this model could not be run within the limits of a replay",
        expected=expected,
        actual=actual,
        hint="give it more with --timeout or --memory, if you believe the model",
    )
