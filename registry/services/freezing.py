"""The end of a log: a final checkpoint, and nothing after it.

A frozen log is read like any other, for ever. What would be written is refused with a reason of its
own, which tells clients to go to the log that follows. Freezing is one row in the same database as
the entries, so no start can miss it; nothing takes it back.

A trusted root that is written afterwards says when the log ended, since whoever gets hold of its
key later could sign any tree with it. So a bundle from before needs proof that it is from before:
an RFC 3161 timestamp over its signature. All bundles with certificates carry one; a bare-key bundle
without one is not believed any more (``NO_TRUSTED_TIME``), and a later stamp does not mend it.

====================  =============================================================
dies                  afterwards
====================  =============================================================
before the commit     the log goes on; freeze again
after the commit      frozen; freezing again shows the same final checkpoint
====================  =============================================================
"""

import math
from datetime import datetime

from registry.core.tlog.checkpoint import SignedCheckpoint
from registry.errors import DamagedError, Reason, RefusedError, UnsupportedError
from registry.services.recovery import recover
from registry.services.tree import Tree
from registry.signing.file import LogSigner
from registry.storage.sql import log
from registry.storage.sql.engine import Database
from registry.storage.sql.lock import CheckpointLock


def freeze(
    database: Database, lock: CheckpointLock, signer: LogSigner, at: datetime
) -> SignedCheckpoint:
    """End a log that nobody writes to now; its final checkpoint. A frozen log stays as it is.

    Raises:
        RefusedError: ``BEYOND_TREE`` for a log without entries.
        DamagedError: ``STORED_BYTES``, ``LOG_ROLLBACK`` or ``FORK`` if log and lock disagree, or
            if the log went on after its end.
        VerificationError: ``WRONG_LOG`` if the key is not the one that signed before.
    """
    tree = Tree(database)
    final = recover(database, tree, lock, signer.key)
    if final.size == 0:
        raise RefusedError(
            Reason.BEYOND_TREE,
            "a log without entries has no checkpoint to end with",
            where=final.origin,
            hint="delete its folder instead",
        )
    head = signer.sign(final)
    with database.write() as connection:
        newest = log.newest_checkpoint(connection)
        if newest is None or newest[0] < final.size:
            log.add_checkpoint(connection, final.size, head.note)
        if log.ended(connection) is None:
            # Rounded up: whatever was stamped in the log's last second was stamped before its end.
            log.end(connection, final.size, math.ceil(at.timestamp()))
    refusal(database)
    return head


def refusal(database: Database) -> UnsupportedError | None:
    """How a frozen log refuses what would be written; None if the log is not frozen.

    Raises:
        DamagedError: ``STORED_BYTES`` if it does not end where it was frozen.
    """
    with database.read() as connection:
        ended = log.ended(connection)
        size = log.size(connection)
    if ended is None:
        return None
    if ended[0] != size:
        raise DamagedError(
            Reason.STORED_BYTES,
            "the log does not end where it was frozen",
            expected=f"{ended[0]} entries",
            actual=f"{size} entries",
            hint="restore the database from a backup",
        )
    return UnsupportedError(
        Reason.LOG_FROZEN,
        "this log has been frozen, please switch to the latest log",
        where=f"{size} entries",
        hint="ask the operator where the log goes on",
    )
