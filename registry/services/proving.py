"""Proofs out of what is stored, each verified before anybody gets it.

A bit may flip on the disk. What was read and does not lead to the signed root is never given out,
and stops the log: nobody can tell how far the damage goes, only a new start or an examination.
"""

from abc import ABC, abstractmethod

from registry.core.tlog.checkpoint import SignedCheckpoint
from registry.core.tlog.merkle import verify_consistency, verify_inclusion
from registry.core.tlog.receipt import Receipt
from registry.errors import (
    DamagedError,
    MalformedError,
    NotFoundError,
    Reason,
    RegistryError,
    UnavailableError,
    VerificationError,
)
from registry.services.reading import verify_stored
from registry.storage.sql.log import StoredEntry

DAMAGE = (DamagedError, VerificationError, MalformedError)
"""What reading stored bytes raises if they are not what was stored."""


class Proving(ABC):
    """What a log answers from its disk."""

    @property
    @abstractmethod
    def head(self) -> SignedCheckpoint | None:
        """The checkpoint that answers go by."""

    @abstractmethod
    def receipt(self, index: int, head: SignedCheckpoint | None = None) -> Receipt:
        """A proof of entry ``index``, unverified."""

    @abstractmethod
    def growth(self, old: int, new: int) -> tuple[bytes, ...]:
        """The proof that the tree of ``new`` entries extends that of ``old``, unverified."""

    @abstractmethod
    def root_at(self, size: int) -> bytes:
        """The root of the first ``size`` entries, as it is stored."""

    @abstractmethod
    def latch(self, why: str, error: Exception) -> UnavailableError:
        """Accept nothing more."""

    def prove(self, stored: StoredEntry, head: SignedCheckpoint | None = None) -> Receipt:
        """As :meth:`receipt`, for what was read: verified before anybody gets it.

        What does not verify was damaged on the disk, and nobody can tell how far: the log latches.

        Raises:
            NotFoundError: ``BEYOND_TREE``.
            DamagedError: ``STORED_BYTES``.
        """
        try:
            receipt = self.receipt(stored.index, head)
            tree = receipt.head.checkpoint
            verify_stored(stored)
            verify_inclusion(stored.leaf_hash, stored.index, tree.size, receipt.proof, tree.root)
        except DAMAGE as error:
            raise self._damaged(f"entry {stored.index}", error) from error
        return receipt

    def verify(self, stored: StoredEntry) -> None:
        """Check what was read of an entry, as in :meth:`prove`, without proving it.

        Raises:
            DamagedError: ``STORED_BYTES``.
        """
        try:
            verify_stored(stored)
        except DAMAGE as error:
            raise self._damaged(f"entry {stored.index}", error) from error

    def consistency(
        self, size: int, newer_size: int = 0
    ) -> tuple[tuple[bytes, ...], SignedCheckpoint]:
        """The proof that a tree, or else the newest checkpoint, extends the tree of ``size``.

        It is verified before anybody gets it, as in :meth:`prove`. The second value is the newest
        checkpoint in any case.

        Raises:
            NotFoundError: ``BEYOND_TREE`` if the log never had these sizes, in this order.
            DamagedError: ``STORED_BYTES``.
        """
        head = self.head
        newest = 0 if head is None else head.checkpoint.size
        newer = newer_size or newest
        if head is None or not 1 <= size <= newer <= newest:
            raise NotFoundError(
                Reason.BEYOND_TREE,
                "the log never had this size",
                expected=f"1 to {min(newer, newest)}",
                actual=str(size if newer <= newest else newer),
            )
        try:
            proof = self.growth(size, newer)
            newer_root = self.root_at(newer)
            verify_consistency(size, newer, proof, self.root_at(size), newer_root)
            # The newer root need not be signed; that it is right shows in the newest, which is.
            above = self.growth(newer, newest)
            verify_consistency(newer, newest, above, newer_root, head.checkpoint.root)
        except DAMAGE as error:
            raise self._damaged(f"sizes {size} and {newer}", error) from error
        return proof, head

    def _damaged(self, where: str, error: RegistryError) -> DamagedError:
        self.latch("what it read from its disk is not what was stored", error)
        return DamagedError(
            Reason.STORED_BYTES,
            "a stored entry or tile is not what was stored",
            where=where,
            hint="run: provreg log fsck",
        )
