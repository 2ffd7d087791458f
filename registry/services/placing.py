"""One group of submissions in one transaction: give indices, grow the tree, prove each entry.

What the state of the log may say against a submission is judged here: duplicates, versions that are
taken, keys that ended, chains of batches. A refused submission does not harm its group.
"""

import contextlib
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from registry.core.tlog import tree as proofs
from registry.core.tlog.checkpoint import Checkpoint
from registry.core.tlog.merkle import verify_inclusion
from registry.core.tlog.receipt import Receipt
from registry.errors import ConflictError, Reason, RegistryError
from registry.services.keyring import Keyring
from registry.services.submission import (
    Submission,
    check_chain,
    check_claim,
    check_free,
    store_batch,
    store_results,
)
from registry.services.tree import Tree
from registry.storage.sql import catalog, log
from registry.storage.sql.catalog import Listed, ShimHead
from registry.storage.sql.engine import Connection
from registry.storage.sql.log import StoredEntry


@dataclass(slots=True)
class Ticket:
    """A submission that waits, and what becomes of it.

    Attributes:
        index: Its place in the log; -1 until it has one.
        proof: Its inclusion proof in the tree that its group left behind.
        refused: Why it got no place.
    """

    submission: Submission
    answer: "Future[Receipt]" = field(default_factory=Future)
    index: int = -1
    proof: tuple[bytes, ...] = ()
    refused: RegistryError | OSError | None = None

    def fail(self, error: Exception) -> None:
        """Say why it got no place; what it would have made visible is forgotten."""
        for blob in self.submission.blobs:
            # What cannot be removed now is removed at the next start.
            with contextlib.suppress(OSError):
                blob.abort()
        self.answer.set_exception(error)


class Group:
    """What one transaction does to the log."""

    def __init__(self, connection: Connection, keyring: Keyring, tree: Tree) -> None:
        self._connection = connection
        self._keyring = keyring
        self._tree = tree
        self._heads: dict[bytes, ShimHead | None] = {}
        self.fresh: list[Ticket] = []
        """Submissions that are new entries, in order."""

    def place(self, tickets: Sequence[Ticket]) -> None:
        """Give indices to what is new, and store it; refuse what contradicts the log."""
        known = log.find_leaves(
            self._connection, [ticket.submission.leaf_hash for ticket in tickets]
        )
        bare = log.bare_entries(self._connection, known.values())
        taken = catalog.taken_versions(
            self._connection,
            (_version(ticket.submission) for ticket in tickets if ticket.submission.unique),
        )
        attached = []
        for ticket in tickets:
            submission = ticket.submission
            place = known.get(submission.leaf_hash)
            is_known = place is not None
            index = self._tree.size + len(self.fresh) if place is None else place
            attaches = is_known and index in bare and not submission.is_bare
            try:
                if attaches:
                    _check_attachable(submission)
                if attaches or not is_known:
                    self._judge(submission, index, taken)
            except (RegistryError, OSError) as error:
                ticket.refused = error
                continue
            ticket.index = known[submission.leaf_hash] = index
            if submission.unique and (attaches or not is_known):
                taken[_version(submission)] = index
            if attaches:
                bare.discard(index)
                attached.append(ticket)
            elif not is_known:
                if submission.is_bare:
                    bare.add(index)
                self.fresh.append(ticket)
        self._store(attached)

    def _judge(
        self, submission: Submission, index: int, taken: dict[tuple[str, str, str], int]
    ) -> None:
        if submission.unique:
            check_free(_version(submission), taken)
        # The key may have been retired while the statement waited. Only entry 0 is by a key that
        # nothing admitted before: the operator's. A certificate's key is admitted by its policy.
        if index > 0 and submission.key_id:
            self._keyring.grant(submission.key_id)
        # What was logged bare is as old as its entry: an auditor asks who spoke for the key then.
        if index < self._tree.size:
            self._keyring.grant(submission.key_id, index)
        if submission.batch is None:
            check_claim(self._connection, submission)
            self._show(submission)
            # Last, since it writes: nothing may go wrong with this submission afterwards.
            store_results(self._connection, index, submission)
            return
        head = check_chain(self._connection, submission, submission.batch, self._heads)
        self._show(submission)
        self._heads[bytes.fromhex(submission.batch.batch.shim_id)] = head

    def _show(self, submission: Submission) -> None:
        """Give blobs their names: the last thing that may go wrong with a single submission."""
        for blob in submission.blobs:
            catalog.add_blob(self._connection, blob.commit())

    def _store(self, attached: Sequence[Ticket]) -> None:
        """Write all rows but the checkpoint's."""
        if self.fresh:
            tiles = []
            for ticket in self.fresh:
                tiles.extend(self._tree.append(ticket.submission.leaf_hash))
            log.append(self._connection, [_row(ticket) for ticket in self.fresh], tiles)
        log.attach(
            self._connection,
            [(ticket.index, ticket.submission.envelope) for ticket in attached],
        )
        said = [ticket for ticket in (*self.fresh, *attached) if not ticket.submission.is_bare]
        if said:
            listed = [_listed(ticket) for ticket in said]
            catalog.add_statements(self._connection, listed)
            unique = (ticket.submission.unique for ticket in said)
            catalog.add_versions(
                self._connection,
                [row for row, is_unique in zip(listed, unique, strict=True) if is_unique],
            )
        for ticket in self.fresh:
            batch = ticket.submission.batch
            if batch is not None:
                store_batch(self._connection, ticket.index, ticket.submission, batch)

    def prove(self, tickets: Sequence[Ticket], checkpoint: Checkpoint) -> None:
        """Build each proof and check it ourselves, before anything is committed.

        Raises:
            VerificationError: ``INCLUSION_PROOF``: the tree in memory is not what it should be.
        """
        for ticket in tickets:
            if ticket.refused is not None:
                continue
            ticket.proof = proofs.inclusion_proof(self._tree.node, ticket.index, checkpoint.size)
            verify_inclusion(
                ticket.submission.leaf_hash,
                ticket.index,
                checkpoint.size,
                ticket.proof,
                checkpoint.root,
            )


def _check_attachable(submission: Submission) -> None:
    """Refuse a statement whose place in the log decides what others mean.

    Raises:
        ConflictError: ``LOGGED_BARE``.
    """
    if submission.batch is not None or submission.key_event is not None:
        raise ConflictError(
            Reason.LOGGED_BARE,
            "the signature of this statement was logged before, without the statement",
            hint="sign it again with another time in it, and register that",
        )


def _version(submission: Submission) -> tuple[str, str, str]:
    return submission.predicate_type, submission.name, submission.version


def _row(ticket: Ticket) -> StoredEntry:
    submission = ticket.submission
    return StoredEntry(
        ticket.index,
        submission.leaf_hash,
        submission.record_id,
        submission.body,
        submission.envelope,
    )


def _listed(ticket: Ticket) -> Listed:
    submission = ticket.submission
    return Listed(
        ticket.index,
        submission.predicate_type,
        submission.name,
        submission.version,
        submission.key_id,
        submission.principal,
    )
