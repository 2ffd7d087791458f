"""System → reader: whose proofs are known here, and the one way in."""

from collections.abc import Callable, Mapping
from typing import Final

from registry.core.evidence.checks import CheckResult
from registry.core.foreign import reading
from registry.core.foreign.aci import examine as aci
from registry.core.foreign.air import examine as air
from registry.core.foreign.captured import Asked, Captured
from registry.core.foreign.near import examine as near
from registry.core.foreign.opengradient import examine as opengradient
from registry.core.foreign.proof import ForeignProof, System
from registry.errors import MalformedError, Reason

Reader = Callable[[Captured, Asked], tuple[reading.Reading, tuple[CheckResult, ...]]]
"""``(captured, asked)`` → what was read, and at least one result for every check of its table."""

READERS: Final[Mapping[System, tuple[Reader, Mapping[str, str]]]] = {
    System.ACI: (aci.examine, aci.TABLE),
    System.AIR: (air.examine, air.TABLE),
    System.NEAR: (near.examine, near.TABLE),
    System.OPENGRADIENT: (opengradient.examine, opengradient.TABLE),
}
"""Who reads the proofs of a system, and its table of checks."""


def system_of(name: str) -> System:
    """The system called ``name``.

    Raises:
        MalformedError: ``UNKNOWN_SYSTEM``.
    """
    for system in READERS:
        if system == name:
            return system
    raise MalformedError(
        Reason.UNKNOWN_SYSTEM,
        "proofs of this system are not read here",
        expected=", ".join(READERS),
        actual=name[:80],
    )


def examine(system: System, captured: Captured, asked: Asked, fetched_at: int) -> ForeignProof:
    """Read and check what was caught.

    Args:
        system: Whose proof it is.
        captured: What was caught.
        asked: The moment that counts, and what the importer knew before.
        fetched_at: When it was fetched, in Unix seconds: a claim of the importer's.

    Raises:
        MalformedError: ``FOREIGN_PART`` without what no import can do without; ``BAD_TIME``; what
            is wrong with the appraisal policy.
        UnavailableError: ``MISSING_EXTRA``.
    """
    reader, _table = READERS[system]
    said, checks = reader(captured, asked)
    return reading.finish(said, checks, captured, asked, fetched_at)
