"""How many files this process may have open, and how many connections leave enough for the journal.

A journal that cannot open its next segment latches, and whoever can reach the proxy can open
connections. So there are only as many as leave a reserve.
"""

import contextlib
import resource

RESERVED = 128
"""Descriptors for all but connections: journal, batches, the registry, the model's files."""

EACH = 2
"""Descriptors of one call: the caller's connection, and that to the model server."""


def raise_limit() -> None:
    """Let this process open as many files as the system lets it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Where the system's word is not taken for it, the limit stays as it is.
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def connections(at_most: int) -> int:
    """How many connections of callers there may be: one at least."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return at_most
    return max(1, min(at_most, (soft - RESERVED) // EACH))
