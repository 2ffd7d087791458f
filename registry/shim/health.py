"""Whether a shim records as it should: green, or red with the reasons.

=========================  =================================================================
red because of             what it means for calls
=========================  =================================================================
the journal                strict and stream take no more; best_effort goes on and counts
a journal that is full     the same, until the registry has taken some of it
a heartbeat that is due    the disk hangs: so will every call in strict and stream
calls that went unwritten  only in best_effort; green again when a record tells of them
the registry               none; records wait on this disk, unproven, and somebody should look
a check of the model       as the check says: no call is forwarded while a file differs
the attestation            outputs are unattested; none is made where attestation is required
=========================  =================================================================
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from registry.core.encoding import Count, Value
from registry.errors import Reason, RegistryError
from registry.shim.app import Shim
from registry.shim.uploader import Status

BEHIND_SECONDS = 60.0
"""How long a record may wait to be in the log, unless told otherwise."""

OVERDUE_SECONDS = 5.0
"""How late a heartbeat may be: a busy disk takes its time."""

MAX_DETAIL = 400
"""Characters of what is said about one trouble."""


class Trouble(Value, frozen=True):
    """Why a shim is red: which part of it, the stable word, and the details."""

    part: str
    reason: str
    detail: str


class Health(Value, frozen=True):
    """How a shim is.

    Attributes:
        next_n: The number of its next record.
        durable_n: All records below are on disk.
        registered_n: All records below are in the log, with proof.
        behind_ms: How long the oldest record waits to be in the log.
        attempts: Vain attempts to reach the registry since the last success.
        unrecorded: Calls that went out, were not written down, and of which no record tells yet.
        checks: What is checked beside journal and registry.
        troubles: Why it is red; none if it is green.
    """

    status: Literal["green", "red"]
    shim_id: str
    mode: str
    next_n: Count
    durable_n: Count
    registered_n: Count
    behind_ms: Count
    attempts: Count
    unrecorded: Count
    checks: tuple[str, ...]
    troubles: tuple[Trouble, ...]


@dataclass(frozen=True, slots=True)
class Watched:
    """What is asked how a shim is.

    Attributes:
        checks: By name, what raises while something beside journal and registry is wrong.
        behind_seconds: How long a record may wait to be in the log.
    """

    shim: Shim
    mode: str
    checks: Mapping[str, Callable[[], None]]
    behind_seconds: float = BEHIND_SECONDS

    def health(self) -> Health:
        """How the shim is now."""
        shim = self.shim
        status = shim.status()
        unrecorded = shim.unrecorded.count
        troubles = [
            *self._journal(),
            *_unrecorded(unrecorded),
            *self._registry(status),
            *self._checked(),
        ]
        return Health(
            status="red" if troubles else "green",
            shim_id=shim.shim_id,
            mode=self.mode,
            next_n=shim.sequence.journal.next_n,
            durable_n=status.durable_n,
            registered_n=status.registered_n,
            behind_ms=int(status.behind_seconds * 1000),
            attempts=status.attempts,
            unrecorded=unrecorded,
            checks=tuple(self.checks),
            troubles=tuple(troubles),
        )

    def _journal(self) -> list[Trouble]:
        if latched := self.shim.recorder.latched:
            return [_trouble("journal", Reason.JOURNAL_LATCHED, latched)]
        if full := self.shim.sequence.journal.full:
            return [_trouble("journal", Reason.JOURNAL_FULL, full)]
        overdue = self.shim.heartbeat.overdue
        if overdue > OVERDUE_SECONDS:
            detail = f"a heartbeat is not on disk that was due {overdue:.0f} s ago"
            return [_trouble("journal", Reason.HEARTBEAT_GAP, detail)]
        return []

    def _registry(self, status: Status) -> list[Trouble]:
        if status.refused is not None:
            return [_trouble("registry", status.refused.reason, str(status.refused))]
        if status.behind_seconds <= self.behind_seconds:
            return []
        late = f"records wait for {status.behind_seconds:.0f} s"
        if status.unavailable is None:
            return [_trouble("registry", Reason.DEADLINE, late)]
        return [_trouble("registry", status.unavailable.reason, f"{late}: {status.unavailable}")]

    def _checked(self) -> list[Trouble]:
        troubles = []
        for name, check in self.checks.items():
            try:
                check()
            except RegistryError as error:
                troubles.append(_trouble(name, error.reason, str(error)))
        return troubles


def _unrecorded(count: int) -> list[Trouble]:
    if not count:
        return []
    return [_trouble("journal", Reason.UNRECORDED_CALLS, f"{count} calls were not written down")]


def _trouble(part: str, reason: Reason, detail: str) -> Trouble:
    return Trouble(part=part, reason=reason, detail=detail[:MAX_DETAIL])
