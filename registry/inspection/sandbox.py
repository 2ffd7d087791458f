"""Ask a confined process what a model file says about itself.

The name of a file decides which parser reads it; its content is never asked. Whatever kills the
process, be it a limit, the clock or a bug in a parser, is one refusal: ``INSPECTION_LIMIT``.
"""

import errno
import os
import stat
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from posixpath import dirname

from registry.core.encoding import read_json, write_json
from registry.core.formats.structure import structure_bytes
from registry.errors import LimitExceededError, MalformedError, Reason, RegistryError
from registry.inspection.confinement import INTERPRETER, EndedError, converse
from registry.inspection.exchange import (
    MAX_ANSWER_BYTES,
    MAX_REQUEST_BYTES,
    Answer,
    Format,
    NeighbourFile,
    Request,
)

TIME_LIMIT = timedelta(seconds=60)
"""How long one inspection may take, from start to answer."""

WORKER: Sequence[str] = (*INTERPRETER, "-m", "registry.inspection.worker")
"""The command of the confined process."""


def format_of(file_name: str) -> Format | None:
    """Which format a file of that name claims to have, if it is one that is inspected."""
    name = file_name.lower()
    if name.endswith(".onnx"):
        return "onnx"
    return "safetensors" if name.endswith(".safetensors") else None


def inspect(
    path: Path,
    file_name: str,
    siblings: Mapping[str, int],
    *,
    time_limit: timedelta = TIME_LIMIT,
) -> bytes | None:
    """Describe the file at ``path``, which is ``file_name`` in the manifest.

    ``siblings`` maps the paths of the manifest to sizes; a model may only refer to those. The
    answer is what :func:`~registry.core.formats.structure.structure_bytes` writes, or ``None`` for
    a file that is not inspected. Blocks until the worker has ended.

    Raises:
        MalformedError: ``NOT_A_REGULAR_FILE``, or why the format is not obeyed.
        LimitExceededError: ``INSPECTION_LIMIT``.
        OSError: The file cannot be opened.
    """
    kind = format_of(file_name)
    if kind is None:
        return None
    descriptor = open_regular(path, file_name)
    try:
        request = Request(
            descriptor=descriptor,
            file_name=file_name,
            format=kind,
            files=_neighbours(file_name, siblings) if kind == "onnx" else (),
        )
        raw = ask(
            WORKER,
            write_json(request),
            file_name=file_name,
            descriptor=descriptor,
            time_limit=time_limit,
        )
    finally:
        os.close(descriptor)
    try:
        answer = read_json(raw, Answer, what="answer of an inspection")
    except MalformedError as error:
        raise _failure(file_name, "an answer that cannot be read") from error
    if answer.refusal is not None:
        raise answer.refusal.to_error()
    if answer.structure is None:
        raise _failure(file_name, "an empty answer")
    return structure_bytes(answer.structure)


def ask(
    command: Sequence[str],
    request: bytes,
    *,
    file_name: str,
    descriptor: int,
    time_limit: timedelta,
) -> bytes:
    """Run ``command`` with ``request`` as its input and ``descriptor`` open; read its answer.

    Raises:
        LimitExceededError: ``INSPECTION_LIMIT``, if there is no whole answer of bounded length in
            time.
    """
    if len(request) > MAX_REQUEST_BYTES:
        raise _failure(file_name, "a manifest that is too long to ask about")
    try:
        return converse(
            command,
            request,
            descriptors=(descriptor,),
            time_limit=time_limit,
            most_bytes=MAX_ANSWER_BYTES,
        )
    except EndedError as error:
        raise _failure(file_name, str(error)) from error


def open_regular(path: Path, file_name: str) -> int:
    """Open a regular file for a confined process; follows no link.

    Raises:
        MalformedError: ``NOT_A_REGULAR_FILE``.
        OSError: The file cannot be opened.
    """

    def refusal(actual: str) -> RegistryError:
        return MalformedError(
            Reason.NOT_A_REGULAR_FILE,
            "only regular files can be inspected",
            where=file_name,
            expected="a regular file",
            actual=actual,
        )

    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise refusal("a link" if error.errno == errno.ELOOP else "a device") from error
        raise
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise refusal(stat.filemode(mode))
    return descriptor


def _neighbours(file_name: str, siblings: Mapping[str, int]) -> tuple[NeighbourFile, ...]:
    # External data lies in the folder of the model or below it, so the rest need not be sent.
    folder = dirname(file_name)
    prefix = f"{folder}/" if folder else ""
    return tuple(
        NeighbourFile(path=path, size=size)
        for path, size in sorted(siblings.items())
        if path.startswith(prefix)
    )


def _failure(file_name: str, actual: str) -> LimitExceededError:
    return LimitExceededError(
        Reason.INSPECTION_LIMIT,
        "this file could not be inspected within the limits of an inspection",
        where=file_name,
        actual=actual,
        hint="if it opens elsewhere, it may be too large or unusual to be described",
    )
