"""Whether the records of one shim are complete: batches chain, ranges adjoin, every call accounted.

The batches come in order, each verified as a logged statement by whoever asks. What follows from
them is judged here: numbers that lie between two signed batches and in neither were never given to
the log, and the two batches prove it. What never reached a shim leaves no trace; no check finds it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from registry.core import digest
from registry.core.attestation.statement import Subject
from registry.core.encoding import Count, Value
from registry.core.records import batch as batches
from registry.core.records import inference, shim_history
from registry.core.records.audit_policy import Policy
from registry.core.records.batch import Batch
from registry.core.records.shim_history import History
from registry.core.verdict import Check, Verdict, overall, valid
from registry.errors import MalformedError, Reason, RegistryError

MAX_FINDINGS = 100
"""Findings about one shim that are told; more are counted."""

MAX_RANGES = 1000
"""Ranges of missing records of one shim that are told; more are counted."""

CHAIN = "batch chain"
RANGES = "ranges"
RECORDS = "records"
SEEN = "log seen"
_LINKS = (
    CHAIN,
    RANGES,
    RECORDS,
    shim_history.STARTS,
    SEEN,
    shim_history.CALLS,
    shim_history.SETUPS,
    shim_history.HEARTBEATS,
    shim_history.UNRECORDED,
    shim_history.LEVELS,
    shim_history.TIMES,
)


class Range(Value, frozen=True):
    """Records ``first`` to ``last``, both included."""

    first: Count
    last: Count


class Start(Value, frozen=True):
    """How a shim started.

    Attributes:
        software: What it says that it is.
        config: The digest of its configuration; empty if it says none.
        seen: The newest head of the log that it had seen; absent if it says none.
        evidence: The evidence id of its attestation; empty if it was unattested.
    """

    n: Count
    at: str
    software: str
    config: str = ""
    seen: inference.SeenHead | None = None
    evidence: str = ""


class ShimAudit(Value, frozen=True):
    """What an auditor found out about one shim.

    Attributes:
        checks: What was checked; what does not hold has a check of its own.
        more: Findings beyond those that are told.
        batches: How many batches there are.
        next_n: The number after the last record that a batch commits to.
        proven: How many records were read and proven.
        missing: Numbers in no batch, which the signed batches around them prove.
        unreadable: Numbers in a batch whose records the registry does not show, or not rightly.
        counts: How many records of each kind.
        open: Calls without an outcome so far.
        unrecorded: Calls that the shim let pass without writing them down.
        unclean: Starts after a run that did not stop in good order; each says so.
        clock_steps: How often the wall clock went back.
        clock_leaps: How often it went ahead by more than a silence may last, by the other clock.
        first_at: The time of the first record.
        last_at: The time of the last one.
        started: What the newest start says; absent if it is not known.
        configurations: How often a start named another configuration than the one before.
    """

    shim_id: str
    principal: str
    verdict: Verdict
    checks: tuple[Check, ...]
    batches: Count
    next_n: Count
    proven: Count
    more: Count = 0
    missing: tuple[Range, ...] = ()
    unreadable: tuple[Range, ...] = ()
    counts: dict[str, Count] = msgspec.field(default_factory=dict)
    open: tuple[Count, ...] = ()
    unrecorded: Count = 0
    unclean: Count = 0
    clock_steps: Count = 0
    clock_leaps: Count = 0
    first_at: str = ""
    last_at: str = ""
    started: Start | None = None
    configurations: Count = 0


@dataclass(frozen=True, slots=True)
class LoggedBatch:
    """A batch as the log has it: who signed it, which entry it is, and what it says."""

    principal: str
    index: int
    record_id: bytes
    subject: tuple[Subject, ...]
    batch: Batch


class Completeness:
    """Judges one shim, batch by batch; memory does not grow with their number."""

    def __init__(self, shim_id: str, policy: Policy) -> None:
        self._shim_id = shim_id
        self._findings: list[Check] = []
        self._more = 0
        self._verdicts = {Verdict.VALID}
        self._broken: set[str] = set()
        self._history = History(policy, self._report)
        self._last: LoggedBatch | None = None
        self._last_leaf: str | None = None
        self._missing: list[Range] = []
        self._unreadable: list[Range] = []
        self._batches = 0
        self._next_n = 0
        self._proven = 0
        self._first_at = ""

    def add(self, logged: LoggedBatch, records: Sequence[bytes] | RegistryError) -> None:
        """Judge the next batch.

        Args:
            logged: The batch; its signature and its place in the log are verified.
            records: Its records, not yet checked; or why the registry does not show them.
        """
        said = logged.batch
        self._batches += 1
        self._check_chain(logged)
        if said.n_first > self._next_n:
            self._hole(self._missing, Range(first=self._next_n, last=said.n_first - 1))
            self._report(
                RANGES,
                Verdict.INVALID,
                Reason.SEQUENCE_GAP,
                f"records {self._next_n} to {said.n_first - 1} are in no batch; "
                f"entry {logged.index} goes on with n={said.n_first}",
            )
            self._history.hole(said.n_first)
            self._last_leaf = None
        self._last = logged
        if said.n_first < self._next_n:
            self._report(
                RANGES,
                Verdict.INVALID,
                Reason.SEQUENCE_OVERLAP,
                f"entry {logged.index} repeats numbers from n={said.n_first} on; "
                f"n={self._next_n} is next",
            )
            self._skip(logged)
            return
        if isinstance(records, RegistryError):
            # Bytes that the node committed to and that are no records are its own fault.
            fault = isinstance(records, MalformedError)
            verdict = Verdict.INVALID if fault else Verdict.INDETERMINATE
            self._report(RECORDS, verdict, records.reason, f"entry {logged.index}: {records}")
            self._skip(logged)
            return
        self._read(logged, records)

    @property
    def seen(self) -> inference.SeenHead | None:
        """The head of the log that the newest start had seen; None if it says none."""
        started = self._history.starts.newest
        return None if started is None else started.seen or None

    def contradicted(self, error: RegistryError) -> None:
        """Take note that the log does not extend :attr:`seen`."""
        self._report(SEEN, Verdict.INVALID, error.reason, f"what the shim had seen: {error}")

    def finish(self, at: datetime) -> ShimAudit:
        """The findings, as of ``at``."""
        history = self._history
        history.finish(at)
        passed = [valid(link) for link in _LINKS if link not in self._broken]
        return ShimAudit(
            shim_id=self._shim_id,
            principal="" if self._last is None else self._last.principal,
            verdict=overall(_as_check(verdict) for verdict in self._verdicts),
            checks=(*passed, *self._findings),
            batches=self._batches,
            next_n=self._next_n,
            proven=self._proven,
            more=self._more,
            missing=tuple(self._missing),
            unreadable=tuple(self._unreadable),
            counts=dict(history.counts),
            open=history.open,
            unrecorded=history.unrecorded,
            unclean=history.unclean,
            clock_steps=history.backwards,
            clock_leaps=history.leaps,
            first_at=self._first_at,
            last_at="" if history.last is None else history.last.at,
            started=None if history.starts.newest is None else _start(history.starts.newest),
            configurations=history.starts.configurations,
        )

    def _check_chain(self, logged: LoggedBatch) -> None:
        last = self._last
        named = logged.batch.prev_batch
        expected = msgspec.UNSET if last is None else digest.text(last.record_id)
        if named != expected:
            self._report(
                CHAIN,
                Verdict.INVALID,
                Reason.BATCH_CHAIN,
                f"entry {logged.index} does not name the batch before it"
                + ("" if last is None else f", entry {last.index}"),
            )
        if last is not None and last.principal != logged.principal:
            self._report(
                CHAIN,
                Verdict.INVALID,
                Reason.SIGNER_CHANGED,
                f"entry {logged.index} is by {logged.principal}, those before are by "
                f"{last.principal}",
            )

    def _read(self, logged: LoggedBatch, records: Sequence[bytes]) -> None:
        said = logged.batch
        before = self._proven

        def each(record: inference.Record) -> None:
            self._history.take(record)
            self._first_at = self._first_at or record.at
            self._proven += 1

        try:
            batches.validate(logged.subject, said)
            content = batches.open_content(logged.subject, said, records, self._last_leaf, each)
        except RegistryError as error:
            self._report(RECORDS, Verdict.INVALID, error.reason, f"entry {logged.index}: {error}")
            self._skip(logged, self._proven - before)
            return
        self._next_n = said.n_last + 1
        self._last_leaf = content.hashed.leaf_hashes[-1].hex()

    def _skip(self, logged: LoggedBatch, read: int = 0) -> None:
        """Go on after a batch of whose records only the first were believed."""
        first, last = logged.batch.n_first + read, logged.batch.n_last
        if first <= last:
            self._hole(self._unreadable, Range(first=first, last=last))
        self._next_n = max(self._next_n, last + 1)
        self._history.hole(self._next_n)
        self._last_leaf = None

    def _hole(self, ranges: list[Range], found: Range) -> None:
        if len(ranges) < MAX_RANGES:
            ranges.append(found)
        else:
            self._more += 1

    def _report(self, link: str, verdict: Verdict, reason: Reason, detail: str) -> None:
        self._verdicts.add(verdict)
        self._broken.add(link)
        if len(self._findings) < MAX_FINDINGS:
            self._findings.append(Check(link=link, verdict=verdict, reason=reason, detail=detail))
        else:
            self._more += 1


def _start(boot: inference.Boot) -> Start:
    return Start(
        n=boot.sequence.n,
        at=boot.at,
        software=boot.software,
        config=boot.config or "",
        seen=boot.seen or None,
        evidence=boot.evidence or "",
    )


def _as_check(verdict: Verdict) -> Check:
    return Check(link="", verdict=verdict)
