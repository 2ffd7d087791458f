"""Tiles and entry bundles of the log, cut from what is stored.

A narrower tile is the beginning of a wider one, so every width up to that of a committed tree is
there without having been kept (https://c2sp.org/tlog-tiles).
"""

from registry.core.tlog import entry_bundle
from registry.core.tlog.merkle import leaf_hash
from registry.core.tlog.tile import TILE_WIDTH, TilePath, width_at
from registry.errors import DamagedError, NotFoundError, Reason
from registry.services.tree import Tree
from registry.storage.sql import log
from registry.storage.sql.engine import Database


class Tiles:
    """Reads the log in pieces of 256. Any thread may ask."""

    def __init__(self, database: Database, tree: Tree) -> None:
        self._database = database
        self._tree = tree

    def tile(self, path: TilePath, size: int) -> bytes:
        """The hashes of a tile, as a tree of ``size`` committed leaves has it.

        Raises:
            NotFoundError: ``BEYOND_TREE`` if that tree does not fill the tile so far.
            DamagedError: ``STORED_BYTES``.
        """
        if path.width > width_at(path.level, path.index, size):
            raise _beyond(str(path), size)
        return self._tree.tile(path.level, path.index, path.width)

    def bundle(self, index: int, width: int, size: int) -> bytes:
        """The first ``width`` entries of a bundle, if a log of ``size`` entries has them.

        Raises:
            NotFoundError: ``BEYOND_TREE``.
            DamagedError: ``STORED_BYTES``.
        """
        path = entry_bundle.bundle_path(index, width)
        if width > width_at(0, index, size):
            raise _beyond(path, size)
        start = index * TILE_WIDTH
        with self._database.read() as connection:
            entries = log.bodies(connection, start, start + width)
        if len(entries) != width:
            raise DamagedError(
                Reason.STORED_BYTES,
                "entries are missing from the log",
                where=path,
                expected=f"{width} entries",
                actual=f"{len(entries)} entries",
                hint="restore the database from a backup",
            )
        hashes = b"".join(map(leaf_hash, entries))
        if hashes != self._tree.tile(0, index, width):
            raise DamagedError(
                Reason.STORED_BYTES,
                "an entry of the log is not what was stored",
                where=path,
                hint="run: provreg log fsck",
            )
        return entry_bundle.join(entries)


def _beyond(path: str, size: int) -> NotFoundError:
    return NotFoundError(
        Reason.BEYOND_TREE,
        "the log does not fill this tile so far",
        where=path,
        expected=f"what {size} entries fill",
    )
