"""A process that appraises: one request after the other, with limits that it sets itself.

Evidence is hostile input. Before the first byte of it is read, memory is bounded, and no file,
socket or process can be opened any more; whatever the examination needs has been imported by then.
"""

import contextlib
import os
import resource
import sys
from datetime import UTC, datetime

from registry.core.encoding import write_json
from registry.core.evidence.endorsements import Endorsements
from registry.core.evidence.families import FAMILIES
from registry.core.evidence.roots import Roots
from registry.errors import MalformedError, Reason, RegistryError
from registry.inspection.appraisal_exchange import (
    Answer,
    Task,
    read_message,
    write_message,
)

MEMORY_BYTES = 1024 * 1024 * 1024
"""Address space of a worker; the libraries alone map some 300 MiB."""

NICENESS = 10
"""How far workers stand back behind the threads that take statements in."""


def main() -> None:
    """Answer requests from standard input until it ends."""
    _warm_up()
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    for kind in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE, resource.RLIMIT_NPROC):
        _limit(kind, 0)
    _limit(resource.RLIMIT_AS, MEMORY_BYTES)
    # Nothing can be opened any more; what is open stays so.
    _limit(resource.RLIMIT_NOFILE, 0)
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    while (parts := read_message(requests.read)) is not None:
        answers.write(write_message([write_json(answer(parts))]))
        answers.flush()


def answer(parts: list[bytes]) -> Answer:
    """What is made of one request."""
    try:
        return Answer(result=Task.of_parts(parts).carry_out())
    except RegistryError as error:
        return Answer.refusal(error)
    except MemoryError:
        return Answer(
            reason=Reason.APPRAISAL_LIMIT,
            what="judging this evidence takes too much memory",
            expected=f"at most {MEMORY_BYTES} bytes",
        )
    except Exception as error:  # noqa: BLE001 - a mistake of ours must not end the worker
        return Answer(
            reason=Reason.INTERNAL, what="the appraisal failed", actual=type(error).__name__
        )


def _warm_up() -> None:
    """Import what examinations import when they first run."""
    for rules in FAMILIES.values():
        # A family whose extra is not installed says so when it is asked for.
        with contextlib.suppress(RegistryError):
            nothing = Endorsements()
            examined = rules.examine(b"", nothing, datetime(2026, 1, 1, tzinfo=UTC), Roots())
            if rules.second_opinion is not None:
                rules.second_opinion(b"", nothing, examined)
    with contextlib.suppress(MalformedError):
        Task.of_parts([b"{}", b""])


def _limit(kind: int, value: int) -> None:
    # Hard and soft alike, so that nothing can raise it again.
    _, hard = resource.getrlimit(kind)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


if __name__ == "__main__":
    main()
