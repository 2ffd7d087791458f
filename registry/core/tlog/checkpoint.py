"""Checkpoints: the signed head of the log.

A checkpoint is three lines (https://c2sp.org/tlog-checkpoint, v1.0.0)::

    log.example
    923748
    nND/nri/U0xuHUrYSy0HtMeal2vzD9V4k/BO79C+QeI=

Parsing is exact: text that would not be written back byte for byte is refused. Extension lines are
refused too: post-quantum cosignatures do not cover them.
"""

from dataclasses import dataclass
from typing import Self

from registry.core import encoding
from registry.core.digest import SHA256_SIZE
from registry.core.tlog.note import Note, VerifierKey, check_name
from registry.errors import MalformedError, Reason, VerificationError


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """``origin`` commits to its first ``size`` entries, whose root hash is ``root``."""

    origin: str
    size: int
    root: bytes

    def __str__(self) -> str:
        return f"{self.origin}\n{self.size}\n{encoding.base64_text(self.root)}\n"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text of a checkpoint.

        Raises:
            MalformedError: ``MALFORMED_CHECKPOINT``: ``text`` is not exactly what ``str`` writes.
        """
        lines = text.split("\n")
        if len(lines) != 4:  # noqa: PLR2004 - three lines, and nothing after the last newline
            raise MalformedError(
                Reason.MALFORMED_CHECKPOINT,
                "a checkpoint has three lines",
                expected="origin, size, root",
                actual=f"{len(lines) - 1} lines",
            )
        try:
            check_name(lines[0])
            parsed = cls(lines[0], encoding.decimal(lines[1]), encoding.base64_bytes(lines[2]))
        except MalformedError as error:
            raise MalformedError(
                Reason.MALFORMED_CHECKPOINT, "this is not a checkpoint", actual=str(error)
            ) from error
        if str(parsed) != text or len(parsed.root) != SHA256_SIZE:
            raise MalformedError(
                Reason.MALFORMED_CHECKPOINT, "this checkpoint is not in canonical form"
            )
        return parsed


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A checkpoint with the note that it came in, byte for byte."""

    checkpoint: Checkpoint
    note: bytes

    @classmethod
    def parse(cls, note: bytes) -> Self:
        """Read a signed checkpoint without judging its signatures.

        Raises:
            MalformedError: ``MALFORMED_NOTE`` or ``MALFORMED_CHECKPOINT``.
        """
        return cls(Checkpoint.parse(Note.parse(note).text), note)

    @classmethod
    def open(cls, note: bytes, key: VerifierKey) -> Self:
        """Read a signed checkpoint and check that the log with ``key`` signed it.

        Raises:
            MalformedError: As :meth:`parse`.
            VerificationError: ``WRONG_LOG`` or ``LOG_SIGNATURE``.
        """
        parsed = Note.parse(note)
        checkpoint = Checkpoint.parse(parsed.text)
        if checkpoint.origin != key.name:
            raise VerificationError(
                Reason.WRONG_LOG,
                "this checkpoint is of another log",
                expected=key.name,
                actual=checkpoint.origin,
            )
        parsed.verify([key])
        return cls(checkpoint, note)
