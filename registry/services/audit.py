"""Re-derives the log from its leaves and compares: every root, tile, entry and blob."""

from collections.abc import Callable

from registry.core.archive.timestamp import check_message
from registry.core.digest import text as digest_text
from registry.core.records import batch
from registry.core.records.key_event import KeyEvent
from registry.core.tlog import tree as proofs
from registry.core.tlog.checkpoint import Checkpoint, SignedCheckpoint
from registry.core.tlog.note import VerifierKey
from registry.errors import RegistryError
from registry.services.indexing import PAGE, check_bare, hash_blob, open_entry
from registry.services.keyring import Keyring
from registry.services.tree import Tree
from registry.storage.blobs.port import BlobStore
from registry.storage.sql import catalog, cosigned, log, timestamps
from registry.storage.sql.engine import Connection, Database
from registry.storage.sql.log import StoredEntry

Progress = Callable[[str, int], None]
"""Told what is being done, and how many are done."""


def check_log(
    database: Database,
    blobs: BlobStore,
    key: VerifierKey,
    newest: Checkpoint,
    progress: Progress,
) -> tuple[int, list[str]]:
    """Re-derive everything; how many entries there are, and every fault found, in plain words.

    ``newest`` is what the checkpoint lock holds.
    """
    faults: list[str] = []
    tree = Tree(database)
    tree.load(0)
    keyring = Keyring()
    start = 0
    with database.read() as connection:
        signed = dict(log.checkpoints(connection))
        while page := log.entries_from(connection, start, PAGE):
            for stored in page:
                faults.extend(_check_entry(connection, keyring, stored))
                for level, index, data in tree.append(stored.leaf_hash):
                    if log.tile(connection, level, index) != data:
                        faults.append(f"tile/{level}/{index}: missing or different")
                note = signed.pop(tree.size, None)
                if note is not None:
                    faults.extend(_compare(note, key, tree))
            start += len(page)
            progress("entries", start)
        faults.extend(f"checkpoint {size}: beyond the log" for size in signed)
        ended = log.ended(connection)
        if ended is not None and ended[0] != start:
            faults.append(f"the log was frozen at {ended[0]} entries and has {start}")
        if newest.size > start:
            faults.append(f"the checkpoint lock holds {newest.size} entries, the log {start}")
        elif proofs.root_hash(tree.node, newest.size) != newest.root:
            faults.append(f"the checkpoint lock holds another root of {newest.size} entries")
        faults.extend(_check_cosigned(connection, key, tree))
        faults.extend(_check_timestamps(connection, key, tree))
    faults.extend(_check_blobs(database, blobs, progress))
    return start, faults


def _check_entry(connection: Connection, keyring: Keyring, stored: StoredEntry) -> list[str]:
    faults = []
    if not stored.envelope:
        try:
            check_bare(stored)
        except RegistryError as error:
            faults.append(f"entry {stored.index}: {error}")
        return faults
    try:
        said = open_entry(keyring, stored).statement.predicate
    except RegistryError as error:
        faults.append(f"entry {stored.index}: {error}")
    else:
        if isinstance(said, KeyEvent):
            keyring.add(stored.index, said)
        if isinstance(said, batch.Batch) and not catalog.batch(connection, stored.index):
            faults.append(f"entry {stored.index}: the batch is not in the catalog")
    if catalog.listed(connection, stored.index) is None:
        faults.append(f"entry {stored.index}: not in the catalog")
    return faults


def _compare(note: bytes, key: VerifierKey, tree: Tree) -> list[str]:
    try:
        checkpoint = SignedCheckpoint.open(note, key).checkpoint
    except RegistryError as error:
        return [f"checkpoint {tree.size}: {error}"]
    if checkpoint.size != tree.size or checkpoint.root != tree.root():
        return [f"checkpoint {tree.size}: signed another root than the entries have"]
    return []


def _check_cosigned(connection: Connection, key: VerifierKey, tree: Tree) -> list[str]:
    note = cosigned.newest(connection)
    if note is None:
        return []
    try:
        head = SignedCheckpoint.open(note, key).checkpoint
    except RegistryError as error:
        return [f"cosigned checkpoint: {error}"]
    if head.size > tree.size:
        return [f"cosigned checkpoint: witnesses saw {head.size} entries, the log has {tree.size}"]
    if proofs.root_hash(tree.node, head.size) != head.root:
        return [f"cosigned checkpoint: witnesses saw another root of {head.size} entries"]
    return []


def _check_timestamps(connection: Connection, key: VerifierKey, tree: Tree) -> list[str]:
    faults = []
    for row in timestamps.every(connection):
        where = f"timestamp of {row.size} entries"
        try:
            head = SignedCheckpoint.open(row.note, key).checkpoint
            at = check_message(row.token, row.note)
        except RegistryError as error:
            faults.append(f"{where}: {error}")
            continue
        if head.size != row.size or at != row.at:
            faults.append(f"{where}: says {head.size} entries and {at}, is listed under {row.at}")
        elif head.size > tree.size:
            faults.append(f"{where}: beyond the log of {tree.size}")
        elif proofs.root_hash(tree.node, head.size) != head.root:
            faults.append(f"{where}: another root than the entries have")
    return faults


def _check_blobs(database: Database, blobs: BlobStore, progress: Progress) -> list[str]:
    faults = []
    for number, sha256 in enumerate(blobs, 1):
        info = hash_blob(blobs, sha256)
        if info.sha256 != sha256:
            faults.append(f"blob {digest_text(sha256)}: its bytes have another digest")
        else:
            with database.read() as connection:
                listed = catalog.blobs(connection, [sha256]).get(sha256)
            if listed != info:
                faults.append(f"blob {digest_text(sha256)}: missing or different in the catalog")
        progress("blobs", number)
    return faults
