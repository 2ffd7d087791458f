"""Receipts: the offline proof that one entry is in the log (https://c2sp.org/tlog-proof@v1).

::

    c2sp.org/tlog-proof@v1
    index 123
    <base64 hash>
    …

    <the signed checkpoint, verbatim>

Hashes run from the leaf's sibling to the root's child. The optional unauthenticated ``extra`` line
of the specification is refused: nothing in a receipt may be changeable unnoticed.
"""

from dataclasses import dataclass
from typing import Self

from registry.core import encoding
from registry.core.tlog.checkpoint import SignedCheckpoint
from registry.core.tlog.merkle import MAX_PROOF_HASHES, leaf_hash, verify_inclusion
from registry.core.tlog.note import MAX_NOTE_BYTES, VerifierKey
from registry.errors import MalformedError, Reason

HEADER = "c2sp.org/tlog-proof@v1"
"""The first line of every receipt."""

MAX_RECEIPT_BYTES = MAX_NOTE_BYTES + MAX_PROOF_HASHES * 45 + 64
"""Bytes of a receipt: a note, the longest proof, and the two lines above it."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """Entry ``index`` is in the tree that ``head`` commits to, by the hashes of ``proof``."""

    index: int
    proof: tuple[bytes, ...]
    head: SignedCheckpoint

    def to_bytes(self) -> bytes:
        """The text form, one spelling."""
        hashes = "".join(f"{encoding.base64_text(item)}\n" for item in self.proof)
        return f"{HEADER}\nindex {self.index}\n{hashes}\n".encode() + self.head.note

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a receipt exactly, without judging it.

        Raises:
            MalformedError: ``MALFORMED_PROOF``, or what is wrong with the checkpoint.
        """
        if len(data) > MAX_RECEIPT_BYTES:
            raise MalformedError(
                Reason.MALFORMED_PROOF,
                "this receipt is too long",
                expected=f"at most {MAX_RECEIPT_BYTES} bytes",
                actual=f"{len(data)} bytes",
            )
        head, found, note = data.partition(b"\n\n")
        try:
            lines = head.decode("ascii").split("\n")
        except UnicodeDecodeError as error:
            raise MalformedError(Reason.MALFORMED_PROOF, "this receipt is not ASCII") from error
        if not found or lines[0] != HEADER or len(lines) < 2 or lines[1][:6] != "index ":  # noqa: PLR2004
            raise MalformedError(
                Reason.MALFORMED_PROOF, "this is not a receipt", expected=f"{HEADER}, index …"
            )
        if len(lines) - 2 > MAX_PROOF_HASHES:
            raise MalformedError(Reason.MALFORMED_PROOF, "this receipt has too many hashes")
        receipt = cls(
            encoding.decimal(lines[1][6:]),
            tuple(encoding.base64_bytes(line) for line in lines[2:]),
            SignedCheckpoint.parse(note),
        )
        if receipt.to_bytes() != data:
            raise MalformedError(Reason.MALFORMED_PROOF, "this receipt is not in canonical form")
        return receipt

    def verify(self, body: bytes, log_key: VerifierKey) -> None:
        """Check that the entry with bytes ``body`` is in the log that ``log_key`` signs for.

        Raises:
            MalformedError: The checkpoint is not one, or a hash has another size.
            VerificationError: ``WRONG_LOG``, ``LOG_SIGNATURE`` or ``INCLUSION_PROOF``.
        """
        head = SignedCheckpoint.open(self.head.note, log_key).checkpoint
        verify_inclusion(leaf_hash(body), self.index, head.size, self.proof, head.root)
