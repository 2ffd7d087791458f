"""Merkle trees as RFC 9162 §2.1 (and RFC 6962 before it) hashes them.

A leaf is ``H(0x00 ‖ data)``, a node ``H(0x01 ‖ left ‖ right)``; a tree of n leaves splits at the
largest power of two below n. Everything here takes and returns raw hash bytes.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from registry.core.digest import SHA256_SIZE
from registry.errors import MalformedError, Reason, VerificationError

EMPTY_ROOT = hashlib.sha256(b"").digest()
"""The root of the tree without leaves (RFC 9162 §2.1.1)."""

MAX_PROOF_HASHES = 63
"""Hashes in a proof: no tree of fewer than 2^63 leaves needs more."""

_sha256 = hashlib.sha256


def leaf_hash(data: bytes) -> bytes:
    """The hash of one leaf."""
    return _sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of two subtrees side by side."""
    return _sha256(b"\x01" + left + right).digest()


def root(leaf_hashes: Sequence[bytes], algorithm: Callable[[bytes], Any] = _sha256) -> bytes:
    """The root over ``leaf_hashes``, level by level; an odd last node moves up unchanged.

    ``algorithm`` is for the SHA-512 twin of a batch root; leaf hashes must then be SHA-512, too.
    """
    if not leaf_hashes:
        empty: bytes = algorithm(b"").digest()
        return empty
    level = leaf_hashes
    while len(level) > 1:
        pairs = [
            algorithm(b"\x01" + level[i] + level[i + 1]).digest()
            for i in range(0, len(level) - 1, 2)
        ]
        if len(level) % 2:
            pairs.append(level[-1])
        level = pairs
    return level[0]


def inclusion_path(leaf_hashes: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """The hashes from the leaf's sibling up to the root's child (RFC 9162 §2.1.3.1)."""
    path = []
    level = leaf_hashes
    while len(level) > 1:
        sibling = index ^ 1
        if sibling < len(level):
            path.append(level[sibling])
        pairs = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        if len(level) % 2:
            pairs.append(level[-1])
        level, index = pairs, index >> 1
    return tuple(path)


def _check_hashes(proof: Sequence[bytes], *ends: bytes) -> None:
    if len(proof) > MAX_PROOF_HASHES or any(len(item) != SHA256_SIZE for item in (*proof, *ends)):
        raise MalformedError(
            Reason.MALFORMED_PROOF,
            "a proof is a list of 32-byte hashes",
            expected=f"at most {MAX_PROOF_HASHES} hashes",
            actual=f"{len(proof)} items",
        )


def root_from_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes:
    """The root that ``proof`` leads to from leaf hash ``leaf`` (RFC 9162 §2.1.3.2).

    Raises:
        MalformedError: ``MALFORMED_PROOF`` for hashes of another size.
        VerificationError: ``INCLUSION_PROOF`` if index or number of hashes do not fit the size.
    """
    _check_hashes(proof, leaf)
    if not 0 <= index < size:
        raise VerificationError(
            Reason.INCLUSION_PROOF,
            "the index is outside the tree",
            expected=f"0 to {size - 1}",
            actual=str(index),
        )
    # Below `inner` the leaf's path and the last leaf's path differ; above it we are on the right
    # border, where only left siblings exist.
    inner = (index ^ (size - 1)).bit_length()
    border = (index >> inner).bit_count()
    if len(proof) != inner + border:
        raise VerificationError(
            Reason.INCLUSION_PROOF,
            "the proof has the wrong length for this index and tree size",
            expected=f"{inner + border} hashes",
            actual=f"{len(proof)} hashes",
        )
    head = leaf
    for level in range(inner):
        if index >> level & 1:
            head = node_hash(proof[level], head)
        else:
            head = node_hash(head, proof[level])
    for sibling in proof[inner:]:
        head = node_hash(sibling, head)
    return head


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], expected_root: bytes
) -> None:
    """Check that leaf hash ``leaf`` is number ``index`` of the ``size`` leaves under a root.

    Raises:
        MalformedError: ``MALFORMED_PROOF``.
        VerificationError: ``INCLUSION_PROOF``.
    """
    actual = root_from_inclusion(leaf, index, size, proof)
    if actual != expected_root:
        raise VerificationError(
            Reason.INCLUSION_PROOF,
            "the proof does not lead to the root",
            where=f"index {index} of {size}",
            expected=expected_root.hex(),
            actual=actual.hex(),
        )


def verify_consistency(  # noqa: C901, PLR0912 - the RFC's algorithm, whole, beside its section
    size1: int, size2: int, proof: Sequence[bytes], root1: bytes, root2: bytes
) -> None:
    """Check that the first ``size1`` leaves of tree 2 are tree 1 (RFC 9162 §2.1.4.2).

    Raises:
        MalformedError: ``MALFORMED_PROOF``; also for an empty first tree, from which a proof is
            meaningless.
        VerificationError: ``CONSISTENCY_PROOF``.
    """
    _check_hashes(proof)
    if size1 <= 0:
        raise MalformedError(
            Reason.MALFORMED_PROOF, "consistency from an empty tree is meaningless"
        )
    if size2 < size1:
        raise VerificationError(
            Reason.CONSISTENCY_PROOF,
            "the second tree is smaller than the first",
            expected=f"at least {size1}",
            actual=str(size2),
        )
    if size1 == size2:
        if proof or root1 != root2:
            raise VerificationError(
                Reason.CONSISTENCY_PROOF,
                "two trees of one size need equal roots and an empty proof",
                expected=root1.hex(),
                actual=root2.hex(),
            )
        return
    shift = (size1 & -size1).bit_length() - 1
    inner = ((size1 - 1) ^ (size2 - 1)).bit_length() - shift
    border = ((size1 - 1) >> (inner + shift)).bit_count()
    # The proof starts at the largest complete subtree that ends tree 1. If that is the whole of
    # tree 1 its hash is root1, which is therefore left out.
    if size1 == 1 << shift:
        seed, rest = root1, proof
    else:
        if not proof:
            raise VerificationError(Reason.CONSISTENCY_PROOF, "the proof is empty")
        seed, rest = proof[0], proof[1:]
    if len(rest) != inner + border:
        raise VerificationError(
            Reason.CONSISTENCY_PROOF,
            "the proof has the wrong length for these tree sizes",
            expected=f"{inner + border} hashes after the first subtree",
            actual=f"{len(rest)} hashes",
        )
    mask = (size1 - 1) >> shift
    hash1 = hash2 = seed
    for level, sibling in enumerate(rest[:inner]):
        if mask >> level & 1:
            hash1 = node_hash(sibling, hash1)
            hash2 = node_hash(sibling, hash2)
        else:
            hash2 = node_hash(hash2, sibling)
    for sibling in rest[inner:]:
        hash1 = node_hash(sibling, hash1)
        hash2 = node_hash(sibling, hash2)
    if hash1 != root1 or hash2 != root2:
        raise VerificationError(
            Reason.CONSISTENCY_PROOF,
            "the proof does not lead to both roots",
            where=f"sizes {size1} and {size2}",
        )
