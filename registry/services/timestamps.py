"""Timestamps of the log: tokens over its newest checkpoint, from several authorities.

What is stamped are the bytes of the signed note as the log shows it at that moment: origin, size
and root, the empty line, and every signature line, of the log and of witnesses. Whoever holds the
note, a token over it and the authority's chain knows that every entry of that tree existed at the
stamped time at latest.

A thread of its own asks, so that the log waits for nobody; it holds the database only to write a
row. An authority is asked for the newest checkpoint when its interval is over, and again after a
pause that doubles when it does not answer. Nothing is stored that was not verified, and nothing
that contradicts what was learned before:

==========================  ======================================================================
``TIMESTAMP_CLOCK``         the stamp is not within a tolerance of our clock's time of the question
``TIMESTAMP_ORDER``         an authority stamped a later checkpoint earlier than one before it
``TIMESTAMP_DISAGREEMENT``  two authorities differ by more than a tolerance
==========================  ======================================================================

These three are alarms: somebody's clock is wrong, or somebody lies. Dying between stamp and row
costs a token and nothing else: the next start asks again.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from registry.core.archive.timestamp import Timestamp
from registry.core.capsule.parts import MAX_TIMESTAMPS
from registry.core.tlog.checkpoint import SignedCheckpoint
from registry.errors import MalformedError, Reason, RegistryError, VerificationError
from registry.remote.timestamp import RemoteAuthority
from registry.services.sequencing import Sequencer
from registry.storage.sql import timestamps
from registry.storage.sql.engine import Database
from registry.storage.sql.timestamps import StoredTimestamp

MAX_AUTHORITIES: Final = MAX_TIMESTAMPS
"""Authorities that stamp one log: a capsule carries a token of each."""

CLOCK_TOLERANCE: Final = timedelta(seconds=30)
"""How far a stamp may be from our clock, beyond the time that the answer took."""

AUTHORITY_TOLERANCE: Final = timedelta(seconds=10)
"""How far two authorities may be from each other, beyond the time that their answers took."""

FIRST_PAUSE: Final = timedelta(seconds=5)
"""How long an authority that failed is left alone at first, if the interval is not shorter."""

LONGEST_PAUSE: Final = timedelta(minutes=15)
"""How long an authority that fails is left alone at most, if the interval is longer."""

STOP_SECONDS: Final = 30.0
"""How long a question under way may delay the end; it is bounded by the client's timeout."""

ALARMS: Final = frozenset(
    (Reason.TIMESTAMP_CLOCK, Reason.TIMESTAMP_ORDER, Reason.TIMESTAMP_DISAGREEMENT)
)
"""Reasons that mean that somebody's clock is wrong, or that somebody lies."""

_NOTHING: Final = timedelta(0)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AuthorityState:
    """How it stands with one authority; for people.

    Attributes:
        url: Where it is asked.
        subject: Who its certificate says it is.
        size: Entries of the newest checkpoint that it stamped; 0 if none.
        at: When it stamped that; None if it never did.
        failures: Failed questions since the last token.
        reason: Why the last question failed; empty if it did not.
        alarms: Alarms since the start.
        alarm: The last of them in words; empty if there was none.
    """

    url: str
    subject: str
    size: int = 0
    at: datetime | None = None
    failures: int = 0
    reason: str = ""
    alarms: int = 0
    alarm: str = ""


@dataclass(frozen=True, slots=True)
class _Offset:
    """Where an authority's clock was relative to ours: between ``low`` and ``high``."""

    low: timedelta
    high: timedelta


class Timestamps:
    """Has the log's checkpoints stamped until closed."""

    def __init__(
        self,
        database: Database,
        sequencer: Sequencer,
        authorities: Sequence[RemoteAuthority],
        interval: timedelta,
        now: Callable[[], datetime],
    ) -> None:
        """Take up the schedule where the stored timestamps leave it.

        Raises:
            MalformedError: ``BAD_SETTING`` if there are too many authorities, or one twice.
        """
        names = [each.authority.chain_digest for each in authorities]
        if len(names) > MAX_AUTHORITIES or len(set(names)) < len(names):
            raise MalformedError(
                Reason.BAD_SETTING,
                "these cannot be the timestamp authorities of a log",
                where="--timestamp-authority",
                expected=f"at most {MAX_AUTHORITIES}, each with a chain of its own",
            )
        self._database = database
        self._sequencer = sequencer
        self._authorities = tuple(authorities)
        self._interval = interval
        self._now = now
        self._offsets: dict[bytes, _Offset] = {}
        self._newest: dict[bytes, StoredTimestamp] = {}
        with database.read() as connection:
            for name in names:
                stored = timestamps.newest(connection, name)
                if stored is not None:
                    self._newest[name] = stored
        self._states = [self._first_state(each) for each in authorities]
        self._waits = [self._first_wait(name) for name in names]
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="timestamps", daemon=True)
        self._thread.start()

    @property
    def states(self) -> tuple[AuthorityState, ...]:
        """How it stands with each authority."""
        return tuple(self._states)

    def close(self) -> None:
        """Ask nobody any more, and stop."""
        self._stopping.set()
        self._thread.join(STOP_SECONDS)

    # --- The one thread that asks ---

    def _first_state(self, remote: RemoteAuthority) -> AuthorityState:
        state = AuthorityState(remote.url, remote.authority.subject)
        stored = self._newest.get(remote.authority.chain_digest)
        return state if stored is None else replace(state, size=stored.size, at=stored.at)

    def _first_wait(self, name: bytes) -> timedelta:
        # A registry that is started again and again must not ask each time.
        stored = self._newest.get(name)
        if stored is None:
            return _NOTHING
        return min(max(stored.at + self._interval - self._now(), _NOTHING), self._interval)

    def _run(self) -> None:
        # Waits are spans, not moments: a clock that jumps cannot stop the schedule.
        while self._waits and not self._stopping.is_set():
            span = min(self._waits)
            if self._stopping.wait(span.total_seconds()):
                return
            self._waits = [wait - span for wait in self._waits]
            head = self._sequencer.head
            for number, wait in enumerate(self._waits):
                if wait <= _NOTHING and not self._stopping.is_set():
                    self._waits[number] = self._ask(number, head)

    def _ask(self, number: int, head: SignedCheckpoint | None) -> timedelta:
        """Have ``head`` stamped, if it is new to this authority; how long to wait afterwards."""
        remote, state = self._authorities[number], self._states[number]
        if head is None or head.checkpoint.size <= state.size or self._sequencer.latched:
            return self._interval
        try:
            before = self._now()
            token, stamp = remote.stamp(head.note)
            after = self._now()
            name = remote.authority.chain_digest
            self._check(name, stamp, before, after)
            row = StoredTimestamp(head.checkpoint.size, name, stamp.at, head.note, token)
        except RegistryError as error:
            return self._failed(number, error)
        except Exception as error:  # noqa: BLE001 - a thread that dies would stop all timestamps
            return self._failed(number, RegistryError(Reason.INTERNAL, f"{error!r}"[:300]))
        try:
            with self._database.write() as connection:
                timestamps.add(connection, row)
        except Exception as error:  # noqa: BLE001 - the writer's disk is in doubt
            self._sequencer.latch("keeping a timestamp failed", error)
            return self._failed(number, RegistryError(Reason.STORAGE_FAILED, f"{error!r}"[:300]))
        self._newest[name] = row
        self._offsets[name] = _offset(stamp, before, after)
        self._states[number] = replace(state, size=row.size, at=row.at, failures=0, reason="")
        logger.info("checkpoint of %d entries stamped by %s", row.size, remote.url)
        return self._interval

    def _check(self, name: bytes, stamp: Timestamp, before: datetime, after: datetime) -> None:
        """Compare a verified stamp with our clock, with earlier ones, and with other authorities.

        Raises:
            VerificationError: One of :data:`ALARMS`.
        """
        accuracy = stamp.accuracy or _NOTHING
        offset = _offset(stamp, before, after)
        if offset.low > CLOCK_TOLERANCE or offset.high < -CLOCK_TOLERANCE:
            raise _alarm(
                Reason.TIMESTAMP_CLOCK,
                "an authority's clock is far from ours",
                f"between {before.isoformat()} and {after.isoformat()}",
                stamp.at,
            )
        previous = self._newest.get(name)
        if previous is not None and stamp.at < previous.at:
            raise _alarm(
                Reason.TIMESTAMP_ORDER,
                "an authority's time goes backwards",
                f"{previous.at.isoformat()} or later",
                stamp.at,
            )
        for other, stored in self._newest.items():
            # Its answer was here before this question was asked.
            if other != name and stamp.at + accuracy + AUTHORITY_TOLERANCE < stored.at:
                raise _alarm(
                    Reason.TIMESTAMP_DISAGREEMENT,
                    "an authority stamps earlier than another did before",
                    f"{stored.at.isoformat()} or later",
                    stamp.at,
                )
        for other, known in self._offsets.items():
            apart = max(offset.low - known.high, known.low - offset.high)
            if other != name and apart > AUTHORITY_TOLERANCE:
                raise _alarm(
                    Reason.TIMESTAMP_DISAGREEMENT,
                    "two authorities' clocks are far from each other",
                    f"at most {AUTHORITY_TOLERANCE}",
                    stamp.at,
                )

    def _failed(self, number: int, error: RegistryError) -> timedelta:
        state = self._states[number]
        state = replace(state, failures=state.failures + 1, reason=error.reason)
        if error.reason in ALARMS:
            state = replace(state, alarms=state.alarms + 1, alarm=str(error))
            logger.critical("alarm from the timestamp authority %s: %s", state.url, error)
        else:
            logger.warning("no timestamp from %s: %s", state.url, error)
        self._states[number] = state
        # The exponent is bounded before it is used: 2^failures grows beyond what a timedelta holds.
        pause: timedelta = FIRST_PAUSE * 2 ** min(state.failures - 1, 10)
        return min(pause, LONGEST_PAUSE, self._interval)


def _offset(stamp: Timestamp, before: datetime, after: datetime) -> _Offset:
    accuracy = stamp.accuracy or _NOTHING
    return _Offset(stamp.at - accuracy - after, stamp.at + accuracy - before)


def _alarm(reason: Reason, what: str, expected: str, at: datetime) -> VerificationError:
    return VerificationError(
        reason,
        what,
        expected=expected,
        actual=at.isoformat(),
        hint="compare the clock of this machine and of the authorities with a clock you trust",
    )
