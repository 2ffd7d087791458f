"""Entry bundles: up to 256 entries in one file (https://c2sp.org/tlog-tiles, "Log entries").

A bundle is ``u16 BE length ‖ entry``, repeated. Bundle ``n`` holds what tile ``n`` of level 0 holds
the hashes of, and is published beside it as ``tile/entries/<n>[.p/<width>]``.
"""

import struct
from collections.abc import Iterable

from registry.core.tlog.entry import MAX_ENTRY_BYTES
from registry.core.tlog.tile import TILE_WIDTH, TilePath
from registry.errors import LimitExceededError, MalformedError, Reason

_LENGTH = struct.Struct(">H")

MAX_BUNDLE_BYTES = TILE_WIDTH * (_LENGTH.size + MAX_ENTRY_BYTES)
"""Bytes of a full bundle of the longest entries: about 16 MiB."""


def bundle_path(index: int, width: int = TILE_WIDTH) -> str:
    """Where bundle ``index``, or the first ``width`` entries of it, is published."""
    return str(TilePath(0, index, width)).replace("tile/0/", "tile/entries/", 1)


def parse_path(path: str) -> tuple[int, int]:
    """Index and width of the bundle at ``path``, in the one spelling of :func:`bundle_path`.

    Raises:
        MalformedError: ``MALFORMED_TILE_PATH``.
    """
    if not path.startswith("tile/entries/"):
        raise MalformedError(
            Reason.MALFORMED_TILE_PATH,
            "this is not the path of an entry bundle",
            expected="tile/entries/<index>[.p/<width>]",
            actual=repr(path[:80]),
        )
    parsed = TilePath.parse(path.replace("tile/entries/", "tile/0/", 1))
    return parsed.index, parsed.width


def join(entries: Iterable[bytes]) -> bytes:
    """Write a bundle.

    Raises:
        LimitExceededError: ``MALFORMED_BUNDLE`` for an entry of more than 65,535 bytes.
    """
    parts = []
    for entry in entries:
        if len(entry) > MAX_ENTRY_BYTES:
            raise LimitExceededError(
                Reason.MALFORMED_BUNDLE,
                "this entry is too long for a bundle",
                expected=f"at most {MAX_ENTRY_BYTES} bytes",
                actual=f"{len(entry)} bytes",
            )
        parts += [_LENGTH.pack(len(entry)), entry]
    return b"".join(parts)


def split(data: bytes, width: int) -> tuple[bytes, ...]:
    """Read a bundle that must hold exactly ``width`` entries.

    Raises:
        MalformedError: ``MALFORMED_BUNDLE``.
    """
    entries: list[bytes] = []
    position = 0
    while position < len(data):
        start = position + _LENGTH.size
        if start > len(data) or len(entries) == width:
            break
        position = start + _LENGTH.unpack_from(data, position)[0]
        entries.append(data[start:position])
    # Slicing does not complain of an entry that ends too early; the position shows it.
    if position != len(data) or len(entries) != width:
        raise MalformedError(
            Reason.MALFORMED_BUNDLE,
            "this is not a bundle of that many entries",
            expected=f"{width} entries",
            actual=f"{len(entries)} entries in {len(data)} bytes",
        )
    return tuple(entries)
