"""The sequence: every record of a shim has the next number and the hash of the record before it.

Numbers run on across restarts. Each start writes a *boot* record that says how the last run ended
and which calls were still open, and an *interrupted* record for each of these; a clean end writes a
*stop* record. So a cut tail, a hole, or a call without an outcome shows.

The shim's id is made with its first record and lives in the journal alone. If the journal is lost
the id is lost with it: numbers are never used twice under one id.
"""

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

import msgspec

from registry.core.encoding import Count, Hex32, Value
from registry.core.records import inference
from registry.core.tlog.checkpoint import Checkpoint
from registry.core.tlog.merkle import leaf_hash
from registry.errors import DamagedError, Reason
from registry.shim.recorder.clocks import read_clocks
from registry.shim.recorder.journal import MAX_BYTES, SEGMENT_BYTES, Journal
from registry.shim.recorder.ticket import After, Ticket, Urgency

Clock = Callable[[], datetime]
"""Tells the time, in UTC."""

Build = Callable[[inference.Sequence, str], inference.Record]
"""Makes a record from its place and its time."""

ID_BYTES = 16
"""Bytes of the ids of shims and boots."""


def time_text(at: datetime) -> str:
    """Write a UTC time as records have it, to the microsecond."""
    return f"{at.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


class Awaited(Value, frozen=True):
    """A call whose caller asked for more than a logged record, and that lacks its answer.

    Attributes:
        n: The number of its outcome.
        leaf: The leaf hash of its outcome.
        deadline_ms: When the caller wants it by, in milliseconds of Unix time.
        evidence: The evidence id of the attestation that was in force; empty if there was none.
        since_us: When its outcome was written, in microseconds of Unix time; 0 if that is unknown.
    """

    intent_n: Count
    n: Count
    leaf: Hex32
    level: inference.Level
    deadline_ms: Count
    evidence: str = ""
    since_us: Count = 0


@dataclass(frozen=True, slots=True)
class Started:
    """What a boot record says of this start, beside what the journal knows itself.

    Attributes:
        software: What this shim is, with its version.
        unrecorded: Calls of earlier runs that went out and were never written down.
        config: The digest of the shim's configuration; empty if there is none.
        seen: The newest head of the log that was seen; None if none was yet.
        release: The record id of the release that answers; empty if none is pinned.
        evidence: The evidence id of the attestation in force; empty if there is none.
    """

    software: str
    unrecorded: int = 0
    config: str = ""
    seen: Checkpoint | None = None
    release: str = ""
    evidence: str = ""

    @property
    def head(self) -> inference.SeenHead | msgspec.UnsetType:
        """The head that was seen, as records say it."""
        if self.seen is None:
            return msgspec.UNSET
        seen = self.seen
        return inference.SeenHead(origin=seen.origin, size=seen.size, root=seen.root.hex())


class _Place(msgspec.Struct):
    shim_id: str
    boot_id: str
    n: int
    prev_digest: str


class _Predicate(msgspec.Struct):
    kind: str
    sequence: _Place
    at: str = ""
    intent_n: int = -1
    setup_n: int = -1
    asked: str = ""
    deadline_ms: int = 0
    evidence: str = ""


class _Line(msgspec.Struct):
    """As much of a record as tells where it stands; everything is read again when it is batched."""

    predicate: _Predicate


class _History:
    """What earlier runs left behind."""

    def __init__(self) -> None:
        self.last: _Predicate | None = None
        self.previous = inference.FIRST_PREVIOUS
        self.open_intents: set[int] = set()
        self.awaited: dict[int, Awaited] = {}
        self._evidence: dict[int, str] = {}
        self._read = msgspec.json.Decoder(_Line).decode

    def __call__(self, n: int, data: bytes) -> None:
        try:
            predicate = self._read(data).predicate
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _not_ours(n, "a record of this shim", str(error)) from error
        place = predicate.sequence
        # The first record still kept follows one that was forgotten.
        expected = self.previous if self.last or n == 0 else place.prev_digest
        shim_id = self.last.sequence.shim_id if self.last else place.shim_id
        if (place.n, place.prev_digest, place.shim_id) != (n, expected, shim_id):
            raise _not_ours(
                n, f"record {n} after {expected}", f"{place.n} after {place.prev_digest}"
            )
        if predicate.kind == "intent":
            self.open_intents.add(n)
        self.open_intents.discard(predicate.intent_n)
        self.last = predicate
        self.previous = leaf_hash(data).hex()
        if predicate.asked and predicate.asked != "logged":
            self.awaited[predicate.intent_n] = self._awaited(predicate)
        elif predicate.kind == "attached":
            self.awaited.pop(predicate.intent_n, None)
        elif predicate.kind == "setup":
            self._evidence[n] = predicate.evidence

    def _awaited(self, predicate: _Predicate) -> Awaited:
        at = datetime.fromisoformat(predicate.at)
        return Awaited(
            intent_n=predicate.intent_n,
            n=predicate.sequence.n,
            leaf=self.previous,
            level=inference.level(predicate.asked),
            # From the outcome on; the request came before, but who remembers when.
            deadline_ms=int(at.timestamp() * 1000) + predicate.deadline_ms,
            evidence=self._evidence.get(predicate.setup_n, ""),
            since_us=int(at.timestamp() * 1_000_000),
        )


class Sequence:
    """The only way to write to the journal of a shim.

    The first thing to write is :meth:`boot`; then any thread may add records.

    Attributes:
        shim_id: Sixteen bytes in hexadecimal, made with record 0.
        boot_id: Sixteen bytes in hexadecimal, new with every start.
        journal: Where the records are.
        interrupted: Intents whose call was still open when the last run ended.
        awaited: Calls that wait for a level since an earlier run.
    """

    def __init__(
        self,
        folder: Path,
        clock: Clock,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        """Open the journal in ``folder``. Nothing is written yet, so it can still be judged.

        Raises:
            UnavailableError: ``JOURNAL_IN_USE``.
            DamagedError: ``JOURNAL_DAMAGED``.
        """
        history = _History()
        self._clock = clock
        self._mutex = threading.Lock()
        self.boot_id = secrets.token_hex(ID_BYTES)
        self.journal = Journal(folder, history, segment_bytes=segment_bytes, max_bytes=max_bytes)
        self._previous = history.previous
        self._last = last = history.last
        self.shim_id = last.sequence.shim_id if last else secrets.token_hex(ID_BYTES)
        self.interrupted = tuple(sorted(history.open_intents))
        self.awaited = tuple(history.awaited.values())

    def boot(self, started: Started) -> None:
        """Write down, durably, that the shim started, and the outcome of calls left open.

        Raises:
            UnavailableError: ``JOURNAL_LATCHED``.
        """
        last = self._last

        def build(place: inference.Sequence, at: str) -> inference.Record:
            return inference.Boot(
                sequence=place,
                at=at,
                prev_stop=_ending(last),
                software=started.software,
                previous_boot_id=msgspec.UNSET if last is None else last.sequence.boot_id,
                open_intents=self.interrupted,
                torn_bytes=self.journal.torn_bytes,
                unrecorded=started.unrecorded,
                clock=read_clocks(),
                config=started.config or msgspec.UNSET,
                seen=started.head,
                release=started.release or msgspec.UNSET,
                evidence=started.evidence or msgspec.UNSET,
            )

        tickets = [self.add(build)]
        tickets += [self.add(_interrupted(intent_n)) for intent_n in self.interrupted]
        for ticket in tickets:
            ticket.wait()

    def add(self, build: Build, after: After | None = None, urgency: Urgency = "now") -> Ticket:
        """Write the next record.

        Args:
            build: Makes the record from its place and its time; runs while others wait.
            after: Called when the record is durable or never will be; see :data:`After`.
            urgency: Who writes it, and when; after ``mine`` the caller goes on to
                :meth:`~registry.shim.recorder.journal.Journal.commit`.

        Raises:
            UnavailableError: ``JOURNAL_LATCHED``.
        """
        with self._mutex:
            place = inference.Sequence(
                shim_id=self.shim_id,
                boot_id=self.boot_id,
                n=self.journal.next_n,
                prev_digest=self._previous,
            )
            data = inference.write(build(place, time_text(self._clock())))
            ticket = self.journal.append(data, after, urgency)
            self._previous = leaf_hash(data).hex()
        return ticket

    def beat(self, unrecorded: int = 0) -> None:
        """Write down, durably, that the shim is alive.

        Args:
            unrecorded: Calls that went out meanwhile and were never written down.

        Raises:
            UnavailableError: ``JOURNAL_LATCHED``.
        """
        self.add(
            lambda place, at: inference.Heartbeat(
                sequence=place, at=at, clock=read_clocks(), unrecorded=unrecorded
            )
        ).wait()

    def stop(self) -> None:
        """Write down, durably, that the shim stopped in good order; nothing may be open.

        Raises:
            UnavailableError: ``JOURNAL_LATCHED``.
        """
        self.add(
            lambda place, at: inference.Stop(sequence=place, at=at, clock=read_clocks())
        ).wait()


def _ending(last: _Predicate | None) -> Literal["first", "clean", "unclean"]:
    if last is None:
        return "first"
    return "clean" if last.kind == "stop" else "unclean"


def _interrupted(intent_n: int) -> Build:
    return lambda place, at: inference.Interrupted(sequence=place, at=at, intent_n=intent_n)


def _not_ours(n: int, expected: str, actual: str) -> DamagedError:
    return DamagedError(
        Reason.JOURNAL_DAMAGED,
        "the journal holds a record that does not follow from the one before",
        where=f"record {n}",
        expected=expected,
        actual=actual[:200],
        hint="restore the disk; to go on without these records, move the shim's folder away",
    )
