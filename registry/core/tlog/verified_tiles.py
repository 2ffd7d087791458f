"""A log's tree as a stranger reads it: tiles from anywhere, each verified against one checkpoint.

The incomplete tiles at the right edge of a tree hold exactly the hashes that its root is folded
from, so one root proves all of them. A full tile is proved by the hash that stands for it in the
tile above, and so on up to the edge (https://c2sp.org/tlog-tiles, "Verifying"). What such a tree
says of an older size is then a proof: it extends an older checkpoint or there are two histories.

Pure: where tiles come from is the caller's function.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from registry.core.tlog import tree
from registry.core.tlog.checkpoint import Checkpoint
from registry.core.tlog.merkle import EMPTY_ROOT, leaf_hash
from registry.core.tlog.tile import TILE_HEIGHT, TILE_WIDTH, ExpandedTile, TilePath
from registry.errors import MalformedError, NotFoundError, Reason, VerificationError

CACHED_TILES = 64
"""Full tiles that are kept expanded, about 30 KiB each."""

TileSource = Callable[[TilePath], bytes]
"""Fetches a tile: exactly 32 bytes for each hash, unverified."""


def edge(size: int) -> Iterator[TilePath]:
    """The incomplete tiles of a tree of ``size`` leaves, lowest first; no empty ones."""
    level, count = 0, size
    while count:
        index, width = divmod(count, TILE_WIDTH)
        if width:
            yield TilePath(level, index, width)
        level, count = level + 1, index


def bundles(start: int, end: int) -> Iterator[tuple[int, int]]:
    """Index and width of the bundles that hold entries ``start`` to ``end`` (exclusive)."""
    for index in range(start // TILE_WIDTH, -(-end // TILE_WIDTH) if end > start else 0):
        yield index, min(TILE_WIDTH, end - index * TILE_WIDTH)


@dataclass(frozen=True, slots=True)
class _Edge:
    index: int
    tile: ExpandedTile


class VerifiedTiles:
    """The tree under one checkpoint. Belongs to one thread."""

    def __init__(self, checkpoint: Checkpoint, fetch: TileSource) -> None:
        """Fetch the right edge and verify it.

        Raises:
            VerificationError: ``TILE`` if the root is another than the checkpoint's.
            MalformedError: ``MALFORMED_PROOF`` for a tile of another size.
        """
        self.checkpoint = checkpoint
        self._fetch = fetch
        self._cache: OrderedDict[tuple[int, int], ExpandedTile] = OrderedDict()
        self._edge = {
            path.level: _Edge(path.index, self._read(path)) for path in edge(checkpoint.size)
        }
        actual = tree.root_hash(self._edge_node, checkpoint.size)
        if actual != checkpoint.root:
            raise _mismatch("the newest tiles", checkpoint.root, actual)

    def node(self, level: int, position: int) -> bytes:
        """The verified hash of a complete subtree of ``2^level`` leaves.

        Raises:
            VerificationError: ``TILE``.
            MalformedError: ``MALFORMED_PROOF``.
        """
        tile_level, height = divmod(level, TILE_HEIGHT)
        index, within = divmod(position << height, TILE_WIDTH)
        return self.tile(tile_level, index).node(height, within >> height)

    def tile(self, level: int, index: int) -> ExpandedTile:
        """A verified tile: full, or as wide as the checkpoint's tree has it.

        Raises:
            NotFoundError: ``BEYOND_TREE``.
            VerificationError: ``TILE``.
            MalformedError: ``MALFORMED_PROOF``.
        """
        newest = self._edge.get(level)
        if newest is not None and newest.index == index:
            return newest.tile
        known = self._cache.get((level, index))
        if known is not None:
            self._cache.move_to_end((level, index))
            return known
        if index * TILE_WIDTH ** (level + 1) >= self.checkpoint.size:
            raise NotFoundError(
                Reason.BEYOND_TREE, "the tree has no such tile", where=f"tile/{level}/{index}"
            )
        parent, within = divmod(index, TILE_WIDTH)
        expected = self.tile(level + 1, parent).node(0, within)
        path = TilePath(level, index)
        found = self._read(path)
        if found.node(TILE_HEIGHT, 0) != expected:
            raise _mismatch(str(path), expected, found.node(TILE_HEIGHT, 0))
        self._cache[level, index] = found
        if len(self._cache) > CACHED_TILES:
            self._cache.popitem(last=False)
        return found

    def verify_extends(self, older: Checkpoint) -> None:
        """Check that this tree begins with the tree of ``older``, which is no larger.

        Every hash that goes into the older root is verified here, so another root proves that the
        log has two histories.

        Raises:
            VerificationError: ``FORK``; or ``TILE`` if tiles do not belong to this checkpoint.
        """
        actual = tree.root_hash(self.node, older.size) if older.size else EMPTY_ROOT
        if actual != older.root:
            raise VerificationError(
                Reason.FORK,
                "the log shows two histories",
                where=f"{older.origin}, sizes {older.size} and {self.checkpoint.size}",
                expected=older.root.hex(),
                actual=actual.hex(),
                hint="keep both signed checkpoints: together they prove it",
            )

    def verify_bundle(self, index: int, entries: tuple[bytes, ...]) -> None:
        """Check that these are the first entries of bundle ``index``.

        Raises:
            VerificationError: ``INCLUSION_PROOF`` naming the first entry that is not in the tree.
        """
        hashes = self.tile(0, index).levels[0]
        for number, entry in enumerate(entries):
            if number >= len(hashes) or leaf_hash(entry) != hashes[number]:
                raise VerificationError(
                    Reason.INCLUSION_PROOF,
                    "an entry is not the one that the checkpoint commits to",
                    where=f"entry {index * TILE_WIDTH + number}",
                )

    def _read(self, path: TilePath) -> ExpandedTile:
        tile = ExpandedTile.from_bytes(self._fetch(path))
        if len(tile) != path.width:
            raise MalformedError(
                Reason.MALFORMED_PROOF,
                "this tile has another width than was asked for",
                where=str(path),
                expected=f"{path.width} hashes",
                actual=f"{len(tile)} hashes",
            )
        return tile

    def _edge_node(self, level: int, position: int) -> bytes:
        tile_level, height = divmod(level, TILE_HEIGHT)
        within = (position << height) % TILE_WIDTH
        return self._edge[tile_level].tile.node(height, within >> height)


def _mismatch(where: str, expected: bytes, actual: bytes) -> VerificationError:
    return VerificationError(
        Reason.TILE,
        "tiles do not belong to the checkpoint",
        where=where,
        expected=expected.hex(),
        actual=actual.hex(),
        hint="the log, or something on the way to it, serves wrong tiles",
    )
