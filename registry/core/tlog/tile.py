"""Tiles: the tree cut into immutable pieces of 256 hashes (https://c2sp.org/tlog-tiles).

Tile ``n`` of level ``l`` holds the hashes of tree level ``8·l``, positions ``256·n`` onwards.
Nodes between two tile levels are not stored; :class:`ExpandedTile` computes them once.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from registry.core import encoding
from registry.core.digest import SHA256_SIZE
from registry.core.tlog.merkle import node_hash
from registry.errors import MalformedError, Reason

TILE_HEIGHT = 8
"""Tree levels in one tile."""

TILE_WIDTH = 256
"""Hashes in a full tile."""

MAX_LEVEL = 63
"""The highest tile level that a path may name."""

MAX_PATH_CHARACTERS = 64
"""Characters of a path: an index of 19 digits, level and width take 46."""


@dataclass(frozen=True, slots=True)
class TilePath:
    """``tile/<level>/<index>[.p/<width>]``: where a tile, or the start of one, is published."""

    level: int
    index: int
    width: int = TILE_WIDTH

    def __str__(self) -> str:
        digits = f"{self.index:03d}"
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        groups = [digits[i : i + 3] for i in range(0, len(digits), 3)]
        path = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
        partial = "" if self.width == TILE_WIDTH else f".p/{self.width}"
        return f"tile/{self.level}/{path}{partial}"

    @classmethod
    def parse(cls, path: str) -> Self:
        """Read a tile path, refusing any other spelling.

        Raises:
            MalformedError: ``MALFORMED_TILE_PATH``.
        """
        if len(path) > MAX_PATH_CHARACTERS:
            raise _no_path(path)
        body, partial, width = path.partition(".p/")
        parts = body.split("/")
        if len(parts) < 3 or parts[0] != "tile":  # noqa: PLR2004 - tile, level, index
            raise _no_path(path)
        digits = "".join(part.removeprefix("x") for part in parts[2:]).lstrip("0") or "0"
        try:
            parsed = cls(
                encoding.decimal(parts[1]),
                encoding.decimal(digits),
                encoding.decimal(width) if partial else TILE_WIDTH,
            )
        except MalformedError as error:
            raise _no_path(path) from error
        legal = parsed.level <= MAX_LEVEL and 1 <= parsed.width <= TILE_WIDTH
        if not legal or str(parsed) != path:
            raise _no_path(path)
        return parsed


def _no_path(path: str) -> MalformedError:
    return MalformedError(
        Reason.MALFORMED_TILE_PATH,
        "this is not a tile path",
        expected="tile/<level>/<index>[.p/<width>]",
        actual=repr(path[:80]),
    )


def width_at(level: int, index: int, size: int) -> int:
    """How many hashes tile ``index`` of ``level`` holds in a tree of ``size`` leaves, 0 to 256.

    Level 1 and above hold hashes of full lower tiles only.
    """
    return max(0, min(TILE_WIDTH, (size >> (TILE_HEIGHT * level)) - index * TILE_WIDTH))


class ExpandedTile:
    """A tile that is filled hash by hash and remembers the nodes between its bottom and its top.

    The one mutable value of this package: it belongs to the single writer of a log.
    """

    __slots__ = ("levels",)

    def __init__(self, hashes: Iterable[bytes] = ()) -> None:
        self.levels: list[list[bytes]] = [[] for _ in range(TILE_HEIGHT + 1)]
        for item in hashes:
            self.append(item)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Expand stored tile bytes (a whole number of hashes, at most 256)."""
        if len(data) % SHA256_SIZE or len(data) > TILE_WIDTH * SHA256_SIZE:
            raise MalformedError(
                Reason.MALFORMED_PROOF, "this is not a tile", actual=f"{len(data)} bytes"
            )
        return cls(data[i : i + SHA256_SIZE] for i in range(0, len(data), SHA256_SIZE))

    def __len__(self) -> int:
        return len(self.levels[0])

    def append(self, item: bytes) -> None:
        """Add one hash at the bottom and complete what it completes above."""
        for level in self.levels:
            level.append(item)
            if len(level) % 2:
                return
            item = node_hash(level[-2], level[-1])

    def node(self, height: int, position: int) -> bytes:
        """The complete node at ``height`` (0 to 8) above the bottom of this tile."""
        return self.levels[height][position]

    def to_bytes(self, width: int = TILE_WIDTH) -> bytes:
        """The stored form: the bottom hashes one after another, or only the first ``width``."""
        return b"".join(self.levels[0][:width])
