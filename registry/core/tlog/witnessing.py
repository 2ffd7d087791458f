"""Witnessing: what a log asks of a witness, and what the witness makes of it.

The request of https://c2sp.org/tlog-witness (v1.0.0)::

    old <size>
    <base64 hash>…

    <signed checkpoint>

A witness judges it in two steps. :func:`open_request` needs nothing but the request and the keys of
known logs. :func:`advance` compares with what was cosigned last, so it belongs into the one
transaction that also stores the new state: else a slow request for N could overwrite N + K.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

from registry.core import encoding
from registry.core.digest import SHA256_SIZE, sha256
from registry.core.tlog import cosignature
from registry.core.tlog.checkpoint import Checkpoint, SignedCheckpoint
from registry.core.tlog.merkle import EMPTY_ROOT, MAX_PROOF_HASHES, verify_consistency
from registry.core.tlog.note import MAX_NOTE_BYTES, Note, SignatureLine, VerifierKey
from registry.errors import MalformedError, NotFoundError, Reason, VerificationError

MAX_REQUEST_BYTES = MAX_NOTE_BYTES + MAX_PROOF_HASHES * 45 + 32
"""Bytes of a request: a note, the longest proof, and the two lines around it."""

MAX_ANSWER_BYTES = MAX_NOTE_BYTES
"""Bytes of a witness's answer."""

SIZE_TYPE: Final = "text/x.tlog.size"
"""The media type of the answer that says which size was cosigned last."""

_OLD: Final = "old "


def log_id(origin: str) -> str:
    """The name of a log in a witness's addresses: hexadecimal SHA-256 of its origin."""
    return sha256(origin.encode()).hex()


@dataclass(frozen=True, slots=True)
class AddCheckpoint:
    """Please cosign ``note``, which extends the tree of ``old`` entries, as ``proof`` shows."""

    old: int
    proof: tuple[bytes, ...]
    note: bytes

    def to_bytes(self) -> bytes:
        """The body of the request, one spelling."""
        hashes = "".join(f"{encoding.base64_text(item)}\n" for item in self.proof)
        return f"{_OLD}{self.old}\n{hashes}\n".encode() + self.note

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a request exactly, without judging it.

        Raises:
            MalformedError: ``MALFORMED_REQUEST``, or what is wrong with a line.
        """
        head, found, note = data.partition(b"\n\n")
        if len(data) > MAX_REQUEST_BYTES or not found or not head.isascii():
            raise _malformed()
        first, *hashes = head.decode("ascii").split("\n")
        if not first.startswith(_OLD) or len(hashes) > MAX_PROOF_HASHES:
            raise _malformed()
        proof = tuple(encoding.base64_bytes(line) for line in hashes)
        parsed = cls(encoding.decimal(first.removeprefix(_OLD)), proof, note)
        if any(len(item) != SHA256_SIZE for item in proof) or parsed.to_bytes() != data:
            raise _malformed()
        return parsed


@dataclass(frozen=True, slots=True)
class Request:
    """A request by a known log.

    Attributes:
        asked: What was asked.
        checkpoint: The checkpoint to be cosigned.
        lines: The log's own signatures, checked; whoever else signed is not passed on.
    """

    asked: AddCheckpoint
    checkpoint: Checkpoint
    lines: tuple[SignatureLine, ...]

    def cosigned(self, *cosignatures: SignatureLine) -> bytes:
        """The note with the log's and these signatures."""
        return str(Note(str(self.checkpoint), (*self.lines, *cosignatures))).encode()


def open_request(data: bytes, logs: Mapping[str, Sequence[VerifierKey]]) -> Request:
    """Read and check what does not depend on the past. ``logs``: origin → keys.

    Raises:
        MalformedError: Status 400: not a request, or an old size beyond the checkpoint's.
        NotFoundError: Status 404: ``UNKNOWN_LOG``.
        VerificationError: Status 403: no signature by a known key, or one that does not verify.
    """
    asked = AddCheckpoint.parse(data)
    note = Note.parse(asked.note)
    checkpoint = Checkpoint.parse(note.text)
    keys = logs.get(checkpoint.origin)
    if keys is None:
        raise NotFoundError(
            Reason.UNKNOWN_LOG, "this log is not witnessed here", where=checkpoint.origin[:200]
        )
    note.verify(keys)
    lines = tuple(line for _, line in note.lines_by(keys))
    if asked.old > checkpoint.size:
        raise MalformedError(
            Reason.MALFORMED_REQUEST,
            "the old size is beyond the checkpoint",
            expected=f"at most {checkpoint.size}",
            actual=str(asked.old),
        )
    return Request(asked, checkpoint, lines)


def is_stale(request: Request, last: Checkpoint | None) -> bool:
    """Whether the log must first learn what was cosigned last: status 409, with that size."""
    return request.asked.old != (last.size if last else 0)


def advance(request: Request, last: Checkpoint | None) -> None:
    """Check that the checkpoint extends ``last``, the one cosigned last; it is not stale.

    Raises:
        VerificationError: Status 422: ``CONSISTENCY_PROOF``.
    """
    new, proof = request.checkpoint, request.asked.proof
    if last is not None and last.size > 0:
        verify_consistency(last.size, new.size, proof, last.root, new.root)
    elif proof or (new.size == 0 and new.root != EMPTY_ROOT):
        raise VerificationError(
            Reason.CONSISTENCY_PROOF,
            "from an empty tree there is nothing to prove, and an empty tree has one root",
            where=f"{new.origin}, {new.size} entries",
        )


def read_answer(
    data: bytes, head: SignedCheckpoint, keys: Sequence[VerifierKey]
) -> tuple[SignatureLine, ...]:
    """The valid cosignatures by ``keys`` in a witness's answer to ``head``; others are left out.

    Raises:
        MalformedError: The answer is not signature lines.
        VerificationError: ``COSIGNATURE`` if none is valid, or one of them is not or tells no time.
    """
    note = Note.parse(str(head.checkpoint).encode() + b"\n" + data)
    if note.text != str(head.checkpoint):
        raise MalformedError(
            Reason.MALFORMED_NOTE, "a witness answers with signature lines and nothing else"
        )
    lines = tuple(line for _, line in note.lines_by(keys))
    if not lines:
        raise VerificationError(
            Reason.COSIGNATURE,
            "the witness answered with no cosignature of its key",
            expected=" or ".join(key.name for key in keys),
            actual=", ".join(line.name for line in note.signatures)[:200],
        )
    # Time 0 is for subtrees: it does not say that this is the newest tree that was seen.
    if not all(cosignature.split(line.signature)[0] for line in lines):
        raise VerificationError(
            Reason.COSIGNATURE, "the witness does not say when it cosigned", where=lines[0].name
        )
    return lines


def read_size(data: bytes) -> int:
    """The size that a witness says it cosigned last; nobody has signed it.

    Raises:
        MalformedError: ``MALFORMED_DECIMAL``.
    """
    text = data[:32].decode("ascii", "replace")
    if not text.endswith("\n") or len(data) > len(text):
        raise MalformedError(Reason.MALFORMED_DECIMAL, "this is not a size", actual=ascii(text))
    return encoding.decimal(text[:-1])


def _malformed() -> MalformedError:
    return MalformedError(
        Reason.MALFORMED_REQUEST,
        "this is not a request to a witness",
        expected=f"old <size>, up to {MAX_PROOF_HASHES} hashes, an empty line, a checkpoint",
    )
