"""The contract ABI: published encodings, one spelling, and nothing that is read twice."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core.foreign.ethereum import keccak256
from registry.core.foreign.ethereum_abi import WORD, Array, Kind, decode, encode, name_of
from registry.errors import MalformedError, Reason

pytest.importorskip("Crypto")


def words(*items: int | bytes) -> bytes:
    """Words: numbers, and texts that fill one."""
    return b"".join(
        item.to_bytes(WORD, "big") if isinstance(item, int) else item.ljust(WORD, b"\0")
        for item in items
    )


NESTED: tuple[Kind, ...] = (Array(Array("uint256")), Array("string"))
PUBLISHED = (
    # The ABI specification's own examples: sam(bytes,bool,uint256[]) and g(uint256[][],string[]).
    (
        ("bytes", "bool", Array("uint256")),
        (b"dave", True, (1, 2, 3)),
        words(0x60, 1, 0xA0, 4, b"dave", 3, 1, 2, 3),
    ),
    (
        NESTED,
        (((1, 2), (3,)), ("one", "two", "three")),
        words(
            *(0x40, 0x140, 2, 0x40, 0xA0, 2, 1, 2, 1, 3),
            *(3, 0x60, 0xA0, 0xE0, 3, b"one", 3, b"two", 5, b"three"),
        ),
    ),
)


@pytest.mark.parametrize(("kinds", "values", "data"), PUBLISHED, ids=["sam", "g"])
def test_published_encodings_are_written_and_read(
    kinds: tuple[Kind, ...], values: tuple[Any, ...], data: bytes
) -> None:
    assert encode(kinds, values) == data
    assert decode(kinds, data) == values


def test_a_leaf_of_a_published_tree_is_made_again() -> None:
    # @openzeppelin/merkle-tree's documentation: two leaves of (address, uint256), and their root.
    leaves = [
        keccak256(keccak256(encode(("address", "uint256"), (bytes([byte]) * 20, amount))))
        for byte, amount in ((0x11, 5 * 10**18), (0x22, 25 * 10**17))
    ]
    assert keccak256(min(leaves) + max(leaves)).hex() == (
        "d4dee0beab2d53f2cc83e567171bd2820e49898130a22622b10ead383e90bd77"
    )


def test_a_kind_is_spelled_as_in_the_signature_of_an_event() -> None:
    kinds: Kind = ("bytes32", Array(("string", Array("uint32"))))
    assert name_of(kinds) == "(bytes32,(string,uint32[])[])"


FIXED: tuple[Kind, ...] = ("bytes32", "address", "bool", "uint8", "uint32", "int128")
KINDS: tuple[Kind, ...] = (*FIXED, "bytes", "string", Array(("string", Array(FIXED[3:]))))
NUMBERS = st.tuples(
    st.integers(0, 255), st.integers(0, 2**32 - 1), st.integers(-(2**127), 2**127 - 1)
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
VALUES = st.tuples(
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=20, max_size=20),
    st.booleans(),
    NUMBERS,
    st.binary(max_size=70),
    TEXT,
    st.lists(st.tuples(TEXT, st.lists(NUMBERS, max_size=3).map(tuple)), max_size=3).map(tuple),
).map(lambda drawn: (*drawn[:3], *drawn[3], *drawn[4:]))


@given(VALUES)
def test_what_is_written_is_read_back(values: tuple[Any, ...]) -> None:
    assert decode(KINDS, encode(KINDS, values)) == values


@given(VALUES, st.data())
def test_what_would_not_be_written_so_is_refused(values: tuple[Any, ...], data: Any) -> None:
    written = bytearray(encode(KINDS, values))
    at = data.draw(st.integers(0, len(written) - 1))
    written[at] ^= 1 << data.draw(st.integers(0, 7))
    with contextlib.suppress(MalformedError):
        assert encode(KINDS, decode(KINDS, bytes(written))) == bytes(written)


@pytest.mark.parametrize(
    ("kinds", "data"),
    [
        (("bytes",), words(0x40, 0, 0)),
        (("bytes", "bytes"), words(0x40, 0x40, 0)),
        (("bytes",), words(0x20, 3, b"abcd")),
        (("bytes",), words(0x20, 33, b"abc")),
        (("string",), words(0x20, 1, b"\xff")),
        (("bool",), words(2)),
        (("uint8",), words(256)),
        (("uint32",), words(1 << 32)),
        (("int128",), words(1 << 127)),
        (("address",), words(1 << 160)),
        (("uint8",), words(1)[:-1]),
        (("bytes",), words(0x20, 1 << 255)),
        (("uint8",), words(1, 1)),
        ((Array("uint8"),), words(0x20, 1 << 200)),
        ((Array("uint8"),), words(0x20, 2, 1)),
    ],
    ids=[
        "an offset beyond",
        "two of one tail",
        "padding",
        "a short text",
        "not UTF-8",
        "bool",
        "uint8",
        "uint32",
        "int128",
        "address",
        "a short word",
        "a huge text",
        "a word more",
        "a huge count",
        "a short array",
    ],
)
def test_another_spelling_is_refused(kinds: tuple[Kind, ...], data: bytes) -> None:
    with pytest.raises(MalformedError) as caught:
        decode(kinds, data)
    assert caught.value.reason is Reason.MALFORMED_FIELD


def test_what_is_cut_off_says_how_much_is_missing() -> None:
    with pytest.raises(MalformedError) as caught:
        decode(("uint8",), words(1)[:-1])
    assert (caught.value.where, caught.value.actual) == ("its end", "1 bytes are missing")
