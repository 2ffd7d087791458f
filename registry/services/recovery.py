"""Brings tree, checkpoints and lock into agreement before a log is served, or refuses to serve it.

=====================================  =========================================================
found                                  then
=====================================  =========================================================
lock and log of one size, one root     go on
lock behind the log, same root there   died between commit and lock: the lock follows
lock ahead of the log                  refused: an old backup, or a commit that was lost
other roots at the lock's size         refused: the log has another history
a stored checkpoint of another root    refused: the log or the checkpoint was changed
=====================================  =========================================================

Restoring the log and the lock together hides a rollback; only witnesses can tell then.
"""

from registry.core.tlog import tree as proofs
from registry.core.tlog.checkpoint import Checkpoint, SignedCheckpoint
from registry.core.tlog.note import VerifierKey
from registry.errors import DamagedError, Reason, RegistryError
from registry.services.tree import Tree
from registry.storage.sql import log
from registry.storage.sql.engine import Database
from registry.storage.sql.lock import CheckpointLock


def recover(database: Database, tree: Tree, lock: CheckpointLock, key: VerifierKey) -> Checkpoint:
    """Load the tree, take the lock, and give the checkpoint that may now be signed.

    Raises:
        DamagedError: ``STORED_BYTES``, ``LOG_ROLLBACK`` or ``FORK``.
        VerificationError: ``WRONG_LOG`` if the key is not the one that signed before.
    """
    lock.take()
    load_checked(database, tree, key)
    size, held = tree.size, lock.newest
    if held.size > size:
        raise DamagedError(
            Reason.LOG_ROLLBACK,
            "the log has fewer entries than a checkpoint of it that may have been signed",
            where=held.origin,
            expected=f"at least {held.size} entries",
            actual=f"{size} entries",
            hint="is this an old backup, or the wrong database? find the newest one",
        )
    root = proofs.root_hash(tree.node, held.size)
    if root != held.root:
        raise DamagedError(
            Reason.FORK,
            "the log has another history than the checkpoint that may have been signed",
            where=f"{held.origin}, {held.size} entries",
            expected=held.root.hex(),
            actual=root.hex(),
            hint="do not go on: find the right database, and compare with witnesses",
        )
    newest = Checkpoint(key.name, size, tree.root())
    if held.size < size:
        lock.replace(newest)
    return newest


def load_checked(database: Database, tree: Tree, key: VerifierKey) -> None:
    """Load the tree of all entries, and compare it with the newest checkpoint that is stored.

    Raises:
        DamagedError: ``STORED_BYTES``.
        VerificationError: ``WRONG_LOG`` if the key is not the one that signed it.
    """
    with database.read() as connection:
        size = log.size(connection)
        stored = log.newest_checkpoint(connection)
    tree.load(size)
    if stored is not None:
        _compare_stored(*stored, tree, key)


def _compare_stored(size: int, note: bytes, tree: Tree, key: VerifierKey) -> None:
    try:
        checkpoint = SignedCheckpoint.open(note, key).checkpoint
    except RegistryError as error:
        if error.reason is Reason.WRONG_LOG:
            # The checkpoint may be in order: it is the key file that belongs to another log.
            raise
        raise _damaged(size, str(error)) from error
    if checkpoint.size != size or size > tree.size:
        raise _damaged(size, f"a checkpoint over {checkpoint.size}, and {tree.size} entries")
    if checkpoint.root != proofs.root_hash(tree.node, size):
        raise _damaged(size, "a checkpoint with another root")


def _damaged(size: int, actual: str) -> RegistryError:
    return DamagedError(
        Reason.STORED_BYTES,
        "the log and its newest stored checkpoint disagree",
        expected=f"a checkpoint over {size} entries",
        actual=actual,
        hint="do not go on: restore the newest backup, and compare with checkpoints seen by others",
    )
