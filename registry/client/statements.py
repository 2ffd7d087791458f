"""Statements from a registry, checked: signature, place in the log, and the key's right to speak.

Which key speaks for whom, the log itself says: entry 0 admits the operator's key, signed by itself,
so that whoever pins the log's key has pinned it as well; the operator's key signs all other key
events. A registry that hides a key event hides it from this check, too: only a monitor that reads
the whole log notices.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from registry.client.heads import Heads
from registry.core import digest
from registry.core.attestation.dsse import Envelope
from registry.core.attestation.statement import Statement
from registry.core.keys import PublicKey
from registry.core.records import key_event, predicate
from registry.core.records.key_event import KeyEvent
from registry.core.registration import KnownKeys, admit
from registry.core.tlog import entry
from registry.core.tlog.receipt import Receipt
from registry.errors import MalformedError, Reason, VerificationError


@dataclass(frozen=True, slots=True)
class LoggedStatement:
    """A statement that somebody was entitled to make, and whose place in the log is proven.

    Attributes:
        granted: The key event that admitted the signer's key when the statement was logged.
    """

    envelope: Envelope
    statement: Statement[Any]
    key: PublicKey
    granted: KeyEvent
    receipt: Receipt

    @property
    def record_id(self) -> str:
        """How other statements name this one."""
        return digest.text(self.envelope.record_id)

    @property
    def index(self) -> int:
        """Its index in the log."""
        return self.receipt.index


class Keyring(KnownKeys):
    """All key events of a log, each checked, as of a tree of ``size`` entries."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    @classmethod
    def load(cls, events: Iterable[tuple[bytes, Receipt]], heads: Heads, known: int) -> "Keyring":
        """Check the key events of a log, oldest first.

        Args:
            events: Envelopes and receipts of all key events.
            heads: The session's checkpoints.
            known: How many entries were known when the registry was asked.

        Raises:
            MalformedError, VerificationError, ForbiddenError: What is wrong with one of them.
        """
        ring = cls(known)
        last = -1
        for data, receipt in events:
            if receipt.index <= last:
                raise _out_of_order(receipt.index, last)
            last = receipt.index
            ring._check_and_add(data, receipt, heads, known)
        return ring

    def open(self, data: bytes, receipt: Receipt, heads: Heads, known: int) -> LoggedStatement:
        """Check one statement that was logged before this keyring was loaded.

        Raises:
            MalformedError, LimitExceededError: It is not a statement in its one form.
            VerificationError: Signature, inclusion or signer do not hold.
            ForbiddenError: The signer was not entitled to say this.
        """
        if receipt.index == 0:
            return _open_operator(data, receipt, heads, known)
        envelope = Envelope.parse(data)
        key = self.key(envelope.keyid)
        _verify(envelope, key, receipt, heads, known)
        granted = self.grant(key.key_id, receipt.index)
        statement = predicate.parse(envelope.payload)
        admit(statement, granted)
        return LoggedStatement(envelope, statement, key, granted, receipt)

    def _check_and_add(self, data: bytes, receipt: Receipt, heads: Heads, known: int) -> None:
        if not self._events and receipt.index:
            raise _no_operator(receipt.index)
        event = self.open(data, receipt, heads, known).statement.predicate
        if not isinstance(event, KeyEvent):
            raise MalformedError(
                Reason.FOREIGN_PREDICATE,
                "this is not a key event",
                where=f"entry {receipt.index}",
                expected=key_event.PREDICATE_TYPE,
            )
        self.add(receipt.index, event)


def _open_operator(data: bytes, receipt: Receipt, heads: Heads, known: int) -> LoggedStatement:
    """Check entry 0: the operator's key, admitted by itself."""
    envelope = Envelope.parse(data)
    statement = predicate.parse(envelope.payload)
    event = statement.predicate
    if not isinstance(event, KeyEvent) or event.action != "add":
        raise _no_operator(receipt.index)
    key = key_event.public_key(event)
    _verify(envelope, key, receipt, heads, known)
    admit(statement, event)
    return LoggedStatement(envelope, statement, key, event, receipt)


def _verify(envelope: Envelope, key: PublicKey, receipt: Receipt, heads: Heads, known: int) -> None:
    envelope.verify(key)
    heads.verify(receipt, entry.write(envelope.record_id, envelope.signature, key.der), known)


def _no_operator(index: int) -> VerificationError:
    return VerificationError(
        Reason.UNKNOWN_SIGNER,
        "entry 0 of the log does not admit the operator's key",
        where=f"entry {index}",
    )


def _out_of_order(index: int, last: int) -> VerificationError:
    return VerificationError(
        Reason.INCLUSION_PROOF,
        "the registry lists statements in another order than the log's",
        expected=f"an entry after {last}",
        actual=f"entry {index}",
    )
