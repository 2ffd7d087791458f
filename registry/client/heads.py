"""The checkpoints that one session has seen: signed by the pinned key, and never going back.

An answer may not show fewer entries than were known when the question was asked, and never another
root for a size that was seen. Whoever wants to know that a larger tree *extends* the one before
asks for a consistency proof.
"""

import threading

from registry.core.tlog.checkpoint import SignedCheckpoint
from registry.core.tlog.merkle import leaf_hash, verify_inclusion
from registry.core.tlog.note import VerifierKey
from registry.core.tlog.receipt import Receipt
from registry.errors import Reason, VerificationError


class Heads:
    """The newest checkpoint of one log, as far as this session knows. Safe between threads."""

    def __init__(self, key: VerifierKey) -> None:
        self._key = key
        self._newest: SignedCheckpoint | None = None
        self._opened: SignedCheckpoint | None = None
        self._lock = threading.Lock()

    @property
    def newest(self) -> SignedCheckpoint | None:
        """The newest checkpoint seen; None before the first."""
        return self._newest

    @property
    def size(self) -> int:
        """How many entries are known to exist. Ask before a call, and hand it to its check."""
        newest = self._newest
        return 0 if newest is None else newest.checkpoint.size

    def open(self, note: bytes, known: int) -> SignedCheckpoint:
        """Check a checkpoint that answers a question asked when ``known`` entries existed.

        Raises:
            MalformedError: ``MALFORMED_NOTE`` or ``MALFORMED_CHECKPOINT``.
            VerificationError: ``WRONG_LOG``, ``LOG_SIGNATURE`` or ``FORK``.
        """
        # All receipts of a page lead to one checkpoint, which need not be verified each time.
        opened = self._opened
        if opened is None or opened.note != note:
            opened = SignedCheckpoint.open(note, self._key)
        head = opened.checkpoint
        if head.size < known:
            raise VerificationError(
                Reason.FORK,
                "the log shows fewer entries than it showed before",
                where=head.origin,
                expected=f"at least {known}",
                actual=str(head.size),
                hint="keep both checkpoints: they prove that the log is not append-only",
            )
        with self._lock:
            newest = self._newest
            if newest is not None and newest.checkpoint.size == head.size:
                _require_same_root(newest, opened)
            elif newest is None or newest.checkpoint.size < head.size:
                self._newest = opened
            self._opened = opened
        return opened

    def verify(self, receipt: Receipt, body: bytes, known: int) -> None:
        """Check a receipt for the entry with bytes ``body``.

        Raises:
            MalformedError: As :meth:`open`, or ``MALFORMED_PROOF``.
            VerificationError: As :meth:`open`, or ``INCLUSION_PROOF``.
        """
        head = self.open(receipt.head.note, known).checkpoint
        verify_inclusion(leaf_hash(body), receipt.index, head.size, receipt.proof, head.root)


def _require_same_root(seen: SignedCheckpoint, shown: SignedCheckpoint) -> None:
    if seen.checkpoint.root != shown.checkpoint.root:
        raise VerificationError(
            Reason.FORK,
            "the log signed two trees of one size",
            where=f"{seen.checkpoint.origin}, size {seen.checkpoint.size}",
            expected=seen.checkpoint.root.hex(),
            actual=shown.checkpoint.root.hex(),
            hint="keep both checkpoints: they prove that the log shows different histories",
        )
