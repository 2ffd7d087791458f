"""Re-derives a stored registry from what is primary, compares, and on request mends.

One walk over the entries, in order: each against itself, its tile, its checkpoint and its rows in
the catalog; then blobs, the index of outputs, and the receipt of every entry. What is mended is
mended in one transaction, and only if the entries lead to the root that was signed: what is derived
from damaged entries would be damaged, too.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from registry.core.archive.timestamp import check_message
from registry.core.digest import text as digest_text
from registry.core.tlog import tree as proofs
from registry.core.tlog.checkpoint import Checkpoint, SignedCheckpoint
from registry.core.tlog.merkle import verify_inclusion
from registry.core.tlog.note import VerifierKey
from registry.core.tlog.tile import TILE_WIDTH
from registry.errors import RegistryError
from registry.services.audit_published import check_published
from registry.services.audit_rows import RowAudit
from registry.services.faults import REBUILD, RESTORE, Fault, Findings, Kind
from registry.services.indexing import PAGE, hash_blob
from registry.services.tree import Tree
from registry.storage.blobs.port import BlobStore
from registry.storage.sql import catalog, cosigned, log, mending, timestamps
from registry.storage.sql.engine import Connection, Database
from registry.storage.tiles import TileFolder

Progress = Callable[[str, int], None]
"""Told what is being done, and how many are done."""


TILES = frozenset({Kind.TILE_MISSING, Kind.TILE_DAMAGED})
"""Faults of tiles that entries need."""


@dataclass(frozen=True, slots=True)
class Audited:
    """What an examination found.

    Attributes:
        trusted: Whether all entries are there and lead to the root that was signed last.
    """

    entries: int
    faults: tuple[Fault, ...]
    trusted: bool


def check_log(
    database: Database,
    blobs: BlobStore,
    key: VerifierKey,
    newest: Checkpoint,
    progress: Progress,
    *,
    published: TileFolder | None = None,
    repair: bool = False,
) -> Audited:
    """Re-derive everything, and on request mend what is derived.

    Args:
        database: Of a stopped registry.
        blobs: Its blobs.
        key: The key of its log.
        newest: What the checkpoint lock holds.
        progress: Told of every entry, blob and receipt.
        published: The folder that the log is published into.
        repair: Whether to mend; primary data is not touched in any case.
    """
    findings = Findings(repair=repair)
    with database.write() if repair else database.read() as connection:
        walk = _Walk(connection, findings, key, Tree(database))
        rows = RowAudit(connection, blobs, findings)
        walk.entries(rows, newest, progress)
        rows.finish(walk.size)
        _check_blobs(connection, blobs, rows.named_blobs, findings, progress)
        faults = findings.settle(trusted=walk.trusted)
    # A tile that is wrong spoils the receipts of its entries, and is told of already.
    if walk.trusted and all(fault.mended or fault.kind not in TILES for fault in faults):
        faults += _check_receipts(database, newest, progress)
        if published is not None:
            faults += check_published(database, published, key, newest, repair=repair)
    return Audited(walk.size, tuple(faults), walk.trusted)


class _Walk:
    """Goes through the entries and grows the tree that they make."""

    def __init__(
        self, connection: Connection, findings: Findings, key: VerifierKey, tree: Tree
    ) -> None:
        self._connection = connection
        self._findings = findings
        self._key = key
        self._tree = tree
        self._roots: dict[int, bytes] = {}
        self.size = 0
        self.trusted = True

    def entries(self, rows: RowAudit, newest: Checkpoint, progress: Progress) -> None:
        """Compare entries, tiles and checkpoints."""
        self._tree.load(0)
        signed = dict(log.checkpoints(self._connection))
        stored_tiles = set(mending.tile_keys(self._connection))
        others = [*self._cosigned(), *self._stamped()]
        wanted = {newest.size, *(head.size for _, head in others)}
        self._roots[0] = self._tree.root()
        while page := log.entries_from(self._connection, self.size, PAGE):
            end = page[-1].index + 1
            rows.begin(self.size, end)
            for stored in page:
                if stored.index != self.size:
                    self._missing(self.size, stored.index)
                self.size = stored.index + 1
                rows.entry(stored)
                if not self._is_whole:
                    continue
                self._grow(stored.leaf_hash, stored_tiles)
                if self.size in wanted:
                    self._roots[self.size] = self._tree.root()
                note = signed.pop(self.size, None)
                if note is not None:
                    self._compare(note)
            progress("entries", self.size)
        if self._is_whole:
            self._compare_lock(newest)
            for where, head in others:
                self._compare_seen(where, head)
            self._compare_end()
            self._stray(signed, stored_tiles)

    def _compare_end(self) -> None:
        ended = log.ended(self._connection)
        if ended is not None and ended[0] != self.size:
            where = f"end of the log, {ended[0]} entries"
            self._primary(Kind.FROZEN, where, f"the log has {self.size}")

    def _stray(self, signed: Iterable[int], stored_tiles: Iterable[tuple[int, int]]) -> None:
        for size in signed:
            self._primary(Kind.CHECKPOINT_BEYOND, f"checkpoint {size}", "the log ends before")
        for level, index in sorted(stored_tiles):
            self._findings.derived(
                Kind.TILE_EXTRA,
                f"tile/{level}/{index}",
                "the log has no such full tile",
                self._drop(level, index),
            )

    @property
    def _is_whole(self) -> bool:
        return self._tree.size == self.size or self._tree.size == self.size - 1

    def _missing(self, start: int, end: int) -> None:
        where = f"entry {start}" if end == start + 1 else f"entries {start} to {end - 1}"
        self._primary(Kind.ENTRY_MISSING, where, "not in the log")

    def _grow(self, leaf: bytes, stored: set[tuple[int, int]]) -> None:
        for level, index, data in self._tree.append(leaf):
            if (level, index) not in stored:
                kind, what = Kind.TILE_MISSING, "not stored"
            elif log.tile(self._connection, level, index) != data:
                kind, what = Kind.TILE_DAMAGED, "other hashes are stored"
            else:
                kind, what = None, ""
            stored.discard((level, index))
            if kind is not None:
                self._findings.derived(
                    kind, f"tile/{level}/{index}", what, self._put(level, index, data)
                )

    def _put(self, level: int, index: int, data: bytes) -> Callable[[], None]:
        return lambda: mending.put_tile(self._connection, level, index, data)

    def _drop(self, level: int, index: int) -> Callable[[], None]:
        return lambda: mending.drop_tile(self._connection, level, index)

    def _compare_lock(self, newest: Checkpoint) -> None:
        where = f"checkpoint lock, {newest.size} entries"
        if newest.size > self.size:
            self._primary(Kind.LOCK_AHEAD, where, f"the log has only {self.size}")
        elif self._roots[newest.size] != newest.root:
            self._primary(Kind.LOCK_ROOT, where, "the entries have another root")

    def _cosigned(self) -> list[tuple[str, Checkpoint]]:
        """The checkpoint that witnesses saw last, with where it is kept."""
        note = cosigned.newest(self._connection)
        if note is None:
            return []
        try:
            head = SignedCheckpoint.open(note, self._key).checkpoint
        except RegistryError as error:
            self._findings.primary(Kind.CHECKPOINT_NOTE, "cosigned checkpoint", str(error))
            return []
        return [(f"cosigned checkpoint, {head.size} entries", head)]

    def _stamped(self) -> list[tuple[str, Checkpoint]]:
        """The checkpoints that authorities stamped, each with where it is kept."""
        found = []
        for row in timestamps.every(self._connection):
            where = f"timestamp of {row.size} entries"
            try:
                head = SignedCheckpoint.open(row.note, self._key).checkpoint
                at = check_message(row.token, row.note)
            except RegistryError as error:
                self._findings.primary(Kind.TIMESTAMP, where, str(error))
                continue
            if head.size != row.size or at != row.at:
                what = f"says {head.size} entries and {at}, is listed under {row.at}"
                self._findings.primary(Kind.TIMESTAMP, where, what)
            else:
                found.append((where, head))
        return found

    def _compare_seen(self, where: str, seen: Checkpoint) -> None:
        """Compare what others have seen of this log."""
        if seen.size > self.size:
            self._primary(Kind.CHECKPOINT_BEYOND, where, f"the log has only {self.size}")
        elif self._roots[seen.size] != seen.root:
            self._primary(Kind.CHECKPOINT_ROOT, where, "the entries have another root")

    def _compare(self, note: bytes) -> None:
        where = f"checkpoint {self.size}"
        try:
            checkpoint = SignedCheckpoint.open(note, self._key).checkpoint
        except RegistryError as error:
            # Nothing is known against the entries: the lock has the last word on their root.
            self._findings.primary(Kind.CHECKPOINT_NOTE, where, str(error))
            return
        if checkpoint.size != self.size:
            what = f"signed for {checkpoint.size} entries"
            self._findings.primary(Kind.CHECKPOINT_NOTE, where, what)
        elif checkpoint.root != self._tree.root():
            self._primary(Kind.CHECKPOINT_ROOT, where, "signed another root than the entries have")

    def _primary(self, kind: Kind, where: str, what: str) -> None:
        self.trusted = False
        self._findings.primary(kind, where, what)


def _check_blobs(
    connection: Connection,
    blobs: BlobStore,
    named: set[bytes],
    findings: Findings,
    progress: Progress,
) -> None:
    """Hash every blob; compare with the list of blobs and with what statements name."""
    missing = named.union(mending.blob_digests(connection))
    for number, sha256 in enumerate(blobs, 1):
        missing.discard(sha256)
        info = hash_blob(blobs, sha256)
        where = f"blob {digest_text(sha256)}"
        if info.sha256 != sha256:
            what = f"its bytes have the digest {digest_text(info.sha256)}"
            findings.primary(Kind.BLOB_DAMAGED, where, what)
        elif catalog.blobs(connection, [sha256]).get(sha256) != info:
            findings.derived(
                Kind.BLOB_ROW,
                where,
                "not listed as it is",
                lambda info=info: mending.put_blob(connection, info),  # type: ignore[misc]  # bound now
            )
        progress("blobs", number)
    for stray in blobs.strays():
        findings.foreign(Kind.BLOB_STRAY, f"blobs, {stray}", "this is no blob")
    for sha256 in sorted(missing):
        what = "named by a statement" if sha256 in named else "listed"
        findings.primary(Kind.BLOB_MISSING, f"blob {digest_text(sha256)}", f"{what}, not stored")


def _check_receipts(database: Database, newest: Checkpoint, progress: Progress) -> list[Fault]:
    """Prove every entry by what is stored, as the server would."""
    tree = Tree(database)
    try:
        tree.load(newest.size)
        for start in range(0, newest.size, TILE_WIDTH):
            end = min(start + TILE_WIDTH, newest.size)
            with database.read() as connection:
                leaves = log.leaf_hashes(connection, start, end)
            for index, leaf in enumerate(leaves, start):
                proof = proofs.inclusion_proof(tree.node, index, newest.size)
                verify_inclusion(leaf, index, newest.size, proof, newest.root)
            progress("receipts", end)
    except RegistryError as error:
        # The first says it: one tile spoils thousands.
        hint = REBUILD if tree.size else RESTORE
        return [Fault(Kind.RECEIPT, error.where or "the tree", str(error), hint=hint)]
    return []
