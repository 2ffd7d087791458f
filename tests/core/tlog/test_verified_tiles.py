"""Tiles from anywhere are believed only as far as one checkpoint proves them."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core.tlog import merkle
from registry.core.tlog.checkpoint import Checkpoint
from registry.core.tlog.tile import TilePath
from registry.core.tlog.verified_tiles import VerifiedTiles, bundles, edge
from registry.errors import MalformedError, NotFoundError, Reason, RegistryError, VerificationError
from tests.core.tlog.trees import StaticLog

SIZES = [1, 2, 255, 256, 257, 511, 512, 700]


def grown(size: int) -> StaticLog:
    log = StaticLog()
    log.grow(size)
    return log


LOG = grown(70_000 // 100)


def flipped(log: StaticLog, where: str, byte: int) -> Callable[[TilePath], bytes]:
    """A source that flips one bit of one tile."""

    def fetch(path: TilePath) -> bytes:
        data = bytearray(log.tile(path))
        if str(path) == where:
            data[byte] ^= 1
        return bytes(data)

    return fetch


@pytest.mark.parametrize(
    ("size", "paths"),
    [
        (0, []),
        (1, ["tile/0/000.p/1"]),
        (256, ["tile/1/000.p/1"]),
        (70_000, ["tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1"]),
        (65_536, ["tile/2/000.p/1"]),
    ],
)
def test_the_edge_is_made_of_the_incomplete_tiles(size: int, paths: list[str]) -> None:
    assert [str(path) for path in edge(size)] == paths


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (0, 0, []),
        (0, 1, [(0, 1)]),
        (255, 256, [(0, 256)]),
        (256, 256, []),
        (256, 257, [(1, 1)]),
        (10, 600, [(0, 256), (1, 256), (2, 88)]),
    ],
)
def test_the_bundles_of_a_range_cover_it(
    start: int, end: int, expected: list[tuple[int, int]]
) -> None:
    assert list(bundles(start, end)) == expected


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("older", SIZES)
def test_a_tree_extends_each_of_its_beginnings(size: int, older: int) -> None:
    if older <= size:
        VerifiedTiles(LOG.checkpoint(size), LOG.tile).verify_extends(LOG.checkpoint(older))


def test_every_tree_extends_the_empty_one() -> None:
    tiles = VerifiedTiles(LOG.checkpoint(), LOG.tile)
    tiles.verify_extends(Checkpoint("log.example", 0, merkle.EMPTY_ROOT))


@pytest.mark.parametrize("size", SIZES[:-1])
def test_another_beginning_is_a_fork(size: int) -> None:
    other = StaticLog(LOG.signer)
    other.grow(size - 1)
    other.grow(1, "forged")
    tiles = VerifiedTiles(LOG.checkpoint(), LOG.tile)
    with pytest.raises(VerificationError) as caught:
        tiles.verify_extends(other.checkpoint())
    assert caught.value.reason is Reason.FORK


@given(st.integers(0, 187), st.integers(0, 31))
def test_a_flipped_bit_at_the_edge_is_found(position: int, byte: int) -> None:
    fetch = flipped(LOG, "tile/0/002.p/188", 32 * position + byte)
    with pytest.raises(VerificationError) as caught:
        VerifiedTiles(LOG.checkpoint(), fetch)
    assert caught.value.reason is Reason.TILE


@given(st.integers(0, 8191))
def test_a_flipped_bit_in_a_full_tile_is_found(byte: int) -> None:
    tiles = VerifiedTiles(LOG.checkpoint(), flipped(LOG, "tile/0/001", byte))
    tiles.tile(0, 0)
    with pytest.raises(VerificationError) as caught:
        tiles.tile(0, 1)
    assert caught.value.reason is Reason.TILE


def test_wrong_tiles_are_no_fork() -> None:
    tiles = VerifiedTiles(LOG.checkpoint(), flipped(LOG, "tile/0/000", 0))
    with pytest.raises(VerificationError) as caught:
        tiles.verify_extends(LOG.checkpoint(100))
    assert caught.value.reason is Reason.TILE


@pytest.mark.parametrize(
    "change",
    [lambda d: d[:-32], lambda d: d + d[:32], lambda d: d[:-1]],
    ids=["narrower", "wider", "cut"],
)
def test_a_tile_of_another_width_is_refused(change: Callable[[bytes], bytes]) -> None:
    with pytest.raises(MalformedError) as caught:
        VerifiedTiles(LOG.checkpoint(), lambda path: change(LOG.tile(path)))
    assert caught.value.reason is Reason.MALFORMED_PROOF


def test_a_tile_beyond_the_tree_is_not_there() -> None:
    with pytest.raises(NotFoundError):
        VerifiedTiles(LOG.checkpoint(), LOG.tile).tile(0, 3)


@pytest.mark.parametrize(("index", "width"), list(bundles(0, 700)))
def test_entries_are_proved_by_their_hashes(index: int, width: int) -> None:
    tiles = VerifiedTiles(LOG.checkpoint(), LOG.tile)
    start = index * 256
    tiles.verify_bundle(index, tuple(LOG.entries[start : start + width]))


@pytest.mark.parametrize("number", [512, 600, 699])
def test_a_changed_entry_is_named(number: int) -> None:
    tiles = VerifiedTiles(LOG.checkpoint(), LOG.tile)
    changed = [b"?" if n == number else LOG.entries[n] for n in range(512, 700)]
    with pytest.raises(VerificationError) as caught:
        tiles.verify_bundle(2, tuple(changed))
    error: RegistryError = caught.value
    assert (error.reason, error.where) == (Reason.INCLUSION_PROOF, f"entry {number}")


def test_more_entries_than_the_tree_has_are_refused() -> None:
    tiles = VerifiedTiles(LOG.checkpoint(), LOG.tile)
    with pytest.raises(VerificationError):
        tiles.verify_bundle(2, (*LOG.entries[512:700], b"?"))
