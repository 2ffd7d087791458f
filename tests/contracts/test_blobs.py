"""Blobs on disk: completely there under their digest, or not at all."""

import hashlib
from pathlib import Path

import pytest

from registry.disk import LARGE_BYTES
from registry.errors import (
    DamagedError,
    LimitExceededError,
    NotFoundError,
    Reason,
    RegistryError,
    VerificationError,
)
from registry.storage.blobs.disk import DiskBlobStore
from registry.storage.blobs.port import BlobInfo

DATA = b"some bytes"
NAME = hashlib.sha256(DATA).digest()
LARGE = bytes(range(256)) * (LARGE_BYTES // 256 + 3)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder of the store."""
    return tmp_path / "blobs"


@pytest.fixture
def store(root: Path) -> DiskBlobStore:
    """An empty store."""
    return DiskBlobStore(root)


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def info_of(data: bytes) -> BlobInfo:
    return BlobInfo(hashlib.sha256(data).digest(), hashlib.sha512(data).digest(), len(data))


def refuse(store: DiskBlobStore, name: bytes, size: int, *chunks: bytes) -> RegistryError:
    writer = store.create(name, size)

    def send() -> None:
        for chunk in chunks:
            writer.write(chunk)
        writer.commit()

    with pytest.raises(RegistryError) as refused:
        send()
    writer.abort()
    return refused.value


def test_a_blob_lies_under_its_digest(store: DiskBlobStore, root: Path) -> None:
    store.put(DATA)
    assert files(root) == [f"sha256/{NAME.hex()[:2]}/{NAME.hex()}"]


@pytest.mark.parametrize("data", [b"", DATA, LARGE], ids=["empty", "small", "large"])
def test_both_digests_and_the_size_of_a_blob_are_told(store: DiskBlobStore, data: bytes) -> None:
    writer = store.create(hashlib.sha256(data).digest(), len(data))
    for start in range(0, len(data), 100_000):
        writer.write(data[start : start + 100_000])
    assert writer.commit() == info_of(data)


@pytest.mark.parametrize("data", [b"", DATA, LARGE], ids=["empty", "small", "large"])
def test_a_blob_is_read_back(store: DiskBlobStore, data: bytes) -> None:
    store.put(data)
    assert store.read(hashlib.sha256(data).digest(), len(data)) == data


def test_nothing_is_visible_before_the_commit(store: DiskBlobStore) -> None:
    writer = store.create(NAME, len(DATA))
    writer.write(DATA)
    before = list(store)
    writer.commit()
    assert (before, list(store)) == ([], [NAME])


def test_another_digest_leaves_nothing(store: DiskBlobStore, root: Path) -> None:
    refused = refuse(store, b"x" * 32, len(DATA), DATA)
    assert (type(refused), refused.reason, files(root)) == (
        VerificationError,
        Reason.DIGEST_MISMATCH,
        [],
    )


def test_a_truncated_blob_leaves_nothing(store: DiskBlobStore, root: Path) -> None:
    refused = refuse(store, NAME, len(DATA), DATA[:-1])
    assert (refused.reason, files(root)) == (Reason.TRUNCATED_UPLOAD, [])


def test_too_many_bytes_leave_nothing(store: DiskBlobStore, root: Path) -> None:
    refused = refuse(store, NAME, len(DATA), DATA, b"!")
    assert (refused.reason, files(root)) == (Reason.SIZE_MISMATCH, [])


def test_a_refused_large_blob_leaves_nothing(store: DiskBlobStore, root: Path) -> None:
    refused = refuse(store, NAME, len(LARGE), LARGE)
    assert (refused.reason, files(root)) == (Reason.DIGEST_MISMATCH, [])


@pytest.mark.parametrize("size", [len(DATA), len(LARGE)])
def test_an_aborted_blob_leaves_nothing(store: DiskBlobStore, root: Path, size: int) -> None:
    writer = store.create(NAME, size)
    writer.write(DATA)
    writer.abort()
    assert files(root) == []


def test_an_abort_after_the_commit_keeps_the_blob(store: DiskBlobStore) -> None:
    writer = store.create(NAME, len(DATA))
    writer.write(DATA)
    writer.commit()
    writer.abort()
    assert store.read(NAME, 100) == DATA


def test_what_never_finished_is_removed_at_the_next_start(store: DiskBlobStore, root: Path) -> None:
    writer = store.create(NAME, len(DATA))
    writer.write(DATA)
    left = len(files(root))
    DiskBlobStore(root)
    writer.abort()
    assert (left, files(root)) == (1, [])


def test_stored_blobs_are_there_after_the_next_start(store: DiskBlobStore, root: Path) -> None:
    store.put(DATA)
    assert DiskBlobStore(root).read(NAME, 100) == DATA


def test_a_blob_may_be_stored_twice(store: DiskBlobStore, root: Path) -> None:
    assert store.put(DATA) == store.put(DATA)
    assert len(files(root)) == 1


def test_two_uploads_of_one_blob_may_cross(store: DiskBlobStore, root: Path) -> None:
    writers = [store.create(NAME, len(DATA)) for _ in range(2)]
    for writer in writers:
        writer.write(DATA)
    assert writers[0].commit() == writers[1].commit()
    assert len(files(root)) == 1


def test_all_blobs_are_listed(store: DiskBlobStore) -> None:
    names = {store.put(b"%d" % n).sha256 for n in range(20)}
    assert set(store) == names


def test_an_unknown_blob_is_not_found(store: DiskBlobStore) -> None:
    with pytest.raises(NotFoundError) as refused:
        store.open(NAME)
    assert refused.value.reason is Reason.UNKNOWN_BLOB


def test_a_blob_is_read_within_a_limit(store: DiskBlobStore) -> None:
    store.put(DATA)
    with pytest.raises(LimitExceededError) as refused:
        store.read(NAME, len(DATA) - 1)
    assert refused.value.reason is Reason.BLOB_TOO_LARGE


def test_a_damaged_blob_is_not_given_out(store: DiskBlobStore) -> None:
    store.put(DATA)
    store.path(NAME).write_bytes(b"other byte")
    with pytest.raises(DamagedError) as refused:
        store.read(NAME, 100)
    assert refused.value.reason is Reason.STORED_BYTES
