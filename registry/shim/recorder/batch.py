"""Batches: a range of records under one root, signed once, and never signed in another way.

A batch is written to disk before it is sent. So whatever happens to the answer, what is sent again
after a crash is the same envelope byte for byte, and the log has it once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import msgspec

from registry.core import digest, encoding
from registry.core.attestation.dsse import Envelope
from registry.core.attestation.statement import STATEMENT_TYPE, Statement, Subject
from registry.core.digest import DigestSet
from registry.core.records import batch as records_batch
from registry.core.records import inference
from registry.core.records.batch import Batch
from registry.core.tlog import entry
from registry.core.tlog.note import VerifierKey
from registry.core.tlog.receipt import Receipt
from registry.errors import DamagedError, Reason, VerificationError
from registry.signing.file import StatementSigner

MAX_RECORDS_BYTES = records_batch.MAX_LEAVES_BYTES - 4 * records_batch.MAX_RECORDS
"""Bytes of the records of one batch: the limit of the leaves file without its framing."""


@dataclass(frozen=True, slots=True)
class Registered:
    """A batch in the log: the name of its statement, and the bytes of statement and receipt."""

    record_id: bytes
    proof_bytes: int

    @classmethod
    def of(cls, envelope: bytes, receipt: bytes) -> Self:
        """What is told of a batch with this statement and this receipt."""
        return cls(Envelope.parse(envelope).record_id, len(envelope) + len(receipt))


@dataclass(frozen=True, slots=True)
class SignedBatch:
    """A batch statement in its envelope."""

    batch: Batch
    envelope: Envelope

    @property
    def record_id(self) -> bytes:
        """The name of the batch statement, which the next batch repeats."""
        return self.envelope.record_id

    @property
    def next_n(self) -> int:
        """The number of the record after the batch."""
        return self.batch.n_last + 1

    @classmethod
    def parse(cls, data: bytes, signer: StatementSigner) -> Self:
        """Read a batch that ``signer`` signed before.

        Raises:
            MalformedError: What is wrong with the envelope or the batch.
            VerificationError: ``UNKNOWN_SIGNER`` or ``BAD_SIGNATURE``.
        """
        envelope = Envelope.parse(data)
        try:
            envelope.verify(signer.public_key)
        except VerificationError as error:
            if error.reason is Reason.UNKNOWN_SIGNER:
                error.where = "the batches of this shim"
                error.hint = "they were signed with another key: start with that key, or give"
                error.hint += " this one a folder of its own"
            raise
        statement = encoding.read_json(envelope.payload, Statement[Batch], what="batch statement")
        records_batch.validate(statement.subject, statement.predicate)
        return cls(statement.predicate, envelope)

    def check_records(self, records: Sequence[bytes]) -> None:
        """Check that ``records`` are those of this batch.

        Raises:
            DamagedError: ``JOURNAL_DAMAGED``.
        """
        actual = records_batch.hash_records(records).root.hex()
        if actual != self.batch.root:
            raise DamagedError(
                Reason.JOURNAL_DAMAGED,
                "the journal no longer holds the records of a batch that was signed",
                where=f"records {self.batch.n_first} to {self.batch.n_last}",
                expected=self.batch.root,
                actual=actual,
            )

    def verify_receipt(self, receipt: Receipt, signer: StatementSigner, key: VerifierKey) -> None:
        """Check that the log with ``key`` holds this very envelope.

        Raises:
            VerificationError: ``WRONG_LOG``, ``LOG_SIGNATURE`` or ``INCLUSION_PROOF``.
        """
        body = entry.write(self.record_id, self.envelope.signature, signer.public_key.der)
        receipt.verify(body, key)


def sign(
    shim_id: str,
    records: Sequence[bytes],
    previous: bytes | None,
    closed_at: str,
    signer: StatementSigner,
) -> SignedBatch:
    """Sign the batch of ``records``, which are in order and without a hole.

    Args:
        shim_id: Whose records they are.
        records: Leaf data.
        previous: Record id of the batch before; None for the first.
        closed_at: When no more records were let in.
        signer: The node's key.
    """
    hashed = records_batch.hash_records(records)
    first = inference.parse(records[0]).sequence
    last = inference.parse(records[-1]).sequence
    predicate = Batch(
        shim_id=shim_id,
        boot_id=last.boot_id,
        n_first=first.n,
        n_last=last.n,
        count=len(records),
        tree="rfc6962-sha256",
        root=hashed.root.hex(),
        root_sha512=hashed.root_sha512.hex(),
        leaves=DigestSet.of(records_batch.join_leaves(records)),
        closed_at=closed_at,
        prev_batch=msgspec.UNSET if previous is None else digest.text(previous),
    )
    subject = Subject.of(records_batch.SUBJECT_NAME, DigestSet.of(hashed.hashes_file))
    statement: Statement[object] = Statement(
        type_=STATEMENT_TYPE,
        predicate=predicate,
        predicate_type=records_batch.PREDICATE_TYPE,
        subject=(subject,),
    )
    return SignedBatch(predicate, signer.sign(statement))
