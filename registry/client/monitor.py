"""Follows a log as a stranger: each checkpoint must extend the one before, each entry be in it.

One round asks for the newest checkpoint, proves that it extends the last one that was verified,
remembers it durably, and then reads and verifies the entries that are new. Whatever contradicts the
memory is kept as evidence before it is told. A round that dies is repeated: entries may be told
twice, and are never left out.

With a policy only what a quorum of witnesses cosigned is believed, and it is as fresh as they say:
a log that shows somebody an old tree for ever, with cosignatures that were good once, is noticed.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

from registry.client.following_state import Followed, StateFolder
from registry.core.tlog.checkpoint import Checkpoint, SignedCheckpoint
from registry.core.tlog.following import verify_fresh, verify_successor
from registry.core.tlog.merkle import EMPTY_ROOT
from registry.core.tlog.note import Note, VerifierKey
from registry.core.tlog.policy import Policy
from registry.core.tlog.selection import Selection
from registry.errors import Reason, UnavailableError, VerificationError

CONTRADICTIONS = frozenset({Reason.FORK, Reason.LOG_ROLLBACK, Reason.CONSISTENCY_PROOF})
"""What two signed checkpoints prove against a log, or what a log could disprove and does not."""


class Log(Protocol):
    """A log somewhere else. Nothing that it says is believed unless a method verifies it."""

    def newest(self, *, cosigned: bool = False) -> bytes:
        """The newest checkpoint that is shown, or that was cosigned: a note, unverified."""

    def verify_extends(self, older: Checkpoint, newer: Checkpoint) -> None:
        """Check that ``newer`` extends ``older``; ``FORK`` only if that is proved to be wrong."""

    def entries(
        self, start: int, head: SignedCheckpoint
    ) -> Iterator[tuple[int, tuple[bytes, ...]]]:
        """Verified entries from ``start`` to the end of ``head``, as (first index, entries)."""


@dataclass(frozen=True, slots=True)
class Found:
    """An entry that somebody looks for."""

    index: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Verified:
    """A checkpoint that extends everything that was seen before.

    Attributes:
        read: How many of its entries were read.
    """

    head: SignedCheckpoint
    read: int


Tell = Callable[[Found | Verified], None]
"""Told of what a round finds."""


class Monitor:
    """Follows one log. Belongs to one thread."""

    def __init__(
        self,
        log: Log,
        key: VerifierKey,
        state: StateFolder,
        selection: Selection,
        *,
        started_at: datetime,
        max_age: timedelta,
        policy: Policy | None = None,
    ) -> None:
        self._log = log
        self._key = key
        self._state = state
        self._selection = selection
        self._started_at = started_at
        self._max_age = max_age
        self._policy = policy

    def round(self, at: datetime, tell: Tell, *, only_new: bool = False) -> None:
        """Follow the log to its newest checkpoint.

        Args:
            at: What time it is.
            tell: Told of entries that match, and last of the checkpoint.
            only_new: On first contact, do not read what the log held before.

        Raises:
            VerificationError: ``FORK``, ``LOG_ROLLBACK`` or ``CONSISTENCY_PROOF``, after keeping
                the evidence; ``WRONG_LOG``, ``LOG_SIGNATURE`` or ``COSIGNATURE``; ``TILE`` or
                ``INCLUSION_PROOF``.
            MalformedError, LimitExceededError: What is wrong with an answer.
            UnavailableError: The log does not answer, or ``QUORUM``: witnesses have not seen so far
                what it shows; nothing was learned.
        """
        self._state.check_evidence()
        followed = self._state.followed
        shown = self._newest(followed)
        if followed is None:
            self._log.verify_extends(
                Checkpoint(shown.checkpoint.origin, 0, EMPTY_ROOT), shown.checkpoint
            )
            position = shown.checkpoint.size if only_new else 0
            verified_at = self._seen_at(shown, at)
        else:
            position = followed.position
            verified_at = max(followed.verified_at, self._seen_at(shown, at))
        followed = Followed(shown, position, verified_at)
        self._state.advance(followed)
        for first, entries in self._log.entries(position, shown):
            for index, body in enumerate(entries, first):
                if self._selection.matches(body):
                    tell(Found(index, body))
            followed = replace(followed, position=first + len(entries))
            self._state.advance(followed)
        tell(Verified(shown, followed.position))

    def verify_fresh(self, at: datetime) -> None:
        """Fail closed if no checkpoint could be verified for too long.

        Raises:
            UnavailableError: ``LOG_STALE``.
        """
        followed = self._state.followed
        last = self._started_at if followed is None else followed.verified_at
        verify_fresh(last, at, self._max_age)

    def _newest(self, followed: Followed | None) -> SignedCheckpoint:
        """The newest checkpoint that can be believed; it extends what was seen."""
        wanted = self._policy is not None
        shown = SignedCheckpoint.open(self._log.newest(cosigned=wanted), self._key)
        seen = None if followed is None else followed.head
        if wanted and seen is not None and shown.checkpoint.size < seen.checkpoint.size:
            # Seen before anybody asked for witnesses, who may be behind; or shown, and taken back.
            self._compare(seen, SignedCheckpoint.open(self._log.newest(), self._key))
            raise _unseen(f"{seen.checkpoint.size} entries", f"{shown.checkpoint.size} entries")
        if seen is not None:
            self._compare(seen, shown)
        if self._policy is not None:
            try:
                self._policy.verify(shown.note)
            except VerificationError as error:
                if error.reason is not Reason.QUORUM:
                    raise
                raise _unseen(error.expected, error.actual) from error
        return shown

    def _seen_at(self, shown: SignedCheckpoint, at: datetime) -> datetime:
        """When the checkpoint was the newest one: now, or when a quorum said so last."""
        if self._policy is None:
            return at
        seen_at = self._policy.standing(Note.parse(shown.note)).seen_at
        # Compared as numbers: a witness may say any, and one that is ahead of us is fresh enough.
        if seen_at is None or seen_at >= int(at.timestamp()):
            return at
        return datetime.fromtimestamp(seen_at, UTC)

    def _compare(self, seen: SignedCheckpoint, shown: SignedCheckpoint) -> None:
        try:
            verify_successor(seen, shown)
            self._log.verify_extends(seen.checkpoint, shown.checkpoint)
        except VerificationError as error:
            if error.reason in CONTRADICTIONS:
                folder = self._state.keep_evidence(seen, shown, error)
                error.hint = f"both signed checkpoints are in {folder}; show them to others"
            raise


def _unseen(expected: str, actual: str) -> UnavailableError:
    return UnavailableError(
        Reason.QUORUM,
        "too few witnesses have seen what the log shows",
        expected=expected,
        actual=actual,
        hint="they may be slow, or unreachable; or the log shows this to you alone",
    )
