"""Rebuilds what is derived from what is primary: the catalog from log and blobs, tiles from leaves.

The log's rows are read in order and told to the catalog exactly as the sequencer told it, so the
answers are the same afterwards. One transaction: a rebuild that dies leaves the old catalog.
"""

import hashlib
from collections.abc import Callable

from registry.core.attestation.dsse import Envelope
from registry.core.digest import SHA256_SIZE, DigestSet
from registry.core.digest import text as digest_text
from registry.core.evidence.claims import MAX_EVIDENCE_BYTES
from registry.core.evidence.endorsements import MAX_ENDORSEMENT_BYTES
from registry.core.evidence.result import AttestationResult
from registry.core.foreign.captured import MAX_PART_BYTES
from registry.core.foreign.proof import ForeignProof
from registry.core.keys import PublicKey
from registry.core.records import batch, predicate
from registry.core.records.key_event import KeyEvent, public_key
from registry.core.records.landmarks import Landmarks
from registry.core.registration import LoggedKeyEvent, grant
from registry.core.tlog import entry as entries
from registry.core.tlog.merkle import leaf_hash
from registry.errors import DamagedError, Reason
from registry.services.attested import result_rows
from registry.services.keyring import Keyring
from registry.services.registration import Opened, submission
from registry.services.submission import (
    BatchToStore,
    check_leaves,
    first_link,
    store_batch,
)
from registry.services.tree import Tree
from registry.storage.blobs.port import CHUNK_BYTES, BlobInfo, BlobStore
from registry.storage.sql import attestations, catalog, log, outputs
from registry.storage.sql.catalog import Listed
from registry.storage.sql.engine import Connection, Database
from registry.storage.sql.log import StoredEntry

PAGE = 1000
"""Entries that are read at a time."""

HASHES_BYTES = batch.MAX_RECORDS * SHA256_SIZE
"""Bytes of a hashes file, at most."""

Progress = Callable[[str, int], None]
"""Told what is being done, and how many are done."""


def rebuild(database: Database, blobs: BlobStore, progress: Progress) -> int:
    """Make tiles, blob list and catalog again; how many entries there are.

    Raises:
        DamagedError: ``STORED_BYTES`` if an entry or a blob is not what was stored.
    """
    with database.write() as connection:
        log.clear_derived(connection)
        _list_blobs(connection, blobs, progress)
        tree = Tree(database)
        tree.load(0)
        keyring = Keyring()
        start = 0
        while page := log.entries_from(connection, start, PAGE):
            for stored in page:
                log.add_tiles(connection, tree.append(stored.leaf_hash))
                index_entry(connection, blobs, keyring, stored)
            start += len(page)
            progress("entries", start)
        merging = outputs.Compaction()
        while merging.step(connection):
            pass
    return start


def index_entry(
    connection: Connection, blobs: BlobStore, keyring: Keyring, stored: StoredEntry
) -> None:
    """Check one entry against itself and list it in the catalog.

    Raises:
        DamagedError: ``STORED_BYTES``.
    """
    if not stored.envelope:
        check_bare(stored)
        return
    opened = open_entry(keyring, stored)
    said = opened.statement.predicate
    waiting = submission(opened)
    row = Listed(
        stored.index,
        waiting.predicate_type,
        waiting.name,
        waiting.version,
        waiting.key_id,
        waiting.principal,
    )
    catalog.add_statements(connection, [row])
    if waiting.unique:
        catalog.add_versions(connection, [row])
    if isinstance(said, AttestationResult):
        check_material(blobs, said)
        attestations.add(connection, result_rows(said, stored.index))
    if isinstance(said, ForeignProof):
        for name in said.kept:
            blobs.read(name, MAX_PART_BYTES)
    if isinstance(said, KeyEvent):
        keyring.add(stored.index, said)
    elif isinstance(said, batch.Batch):
        head = catalog.shim_head(connection, bytes.fromhex(said.shim_id))
        leaves = blobs.read(said.leaves.raw, batch.MAX_LEAVES_BYTES)
        check_leaves(said, DigestSet.of(leaves))
        records = list(batch.split_leaves(leaves))
        content = batch.open_content(
            opened.statement.subject, said, records, first_link(said, head)
        )
        hashes = hashlib.sha256(content.hashed.hashes_file).digest()
        blobs.read(hashes, HASHES_BYTES)
        store_batch(
            connection,
            stored.index,
            waiting,
            BatchToStore(
                said,
                content.hashed,
                content.outputs,
                said.leaves.raw,
                hashes,
                Landmarks.of(records, content.hashed),
            ),
        )


def check_material(blobs: BlobStore, said: AttestationResult) -> None:
    """Check that everything that a result rests on is stored, byte for byte.

    Raises:
        NotFoundError: ``UNKNOWN_BLOB``.
        DamagedError: ``STORED_BYTES``.
    """
    for environment in said.submods.values():
        blobs.read(bytes.fromhex(environment.raw_evidence), MAX_EVIDENCE_BYTES)
        for item in environment.endorsements:
            blobs.read(bytes.fromhex(item.sha256), MAX_ENDORSEMENT_BYTES)


def open_entry(keyring: Keyring, stored: StoredEntry) -> Opened:
    """Read an entry's statement and check that leaf, body, envelope and signature belong together.

    Raises:
        DamagedError: ``STORED_BYTES``.
    """
    body = entries.parse(stored.body)
    envelope = Envelope.parse(stored.envelope)
    statement = predicate.parse(envelope.payload)
    said = statement.predicate
    if stored.index == 0 and isinstance(said, KeyEvent):
        key = public_key(said)
        principal = said.principal
    else:
        key = keyring.key(envelope.keyid)
        events: tuple[LoggedKeyEvent, ...] = keyring.events(key.key_id)
        principal = grant(events, stored.index).principal
    expected = entries.write(envelope.record_id, envelope.signature, key.der)
    if (
        expected != stored.body
        or leaf_hash(stored.body) != stored.leaf_hash
        or envelope.record_id != stored.record_id
        or body.key_der != key.der
    ):
        raise _damaged(stored)
    envelope.verify(key)
    return Opened(stored.envelope, envelope, statement, key, principal)


def check_bare(stored: StoredEntry) -> None:
    """Check a bare entry: leaf, digest and signature belong together.

    Raises:
        DamagedError: ``STORED_BYTES``.
    """
    body = entries.parse(stored.body)
    if leaf_hash(stored.body) != stored.leaf_hash or body.digest != stored.record_id:
        raise _damaged(stored)
    PublicKey.parse(body.key_der).verify_digest(body.signature, body.digest)


def _damaged(stored: StoredEntry) -> DamagedError:
    return DamagedError(
        Reason.STORED_BYTES,
        "an entry of the log is not what was stored",
        where=f"entry {stored.index}, {digest_text(stored.record_id)}",
        hint="restore the database from a backup",
    )


def hash_blob(blobs: BlobStore, sha256: bytes) -> BlobInfo:
    """Read a blob and give its true digests and size."""
    first, twin, size = hashlib.sha256(), hashlib.sha512(), 0
    with blobs.open(sha256) as file:
        while data := file.read(CHUNK_BYTES):
            first.update(data)
            twin.update(data)
            size += len(data)
    return BlobInfo(first.digest(), twin.digest(), size)


def _list_blobs(connection: Connection, blobs: BlobStore, progress: Progress) -> None:
    for number, sha256 in enumerate(blobs, 1):
        info = hash_blob(blobs, sha256)
        if info.sha256 != sha256:
            raise DamagedError(
                Reason.STORED_BYTES,
                "a stored blob is not what was stored",
                expected=digest_text(sha256),
                actual=digest_text(info.sha256),
                hint="restore the file from a backup",
            )
        catalog.add_blob(connection, info)
        progress("blobs", number)
