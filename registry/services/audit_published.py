"""Compares the folder that a log is published into with the log, file by file."""

from registry.core.tlog import tree as proofs
from registry.core.tlog.checkpoint import Checkpoint, SignedCheckpoint
from registry.core.tlog.note import VerifierKey
from registry.errors import RegistryError
from registry.services.faults import REPAIR, RESTORE, Fault, Kind
from registry.services.publishing import compare_folder
from registry.services.tiles import Tiles
from registry.services.tree import Tree
from registry.storage.sql import log
from registry.storage.sql.engine import Database
from registry.storage.tiles import CHECKPOINT, TileFolder


def check_published(
    database: Database,
    folder: TileFolder,
    key: VerifierKey,
    newest: Checkpoint,
    *,
    repair: bool,
) -> list[Fault]:
    """Compare, and on request publish again what is missing or damaged.

    A checkpoint of another history that is signed with our key is evidence, and stays.
    """
    tree = Tree(database)
    tree.load(newest.size)
    note = folder.read(CHECKPOINT)
    with database.read() as connection:
        stored = log.newest_checkpoint(connection)
    faults = []
    shown = _opened(note, key)
    if shown is not None and not _is_ours(shown.checkpoint, tree):
        what = f"signed for another history of {shown.checkpoint.size} entries"
        return [Fault(Kind.PUBLISHED_FORK, CHECKPOINT, what, hint=RESTORE)]
    if shown is None and stored is not None:
        # Nothing was published, or nobody can read what was: the newest stored one takes its place.
        shown = SignedCheckpoint.open(stored[1], key)
        kind = Kind.PUBLISHED_MISSING if note is None else Kind.PUBLISHED_DAMAGED
        faults.append(_fault(kind, CHECKPOINT, "not a checkpoint of this log", repair=repair))
    if shown is None:
        return faults
    for found in compare_folder(Tiles(database, tree), folder, shown.checkpoint.size):
        if repair:
            folder.mend(found.name, found.expected)
        kind = Kind.PUBLISHED_MISSING if found.is_missing else Kind.PUBLISHED_DAMAGED
        what = "not published" if found.is_missing else "published with other bytes"
        faults.append(_fault(kind, found.name, what, repair=repair))
    if repair and shown.note != note:
        folder.replace_checkpoint(shown.note)
    return faults


def _opened(note: bytes | None, key: VerifierKey) -> SignedCheckpoint | None:
    if note is None:
        return None
    try:
        return SignedCheckpoint.open(note, key)
    except RegistryError:
        return None


def _is_ours(shown: Checkpoint, tree: Tree) -> bool:
    return shown.size <= tree.size and proofs.root_hash(tree.node, shown.size) == shown.root


def _fault(kind: Kind, where: str, what: str, *, repair: bool) -> Fault:
    return Fault(kind, where, what, mended=repair, hint="" if repair else REPAIR)
