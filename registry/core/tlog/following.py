"""What a newly shown checkpoint may be to somebody who has seen one before.

The pure half of a monitor: a log only ever grows, so the next checkpoint has the same origin, no
fewer entries, and for the same number of entries the same root. That a larger tree *extends* the
smaller one is for a proof to show, see :mod:`registry.core.tlog.verified_tiles`.
"""

from datetime import datetime, timedelta

from registry.core.tlog.checkpoint import SignedCheckpoint
from registry.errors import Reason, UnavailableError, VerificationError


def verify_successor(seen: SignedCheckpoint, shown: SignedCheckpoint) -> None:
    """Check everything about two signed checkpoints that needs no proof.

    Raises:
        VerificationError: ``WRONG_LOG`` for another origin, ``LOG_ROLLBACK`` for fewer entries,
            ``FORK`` for another root of the same size.
    """
    before, after = seen.checkpoint, shown.checkpoint
    if before.origin != after.origin:
        raise VerificationError(
            Reason.WRONG_LOG,
            "this checkpoint is of another log",
            expected=before.origin,
            actual=after.origin,
        )
    if after.size < before.size:
        raise VerificationError(
            Reason.LOG_ROLLBACK,
            "the log shows fewer entries than it showed before",
            where=after.origin,
            expected=f"at least {before.size}",
            actual=str(after.size),
            hint="keep both signed checkpoints; was the log restored from a backup?",
        )
    if after.size == before.size and after.root != before.root:
        raise VerificationError(
            Reason.FORK,
            "the log signed two trees of one size",
            where=f"{after.origin}, size {after.size}",
            expected=before.root.hex(),
            actual=after.root.hex(),
            hint="keep both signed checkpoints: together they prove that there are two histories",
        )


def verify_fresh(verified_at: datetime, at: datetime, max_age: timedelta) -> None:
    """Check that the last verified checkpoint is not too old to go on believing in it.

    A clock that went back makes an age unknown, which is not fresh either.

    Raises:
        UnavailableError: ``LOG_STALE``.
    """
    age = at - verified_at
    if abs(age) > max_age:
        raise UnavailableError(
            Reason.LOG_STALE,
            "no checkpoint of this log could be verified for too long",
            expected=f"one within {int(max_age.total_seconds())} seconds",
            actual=f"the last one {int(age.total_seconds())} seconds ago",
            hint="do not rely on what the log said until it answers again",
        )
