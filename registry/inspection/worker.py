"""One inspection in a process of its own: ``python -m registry.inspection.worker``.

The process limits itself before it reads a byte of the file: memory, processor time, no new file
or socket, no new process, no writing, no core dump. So a parser that is led astray can at worst
give a wrong answer, and whoever asked compares the answer with the publisher's.
"""

import mmap
import os
import resource
import sys

from registry.core.encoding import read_json, write_json
from registry.core.formats import safetensors
from registry.core.formats.structure import SafetensorsStructure, Structure
from registry.errors import LimitExceededError, MalformedError, Reason, RegistryError
from registry.inspection.exchange import (
    MAX_ANSWER_BYTES,
    MAX_REQUEST_BYTES,
    Answer,
    Refusal,
    Request,
)

MEMORY_BYTES = 1024 * 1024 * 1024
"""Address space of a worker, beside the file that it maps."""

CPU_SECONDS = 30
"""Processor time of a worker."""

DESCRIPTORS = 64
"""Open files while the worker imports what it needs; afterwards it can open none."""


def main() -> None:
    """Read one request from standard input and write one answer to standard output."""
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_CPU, CPU_SECONDS)
    _limit(resource.RLIMIT_NOFILE, DESCRIPTORS)
    request = read_json(sys.stdin.buffer.read(MAX_REQUEST_BYTES), Request, what="request")
    sys.stdout.buffer.write(_answer(request))
    sys.stdout.buffer.flush()


def _answer(request: Request) -> bytes:
    try:
        answer = write_json(Answer(structure=_describe(request)))
        if len(answer) > MAX_ANSWER_BYTES:
            raise LimitExceededError(
                Reason.INSPECTION_LIMIT,
                "the description of this file is too long",
                where=request.file_name,
                expected=f"at most {MAX_ANSWER_BYTES} bytes",
                actual=f"{len(answer)} bytes",
            )
    except RegistryError as error:
        return write_json(Answer(refusal=Refusal.of(error)))
    except MemoryError:
        return write_json(
            Answer(
                refusal=Refusal(
                    reason=Reason.INSPECTION_LIMIT,
                    what="describing this file takes too much memory",
                    where=request.file_name,
                    expected=f"at most {MEMORY_BYTES} bytes beside the file",
                )
            )
        )
    return answer


def _describe(request: Request) -> Structure:
    size = os.fstat(request.descriptor).st_size
    if request.format == "safetensors":
        _limit(resource.RLIMIT_AS, MEMORY_BYTES)
        _seal()
        return _describe_safetensors(request.descriptor, size)
    if size == 0:
        raise MalformedError(Reason.MALFORMED_ONNX, "this file is empty", where=request.file_name)
    _limit(resource.RLIMIT_AS, MEMORY_BYTES + size)
    # Imported here, because a safetensors file should not wait for it.
    from registry.inspection import onnx_file  # noqa: PLC0415

    data = memoryview(mmap.mmap(request.descriptor, size, access=mmap.ACCESS_READ))
    _seal()
    files = {file.path: file.size for file in request.files}
    return onnx_file.describe(data, request.file_name, files)


def _describe_safetensors(descriptor: int, size: int) -> SafetensorsStructure:
    prefix = os.pread(descriptor, safetensors.PREFIX_BYTES, 0)
    length = safetensors.PREFIX_BYTES + safetensors.header_size(prefix, size)
    return safetensors.parse_header(os.pread(descriptor, length, 0), size)


def _seal() -> None:
    """Give up opening files, connecting and starting processes, for good."""
    _limit(resource.RLIMIT_NOFILE, 0)
    _limit(resource.RLIMIT_NPROC, 0)


def _limit(kind: int, value: int) -> None:
    # Hard and soft alike, so that nothing can raise it again.
    _, hard = resource.getrlimit(kind)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


if __name__ == "__main__":
    main()
