"""Resuming: where an earlier run stopped, as its batches, its journal and the registry tell it.

The three must agree. Of an old copy of one of them, or of a copy that runs elsewhere at the same
time, nothing is sent: its numbers were given away before.
"""

from dataclasses import dataclass

from registry.core.tlog.checkpoint import Checkpoint
from registry.core.tlog.merkle import leaf_hash
from registry.core.tlog.note import VerifierKey
from registry.core.tlog.receipt import Receipt
from registry.errors import ConflictError, DamagedError, Reason
from registry.shim.ports import ShimHead
from registry.shim.recorder.batch import MAX_RECORDS_BYTES, SignedBatch
from registry.shim.recorder.batch_folder import BatchFolder
from registry.shim.recorder.sequence import Sequence
from registry.signing.file import StatementSigner


@dataclass(frozen=True, slots=True)
class Resumed:
    """Where an earlier run stopped.

    Attributes:
        next_n: The number of the first record that the log is not known to have.
        previous: The record id of the batch before it; None if there is none.
        pending: A batch that was signed, and of which nobody knows whether the log has it.
        head: The newest head of the log that was seen.
    """

    next_n: int = 0
    previous: bytes | None = None
    pending: SignedBatch | None = None
    head: Checkpoint | None = None


def resume(
    folder: BatchFolder, sequence: Sequence, signer: StatementSigner, log_key: VerifierKey
) -> Resumed:
    """Find the last batch, and the last one of which the log is known to have it.

    Raises:
        DamagedError: ``JOURNAL_DAMAGED`` if the journal lacks records that were signed, or never
            registered.
        VerificationError: A stored batch is not by this signer.
    """
    journal = sequence.journal
    found = Resumed()
    pending: SignedBatch | None = None
    for stored in folder.newest_first():
        batch = SignedBatch.parse(stored.envelope, signer)
        if journal.durable_n < batch.next_n:
            raise DamagedError(
                Reason.JOURNAL_DAMAGED,
                "the journal lacks records that were signed already",
                where=f"shim {sequence.shim_id}",
                expected=f"at least {batch.next_n} records",
                actual=str(journal.durable_n),
                hint="this is an old copy; restore the newest one, or begin a new folder",
            )
        if stored.receipt is None:
            pending = batch
            continue
        receipt = Receipt.parse(stored.receipt)
        batch.verify_receipt(receipt, signer, log_key)
        found = Resumed(batch.next_n, batch.record_id, head=receipt.head.checkpoint)
        break
    if journal.first_n > found.next_n:
        raise DamagedError(
            Reason.JOURNAL_DAMAGED,
            "the journal lacks records that were never registered",
            where=f"shim {sequence.shim_id}",
            expected=f"record {found.next_n}",
            actual=f"record {journal.first_n}",
            hint="the folder of batches is an old copy; restore the newest one",
        )
    return Resumed(found.next_n, found.previous, pending, found.head)


def compare_heads(head: ShimHead, own: Resumed, sequence: Sequence) -> None:
    """Check that the registry knows the past that we know.

    Raises:
        ConflictError: ``JOURNAL_ROLLBACK``.
    """
    actual = (head.next_n, head.last_batch or None)
    known = [(own.next_n, own.previous)]
    if own.pending is not None:
        known.append((own.pending.next_n, own.pending.record_id))
    if actual not in known:
        expected = " or ".join(_describe(*one) for one in known)
        raise _rollback(sequence, expected, _describe(*actual))
    if head.last_leaf:
        [last] = sequence.journal.read(head.next_n - 1, 1, MAX_RECORDS_BYTES)
        if leaf_hash(last) != head.last_leaf:
            raise _rollback(
                sequence,
                f"leaf {leaf_hash(last).hex()} for record {head.next_n - 1}",
                f"leaf {head.last_leaf.hex()}",
            )


def _rollback(sequence: Sequence, expected: str, actual: str) -> ConflictError:
    return ConflictError(
        Reason.JOURNAL_ROLLBACK,
        "the registry does not have the records of this journal",
        where=f"shim {sequence.shim_id}",
        expected=expected,
        actual=actual,
        hint="journal or registry is an old copy, or two shims share one id",
    )


def _describe(next_n: int, last_batch: bytes | None) -> str:
    return f"{next_n} records, last batch {last_batch.hex()[:16] + '…' if last_batch else 'none'}"
