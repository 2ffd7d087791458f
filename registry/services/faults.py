"""What may be wrong with a stored registry, fault by fault, and what is done about it.

Primary data is what exists once: entries and their statements, checkpoints, the checkpoint lock,
blobs on the disk. Nothing can make it again, so it is never touched. Everything else that is ours
is derived from it, and mended by deriving it again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

MAX_FAULTS = 10_000
"""Faults that are listed; a registry with more of them is to be rebuilt, or restored."""


class Kind(StrEnum):
    """A kind of fault: a stable word for scripts."""

    # Primary: restore it from a backup.
    ENTRY_MISSING = "ENTRY_MISSING"
    ENTRY_DAMAGED = "ENTRY_DAMAGED"
    CHECKPOINT_NOTE = "CHECKPOINT_NOTE"
    CHECKPOINT_ROOT = "CHECKPOINT_ROOT"
    CHECKPOINT_BEYOND = "CHECKPOINT_BEYOND"
    TIMESTAMP = "TIMESTAMP"
    FROZEN = "FROZEN"
    LOCK_AHEAD = "LOCK_AHEAD"
    LOCK_ROOT = "LOCK_ROOT"
    BLOB_MISSING = "BLOB_MISSING"
    BLOB_DAMAGED = "BLOB_DAMAGED"
    PUBLISHED_FORK = "PUBLISHED_FORK"

    # Foreign: somebody else put it there, and has to take it away.
    BLOB_STRAY = "BLOB_STRAY"

    # Derived: `provreg log fsck --repair` makes it again.
    TILE_MISSING = "TILE_MISSING"
    TILE_DAMAGED = "TILE_DAMAGED"
    TILE_EXTRA = "TILE_EXTRA"
    STATEMENT_ROW = "STATEMENT_ROW"
    VERSION_ROW = "VERSION_ROW"
    BATCH_ROW = "BATCH_ROW"
    RESULT_ROW = "RESULT_ROW"
    BLOB_ROW = "BLOB_ROW"
    OUTPUT_INDEX = "OUTPUT_INDEX"
    RECEIPT = "RECEIPT"
    PUBLISHED_MISSING = "PUBLISHED_MISSING"
    PUBLISHED_DAMAGED = "PUBLISHED_DAMAGED"
    TOO_MANY = "TOO_MANY"


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is not what it was, or not what it should be.

    Attributes:
        where: Which entry, tile, row or file.
        what: What is wrong with it, in plain words.
        mended: Whether it was made again.
        hint: What to do, if it was not.
    """

    kind: Kind
    where: str
    what: str
    mended: bool = False
    hint: str = ""

    def __str__(self) -> str:
        end = "; made again" if self.mended else f"; {self.hint}" if self.hint else ""
        return f"{self.kind} {self.where}: {self.what}{end}"

    def to_json(self) -> dict[str, object]:
        """Its parts, for machines."""
        return {
            "reason": str(self.kind),
            "where": self.where,
            "what": self.what,
            "mended": self.mended,
            "hint": self.hint,
        }


Mend = Callable[[], None]
"""Makes one thing again."""

RESTORE = "this exists only once: restore it from a backup"
REPAIR = "run: provreg log fsck --repair"
REFUSED = "not made again, since the entries do not lead to the root that was signed"
REBUILD = "run: provreg db rebuild"
FOREIGN = "nothing here has put it there: move it elsewhere"


class Findings:
    """The faults of one examination."""

    def __init__(self, *, repair: bool) -> None:
        self._repair = repair
        self._faults: list[tuple[Fault, Mend | None]] = []
        self.dropped = 0

    def primary(self, kind: Kind, where: str, what: str) -> None:
        """Something that nothing can make again."""
        self._add(Fault(kind, where, what, hint=RESTORE), None)

    def foreign(self, kind: Kind, where: str, what: str) -> None:
        """Something that is not ours."""
        self._add(Fault(kind, where, what, hint=FOREIGN), None)

    def derived(self, kind: Kind, where: str, what: str, mend: Mend) -> None:
        """Something that ``mend`` makes again."""
        self._add(Fault(kind, where, what, hint=REPAIR), mend)

    @property
    def count(self) -> int:
        """How many faults there are so far."""
        return len(self._faults) + self.dropped

    def settle(self, *, trusted: bool) -> list[Fault]:
        """Mend what can be mended, if that is wanted, and give all faults.

        Args:
            trusted: Whether what is derived was derived from what was signed.
        """
        settled = []
        for fault, mend in self._faults:
            if mend is None or not self._repair:
                settled.append(fault)
            elif not trusted:
                settled.append(Fault(fault.kind, fault.where, fault.what, hint=REFUSED))
            else:
                mend()
                settled.append(Fault(fault.kind, fault.where, fault.what, mended=True))
        if self.dropped:
            what = f"{self.dropped} more faults"
            settled.append(Fault(Kind.TOO_MANY, "everywhere", what, hint=REBUILD))
        return settled

    def _add(self, fault: Fault, mend: Mend | None) -> None:
        if len(self._faults) < MAX_FAULTS:
            self._faults.append((fault, mend))
        else:
            self.dropped += 1
