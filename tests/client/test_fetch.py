"""Fetching releases, from honest registries and from others."""

import fcntl
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from registry.api.v1 import artifact_service_pb2 as pb
from registry.client.fetch import Fetched, fetch
from registry.client.publish import Publication, publish
from registry.client.registry import RegistryClient
from registry.disk import BLOCK_BYTES, BUFFER_BYTES
from registry.errors import ConflictError, NotFoundError, Reason, RegistryError
from tests.client.conftest import Place
from tests.client.liar import Liar

NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)
DOWNLOAD = "ArtifactService/Download"
WEIGHTS = "sub/weights.bin"

Fetch = Callable[[], Fetched]


@pytest.fixture
def name(place: Place, client: RegistryClient, folder: Path, fresh_name: Callable[[], str]) -> str:
    """Publish the folder as version 1 of a name."""
    name = fresh_name()
    publish(client, folder, Publication(name, "1"), place.publisher.signer, NOON)
    return name


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "home" / "fetched"


@pytest.fixture
def fetches(misled: RegistryClient, name: str, target: Path) -> Fetch:
    """Fetch through a liar, who passes everything on unless told otherwise."""
    return lambda: fetch(misled, name, "1", target)


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def refusal(act: Callable[[], object]) -> RegistryError:
    with pytest.raises(RegistryError) as caught:
        act()
    return caught.value


def staging_of(target: Path) -> Path:
    return target.with_name(f".{target.name}.provreg-partial")


def change(how: Callable[[int, pb.DownloadResponse], None]) -> Callable[..., Iterator[bytes]]:
    """Change the pieces of large downloads; the manifest passes as it is."""

    def stream(answers: Iterator[bytes]) -> Iterator[bytes]:
        for number, raw in enumerate(answers):
            message = pb.DownloadResponse.FromString(raw)
            if len(message.chunk.data) > 10_000:
                how(number, message)
            yield message.SerializeToString()

    return stream


def test_what_is_fetched_is_what_was_published(fetches: Fetch, folder: Path, target: Path) -> None:
    fetches()
    assert content(target) == content(folder)


def test_nothing_but_the_target_is_left_afterwards(fetches: Fetch, target: Path) -> None:
    fetches()
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_a_fetch_tells_who_published_and_where_it_is_logged(fetches: Fetch, place: Place) -> None:
    known = fetches().known
    assert (known.logged.granted.principal, known.logged.key) == (
        "acme",
        place.publisher.signer.public_key,
    )


def test_an_empty_folder_may_be_the_target(fetches: Fetch, folder: Path, target: Path) -> None:
    target.mkdir(parents=True)
    fetches()
    assert content(target) == content(folder)


def test_empty_files_are_fetched(
    place: Place,
    client: RegistryClient,
    folder: Path,
    fresh_name: Callable[[], str],
    target: Path,
) -> None:
    (folder / "empty").touch()
    name = fresh_name()
    publish(client, folder, Publication(name, "1"), place.publisher.signer, NOON)
    fetch(client, name, "1", target)
    assert (target / "empty").read_bytes() == b""


@pytest.mark.parametrize("occupy", ["file", "folder", "link"])
def test_a_target_that_is_taken_is_refused_and_stays_as_it_is(
    fetches: Fetch, target: Path, occupy: str
) -> None:
    target.parent.mkdir()
    if occupy == "file":
        target.write_bytes(b"mine")
    elif occupy == "folder":
        target.mkdir()
        (target / "mine").touch()
    else:
        target.symlink_to("/nowhere")
    # Without the time of the last look.
    before = os.lstat(target)[:7]
    assert refusal(fetches).reason is Reason.TARGET_EXISTS
    assert os.lstat(target)[:7] == before


def test_a_version_that_nobody_published_is_unknown(
    client: RegistryClient, name: str, target: Path
) -> None:
    error = refusal(lambda: fetch(client, name, "2", target))
    assert isinstance(error, NotFoundError)
    assert not target.parent.exists()


def test_a_wrong_byte_names_the_file_and_both_digests(fetches: Fetch, liar: Liar) -> None:
    def flip(number: int, message: pb.DownloadResponse) -> None:
        if number == 1:
            data = bytearray(message.chunk.data)
            data[1000] ^= 1
            message.chunk.data = bytes(data)

    liar.streams[DOWNLOAD] = change(flip)
    error = refusal(fetches)
    assert (error.reason, error.where) == (Reason.DIGEST_MISMATCH, WEIGHTS)
    assert error.expected.startswith("sha256:")
    assert error.actual.startswith("sha256:")
    assert error.expected != error.actual


def test_a_wrong_byte_leaves_nothing_behind(fetches: Fetch, liar: Liar, target: Path) -> None:
    def flip(_number: int, message: pb.DownloadResponse) -> None:
        message.chunk.data = b"\1" + message.chunk.data[1:]

    liar.streams[DOWNLOAD] = change(flip)
    refusal(fetches)
    assert list(target.parent.iterdir()) == []


def test_a_download_that_is_too_short_is_refused(fetches: Fetch, liar: Liar, target: Path) -> None:
    def shorten(number: int, message: pb.DownloadResponse) -> None:
        if number == 3:
            message.chunk.data = message.chunk.data[:-1]

    liar.streams[DOWNLOAD] = change(shorten)
    assert refusal(fetches).reason is Reason.SIZE_MISMATCH
    assert not target.exists()


def test_a_download_that_is_too_long_is_refused(fetches: Fetch, liar: Liar, target: Path) -> None:
    def lengthen(number: int, message: pb.DownloadResponse) -> None:
        if number == 3:
            message.chunk.data += b"!"

    liar.streams[DOWNLOAD] = change(lengthen)
    assert refusal(fetches).reason is Reason.SIZE_MISMATCH
    assert not target.exists()


def test_pieces_that_do_not_follow_each_other_are_refused(fetches: Fetch, liar: Liar) -> None:
    def skip(number: int, message: pb.DownloadResponse) -> None:
        message.chunk.offset += number

    liar.streams[DOWNLOAD] = change(skip)
    assert refusal(fetches).reason is Reason.CHUNK_OUT_OF_ORDER


def test_a_manifest_with_a_wrong_byte_is_refused(fetches: Fetch, liar: Liar, target: Path) -> None:
    def flip(answers: Iterator[bytes]) -> Iterator[bytes]:
        for raw in answers:
            message = pb.DownloadResponse.FromString(raw)
            message.chunk.data = message.chunk.data.replace(b"config.json", b"../evil.json")
            yield message.SerializeToString()

    liar.streams[DOWNLOAD] = flip
    assert refusal(fetches).reason is Reason.DIGEST_MISMATCH
    assert not target.parent.exists()


@pytest.fixture
def interrupted(fetches: Fetch, liar: Liar, target: Path) -> Path:
    """Lose the registry in the middle of the weights; returns the staging folder."""

    def lose(answers: Iterator[bytes]) -> Iterator[bytes]:
        for number, raw in enumerate(answers):
            if number == 2:
                message = "the registry is gone"
                raise ConnectionError(message)
            yield raw

    liar.streams[DOWNLOAD] = lose
    refusal(fetches)
    liar.streams.clear()
    return staging_of(target)


def test_an_interrupted_fetch_shows_no_target(interrupted: Path, target: Path) -> None:
    assert interrupted.exists()
    assert not target.exists()


def test_an_interrupted_fetch_goes_on_where_it_stopped(
    interrupted: Path, fetches: Fetch, folder: Path, target: Path
) -> None:
    there = sum(path.stat().st_size for path in interrupted.rglob("*") if path.is_file())
    fetched = fetches()
    whole = sum(len(data) for data in content(folder).values())
    assert fetched.kept_bytes == there > 0
    assert fetched.received_bytes == whole - there
    assert content(target) == content(folder)


def test_a_damaged_remainder_is_fetched_again(
    interrupted: Path, fetches: Fetch, folder: Path, target: Path
) -> None:
    path = interrupted / WEIGHTS
    path.write_bytes(b"?" + path.read_bytes()[1:])
    fetches()
    assert content(target) == content(folder)


def test_a_remainder_that_is_longer_than_the_file_is_fetched_again(
    interrupted: Path, fetches: Fetch, folder: Path, target: Path
) -> None:
    with (interrupted / "config.json").open("ab") as file:
        file.write(b"more")
    fetches()
    assert content(target) == content(folder)


@pytest.mark.parametrize("cut", [0, 1], ids=["as it was left", "cut inside a block"])
def test_a_large_file_goes_on_at_a_whole_block(
    *,
    client: RegistryClient,
    place: Place,
    liar: Liar,
    misled: RegistryClient,
    folder: Path,
    fresh_name: Callable[[], str],
    target: Path,
    cut: int,
) -> None:
    (folder / WEIGHTS).write_bytes(bytes(range(256)) * (4 * BUFFER_BYTES // 256) + b"end")
    name = fresh_name()
    publish(client, folder, Publication(name, "1"), place.publisher.signer, NOON)

    def lose(answers: Iterator[bytes]) -> Iterator[bytes]:
        for number, raw in enumerate(answers):
            if number == 20:
                message = "the registry is gone"
                raise ConnectionError(message)
            yield raw

    misled.over_http = False
    liar.streams[DOWNLOAD] = lose
    refusal(lambda: fetch(misled, name, "1", target))
    liar.streams.clear()
    left = staging_of(target) / WEIGHTS
    there = left.stat().st_size
    os.truncate(left, there - cut)
    fetched = fetch(misled, name, "1", target)
    others = sum(len(data) for path, data in content(folder).items() if path != WEIGHTS)
    assert there == 2 * BUFFER_BYTES
    assert fetched.kept_bytes == there - cut * BLOCK_BYTES + others
    assert content(target) == content(folder)


def add_file(staging: Path, _outside: Path) -> None:
    (staging / "evil.py").write_bytes(b"import os")


def add_folder(staging: Path, _outside: Path) -> None:
    (staging / "evil" / "deep").mkdir(parents=True)
    (staging / "evil" / "deep" / "evil.py").touch()


def add_link(staging: Path, outside: Path) -> None:
    (staging / "evil").symlink_to(outside)


def link_file(staging: Path, outside: Path) -> None:
    (staging / "config.json").unlink()
    (staging / "config.json").symlink_to(outside / "config.json")


def link_folder(staging: Path, outside: Path) -> None:
    (staging / WEIGHTS).unlink()
    (staging / "sub").rmdir()
    (staging / "sub").symlink_to(outside)


@pytest.mark.parametrize("meddle", [add_file, add_folder, add_link, link_file, link_folder])
def test_whatever_does_not_belong_into_the_folder_does_not_get_there(
    interrupted: Path, fetches: Fetch, folder: Path, meddle: Callable[[Path, Path], None]
) -> None:
    outside = folder.parent / "outside"
    outside.mkdir()
    meddle(interrupted, outside)
    target = fetches().folder
    assert content(target) == content(folder)
    assert list(outside.iterdir()) == []
    assert not any(path.is_symlink() for path in target.rglob("*"))


def test_two_fetches_into_one_folder_do_not_mix(interrupted: Path, fetches: Fetch) -> None:
    descriptor = os.open(interrupted, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        assert isinstance(refusal(fetches), ConflictError)
    finally:
        os.close(descriptor)


def test_a_target_that_appears_meanwhile_is_not_overwritten(
    fetches: Fetch, liar: Liar, target: Path
) -> None:
    def occupy(answers: Iterator[bytes]) -> Iterator[bytes]:
        target.mkdir(exist_ok=True)
        (target / "mine").touch()
        yield from answers

    liar.streams[DOWNLOAD] = lambda answers: occupy(answers) if target.parent.exists() else answers
    assert refusal(fetches).reason is Reason.TARGET_EXISTS
    assert [path.name for path in target.iterdir()] == ["mine"]


def test_progress_tells_every_byte(
    client: RegistryClient, name: str, target: Path, folder: Path
) -> None:
    told: list[int] = []

    class Stage:
        def __enter__(self) -> Callable[[int], None]:
            return told.append

        def __exit__(self, *_: object) -> None:
            return None

    totals: list[int] = []

    def stages(_label: str, total: int) -> Stage:
        totals.append(total)
        return Stage()

    fetch(client, name, "1", target, stages=stages)
    assert totals == [sum(told)] == [sum(len(data) for data in content(folder).values())]
