"""A log that only signs checkpoints: any size, any history, for those who watch logs."""

from datetime import UTC, datetime

from registry.core.tlog import merkle
from registry.core.tlog.checkpoint import Checkpoint, SignedCheckpoint
from registry.core.tlog.note import VerifierKey
from registry.core.tlog.tree import consistency_proof
from registry.core.tlog.witnessing import AddCheckpoint
from registry.signing.file import LogSigner

AT = datetime(2026, 7, 1, 12, tzinfo=UTC)


class GrowingLog:
    """``history`` marks its leaves: two logs with one signer and two histories are a fork."""

    def __init__(self, signer: LogSigner | None = None, history: bytes = b"") -> None:
        self.signer = signer or LogSigner.generate("log.example")
        self._history = history

    @property
    def key(self) -> VerifierKey:
        return self.signer.key

    def leaves(self, start: int, end: int) -> list[bytes]:
        return [merkle.leaf_hash(self._history + b"%d" % n) for n in range(start, end)]

    def node(self, level: int, position: int) -> bytes:
        width = 1 << level
        return merkle.root(self.leaves(position * width, (position + 1) * width))

    def head(self, size: int) -> SignedCheckpoint:
        return self.signer.sign(Checkpoint(self.key.name, size, merkle.root(self.leaves(0, size))))

    def proof(self, old: int, new: int) -> tuple[bytes, ...]:
        return consistency_proof(self.node, old, new) if 0 < old <= new else ()

    def asking(self, old: int, new: int) -> bytes:
        """What is sent to a witness."""
        return AddCheckpoint(old, self.proof(old, new), self.head(new).note).to_bytes()
