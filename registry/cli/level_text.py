"""What became of the level that a caller asked for, for a person and as JSON."""

from typing import Literal

import msgspec

from registry.client.journals import JournalCalls
from registry.client.registry import RegistryClient
from registry.core.capsule.container import Capsule
from registry.core.encoding import Count, Value
from registry.core.records import inference

MICROSECONDS = 1_000_000
"""Microseconds of a second."""


class LevelAnswer(Value, frozen=True):
    """What a caller asked for, and what the record that was attached later says of it.

    Attributes:
        state: ``awaited`` while no record says what became of it.
        late_us: How long after the caller's deadline it was known.
        missed: Why it was missed.
        proof: What proves it: the digest of a statement, or of evidence.
        n: The number of the record that says so.
    """

    level: inference.Level
    deadline_ms: Count
    state: Literal["had", "missed", "awaited"] = "awaited"
    late_us: Count = 0
    missed: str = ""
    proof: str = ""
    n: Count | msgspec.UnsetType = msgspec.UNSET


def level_of(client: RegistryClient, capsule: bytes) -> LevelAnswer | None:
    """What became of what the caller of this output asked for; None if that was nothing more.

    Raises:
        RegistryError: What is wrong with the capsule, or with a record about the call.
    """
    said = inference.parse(Capsule.parse(capsule).record)
    if not isinstance(said, inference.Completion):
        return None
    if said.asked is msgspec.UNSET or said.asked == "logged":
        return None
    shim_id = bytes.fromhex(said.sequence.shim_id)
    for found in JournalCalls(client).about(shim_id, said.intent_n):
        told = found.record
        if isinstance(told, inference.Attached):
            return LevelAnswer(
                level=told.level,
                deadline_ms=said.deadline_ms,
                state="missed" if told.missed else "had",
                late_us=told.late_us,
                missed=told.missed,
                proof=f"sha256:{told.proof}" if isinstance(told.proof, str) else "",
                n=told.sequence.n,
            )
    return LevelAnswer(level=said.asked, deadline_ms=said.deadline_ms)


def level_line(answer: LevelAnswer) -> str:
    """It in one line."""
    by = f"{answer.level} asked for within {answer.deadline_ms} ms"
    if answer.state == "awaited":
        return f"{by}: no record says so far what became of it"
    late = f"{answer.late_us / MICROSECONDS:.1f} s late" if answer.late_us else "in time"
    if answer.missed:
        return f"{by}: MISSED({answer.missed}), says record n={answer.n}"
    return f"{by}: attached {late} as record n={answer.n}, {answer.proof}"
