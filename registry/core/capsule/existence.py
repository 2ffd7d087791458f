"""Existence: by when at latest a capsule's batch existed, by the word of pinned authorities.

A token is over the smallest checkpoint with the batch that was stamped. The capsule's checkpoint
extends that one, so every statement of the capsule with an index below its size existed by then.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from registry.core import encoding, verdict
from registry.core.archive.authority import Authority
from registry.core.archive.timestamp import Timestamp, open_token
from registry.core.capsule.container import Capsule
from registry.core.capsule.links import waiting
from registry.core.capsule.parts import Stamped
from registry.core.tlog import merkle
from registry.core.tlog.checkpoint import Checkpoint, SignedCheckpoint
from registry.core.verdict import Check
from registry.errors import Reason, RegistryError, VerificationError

CHECKPOINT: Final = "checkpoint"
"""The link on which every proof of inclusion rests."""

TIME: Final = "time"
"""The link that says by when the batch existed."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The first ``size`` entries of the log existed at ``at`` at latest, say ``authorities``."""

    at: datetime
    size: int
    authorities: tuple[str, ...]

    @property
    def at_text(self) -> str:
        """``at``, rounded up to the second: what existed within it existed by its end."""
        whole = self.at.replace(microsecond=0)
        return encoding.time_text(whole if whole == self.at else whole + timedelta(seconds=1))


def judge_time(
    capsule: Capsule, head: Checkpoint | None, authorities: Sequence[Authority]
) -> tuple[Check | None, Seen | None]:
    """Judge the timestamps of a capsule; no link if nobody asks by pinning an authority.

    A log that begins to be stamped must not change what readers are told who never asked for time;
    what they are given must be in order all the same. Every token of an authority that is pinned
    must hold; of the times that they give, the earliest counts. Tokens of other authorities say
    nothing.
    """
    stamped = capsule.stamped
    if stamped is None:
        if not authorities:
            return None, None
        text = "the capsule holds no timestamp; the batch may have been too new for one"
        return verdict.indeterminate(TIME, Reason.NO_TIMESTAMP, text), None
    if head is None:
        return waiting(TIME, CHECKPOINT), None
    try:
        _check_stamped(capsule, stamped, head)
        stamps = _open(stamped, authorities)
    except RegistryError as error:
        return verdict.invalid(TIME, error), None
    if not stamps:
        return (_not_pinned(stamped) if authorities else None), None
    at = min(stamp.at + (stamp.accuracy or timedelta(0)) for stamp in stamps)
    seen = Seen(at, stamped.size, tuple(stamp.authority for stamp in stamps))
    text = (
        f"existed at latest at {seen.at_text}: the checkpoint of {stamped.size} entries "
        f"was stamped by {' and '.join(seen.authorities)}"
    )
    return verdict.valid(TIME, text), seen


def _not_pinned(stamped: Stamped) -> Check:
    names = ", ".join(f"sha256:{item.authority.hex()}" for item in stamped.tokens)
    text = f"the capsule was stamped by authorities that you did not pin, with chains {names}"
    return verdict.indeterminate(TIME, Reason.AUTHORITY_NOT_PINNED, text)


def _check_stamped(capsule: Capsule, stamped: Stamped, head: Checkpoint) -> None:
    """The stamped checkpoint is the log's, a past of the capsule's, and has the batch."""
    signed = SignedCheckpoint.open(stamped.note, capsule.log).checkpoint
    if stamped.size != signed.size or capsule.batch.index >= signed.size:
        raise VerificationError(
            Reason.CAPSULE_LINK,
            "the checkpoint that was stamped has not the batch",
            expected=f"more than {capsule.batch.index} entries",
            actual=f"{signed.size} entries, said to be {stamped.size}",
        )
    merkle.verify_consistency(signed.size, head.size, stamped.proof, signed.root, head.root)


def _open(stamped: Stamped, authorities: Sequence[Authority]) -> list[Timestamp]:
    pinned = {authority.chain_digest: authority for authority in authorities}
    return [
        open_token(item.token, stamped.note, pinned[item.authority])
        for item in stamped.tokens
        if item.authority in pinned
    ]
