"""The log as files: complete for any reader, never ahead of its tiles, and never another log."""

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from registry.core.tlog.tile import TilePath
from registry.errors import Reason, RegistryError, UnavailableError
from registry.services import publishing
from registry.services.publishing import compare_folder, pieces
from registry.signing.file import LogSigner, StatementSigner
from registry.storage import tiles as storage
from registry.storage.tiles import TileFolder
from tests.contracts.registry_under_test import SECONDS, UnderTest, opened
from tests.walking import cut, walk


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(publishing, "RETRY_SECONDS", 0.05)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def registry(data: Path, url: str) -> Iterator[UnderTest]:
    with opened(data, url) as registry:
        yield registry


def published(registry: UnderTest) -> None:
    assert registry.services.publisher.wait(SECONDS)


def published_for_long(registry: UnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Publish, and let a long pause begin."""
    published(registry)
    monkeypatch.setattr(publishing, "PAUSE_SECONDS", 60)
    # The pause that is going on may be a short one; the next one is not.
    registry.grow(1)
    published(registry)


def files(static: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(static)): path.read_bytes()
        for path in static.rglob("*")
        if path.is_file()
    }


def check(registry: UnderTest, static: Path) -> int:
    """Walk the folder; how many entries it publishes."""
    key = registry.services.signer.key
    head, _ = walk(lambda path: (static / path).read_bytes(), key)
    return head.size


@pytest.mark.parametrize("count", [1, 252, 700])
def test_the_folder_is_a_complete_log(registry: UnderTest, data: Path, count: int) -> None:
    registry.grow(count)
    published(registry)
    assert check(registry, data / "static") == registry.size


def test_every_size_on_the_way_is_complete(registry: UnderTest, data: Path) -> None:
    for count in (1, 3, 250, 1, 1, 260):
        registry.grow(count)
        published(registry)
        assert check(registry, data / "static") == registry.size


def test_narrow_forms_go_when_the_tile_is_full(registry: UnderTest, data: Path) -> None:
    registry.grow(10)
    published(registry)
    assert (data / "static" / "tile" / "0" / "000.p").is_dir()
    registry.grow(300)
    published(registry)
    assert not (data / "static" / "tile" / "0" / "000.p").exists()
    assert not (data / "static" / "tile" / "entries" / "000.p").exists()
    assert (data / "static" / "tile" / "1" / "000.p" / "1").is_file()


def test_a_file_server_of_another_user_may_read_it(registry: UnderTest, data: Path) -> None:
    published(registry)
    mask = os.umask(0)
    os.umask(mask)
    for path in (data / "static").rglob("*"):
        wanted = 0o755 if path.is_dir() else 0o644
        assert stat.S_IMODE(path.stat().st_mode) == wanted & ~mask


def test_the_folder_may_be_elsewhere(tmp_path: Path, url: str) -> None:
    with opened(tmp_path / "data", url, static=tmp_path / "public") as registry:
        published(registry)
        assert check(registry, tmp_path / "public") == registry.size
    assert not (tmp_path / "data" / "static").exists()


def test_a_registry_that_stops_has_published_what_it_showed(
    data: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(data, url) as registry:
        published_for_long(registry, monkeypatch)
        registry.grow(300)
        size = registry.size
        assert not registry.services.publisher.wait(0)
    assert check(registry, data / "static") == size


def test_a_registry_that_stops_leaves_much_to_the_next_start(
    data: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "LAST_ENTRIES", 100)
    with opened(data, url) as registry:
        published_for_long(registry, monkeypatch)
        before = registry.size
        registry.grow(300)
    assert check(registry, data / "static") == before


def test_what_was_lost_is_there_again_after_a_start(data: Path, url: str) -> None:
    with opened(data, url) as registry:
        registry.grow(600)
        published(registry)
        size = registry.size
    (data / "static" / "tile" / "0" / "001").unlink()
    (data / "static" / "tile" / "entries" / "000").unlink()
    shutil.rmtree(data / "static" / "tile" / "1")
    with opened(data, url, registry.keys) as again:
        published(again)
        folder = TileFolder(data / "static")
        assert list(compare_folder(again.services.tiles, folder, size)) == []
        assert check(again, data / "static") == size


def test_a_folder_that_was_lost_is_there_again_after_a_start(data: Path, url: str) -> None:
    with opened(data, url) as registry:
        registry.grow(300)
        published(registry)
    shutil.rmtree(data / "static")
    with opened(data, url, registry.keys) as again:
        published(again)
        assert check(again, data / "static") == again.size


def test_other_bytes_under_a_name_of_ours_latch_the_log(registry: UnderTest, data: Path) -> None:
    registry.grow(10)
    published(registry)
    (data / "static" / "tile" / "0" / "000").write_bytes(b"\0" * 8192)
    with suppress(UnavailableError):
        # It may be found before all of these are taken.
        registry.grow(300)
    assert not registry.services.publisher.wait(1)
    latched = registry.services.sequencer.latched
    assert latched is not None
    assert "STORED_BYTES" in latched.actual
    with pytest.raises(RegistryError, match="LOG_LATCHED"):
        registry.grow(1)


def test_the_checkpoint_stays_behind_what_is_published(
    registry: UnderTest, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(registry)
    before = (data / "static" / "checkpoint").read_bytes()

    def full(*_arguments: object) -> None:
        raise OSError(28, "no space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(storage, "write_new", full)
        registry.grow(300)
        assert not registry.services.publisher.wait(0.3)
        assert (data / "static" / "checkpoint").read_bytes() == before
        assert registry.services.sequencer.latched is None
    published(registry)
    assert check(registry, data / "static") == registry.size


def test_a_log_that_lost_entries_is_not_served(data: Path, url: str) -> None:
    with opened(data, url) as registry:
        published(registry)
        signer = registry.services.signer
        shown = registry.services.sequencer.head
    assert shown is not None
    more = signer.sign(type(shown.checkpoint)(signer.key.name, 1000, b"\1" * 32))
    (data / "static" / "checkpoint").write_bytes(more.note)
    with pytest.raises(RegistryError, match="LOG_ROLLBACK"), opened(data, url):
        pass


def test_a_log_of_which_another_history_was_published_is_not_served(data: Path, url: str) -> None:
    with opened(data, url) as registry:
        published(registry)
        signer = registry.services.signer
        shown = registry.services.sequencer.head
    assert shown is not None
    other = signer.sign(type(shown.checkpoint)(signer.key.name, 1, b"\1" * 32))
    (data / "static" / "checkpoint").write_bytes(other.note)
    with pytest.raises(RegistryError, match="FORK"), opened(data, url):
        pass


def test_the_folder_of_another_log_is_refused(data: Path, url: str) -> None:
    with opened(data, url) as registry:
        published(registry)
        shown = registry.services.sequencer.head
    assert shown is not None
    note = LogSigner.generate("other.example").sign(shown.checkpoint).note
    (data / "static" / "checkpoint").write_bytes(note)
    with pytest.raises(RegistryError), opened(data, url):
        pass


def test_every_difference_is_found(registry: UnderTest, data: Path) -> None:
    registry.grow(300)
    published(registry)
    folder, size = TileFolder(data / "static"), registry.size
    tiles = registry.services.tiles
    assert list(compare_folder(tiles, folder, size)) == []
    (data / "static" / "tile" / "0" / "000").write_bytes(b"\0" * 8192)
    (data / "static" / "tile" / "entries" / "000").unlink()
    assert list(map(str, compare_folder(tiles, folder, size))) == [
        "tile/entries/000: not published",
        "tile/0/000: published with other bytes",
    ]


@pytest.mark.parametrize("old", [0, 1, 255, 256, 257, 65_535, 65_536, 69_999, 70_000])
@pytest.mark.parametrize("new", [256, 65_536, 70_000, 131_072])
def test_what_is_new_and_what_was_full_is_everything(old: int, new: int) -> None:
    old = min(old, new)
    full = {piece for piece in pieces(0, old) if 256 in (getattr(piece, "width", 0), piece)}
    named = set(pieces(0, old)) | set(pieces(old, new))
    assert set(pieces(0, new)) - named == set()
    assert full <= named
    hashes = new
    for level in range(4):
        for index, width in cut(hashes):
            assert TilePath(level, index, width) in named
        hashes //= 256


def test_a_key_is_no_part_of_what_is_published(registry: UnderTest, data: Path) -> None:
    published(registry)
    assert {path.split("/")[0] for path in files(data / "static")} == {"checkpoint", "tile"}
    assert isinstance(registry.keys["acme"], StatementSigner)


def test_the_folder_refuses_other_bytes_and_takes_the_same(tmp_path: Path) -> None:
    folder = TileFolder(tmp_path)
    folder.publish("tile/0/000", b"a")
    folder.publish("tile/0/000", b"a")
    with pytest.raises(RegistryError) as refused:
        folder.publish("tile/0/000", b"b")
    assert refused.value.reason is Reason.STORED_BYTES
    assert folder.read("tile/0/000") == b"a"
    assert folder.read("tile/0/001") is None
