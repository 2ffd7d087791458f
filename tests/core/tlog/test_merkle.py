"""Merkle trees: against a second implementation, and against other people's vectors."""

import base64
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core.tlog import merkle, tree
from registry.errors import MalformedError, Reason, RegistryError, VerificationError

MAX_SIZE = 130
"""Trees up to this size are compared leaf by leaf: two full tiles of half the height, and more."""

VECTORS = os.environ.get("PROVREG_TEST_VECTORS")
"""Where the public vectors are, if they are here."""


# The second implementation: RFC 9162 §2.1, word for word, recursive, and slow.


def split(size: int) -> int:
    """The largest power of two smaller than ``size``."""
    k = 1
    while 2 * k < size:
        k *= 2
    return k


def mth(leaves: list[bytes]) -> bytes:
    """MTH(D[n]), RFC 9162 §2.1.1."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = split(len(leaves))
    return hashlib.sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def path(m: int, leaves: list[bytes]) -> list[bytes]:
    """PATH(m, D[n]), RFC 9162 §2.1.3.1."""
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if m < k:
        return [*path(m, leaves[:k]), mth(leaves[k:])]
    return [*path(m - k, leaves[k:]), mth(leaves[:k])]


def subproof(m: int, leaves: list[bytes], complete: bool) -> list[bytes]:
    """SUBPROOF(m, D[n], b), RFC 9162 §2.1.4.1."""
    if m == len(leaves):
        return [] if complete else [mth(leaves)]
    k = split(len(leaves))
    if m <= k:
        return [*subproof(m, leaves[:k], complete), mth(leaves[k:])]
    return [*subproof(m - k, leaves[k:], False), mth(leaves[:k])]


LEAVES = [b"leaf %d" % number for number in range(MAX_SIZE)]
HASHES = [merkle.leaf_hash(leaf) for leaf in LEAVES]
ROOTS = [mth(LEAVES[:size]) for size in range(MAX_SIZE + 1)]


def read(level: int, position: int) -> bytes:
    """A complete node, from the second implementation."""
    width = 1 << level
    return mth(LEAVES[position * width : (position + 1) * width])


SIZES = st.integers(1, MAX_SIZE)


# Roots.


def test_the_empty_tree_has_the_root_of_no_bytes() -> None:
    assert base64.b64encode(merkle.EMPTY_ROOT) == b"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
    assert merkle.root([]) == merkle.EMPTY_ROOT


def test_roots_agree_for_every_size() -> None:
    assert [merkle.root(HASHES[:size]) for size in range(MAX_SIZE + 1)] == ROOTS


def test_the_sha512_twin_has_the_same_shape() -> None:
    one, two, three = (hashlib.sha512(b"\x00" + bytes([n])).digest() for n in range(3))
    left = hashlib.sha512(b"\x01" + one + two).digest()
    expected = hashlib.sha512(b"\x01" + left + three).digest()
    assert merkle.root([one, two, three], hashlib.sha512) == expected


# Proofs out of the tree, made in two ways, against the second implementation.


def test_inclusion_proofs_agree_for_every_leaf_of_every_size() -> None:
    cache: dict[tuple[int, int], bytes] = {}

    def node(level: int, position: int) -> bytes:
        if (level, position) not in cache:
            cache[level, position] = read(level, position)
        return cache[level, position]

    for size in range(1, MAX_SIZE + 1):
        assert tree.root_hash(node, size) == ROOTS[size]
        for index in range(size):
            expected = merkle.inclusion_path(HASHES[:size], index)
            assert tree.inclusion_proof(node, index, size) == expected
            merkle.verify_inclusion(HASHES[index], index, size, expected, ROOTS[size])


@given(SIZES, st.data())
def test_inclusion_paths_are_those_of_the_specification(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    assert list(merkle.inclusion_path(HASHES[:size], index)) == path(index, LEAVES[:size])


@given(SIZES, st.data())
def test_consistency_proofs_are_those_of_the_specification(size: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, size))
    assert list(tree.consistency_proof(read, old, size)) == subproof(old, LEAVES[:size], True)


def test_every_consistency_proof_up_to_a_size_verifies() -> None:
    cache = {}
    for level in range(8):
        for position in range(MAX_SIZE >> level):
            cache[level, position] = read(level, position)
    for size in range(1, MAX_SIZE + 1):
        for old in range(1, size + 1):
            proof = tree.consistency_proof(lambda a, b: cache[a, b], old, size)
            merkle.verify_consistency(old, size, proof, ROOTS[old], ROOTS[size])


def test_the_root_of_no_leaves_needs_no_node() -> None:
    assert tree.root_hash(read, 0) == merkle.EMPTY_ROOT


# Refusals.


@given(SIZES, st.data())
def test_a_proof_holds_for_no_other_leaf_index_size_or_root(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof = list(merkle.inclusion_path(HASHES[:size], index))
    changed: tuple[bytes, int, int, list[bytes], bytes] = data.draw(
        st.one_of(
            st.integers(0, size + 1)
            .filter(lambda other: other != index)
            .map(lambda other: (HASHES[index], other, size, proof, ROOTS[size])),
            st.just((merkle.leaf_hash(b"other"), index, size, proof, ROOTS[size])),
            st.just((HASHES[index], index, size, proof, b"\x00" * 32)),
            st.just((HASHES[index], index, size, [*proof, b"\x00" * 32], ROOTS[size])),
            st.just((HASHES[index], index, size, [b"\x00" * 32, *proof], ROOTS[size])),
        )
    )
    with pytest.raises(VerificationError) as caught:
        merkle.verify_inclusion(*changed)
    assert caught.value.reason is Reason.INCLUSION_PROOF


@given(st.integers(2, MAX_SIZE), st.data())
def test_a_proof_with_any_bit_flipped_is_refused(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof = list(merkle.inclusion_path(HASHES[:size], index))
    number, bit = data.draw(st.integers(0, len(proof) - 1)), data.draw(st.integers(0, 255))
    changed = bytearray(proof[number])
    changed[bit // 8] ^= 1 << bit % 8
    proof[number] = bytes(changed)
    with pytest.raises(VerificationError):
        merkle.verify_inclusion(HASHES[index], index, size, proof, ROOTS[size])


@given(st.integers(2, MAX_SIZE), st.data())
def test_a_shortened_proof_is_refused(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof = merkle.inclusion_path(HASHES[:size], index)
    with pytest.raises(VerificationError):
        merkle.verify_inclusion(HASHES[index], index, size, proof[:-1], ROOTS[size])


@pytest.mark.parametrize("proof", [[b"short"], [b"\x00" * 64], [b"\x00" * 32] * 64])
def test_what_is_no_list_of_hashes_is_malformed(proof: list[bytes]) -> None:
    with pytest.raises(MalformedError) as caught:
        merkle.verify_inclusion(HASHES[0], 0, 2, proof, ROOTS[2])
    assert caught.value.reason is Reason.MALFORMED_PROOF


def test_a_leaf_hash_of_another_length_is_malformed() -> None:
    with pytest.raises(MalformedError):
        merkle.verify_inclusion(b"short", 0, 1, [], ROOTS[1])


def test_an_index_before_the_tree_is_refused() -> None:
    with pytest.raises(VerificationError):
        merkle.verify_inclusion(HASHES[0], -1, 2, [HASHES[1]], ROOTS[2])


def test_consistency_from_an_empty_tree_is_meaningless() -> None:
    with pytest.raises(MalformedError):
        merkle.verify_consistency(0, 3, [], merkle.EMPTY_ROOT, ROOTS[3])


def test_a_tree_that_shrank_is_refused() -> None:
    with pytest.raises(VerificationError):
        merkle.verify_consistency(3, 2, [], ROOTS[3], ROOTS[2])


def test_two_roots_of_one_size_are_refused() -> None:
    with pytest.raises(VerificationError):
        merkle.verify_consistency(3, 3, [], ROOTS[3], ROOTS[4])


def test_a_proof_between_equal_trees_is_refused() -> None:
    with pytest.raises(VerificationError):
        merkle.verify_consistency(3, 3, [HASHES[0]], ROOTS[3], ROOTS[3])


@given(st.integers(2, MAX_SIZE), st.data())
def test_a_changed_consistency_proof_is_refused(size: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, size - 1))
    proof = subproof(old, LEAVES[:size], True)
    change = data.draw(st.sampled_from(["shorter", "longer", "other", "old root", "new root"]))
    root1, root2 = ROOTS[old], ROOTS[size]
    if change == "shorter":
        proof = proof[:-1]
    elif change == "longer":
        proof = [*proof, proof[-1]]
    elif change == "other":
        proof[data.draw(st.integers(0, len(proof) - 1))] = b"\x00" * 32
    elif change == "old root":
        root1 = b"\x00" * 32
    else:
        root2 = b"\x00" * 32
    with pytest.raises(VerificationError) as caught:
        merkle.verify_consistency(old, size, proof, root1, root2)
    assert caught.value.reason is Reason.CONSISTENCY_PROOF


# Other people's vectors.


def vectors(kind: str) -> list[Any]:
    if VECTORS is None:
        reason = "PROVREG_TEST_VECTORS does not say where the public vectors are"
        return [pytest.param(None, marks=pytest.mark.skip(reason=reason))]
    folder = Path(VECTORS) / "merkle" / kind
    files = sorted(folder.rglob("*.json"))
    assert files, f"no vectors in {folder}"
    return [pytest.param(file, id=str(file.relative_to(folder))) for file in files]


def unpack(file: Path) -> tuple[dict[str, Any], list[bytes]]:
    case: dict[str, Any] = json.loads(file.read_bytes())
    return case, [base64.b64decode(item) for item in case["proof"] or []]


@pytest.mark.parametrize("file", vectors("inclusion"))
def test_public_inclusion_vectors_are_decided_as_published(file: Path) -> None:
    case, proof = unpack(file)
    leaf, root = (base64.b64decode(case[key] or "") for key in ("leafHash", "root"))
    try:
        merkle.verify_inclusion(leaf, case["leafIdx"], case["treeSize"], proof, root)
    except RegistryError:
        assert case["wantErr"], case["desc"]
    else:
        assert not case["wantErr"], case["desc"]


@pytest.mark.parametrize("file", vectors("consistency"))
def test_public_consistency_vectors_are_decided_as_published(file: Path) -> None:
    case, proof = unpack(file)
    root1, root2 = (base64.b64decode(case[key] or "") for key in ("root1", "root2"))
    try:
        merkle.verify_consistency(case["size1"], case["size2"], proof, root1, root2)
    except RegistryError:
        # From an empty tree, which the vectors allow, no proof means anything.
        assert case["wantErr"] or case["size1"] == 0, case["desc"]
    else:
        assert not case["wantErr"], case["desc"]
