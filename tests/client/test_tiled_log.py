"""A log on any web server is read tile by tile, and believed only as far as it is proved."""

from collections.abc import Iterator

import pytest

from registry.client.tiled_log import TiledLog
from registry.errors import MalformedError, Reason, RegistryError, UnavailableError
from registry.remote.http import HTTPClient
from tests.core.tlog.trees import StaticLog
from tests.static_server import StaticServer, serving


@pytest.fixture(scope="module")
def log() -> StaticLog:
    log = StaticLog()
    log.grow(700)
    return log


@pytest.fixture
def server(log: StaticLog) -> Iterator[StaticServer]:
    with serving(log) as server:
        yield server


@pytest.fixture
def reader(server: StaticServer) -> Iterator[TiledLog]:
    with HTTPClient() as http:
        yield TiledLog(server.url, http)


def read(reader: TiledLog, log: StaticLog, start: int, size: int) -> list[bytes]:
    found: list[bytes] = []
    for first, entries in reader.entries(start, log.head(size)):
        assert first == start + len(found)
        found += entries
    return found


@pytest.mark.parametrize(("start", "size"), [(0, 700), (0, 1), (255, 257), (300, 700), (5, 5)])
def test_entries_are_read_from_anywhere_to_the_end(
    reader: TiledLog, log: StaticLog, start: int, size: int
) -> None:
    assert read(reader, log, start, size) == log.entries[start:size]


def test_answers_may_be_packed(reader: TiledLog, server: StaticServer, log: StaticLog) -> None:
    server.packed = True
    assert read(reader, log, 0, 700) == log.entries


def test_full_tiles_are_asked_for_wherever_there_are(
    reader: TiledLog, server: StaticServer, log: StaticLog
) -> None:
    read(reader, log, 0, 700)
    assert {path for path in server.asked if ".p/" in path} == {
        "tile/0/002.p/188",
        "tile/1/000.p/2",
        "tile/entries/002.p/188",
    }


def test_incomplete_tiles_that_have_gone_are_cut_from_full_ones(
    reader: TiledLog, server: StaticServer, log: StaticLog
) -> None:
    server.only_full = True
    assert read(reader, log, 0, 300) == log.entries[:300]
    assert "tile/0/001.p/44" in server.asked
    assert "tile/0/001" in server.asked


def test_a_tree_extends_an_older_one(reader: TiledLog, log: StaticLog) -> None:
    reader.verify_extends(log.checkpoint(300), log.checkpoint(700))


@pytest.mark.parametrize("path", ["tile/0/000", "tile/0/002.p/188", "tile/1/000.p/2"])
def test_a_flipped_tile_is_no_proof_of_anything(
    reader: TiledLog, server: StaticServer, log: StaticLog, path: str
) -> None:
    server.change = lambda at, body: body[:-1] + bytes([body[-1] ^ 1]) if at == path else body
    with pytest.raises(RegistryError) as caught:
        read(reader, log, 0, 700)
    assert caught.value.reason is Reason.TILE


def test_a_flipped_entry_is_named(reader: TiledLog, server: StaticServer, log: StaticLog) -> None:
    server.change = lambda at, body: body.replace(b"300", b"301") if "entries" in at else body
    with pytest.raises(RegistryError) as caught:
        read(reader, log, 0, 700)
    assert (caught.value.reason, caught.value.where) == (Reason.INCLUSION_PROOF, "entry 300")


@pytest.mark.parametrize(
    "path", ["tile/0/001", "tile/entries/001", "tile/entries/002.p/188", "tile/0/002.p/188"]
)
def test_what_is_missing_is_unavailable(
    reader: TiledLog, server: StaticServer, log: StaticLog, path: str
) -> None:
    server.gone = frozenset([path])
    with pytest.raises(UnavailableError) as caught:
        read(reader, log, 0, 700)
    assert caught.value.reason is Reason.REMOTE_STATUS


@pytest.mark.parametrize("path", ["tile/0/002.p/188", "tile/entries/002.p/188"])
def test_a_piece_of_another_size_is_refused(
    reader: TiledLog, server: StaticServer, log: StaticLog, path: str
) -> None:
    server.change = lambda at, body: body[:-32] if at == path else body
    with pytest.raises(MalformedError):
        read(reader, log, 0, 700)


def test_a_full_tile_of_another_size_replaces_nothing(
    reader: TiledLog, server: StaticServer, log: StaticLog
) -> None:
    server.only_full = True
    server.change = lambda at, body: body[:-32] if at == "tile/0/001" else body
    with pytest.raises(MalformedError) as caught:
        read(reader, log, 0, 300)
    assert caught.value.reason is Reason.MALFORMED_PROOF


def test_a_log_that_is_down_is_unavailable(reader: TiledLog, server: StaticServer) -> None:
    server.down = True
    with pytest.raises(UnavailableError) as caught:
        reader.newest()
    assert caught.value.reason is Reason.REMOTE_STATUS


@pytest.mark.parametrize("url", ["ftp://log.example", "log.example", "http://a@log.example"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with HTTPClient() as http, pytest.raises(MalformedError) as caught:
        TiledLog(url, http)
    assert caught.value.reason is Reason.BAD_SETTING
