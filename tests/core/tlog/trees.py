"""A whole log in memory, as its tiles and bundles would be published."""

from dataclasses import dataclass, field

from registry.core.tlog import entry_bundle, merkle
from registry.core.tlog.checkpoint import Checkpoint, SignedCheckpoint
from registry.core.tlog.tile import TILE_HEIGHT, TILE_WIDTH, ExpandedTile, TilePath
from registry.signing.file import LogSigner


@dataclass
class StaticLog:
    """Entries, and everything that is derived from them.

    Attributes:
        entries: The bytes of each leaf.
    """

    signer: LogSigner = field(default_factory=lambda: LogSigner.generate("log.example"))
    entries: list[bytes] = field(default_factory=list)

    def grow(self, count: int, text: str = "entry") -> None:
        """Append entries that are no Rekor entries."""
        start = len(self.entries)
        self.entries += [b"%s %d" % (text.encode(), n) for n in range(start, start + count)]

    def checkpoint(self, size: int | None = None) -> Checkpoint:
        """The checkpoint of the first ``size`` entries."""
        leaves = [merkle.leaf_hash(data) for data in self.entries[:size]]
        return Checkpoint(self.signer.key.name, len(leaves), merkle.root(leaves))

    def head(self, size: int | None = None) -> SignedCheckpoint:
        """The same, signed."""
        return self.signer.sign(self.checkpoint(size))

    def hashes(self, level: int) -> list[bytes]:
        """All hashes of a tile level."""
        found = [merkle.leaf_hash(data) for data in self.entries]
        for _ in range(level):
            found = [
                ExpandedTile(found[n : n + TILE_WIDTH]).node(TILE_HEIGHT, 0)
                for n in range(0, len(found) - TILE_WIDTH + 1, TILE_WIDTH)
            ]
        return found

    def tile(self, path: TilePath) -> bytes:
        """The bytes of a tile; too short if there is no such tile."""
        start = path.index * TILE_WIDTH
        return b"".join(self.hashes(path.level)[start : start + path.width])

    def bundle(self, index: int, width: int = TILE_WIDTH) -> bytes:
        """The bytes of a bundle."""
        start = index * TILE_WIDTH
        return entry_bundle.join(self.entries[start : start + width])
