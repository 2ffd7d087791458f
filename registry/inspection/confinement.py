"""Run one process that may compute and answer, and nothing else: no environment, no other files.

The process limits itself before it looks at anything (:mod:`registry.inspection.worker`); here its
time and its answer are bounded, and whatever kills it is one kind of failure.
"""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from threading import Timer
from typing import Final

INTERPRETER: Final = (sys.executable, "-I", "-B", "-X", "utf8")
"""How confined code is run: no user site, no environment, no byte code written."""

# Threads of numerical libraries would only cost address space.
ENVIRONMENT: Final = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
"""All of the environment that a confined process has."""


class EndedError(Exception):
    """The process gave no whole answer; the text says why."""


def converse(
    command: Sequence[str],
    request: bytes,
    *,
    descriptors: Sequence[int],
    time_limit: timedelta,
    most_bytes: int,
    environment: Mapping[str, str] = ENVIRONMENT,
) -> bytes:
    """Run ``command`` with ``request`` as its input and ``descriptors`` open; read its answer.

    Raises:
        EndedError: There is no whole answer of at most ``most_bytes`` in time.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        pass_fds=descriptors,
        env=environment,
        cwd="/",
        start_new_session=True,
    )
    # Killing the process closes its ends of both pipes, so nothing below can wait for ever.
    timer = Timer(time_limit.total_seconds(), process.kill)
    timer.daemon = True
    timer.start()
    try:
        with process:
            answer = _converse(process, request, most_bytes)
    finally:
        timer.cancel()
    if len(answer) > most_bytes:
        raise EndedError(f"more than {most_bytes} bytes of answer")
    if process.returncode != 0:
        raise EndedError(f"exit status {process.returncode}")
    return answer


def _converse(process: "subprocess.Popen[bytes]", request: bytes, most_bytes: int) -> bytes:
    if process.stdin is None or process.stdout is None:
        raise AssertionError("both are pipes")
    try:
        # A worker that died early does not read; how it ended says why.
        with suppress(BrokenPipeError), process.stdin:
            process.stdin.write(request)
        answer = process.stdout.read(most_bytes + 1)
    finally:
        process.stdout.close()
    if len(answer) > most_bytes:
        process.kill()
    return answer
