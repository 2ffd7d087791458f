"""Inference batches: N journal records of one shim under one root, signed and logged once.

Two files belong to a batch. *Leaves* holds the records, each as ``u32 BE length ‖ data``. *Hashes*
holds their leaf hashes, 32 bytes each; it is the subject of the batch statement. Both roots cover
the records, so either hash function alone proves a record; the second is for the day the first
grows old.
"""

import hashlib
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec

from registry.core.attestation.statement import Subject, check_subject
from registry.core.digest import SHA256_SIZE, DigestSet
from registry.core.encoding import Count, Hex16, Hex32, Hex64, Time, Value
from registry.core.records import NAMESPACE, inference
from registry.core.records.release import RecordId
from registry.core.tlog import merkle
from registry.errors import LimitExceededError, MalformedError, Reason, RegistryError

PREDICATE_TYPE = NAMESPACE + "inference-batch/v1"
"""The predicate type of a batch."""

MAX_RECORDS = 4096
"""Records in one batch."""

MAX_LEAVES_BYTES = 8 * 1024 * 1024
"""Bytes of all records of one batch, framing included."""

STRIDE = 64
"""Records under one node of the tree that is remembered; a power of two."""

SUBJECT_NAME = "leaf-hashes"
"""The name of a batch's subject."""

_LENGTH = struct.Struct(">I")


class Batch(Value, frozen=True):
    """The node says: these are records ``n_first`` to ``n_last`` of this shim.

    Attributes:
        boot_id: The boot of the last record.
        root: RFC 6962 root over the records, SHA-256.
        root_sha512: The same tree with SHA-512.
        leaves: Digests of the leaves file.
        prev_batch: Record id of the batch before; absent for the first.
    """

    shim_id: Hex16
    boot_id: Hex16
    n_first: Count
    n_last: Count
    count: Annotated[int, msgspec.Meta(ge=1, le=MAX_RECORDS)]
    tree: Literal["rfc6962-sha256"]
    root: Hex32
    root_sha512: Hex64
    leaves: DigestSet
    closed_at: Time
    prev_batch: RecordId | msgspec.UnsetType = msgspec.UNSET


@dataclass(frozen=True, slots=True)
class Hashed:
    """What hashing the records of a batch yields.

    Attributes:
        stride_roots: The nodes of the tree over each :data:`STRIDE` records.
    """

    leaf_hashes: tuple[bytes, ...]
    stride_roots: tuple[bytes, ...]
    root: bytes
    root_sha512: bytes

    @property
    def hashes_file(self) -> bytes:
        """The subject of the batch statement."""
        return b"".join(self.leaf_hashes)


@dataclass(frozen=True, slots=True)
class Content:
    """A batch's records, read, checked and hashed.

    Attributes:
        outputs: ``(content digest, position in the batch)`` of every completion.
    """

    hashed: Hashed
    outputs: tuple[tuple[bytes, int], ...]
    last_boot_id: str


def hash_records(records: Sequence[bytes]) -> Hashed:
    """Hash leaf data into leaf hashes and both roots."""
    leaf_hashes = [hashlib.sha256(b"\x00" + data).digest() for data in records]
    twins = [hashlib.sha512(b"\x00" + data).digest() for data in records]
    strides = tuple(
        merkle.root(leaf_hashes[start : start + STRIDE])
        for start in range(0, len(leaf_hashes), STRIDE)
    )
    root = merkle.root(strides)
    return Hashed(tuple(leaf_hashes), strides, root, merkle.root(twins, hashlib.sha512))


def framed_bytes(records: Sequence[bytes]) -> int:
    """How many bytes these records take in a leaves file."""
    return _LENGTH.size * len(records) + sum(map(len, records))


def join_leaves(records: Sequence[bytes]) -> bytes:
    """The leaves file of ``records``."""
    pack = _LENGTH.pack
    parts = []
    for data in records:
        parts.append(pack(len(data)))
        parts.append(data)
    return b"".join(parts)


def split_leaves(leaves: bytes) -> Iterator[bytes]:
    """Read a leaves file back into records.

    Raises:
        MalformedError: ``BATCH_CONTENT``.
    """
    position = 0
    while position < len(leaves):
        start = position + _LENGTH.size
        if start > len(leaves):
            raise MalformedError(Reason.BATCH_CONTENT, "the leaves file ends inside a length")
        (length,) = _LENGTH.unpack_from(leaves, position)
        position = start + length
        if position > len(leaves):
            raise MalformedError(Reason.BATCH_CONTENT, "the leaves file ends inside a record")
        yield leaves[start:position]


def nth_leaf(leaves: bytes | memoryview, index: int) -> bytes:
    """Record ``index`` of a leaves file, without touching the others.

    Raises:
        MalformedError: ``BATCH_CONTENT``.
    """
    position = 0
    try:
        for _ in range(index):
            position += _LENGTH.size + _LENGTH.unpack_from(leaves, position)[0]
        (length,) = _LENGTH.unpack_from(leaves, position)
    except struct.error as error:
        raise MalformedError(
            Reason.BATCH_CONTENT,
            "the leaves file is shorter than the batch",
            where=f"record {index}",
        ) from error
    start = position + _LENGTH.size
    if start + length > len(leaves):
        raise MalformedError(
            Reason.BATCH_CONTENT, "the leaves file ends inside a record", where=f"record {index}"
        )
    return bytes(leaves[start : start + length])


def split_hashes(hashes_file: bytes) -> list[bytes]:
    """Read a hashes file back into leaf hashes.

    Raises:
        MalformedError: ``BATCH_CONTENT``.
    """
    if len(hashes_file) % SHA256_SIZE:
        raise MalformedError(
            Reason.BATCH_CONTENT,
            "the hashes file ends inside a hash",
            expected=f"a multiple of {SHA256_SIZE} bytes",
            actual=f"{len(hashes_file)} bytes",
        )
    return [hashes_file[i : i + SHA256_SIZE] for i in range(0, len(hashes_file), SHA256_SIZE)]


def validate(subject: tuple[Subject, ...], batch: Batch) -> None:
    """Check what types cannot express: the range, and the one subject.

    Raises:
        MalformedError: ``BATCH_CONTENT`` or ``SUBJECT_MISMATCH``.
    """
    if batch.n_last - batch.n_first + 1 != batch.count:
        raise MalformedError(
            Reason.BATCH_CONTENT,
            "the range and the count of this batch disagree",
            expected=str(batch.n_last - batch.n_first + 1),
            actual=str(batch.count),
        )
    check_subject(subject, SUBJECT_NAME)


def open_content(
    subject: tuple[Subject, ...],
    batch: Batch,
    records: Sequence[bytes],
    previous_leaf: str | None,
    each: Callable[[inference.Record], None] = lambda _record: None,
) -> Content:
    """Check every record of a batch against the batch statement.

    Args:
        subject: The subject of the batch statement.
        batch: Its predicate.
        records: The leaf data.
        previous_leaf: Hexadecimal leaf hash of the record before the first one; None if it is not
            known, and the chain into this batch is then not checked.
        each: Called with every record in order, once both roots and all before it are checked.

    Raises:
        LimitExceededError: ``BATCH_TOO_LARGE``.
        MalformedError: ``BATCH_CONTENT`` (another root, a hole in the sequence, another shim), or
            what is wrong with a record.
    """
    if len(records) > MAX_RECORDS:
        raise LimitExceededError(
            Reason.BATCH_TOO_LARGE,
            "this batch has too many records",
            expected=f"at most {MAX_RECORDS}",
            actual=str(len(records)),
        )
    hashed = hash_records(records)
    _compare("count", str(batch.count), str(len(records)))
    _compare("root", batch.root, hashed.root.hex())
    _compare("root_sha512", batch.root_sha512, hashed.root_sha512.hex())
    check_subject(subject, SUBJECT_NAME, DigestSet.of(hashed.hashes_file))
    outputs = []
    n = batch.n_first
    previous = inference.FIRST_PREVIOUS if n == 0 else previous_leaf
    boot_id = batch.boot_id
    for position, data in enumerate(records):
        try:
            record = inference.parse(data)
        except RegistryError as error:
            error.where = f"record n={n}" + (f", {error.where}" if error.where else "")
            raise
        sequence = record.sequence
        if sequence.n != n or sequence.shim_id != batch.shim_id:
            _compare("sequence", f"{batch.shim_id} n={n}", f"{sequence.shim_id} n={sequence.n}")
        if previous is not None and sequence.prev_digest != previous:
            _compare(f"prev_digest of n={n}", previous, sequence.prev_digest)
        if type(record) is inference.Completion:
            outputs.append((bytes.fromhex(record.response.content_digest), position))
        each(record)
        previous = hashed.leaf_hashes[position].hex()
        boot_id = sequence.boot_id
        n += 1
    _compare("boot_id", batch.boot_id, boot_id)
    return Content(hashed, tuple(outputs), boot_id)


def _compare(what: str, expected: str, actual: str) -> None:
    if expected != actual:
        raise MalformedError(
            Reason.BATCH_CONTENT,
            "the records are not those that the batch commits to",
            where=what,
            expected=expected,
            actual=actual,
        )
