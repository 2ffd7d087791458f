"""One run of one model in a process of its own: ``python -m registry.inspection.rerun_worker``.

The model was written by somebody else, and running it runs their graph. So the process limits
itself before it reads a byte of it: memory, processor time, no new file or socket, no writing, no
core dump, and no new process or thread once the session is made. A model that leads ONNX Runtime
astray can at worst give wrong numbers, and those are compared with the recorded ones.
"""

import hashlib
import os
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from registry.core.profiles import tensor
from registry.core.profiles.tensor import Tensor
from registry.errors import LimitExceededError, MalformedError, Reason, RegistryError
from registry.inspection.arrays import Array, to_array, to_tensor
from registry.inspection.exchange import Refusal
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
from registry.inspection.session import CPU, open_session, require_engine

READ_BYTES = 1024 * 1024
"""Bytes of a model file that are read at once."""

_DISGUISED = "float8"


def main() -> None:
    """Read one request from standard input and write one answer to standard output."""
    limit(resource.RLIMIT_CORE, 0)
    limit(resource.RLIMIT_FSIZE, 0)
    request, inputs = read_message(sys.stdin.buffer.read(MAX_MESSAGE_BYTES), Request)
    limit(resource.RLIMIT_CPU, request.cpu_seconds)
    limit(resource.RLIMIT_AS, request.memory_bytes)
    limit(resource.RLIMIT_NOFILE, 0)
    sys.stdout.buffer.write(_answer(request, inputs))
    sys.stdout.buffer.flush()


def _answer(request: Request, inputs: Sequence[Tensor]) -> bytes:
    try:
        outputs, head = _run(request, inputs)
        return write_message(head, outputs)
    except RegistryError as error:
        return write_message(Answer(refusal=Refusal.of(error)), ())
    except MemoryError:
        refusal = Refusal(
            reason=Reason.REPLAY_LIMIT,
            what="running this model takes too much memory",
            expected=f"at most {request.memory_bytes} bytes",
        )
        return write_message(Answer(refusal=refusal), ())


def _run(request: Request, inputs: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], Answer]:
    weights = {item.name: _read(item) for item in request.weights}
    session = open_session(
        _read(request.model),
        weights,
        where="the model",
        provider=CPU,
        threads=request.threads,
        opt_level=request.opt_level,
    )
    # Its threads are there by now.
    limit(resource.RLIMIT_NPROC, 0)
    feed = {item.name: to_array(item) for item in inputs}
    began = time.monotonic_ns()
    values = _values(session, request.asked, feed)
    run_us = (time.monotonic_ns() - began) // 1000
    outputs = _tensors(session, request.asked, values)
    repeats = True
    if tensor.content_digest(outputs).hex() != request.expected:
        # In the same session: a generator of random numbers goes on, even if it has a seed.
        again = _tensors(session, request.asked, _values(session, request.asked, feed))
        repeats = again == outputs
    head = Answer(
        outputs=tuple(map(head_of, outputs)),
        version=require_engine(),
        run_us=run_us,
        repeats=repeats,
    )
    return outputs, head


def _values(session: Any, asked: Sequence[str], feed: Mapping[str, Array]) -> list[Array]:
    try:
        values: list[Array] = session.run(list(asked) or None, dict(feed))
    # ONNX Runtime's errors have no common base below Exception, and may quote the input.
    except Exception as error:
        raise MalformedError(
            Reason.REPLAY_FAILED,
            "ONNX Runtime cannot run this model on this input",
            actual=f"{type(error).__name__}: {str(error)[:300]}",
        ) from error
    return values


def _tensors(session: Any, asked: Sequence[str], values: Sequence[Array]) -> tuple[Tensor, ...]:
    types = {item.name: item.type for item in session.get_outputs()}
    names = asked or tuple(types)
    for name in names:
        # ONNX Runtime hands out eight-bit floats as if they were integers.
        if _DISGUISED in types[name]:
            raise MalformedError(
                Reason.UNSUPPORTED_TENSOR,
                "a tensor of this type cannot be compared",
                where=f"tensor {name[:80]!r}",
                actual=types[name][:80],
            )
    if sum(getattr(item, "nbytes", 0) for item in values) > MAX_TENSOR_BYTES:
        raise _too_large()
    outputs = tuple(map(to_tensor, names, values))
    if sum(len(item.raw) for item in outputs) > MAX_TENSOR_BYTES:
        raise _too_large()
    return outputs


def _too_large() -> LimitExceededError:
    return LimitExceededError(
        Reason.REPLAY_LIMIT,
        "the outputs are too large to be compared",
        expected=f"at most {MAX_TENSOR_BYTES} bytes",
    )


def _read(file: ModelFile) -> bytes:
    """The bytes of a file, if they are the registered ones: what is compared is what is run."""
    hasher = hashlib.sha256()
    parts = []
    position = 0
    while part := os.pread(file.descriptor, READ_BYTES, position):
        hasher.update(part)
        parts.append(part)
        position += len(part)
        if position > file.size:
            break
    if (position, hasher.hexdigest()) != (file.size, file.sha256):
        raise MalformedError(
            Reason.WRONG_MODEL_FILE,
            "a file of the model is not the registered one",
            where=file.name or "the model",
            expected=f"sha256:{file.sha256}, {file.size} bytes",
            actual=f"sha256:{hasher.hexdigest()}, {position} bytes",
        )
    return b"".join(parts)


def limit(kind: int, value: int) -> None:
    """Limit this process, for good."""
    # Hard and soft alike, so that nothing can raise it again.
    _, hard = resource.getrlimit(kind)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


if __name__ == "__main__":
    main()
