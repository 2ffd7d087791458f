"""That an entry is in a log that is believed: checkpoint, inclusion proof, and Rekor v1's promise.

Rekor v2 and ours: an Ed25519 key, origin and signer's name are the log's host. Rekor v1: a P-256
key, origin ``<host> - <tree id>``, extension lines in the checkpoint, and a *signed entry
timestamp* over entry, index and time.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from registry.core import encoding
from registry.core.attestation.trusted_root import LogKey
from registry.core.encoding import Count, Value
from registry.core.tlog.checkpoint import Checkpoint
from registry.core.tlog.merkle import leaf_hash, verify_inclusion
from registry.core.tlog.note import Note
from registry.core.tlog.rekor import TransparencyLogEntry
from registry.errors import MalformedError, Reason, VerificationError

_SHARD: Final = re.compile(r"\A(.+) - [0-9]+\Z")
_KEY_ID_SIZE = 4
_HEAD_LINES = 3
_LAST_SECOND = 253_402_300_799


class _Promised(Value, frozen=True):
    """What Rekor v1 signs; the order of its members is that of RFC 8785."""

    body: str
    integratedTime: Count  # noqa: N815 - Rekor's spelling
    logID: str  # noqa: N815
    logIndex: Count  # noqa: N815


@dataclass(frozen=True, slots=True)
class Logged:
    """That, and where, an entry was logged.

    Attributes:
        log: The log.
        at: When, if a promise proves it.
    """

    log: LogKey
    at: datetime | None


def open_entry(entry: TransparencyLogEntry, logs: Sequence[LogKey]) -> Logged:
    """The log of ``logs`` that holds ``entry``: whatever proof is there must hold.

    Windows are judged by the caller, who knows the time.

    Raises:
        MalformedError: ``MALFORMED_NOTE``, ``MALFORMED_CHECKPOINT`` or ``MALFORMED_PROOF``.
        VerificationError: ``WRONG_LOG``, ``LOG_SIGNATURE``, ``INCLUSION_PROOF`` or
            ``INCLUSION_PROMISE``.
    """
    log = next((log for log in logs if log.log_id == entry.log_id), None)
    if log is None:
        raise VerificationError(
            Reason.WRONG_LOG,
            "the entry is in a log that is not trusted",
            actual=encoding.base64_text(entry.log_id),
        )
    head, sharded = _open(entry.checkpoint, log)
    if (head.size, head.root) != (entry.size, entry.root):
        raise VerificationError(
            Reason.INCLUSION_PROOF,
            "the proof is for another tree than the checkpoint's",
            expected=f"{head.size} {head.root.hex()}",
            actual=f"{entry.size} {entry.root.hex()}",
        )
    if not sharded and entry.index != entry.leaf_index:
        raise VerificationError(
            Reason.INCLUSION_PROOF,
            "the proof is for another entry",
            expected=str(entry.index),
            actual=str(entry.leaf_index),
        )
    verify_inclusion(leaf_hash(entry.body), entry.leaf_index, head.size, entry.proof, head.root)
    return Logged(log, _promised(entry, log))


def _open(note_bytes: bytes, log: LogKey) -> tuple[Checkpoint, bool]:
    """The checkpoint in a note, if this log signed it, and whether it is one shard of a log."""
    note = Note.parse(note_bytes)
    lines = note.text.split("\n")
    extensions = lines[_HEAD_LINES:-1]
    if not all(extensions):
        raise MalformedError(
            Reason.MALFORMED_CHECKPOINT, "this checkpoint has an empty extension line"
        )
    # Spaces are no part of a name by today's rules, so Rekor v1's number is taken off first.
    shard = _SHARD.match(lines[0])
    name = shard.group(1) if shard else lines[0]
    head = Checkpoint.parse("\n".join((name, *lines[1:_HEAD_LINES], "")))
    # A host alone names a log; Rekor v1 wrote its port as well.
    if name not in ((log.host, log.netloc) if shard else (log.host,)):
        raise VerificationError(
            Reason.WRONG_LOG,
            "this checkpoint is of another log",
            expected=log.host,
            actual=lines[0],
        )
    ours = [
        line
        for line in note.signatures
        if (line.name, line.key_id) == (name, log.log_id[:_KEY_ID_SIZE])
    ]
    if not ours:
        raise VerificationError(
            Reason.WRONG_LOG,
            "the log did not sign this checkpoint",
            expected=f"{name} {log.log_id[:_KEY_ID_SIZE].hex()}",
            actual=", ".join(f"{line.name} {line.key_id.hex()}" for line in note.signatures),
        )
    for line in ours:
        log.verify(line.signature, note.text.encode())
    return head, shard is not None


def _promised(entry: TransparencyLogEntry, log: LogKey) -> datetime | None:
    if not entry.promise:
        # A time that nobody signed is no time. Rekor v2 leaves it out, or writes zero.
        return None
    if not 0 < entry.integrated_time <= _LAST_SECOND:
        raise VerificationError(
            Reason.INCLUSION_PROMISE, "the promise is for no time", where=log.netloc
        )
    try:
        log.verify(
            entry.promise,
            encoding.write_json(
                _Promised(
                    body=encoding.base64_text(entry.body),
                    integratedTime=entry.integrated_time,
                    logID=entry.log_id.hex(),
                    logIndex=entry.index,
                )
            ),
        )
    except VerificationError as error:
        raise VerificationError(
            Reason.INCLUSION_PROMISE,
            "the signed entry timestamp does not verify",
            where=log.netloc,
        ) from error
    return datetime.fromtimestamp(entry.integrated_time, UTC)
