"""Tiles: their paths, and the nodes inside."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core.digest import sha256
from registry.core.tlog import merkle
from registry.core.tlog.tile import TILE_HEIGHT, TILE_WIDTH, ExpandedTile, TilePath, width_at
from registry.errors import MalformedError, Reason


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (TilePath(0, 0), "tile/0/000"),
        (TilePath(0, 999), "tile/0/999"),
        (TilePath(0, 1000), "tile/0/x001/000"),
        (TilePath(0, 1234067), "tile/0/x001/x234/067"),
        (TilePath(0, 273, 112), "tile/0/273.p/112"),
        (TilePath(1, 1, 17), "tile/1/001.p/17"),
        (TilePath(63, 5), "tile/63/005"),
    ],
)
def test_a_tile_path_is_spelled_as_the_specification_does(path: TilePath, text: str) -> None:
    assert str(path) == text
    assert TilePath.parse(text) == path


@given(st.integers(0, 63), st.integers(0, 2**55), st.integers(1, TILE_WIDTH))
def test_every_tile_path_is_read_back(level: int, index: int, width: int) -> None:
    path = TilePath(level, index, width)
    assert TilePath.parse(str(path)) == path


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tile",
        "tile/0",
        "tile/0/",
        "tile/0/0",
        "tile/0/0000",
        "tile/00/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/0/x000/001",
        "tile/0/001/000",
        "tile/0/x001/x000",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/257",
        "tile/0/000.p/017",
        "tile/0/000.p/",
        "tile/0/000.p/1.p/1",
        "tile/0/000/",
        "/tile/0/000",
        "tile//000",
        "tile/0/../000",
        "tile/0/\u0660\u0660\u0660",
        "tile/entries/000",
        "tile/0/" + "x001/" * 10_000 + "000",
    ],
)
def test_what_is_not_exactly_a_tile_path_is_refused(text: str) -> None:
    with pytest.raises(MalformedError) as caught:
        TilePath.parse(text)
    assert caught.value.reason is Reason.MALFORMED_TILE_PATH


@given(st.text("tile/x0123456789.p", max_size=30))
def test_no_text_is_read_as_a_path_that_is_written_otherwise(text: str) -> None:
    with suppress(MalformedError):
        assert str(TilePath.parse(text)) == text


@pytest.mark.parametrize(
    ("size", "level", "index", "width"),
    [
        (0, 0, 0, 0),
        (1, 0, 0, 1),
        (255, 1, 0, 0),
        (256, 0, 0, 256),
        (256, 0, 1, 0),
        (256, 1, 0, 1),
        (70_000, 0, 272, 256),
        (70_000, 0, 273, 112),
        (70_000, 0, 274, 0),
        (70_000, 1, 0, 256),
        (70_000, 1, 1, 17),
        (70_000, 2, 0, 1),
        (70_000, 3, 0, 0),
        (70_000, 63, 0, 0),
    ],
)
def test_a_tile_is_as_wide_as_the_tree_fills_it(
    size: int, level: int, index: int, width: int
) -> None:
    assert width_at(level, index, size) == width


HASHES = [sha256(b"%d" % number) for number in range(TILE_WIDTH)]


@pytest.mark.parametrize("width", [0, 1, 2, 3, 127, 128, 255, 256])
def test_a_tile_knows_every_complete_node_above_its_hashes(width: int) -> None:
    tile = ExpandedTile(HASHES[:width])
    assert len(tile) == width
    for height in range(TILE_HEIGHT + 1):
        for position in range(width >> height):
            below = HASHES[position << height : (position + 1) << height]
            assert tile.node(height, position) == merkle.root(below)


@pytest.mark.parametrize("width", [1, 100, 256])
def test_a_tile_is_read_back_from_its_bytes(width: int) -> None:
    data = b"".join(HASHES[:width])
    assert ExpandedTile.from_bytes(data).to_bytes() == data


@pytest.mark.parametrize("size", [1, 31, 33, 257 * 32])
def test_bytes_that_are_no_tile_are_refused(size: int) -> None:
    with pytest.raises(MalformedError):
        ExpandedTile.from_bytes(b"\x00" * size)
