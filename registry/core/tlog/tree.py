"""Proofs out of tiles: which nodes a proof needs, and how to fold the incomplete right edge.

Pure arithmetic over a function that gives complete nodes; where they are stored is not known here.
"""

from collections.abc import Callable

from registry.core.tlog.merkle import EMPTY_ROOT, node_hash

NodeReader = Callable[[int, int], bytes]
"""``(level, position)`` → hash of the complete subtree over ``2^level`` leaves at that position."""


def _split(size: int) -> int:
    """The largest power of two below ``size`` (RFC 9162 §2.1.1)."""
    return 1 << ((size - 1).bit_length() - 1)


def range_hash(read: NodeReader, start: int, end: int) -> bytes:
    """The hash over leaves ``start`` to ``end`` (exclusive); the range must be a subtree."""
    size = end - start
    if size & (size - 1) == 0:
        level = size.bit_length() - 1
        return read(level, start >> level)
    middle = start + _split(size)
    return node_hash(range_hash(read, start, middle), range_hash(read, middle, end))


def root_hash(read: NodeReader, size: int) -> bytes:
    """The root of the first ``size`` leaves."""
    return range_hash(read, 0, size) if size else EMPTY_ROOT


def inclusion_proof(read: NodeReader, index: int, size: int) -> tuple[bytes, ...]:
    """The proof that leaf ``index`` is in the tree of ``size`` leaves (RFC 9162 §2.1.3.1)."""
    path = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(range_hash(read, middle, end))
            end = middle
        else:
            path.append(range_hash(read, start, middle))
            start = middle
    path.reverse()
    return tuple(path)


def consistency_proof(read: NodeReader, size1: int, size2: int) -> tuple[bytes, ...]:
    """The proof that the first ``size1`` of ``size2`` leaves are unchanged (RFC 9162 §2.1.4.1).

    ``0 < size1 <= size2``; for equal sizes the proof is empty.
    """
    if size1 == size2:
        return ()
    path = []
    start, end, complete = 0, size2, True
    while size1 != end:
        middle = start + _split(end - start)
        if size1 <= middle:
            path.append(range_hash(read, middle, end))
            end = middle
        else:
            path.append(range_hash(read, start, middle))
            start, complete = middle, False
    # A verifier that holds root 1 already has the last subtree if that is all of tree 1.
    if not complete:
        path.append(range_hash(read, start, end))
    path.reverse()
    return tuple(path)
