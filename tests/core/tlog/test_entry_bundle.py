"""Entry bundles have one spelling, and hold exactly as many entries as was said."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core.tlog import entry_bundle
from registry.core.tlog.tile import TilePath
from registry.errors import LimitExceededError, MalformedError, Reason

ENTRIES = st.lists(st.binary(max_size=300), max_size=20)


@given(ENTRIES)
def test_what_was_written_is_read_back(entries: list[bytes]) -> None:
    data = entry_bundle.join(entries)
    assert list(entry_bundle.split(data, len(entries))) == entries


@given(st.binary(max_size=400), st.integers(0, 20))
def test_whatever_is_read_would_be_written_the_same(data: bytes, width: int) -> None:
    try:
        entries = entry_bundle.split(data, width)
    except MalformedError:
        return
    assert (len(entries), entry_bundle.join(entries)) == (width, data)


@pytest.mark.parametrize("width", [1, 3])
def test_another_number_of_entries_is_refused(width: int) -> None:
    with pytest.raises(MalformedError) as caught:
        entry_bundle.split(entry_bundle.join([b"a", b"b"]), width)
    assert caught.value.reason is Reason.MALFORMED_BUNDLE


@pytest.mark.parametrize("data", [b"\0", b"\0\5abc", b"\0\1ab"])
def test_a_bundle_that_ends_too_early_or_too_late_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        entry_bundle.split(data, 1)


def test_an_entry_that_no_length_can_tell_is_refused() -> None:
    assert len(entry_bundle.join([b"x" * 65_535])) == 65_537
    with pytest.raises(LimitExceededError) as caught:
        entry_bundle.join([b"x" * 65_536])
    assert caught.value.reason is Reason.MALFORMED_BUNDLE


@given(st.integers(0, 10**10), st.integers(1, 256))
def test_a_bundle_stands_beside_its_tile(index: int, width: int) -> None:
    path = entry_bundle.bundle_path(index, width)
    assert TilePath.parse(path.replace("entries", "0")) == TilePath(0, index, width)
    assert entry_bundle.parse_path(path) == (index, width)


def test_a_path_is_spelled_as_the_specification_does() -> None:
    assert entry_bundle.bundle_path(1234067) == "tile/entries/x001/x234/067"
    assert entry_bundle.bundle_path(273, 112) == "tile/entries/273.p/112"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tile/0/000",
        "tile/entries",
        "tile/entries/",
        "tile/entries/0",
        "tile/entries/0/000",
        "tile/entries/entries/000",
        "tile/entries/x000/001",
        "tile/entries/000.p/256",
        "tile/entries/000.p/0",
        "/tile/entries/000",
        "tile/entries/000/",
    ],
)
def test_any_other_path_is_refused(path: str) -> None:
    with pytest.raises(MalformedError) as caught:
        entry_bundle.parse_path(path)
    assert caught.value.reason is Reason.MALFORMED_TILE_PATH
