"""TransparencyLogEntry: how Sigstore writes one entry of a log with its proof.

The JSON form of ``dev.sigstore.rekor.v1.TransparencyLogEntry``
(https://github.com/sigstore/protobuf-specs): 64-bit integers are strings, bytes are base64. Ours
carry no promise and no time; Rekor v1 adds both as a *signed entry timestamp*.
"""

from dataclasses import dataclass
from typing import Self

from msgspec import UNSET, UnsetType

from registry.core import encoding
from registry.core.digest import SHA256_SIZE, sha256
from registry.core.encoding import Value
from registry.core.tlog.merkle import MAX_PROOF_HASHES
from registry.core.tlog.note import ED25519, VerifierKey
from registry.core.tlog.receipt import Receipt
from registry.errors import MalformedError, Reason

MAX_BODY_BYTES = 1024 * 1024
"""Bytes of an entry in somebody's log. Rekor v1 kept whole statements."""

_KIND, _VERSION = "hashedrekord", "0.0.2"


class WireLogId(Value, frozen=True, rename="camel"):
    """How a log is named: 32 bytes."""

    key_id: str


class WireKindVersion(Value, frozen=True):
    """What kind of entry."""

    kind: str
    version: str


class WirePromise(Value, frozen=True, rename="camel"):
    """Rekor v1's signature over body, index and time."""

    signed_entry_timestamp: str


class WireCheckpoint(Value, frozen=True):
    """A signed note."""

    envelope: str


class WireProof(Value, frozen=True, rename="camel"):
    """An inclusion proof; Go leaves zero and empty lists out."""

    root_hash: str
    tree_size: str
    log_index: str | UnsetType = UNSET
    hashes: tuple[str, ...] | UnsetType = UNSET
    checkpoint: WireCheckpoint | UnsetType = UNSET


class WireEntry(Value, frozen=True, rename="camel"):
    """The JSON of a TransparencyLogEntry."""

    log_id: WireLogId
    kind_version: WireKindVersion
    canonicalized_body: str
    log_index: str | UnsetType = UNSET
    integrated_time: str | UnsetType = UNSET
    inclusion_promise: WirePromise | UnsetType = UNSET
    inclusion_proof: WireProof | UnsetType = UNSET


def log_id(key: VerifierKey) -> bytes:
    """The 32 bytes that name a log with an Ed25519 key: the whole hash of which notes carry 4."""
    return sha256(key.name.encode() + b"\n" + bytes([ED25519]) + key.public_key)


@dataclass(frozen=True, slots=True)
class TransparencyLogEntry:
    """One entry of a log, with the proof that it is there.

    Attributes:
        index: The entry's number; in a sharded Rekor v1 log, counted over all shards.
        log_id: Which log, 32 bytes.
        kind: What kind of entry.
        version: In which version of that kind.
        integrated_time: POSIX seconds, or 0; proved only by ``promise``.
        promise: Rekor v1's signed entry timestamp, or nothing.
        leaf_index: The entry's number in the tree of the checkpoint.
        size: The size of that tree, as the proof says.
        root: The root of that tree, as the proof says.
        proof: Hashes from the leaf's sibling to the root's child.
        checkpoint: The signed note, whole.
        body: The entry itself.
    """

    index: int
    log_id: bytes
    kind: str
    version: str
    integrated_time: int
    promise: bytes
    leaf_index: int
    size: int
    root: bytes
    proof: tuple[bytes, ...]
    checkpoint: bytes
    body: bytes

    @classmethod
    def proved(cls, body: bytes, receipt: Receipt, log_key: VerifierKey) -> Self:
        """One of our own entries, by its receipt."""
        head = receipt.head.checkpoint
        return cls(
            index=receipt.index,
            log_id=log_id(log_key),
            kind=_KIND,
            version=_VERSION,
            integrated_time=0,
            promise=b"",
            leaf_index=receipt.index,
            size=head.size,
            root=head.root,
            proof=receipt.proof,
            checkpoint=receipt.head.note,
            body=body,
        )

    @classmethod
    def of(cls, wire: WireEntry) -> Self:
        """Read an entry from its JSON form, without judging its proof.

        The proof must be there, with a checkpoint: older bundles could do without.

        Raises:
            MalformedError: ``MALFORMED_LOG_ENTRY``.
        """
        try:
            proof = wire.inclusion_proof
            if isinstance(proof, UnsetType) or isinstance(proof.checkpoint, UnsetType):
                raise _malformed("it has no inclusion proof with a checkpoint")
            hashes = () if isinstance(proof.hashes, UnsetType) else proof.hashes
            if len(hashes) > MAX_PROOF_HASHES:
                raise _malformed("its proof is too long")
            promise = wire.inclusion_promise
            entry = cls(
                index=_number(wire.log_index),
                log_id=encoding.base64_bytes(wire.log_id.key_id),
                kind=wire.kind_version.kind,
                version=wire.kind_version.version,
                integrated_time=_number(wire.integrated_time),
                promise=b""
                if isinstance(promise, UnsetType)
                else encoding.base64_bytes(promise.signed_entry_timestamp),
                leaf_index=_number(proof.log_index),
                size=_number(proof.tree_size),
                root=encoding.base64_bytes(proof.root_hash),
                proof=tuple(encoding.base64_bytes(item) for item in hashes),
                checkpoint=proof.checkpoint.envelope.encode(),
                body=encoding.base64_bytes(wire.canonicalized_body),
            )
        except UnicodeEncodeError as error:
            raise _malformed("its checkpoint is not UTF-8") from error
        except MalformedError as error:
            if error.reason is Reason.MALFORMED_LOG_ENTRY:
                raise
            raise _malformed("a field is not what it should be", str(error)) from error
        if len(entry.log_id) != SHA256_SIZE:
            raise _malformed("the name of its log is not 32 bytes long")
        if not 0 < len(entry.body) <= MAX_BODY_BYTES:
            raise _malformed("its body is missing or too long")
        return entry

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read an entry from JSON in any spelling.

        Raises:
            MalformedError: ``MALFORMED_LOG_ENTRY``, ``MALFORMED_JSON`` or ``MALFORMED_FIELD``.
        """
        return cls.of(encoding.read_proto_json(data, WireEntry, what="transparency log entry"))

    def wire(self) -> WireEntry:
        """The JSON form; what a log of today has no use for stays out."""
        return WireEntry(
            log_index=str(self.index),
            log_id=WireLogId(key_id=encoding.base64_text(self.log_id)),
            kind_version=WireKindVersion(kind=self.kind, version=self.version),
            integrated_time=str(self.integrated_time) if self.integrated_time else UNSET,
            inclusion_promise=WirePromise(signed_entry_timestamp=encoding.base64_text(self.promise))
            if self.promise
            else UNSET,
            inclusion_proof=WireProof(
                log_index=str(self.leaf_index),
                root_hash=encoding.base64_text(self.root),
                tree_size=str(self.size),
                hashes=tuple(encoding.base64_text(item) for item in self.proof),
                checkpoint=WireCheckpoint(envelope=self.checkpoint.decode()),
            ),
            canonicalized_body=encoding.base64_text(self.body),
        )

    def to_bytes(self) -> bytes:
        """The entry as RFC 8785 JSON, for stock clients."""
        return encoding.write_json(self.wire())


def _number(text: str | UnsetType) -> int:
    return 0 if isinstance(text, UnsetType) else encoding.decimal(text)


def _malformed(what: str, actual: str = "") -> MalformedError:
    return MalformedError(
        Reason.MALFORMED_LOG_ENTRY,
        f"this is not a transparency log entry: {what}",
        actual=actual,
    )
