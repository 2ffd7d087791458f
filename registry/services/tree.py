"""The log's tree in memory: its right edge whole, older tiles as they are asked for."""

from collections import OrderedDict
from threading import Lock

from registry.core.digest import SHA256_SIZE
from registry.core.tlog import tree
from registry.core.tlog.tile import TILE_HEIGHT, TILE_WIDTH, ExpandedTile
from registry.errors import DamagedError, Reason
from registry.storage.sql import log
from registry.storage.sql.engine import Database

CACHED_TILES = 128
"""Older tiles kept expanded, about 30 KiB each."""

Tile = tuple[int, int, bytes]
"""Level, index and data of a full tile."""


class Tree:
    """An append-only tree. One writer appends; anybody may ask for proofs of committed sizes."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # Start and tile are swapped as one value: readers in other threads see both or neither.
        self._edge: list[tuple[int, ExpandedTile]] = []
        self._cache: OrderedDict[tuple[int, int], ExpandedTile] = OrderedDict()
        self._cache_lock = Lock()
        self.size = 0

    def load(self, size: int) -> None:
        """Rebuild the right edge from stored leaf hashes and full tiles.

        Raises:
            DamagedError: ``STORED_BYTES`` if a tile or a leaf is missing.
        """
        self.size = 0
        self._edge = []
        with self._database.read() as connection:
            level, width = 0, size
            while width or level == 0:
                start = width // TILE_WIDTH
                if level == 0:
                    hashes = log.leaf_hashes(connection, start * TILE_WIDTH, size)
                else:
                    # Each hash of this level is the top of a full tile one level below.
                    hashes = [
                        self._stored(level - 1, index).node(TILE_HEIGHT, 0)
                        for index in range(start * TILE_WIDTH, width)
                    ]
                if len(hashes) != width - start * TILE_WIDTH:
                    raise DamagedError(
                        Reason.STORED_BYTES,
                        "entries are missing from the log",
                        expected=f"{size} entries",
                        hint="restore the database from a backup",
                    )
                self._edge.append((start, ExpandedTile(hashes)))
                level, width = level + 1, width // TILE_WIDTH
        self.size = size

    def append(self, leaf_hash: bytes) -> list[Tile]:
        """Add a leaf; the tiles that it completes are returned, to be stored."""
        completed: list[Tile] = []
        item, level = leaf_hash, 0
        while True:
            if level == len(self._edge):
                self._edge.append((0, ExpandedTile()))
            index, tile = self._edge[level]
            tile.append(item)
            if len(tile) < TILE_WIDTH:
                break
            completed.append((level, index, tile.to_bytes()))
            self._remember(level, index, tile)
            self._edge[level] = (index + 1, ExpandedTile())
            item, level = tile.node(TILE_HEIGHT, 0), level + 1
        self.size += 1
        return completed

    def node(self, level: int, position: int) -> bytes:
        """The hash of a complete subtree of ``2^level`` leaves."""
        tile_level, height = divmod(level, TILE_HEIGHT)
        index, within = divmod(position << height, TILE_WIDTH)
        if tile_level < len(self._edge):
            start, tile = self._edge[tile_level]
            if index == start:
                return tile.node(height, within >> height)
        return self._full(tile_level, index).node(height, within >> height)

    def tile(self, level: int, index: int, width: int) -> bytes:
        """The first ``width`` hashes of a tile; so many must be committed.

        Raises:
            DamagedError: ``STORED_BYTES``.
        """
        if level < len(self._edge):
            start, tile = self._edge[level]
            if index == start:
                return tile.to_bytes(width)
        return self._full(level, index).to_bytes(width)

    def root(self) -> bytes:
        """The root over all leaves."""
        return tree.root_hash(self.node, self.size)

    def _remember(self, level: int, index: int, tile: ExpandedTile) -> None:
        with self._cache_lock:
            self._cache[level, index] = tile
            if len(self._cache) > CACHED_TILES:
                self._cache.popitem(last=False)

    def _full(self, level: int, index: int) -> ExpandedTile:
        """A full tile, verified by the hash that stands for it in the tile above, up to the edge.

        The edge itself was compared with a signed root before anybody asked.
        """
        tile = self._known(level, index)
        if tile is None:
            tile = self._stored(level, index)
            if tile.node(TILE_HEIGHT, 0) != self.node(TILE_HEIGHT * (level + 1), index):
                raise _damaged("a tile of the log is not what was stored", level, index)
            self._remember(level, index, tile)
        return tile

    def _known(self, level: int, index: int) -> ExpandedTile | None:
        with self._cache_lock:
            tile = self._cache.get((level, index))
            if tile is not None:
                self._cache.move_to_end((level, index))
            return tile

    def _stored(self, level: int, index: int) -> ExpandedTile:
        with self._database.read() as connection:
            data = log.tile(connection, level, index)
        if data is None or len(data) != TILE_WIDTH * SHA256_SIZE:
            raise _damaged("a tile of the log is missing", level, index)
        return ExpandedTile.from_bytes(data)


def _damaged(what: str, level: int, index: int) -> DamagedError:
    return DamagedError(
        Reason.STORED_BYTES,
        what,
        where=f"tile/{level}/{index}",
        hint="run: provreg log fsck --repair",
    )
