"""Reads a whole static log as a stranger does, and checks every byte of it.

::

    walk(lambda path: urlopen(f"{url}/{path}").read(), key)

Nothing of the log's own tree is used: all hashes are made again from the entries.
"""

from collections.abc import Callable, Iterator
from hashlib import sha256

from registry.core.tlog import entry_bundle, merkle
from registry.core.tlog.checkpoint import Checkpoint, SignedCheckpoint
from registry.core.tlog.note import VerifierKey
from registry.core.tlog.tile import TilePath

Fetch = Callable[[str], bytes]
"""The bytes at a path below the log's address."""


def walk(fetch: Fetch, key: VerifierKey) -> tuple[Checkpoint, list[bytes]]:
    """Check that checkpoint, tiles and entries belong together; the checkpoint and all entries."""
    head = SignedCheckpoint.open(fetch("checkpoint"), key).checkpoint
    entries: list[bytes] = []
    for index, width in cut(head.size):
        data = fetch(entry_bundle.bundle_path(index, width))
        entries.extend(entry_bundle.split(data, width))
    level, hashes = 0, [sha256(b"\x00" + entry).digest() for entry in entries]
    assert merkle.root(hashes) == head.root
    while hashes:
        for index, width in cut(len(hashes)):
            expected = b"".join(hashes[index * 256 : index * 256 + width])
            assert fetch(str(TilePath(level, index, width))) == expected
        hashes = [
            merkle.root(hashes[start : start + 256]) for start in range(0, len(hashes) - 255, 256)
        ]
        level += 1
    return head, entries


def cut(count: int) -> Iterator[tuple[int, int]]:
    """Index and width of the pieces that hold ``count`` items."""
    for start in range(0, count, 256):
        yield start // 256, min(256, count - start)
