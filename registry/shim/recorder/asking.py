"""What a caller asks of the record of its call, and what it is told of it.

::

    x-provreg-level: signed              asks; one of logged, signed, attested, recomputed
    x-provreg-deadline-ms: 500           by when, after the request; 0 waits for nothing
    x-provreg-level-reached: logged      tells, in headers, trailers or trailing metadata
    x-provreg-level-missed: UNATTESTED   tells why the level will never be reached
    x-receipt-id: 3f…/17                 names the record: shim id, and number of the call's intent
    x-output-sha256: 9c…                 the content digest, which names the answer

A model server that says any of the last four itself is not heard: it may be another shim, and
whoever asks this one must not take one record for the other.

An answer that reached less than was asked and names nothing missed went out while the level is
still awaited; a later record of the same call says what became of it.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from registry.core import encoding
from registry.core.records import inference
from registry.core.records.inference import Level
from registry.errors import LimitExceededError, MalformedError, NotFoundError, Reason
from registry.shim.recorder.trace_parent import trace_parent

LEVEL: Final = "x-provreg-level"
"""What asks for a level."""

DEADLINE: Final = "x-provreg-deadline-ms"
"""What says by when."""

REACHED: Final = "x-provreg-level-reached"
"""What tells how far it came while the answer waited; ``none`` if not even a record is durable."""

MISSED: Final = "x-provreg-level-missed"
"""What tells why the level will not be reached."""

RECEIPT: Final = "x-receipt-id"
"""What names the record."""

OUTPUT: Final = "x-output-sha256"
"""What names the answer."""

TOLD: Final = frozenset((RECEIPT, OUTPUT, REACHED, MISSED))
"""What only the shim that wrote the record may tell of it."""

MAX_DEADLINE_MS: Final = 24 * 3600 * 1000
"""The longest that anything is waited for, in milliseconds: a day."""

MAX_HELD_SECONDS: Final = 30.0
"""How long an answer is held back for its level, whatever the deadline."""

DEFAULT_DEADLINES_MS: Final[Mapping[Level, int]] = {
    "logged": 2_000,
    "signed": 2_000,
    "attested": 2_000,
    "recomputed": 3_600_000,
}
"""The deadline of whoever names a level alone: a batch takes a second, a replay needs a person."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a caller asks of the record of a call.

    Attributes:
        level: How strongly it wants the answer proven; None if it does not say.
        deadline_ms: By when, after its request.
        trace: The ``traceparent`` that it sent; empty if that is none.
        params: Sampling parameters and the model's name, as it spelled them.
    """

    level: Level | None = None
    deadline_ms: int = 0
    trace: str = ""
    params: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, headers: Mapping[str, str], params: Mapping[str, str] | None = None) -> "Asked":
        """Read what headers or metadata, by lowercase name, ask for.

        Raises:
            MalformedError: ``MALFORMED_FIELD`` or ``MALFORMED_DECIMAL``.
            LimitExceededError: ``MALFORMED_FIELD``.
        """
        wanted, by = headers.get(LEVEL, ""), headers.get(DEADLINE, "")
        trace = trace_parent(headers.get("traceparent", ""))
        params = {} if params is None else params
        if not wanted:
            if by:
                raise MalformedError(
                    Reason.MALFORMED_FIELD,
                    "a deadline without a level asks for nothing",
                    where=DEADLINE,
                    expected=f"{LEVEL} beside it",
                )
            return cls(trace=trace, params=params)
        level = _level(wanted)
        deadline_ms = _deadline(by) if by else DEFAULT_DEADLINES_MS[level]
        if deadline_ms > MAX_DEADLINE_MS:
            raise LimitExceededError(
                Reason.MALFORMED_FIELD,
                "nothing is waited for that long",
                where=DEADLINE,
                expected=f"at most {MAX_DEADLINE_MS}",
                actual=str(deadline_ms),
            )
        return cls(level, deadline_ms, trace, params)

    def check_model(self, known: Collection[str]) -> None:
        """Let no other model of a server answer in the name of the one that is recorded.

        Args:
            known: What the server calls that one; empty if it has no other.

        Raises:
            NotFoundError: ``ANOTHER_MODEL``.
        """
        if known and (named := self.params.get("model", "")) not in known:
            raise NotFoundError(
                Reason.ANOTHER_MODEL,
                "only the model that is recorded here may be asked",
                where="model",
                expected=" or ".join(sorted(known)),
                actual=named or "no model",
            )


@dataclass(frozen=True, slots=True)
class Proven:
    """How strongly an answer is proven as it goes out.

    Attributes:
        reached: The level; ``none``; empty if nobody asked.
        missed: Why the level that was asked for will not be reached.
    """

    reached: str = ""
    missed: str = ""

    def headers(self) -> tuple[tuple[str, str], ...]:
        """What tells the caller."""
        told = ((REACHED, self.reached), (MISSED, self.missed))
        return tuple((name, value) for name, value in told if value)


def _level(wanted: str) -> Level:
    try:
        return inference.level(wanted)
    except MalformedError as error:
        raise MalformedError(
            error.reason,
            error.what,
            where=LEVEL,
            expected=error.expected,
            actual=error.actual,
            hint="levels are spelled in lower case, one in a request",
        ) from error


def _deadline(by: str) -> int:
    try:
        return encoding.decimal(by)
    except MalformedError as error:
        raise MalformedError(
            error.reason,
            "this is not a deadline",
            where=DEADLINE,
            expected=f"milliseconds after the request, 0 to {MAX_DEADLINE_MS}",
            actual=by[:80],
        ) from error
