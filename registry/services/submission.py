"""A statement on its way into the log, and what the state of the log may say against it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from registry.core.digest import DigestSet
from registry.core.digest import text as digest_text
from registry.core.records import batch as batches
from registry.core.records import inference
from registry.core.records.key_event import KeyEvent
from registry.core.records.landmarks import Landmarks
from registry.errors import ConflictError, Reason, RefusedError
from registry.services import challenges
from registry.services.challenges import Claim
from registry.storage.blobs.port import BlobWriter
from registry.storage.sql import attestations, catalog, outputs
from registry.storage.sql.attestations import StoredResult
from registry.storage.sql.catalog import ShimHead, StoredBatch
from registry.storage.sql.engine import Connection


@dataclass(frozen=True, slots=True)
class BatchToStore:
    """What a batch adds to the catalog."""

    batch: batches.Batch
    hashed: batches.Hashed
    outputs: tuple[tuple[bytes, int], ...]
    leaves: bytes
    hashes: bytes
    landmarks: Landmarks


@dataclass(frozen=True, slots=True)
class Submission:
    """A verified and admitted statement that waits for its index.

    Attributes:
        record_id: SHA-256 of what was signed.
        envelope: The statement in its envelope; empty for a bare entry, of which the log knows the
            signature but not what was signed.
        key_id: The key that must be admitted when the entry gets its place; empty if a policy on
            certificates admitted it.
        unique: Whether the name and version may be taken only once for this predicate type.
        blobs: What becomes visible with the entry, and not at all without it.
        results: How an attestation result is listed; the index is not known yet.
        claim: What it uses up, and what must therefore not have been used.
    """

    record_id: bytes
    leaf_hash: bytes
    body: bytes
    envelope: bytes
    predicate_type: str
    name: str
    version: str
    key_id: str
    principal: str
    unique: bool = False
    key_event: KeyEvent | None = None
    batch: BatchToStore | None = None
    blobs: tuple[BlobWriter, ...] = ()
    results: tuple[StoredResult, ...] = ()
    claim: Claim | None = None

    @property
    def is_bare(self) -> bool:
        """Whether only the signature is known, and not the statement."""
        return not self.envelope


def batch_row(index: int, submission: Submission, stored: BatchToStore) -> StoredBatch:
    """A batch's catalog row."""
    return StoredBatch(
        index=index,
        shim_id=bytes.fromhex(stored.batch.shim_id),
        n_first=stored.batch.n_first,
        n_last=stored.batch.n_last,
        record_id=submission.record_id,
        principal=submission.principal,
        leaves=stored.leaves,
        hashes=stored.hashes,
        last_leaf=stored.hashed.leaf_hashes[-1],
        landmarks=stored.landmarks.to_bytes(),
    )


def store_batch(
    connection: Connection, index: int, submission: Submission, stored: BatchToStore
) -> None:
    """Write a batch's catalog row and index its outputs."""
    catalog.add_batches(connection, [batch_row(index, submission, stored)])
    outputs.add(connection, index, stored.outputs)


def check_free(key: tuple[str, str, str], taken: dict[tuple[str, str, str], int]) -> None:
    """Refuse a name and version that are taken.

    Raises:
        ConflictError: ``VERSION_EXISTS``.
    """
    if key in taken:
        raise ConflictError(
            Reason.VERSION_EXISTS,
            f"{key[1]}@{key[2]} is registered already and can never change",
            where=f"entry {taken[key]}",
            hint="publish under a new version",
        )


def check_chain(
    connection: Connection,
    submission: Submission,
    stored: BatchToStore,
    heads: dict[bytes, ShimHead | None],
) -> ShimHead:
    """Refuse a batch that does not go on exactly where its shim's last batch ended.

    Returns where the shim stands once the batch is in the log.

    Raises:
        ConflictError: ``BATCH_CHAIN``.
    """
    batch = stored.batch
    shim_id = bytes.fromhex(batch.shim_id)
    if shim_id not in heads:
        heads[shim_id] = catalog.shim_head(connection, shim_id)
    head = heads[shim_id]
    if head is None:
        expected_n, expected_batch, owner = 0, "none", submission.principal
    else:
        expected_n, expected_batch = head.n_last + 1, digest_text(head.record_id)
        owner = head.principal
    actual_batch = batch.prev_batch if isinstance(batch.prev_batch, str) else "none"
    expected = f"n_first {expected_n}, prev_batch {expected_batch}, by {owner}"
    actual = f"n_first {batch.n_first}, prev_batch {actual_batch}, by {submission.principal}"
    if expected != actual:
        raise ConflictError(
            Reason.BATCH_CHAIN,
            "this batch does not go on where the shim's last batch ended",
            where=f"shim {batch.shim_id}",
            expected=expected,
            actual=actual,
            hint="a journal that was lost or restored needs a new shim id",
        )
    return ShimHead(
        batch.n_last, submission.record_id, stored.hashed.leaf_hashes[-1], submission.principal
    )


def check_claim(connection: Connection, submission: Submission) -> None:
    """Check that what an attestation result uses up was not used before.

    Raises:
        ConflictError: ``EVIDENCE_REPLAYED`` or ``CHALLENGE_USED``.
        RegistryError: Why the challenge cannot be used any more.
    """
    claim = submission.claim
    if claim is not None:
        check_fresh(attestations.about(connection, claim.evidence_id))
        challenges.check(connection, claim.nonce, claim.family, claim.principal, claim.at)


def store_results(connection: Connection, index: int, submission: Submission) -> None:
    """List what an attestation result says, and use up what it claims, which was checked."""
    if submission.claim is not None:
        challenges.use_up(connection, submission.claim, index)
    rows = [replace(row, index=index) for row in submission.results]
    attestations.add(connection, rows)


def check_fresh(known: Sequence[StoredResult]) -> None:
    """Refuse evidence that was submitted before, in whatever spelling.

    What somebody submitted with a broken signature does not count: anybody can break one.

    Raises:
        ConflictError: ``EVIDENCE_REPLAYED``.
    """
    authentic = [row for row in known if row.is_authentic]
    if authentic:
        raise ConflictError(
            Reason.EVIDENCE_REPLAYED,
            "this evidence was submitted before, for something else or in another spelling",
            where=f"entry {authentic[0].index}",
            actual=authentic[0].evidence.hex(),
            hint="evidence is good for one challenge, key and model: ask the device again",
        )


def first_link(batch: batches.Batch, head: ShimHead | None) -> str | None:
    """The ``prev_digest`` that the first record of a batch must have; None if it is not known."""
    if batch.n_first == 0:
        return inference.FIRST_PREVIOUS
    return None if head is None or head.n_last + 1 != batch.n_first else head.last_leaf.hex()


def check_leaves(said: batches.Batch, leaves: DigestSet) -> None:
    """Check that the leaves file is the one that the batch names.

    Raises:
        RefusedError: ``BATCH_CONTENT``.
    """
    if said.leaves != leaves:
        raise RefusedError(
            Reason.BATCH_CONTENT,
            "the leaves file is not the one that the batch names",
            expected=f"sha256:{said.leaves.sha256}",
            actual=f"sha256:{leaves.sha256}",
        )
