"""Large files: every byte in its place, with and without direct writes."""

import ctypes
import errno
import fcntl
import gc
import hashlib
import mmap
import os
import weakref
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from registry import disk
from registry.disk import (
    BLOCK_BYTES,
    BUFFER_BYTES,
    LARGE_BYTES,
    WIDE_BUFFER_BYTES,
    LargeFile,
    Reader,
)

SIZES = [0, 1, BLOCK_BYTES, BUFFER_BYTES - 1, BUFFER_BYTES, 4 * BUFFER_BYTES + BLOCK_BYTES + 5]
STARTS = [0, BLOCK_BYTES, BLOCK_BYTES + 1]


def some(size: int) -> bytes:
    """Bytes that differ from place to place."""
    return bytes(range(251)) * (size // 251) + bytes(range(size % 251))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file"


@pytest.fixture
def descriptor(path: Path) -> Iterator[int]:
    opened = os.open(path, os.O_RDWR | os.O_CREAT)
    yield opened
    os.close(opened)


@pytest.fixture(params=["as it is", "no direct writes", "direct writes only in name"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file system of this machine, and two that take no direct writes."""
    if request.param == "no direct writes":
        monkeypatch.delattr(os, "O_DIRECT")
    elif request.param == "direct writes only in name":
        refuse_direct(monkeypatch, "pwrite")
        refuse_direct(monkeypatch, "preadv")


def refuse_direct(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    real: Callable[..., int] = getattr(os, name)

    def call(descriptor: int, *arguments: Any) -> int:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT:
            raise OSError(errno.EINVAL, "no direct transfers here")
        return real(descriptor, *arguments)

    monkeypatch.setattr(os, name, call)


def write(descriptor: int, position: int, data: bytes, *hashes: disk.Hash) -> None:
    with closing(LargeFile(descriptor, position, *hashes)) as file:
        for start in range(0, len(data), 100_000):
            file.write(data[start : start + 100_000])
        file.finish()


@pytest.mark.usefixtures("system")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("start", STARTS)
def test_a_file_is_written_on_and_hashed(
    descriptor: int, path: Path, start: int, size: int
) -> None:
    before, data = some(start), some(size)
    os.write(descriptor, before)
    hashes = hashlib.sha256(), hashlib.sha512()
    write(descriptor, start, data, *hashes)
    assert path.read_bytes() == before + data
    assert [item.digest() for item in hashes] == [
        hashlib.sha256(data).digest(),
        hashlib.sha512(data).digest(),
    ]


def test_a_file_may_have_larger_buffers(
    descriptor: int, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes, real = [], os.pwrite

    def note(descriptor: int, data: bytes, position: int) -> int:
        sizes.append(len(data))
        return real(descriptor, data, position)

    monkeypatch.setattr(os, "pwrite", note)
    data, hasher = some(2 * WIDE_BUFFER_BYTES + 5), hashlib.sha256()
    with closing(LargeFile(descriptor, 0, hasher, buffer_bytes=WIDE_BUFFER_BYTES)) as file:
        file.write(data)
        file.finish()
    assert path.read_bytes() == data
    assert hasher.digest() == hashlib.sha256(data).digest()
    assert sizes == [WIDE_BUFFER_BYTES, WIDE_BUFFER_BYTES, 5]


def test_bytes_may_be_put_where_they_go(descriptor: int, path: Path) -> None:
    data, hasher = some(3 * BUFFER_BYTES + 5), hashlib.sha256()
    with closing(LargeFile(descriptor, 0, hasher)) as file:
        left = memoryview(data)
        while left:
            room = file.room()
            count = min(len(room), len(left), 300_001)
            assert count > 0
            room[:count], left = left[:count], left[count:]
            file.filled(count)
        file.finish()
    assert path.read_bytes() == data
    assert hasher.digest() == hashlib.sha256(data).digest()


@pytest.mark.usefixtures("system")
@pytest.mark.parametrize("size", [*SIZES, LARGE_BYTES])
@pytest.mark.parametrize("start", STARTS)
def test_a_file_is_read_from_any_place_on(
    descriptor: int, path: Path, start: int, size: int
) -> None:
    data = some(size)
    path.write_bytes(data)
    start = min(start, size)
    with closing(Reader(descriptor, start, size)) as reader:
        pieces = [bytes(piece) for piece in iter(lambda: reader.next().result(), b"")]
    assert b"".join(pieces) == data[start:]


@pytest.mark.skipif(not hasattr(os, "O_DIRECT"), reason="this system has no direct writes")
def test_large_parts_go_past_the_cache_and_the_end_does_not(
    descriptor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not disk._set_direct(descriptor, on=True):
        pytest.skip("the file system of the tests takes no direct writes")
    disk._set_direct(descriptor, on=False)
    written = []
    real = os.pwrite

    def note(descriptor: int, data: bytes, position: int) -> int:
        direct = bool(fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT)
        written.append((direct, position, len(data)))
        return real(descriptor, data, position)

    monkeypatch.setattr(os, "pwrite", note)
    write(descriptor, 0, some(BUFFER_BYTES + BLOCK_BYTES + 5))
    assert written == [
        (True, 0, BUFFER_BYTES),
        (True, BUFFER_BYTES, BLOCK_BYTES),
        (False, BUFFER_BYTES + BLOCK_BYTES, 5),
    ]


def test_the_descriptor_takes_ordinary_writes_afterwards(descriptor: int) -> None:
    before = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    write(descriptor, 0, some(BUFFER_BYTES))
    assert fcntl.fcntl(descriptor, fcntl.F_GETFL) == before


def test_short_writes_are_continued(
    descriptor: int, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda to, data, at: real(to, data[:300_001], at))
    data = some(2 * BUFFER_BYTES)
    write(descriptor, 0, data)
    assert path.read_bytes() == data


def test_nothing_is_written_after_a_gap(
    descriptor: int, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.pwrite

    def full(descriptor: int, data: bytes, position: int) -> int:
        if position == BUFFER_BYTES:
            raise OSError(errno.ENOSPC, "full")
        return real(descriptor, data, position)

    monkeypatch.setattr(os, "pwrite", full)
    data = some(8 * BUFFER_BYTES)
    with pytest.raises(OSError, match="full"):
        write(descriptor, 0, data)
    assert path.read_bytes() == data[:BUFFER_BYTES]


def test_what_is_not_finished_is_a_beginning_in_whole_blocks(descriptor: int, path: Path) -> None:
    data = some(3 * BUFFER_BYTES + 5)
    with closing(LargeFile(descriptor, 0)) as file:
        file.write(data)
    assert path.read_bytes() == data[: 3 * BUFFER_BYTES]


def test_a_reader_may_be_closed_early(descriptor: int, path: Path) -> None:
    path.write_bytes(some(8 * BUFFER_BYTES))
    reader = Reader(descriptor, 0, 8 * BUFFER_BYTES)
    piece = reader.next().result()
    reader.close()
    assert bytes(piece) == some(BUFFER_BYTES)


def test_the_buffers_are_given_back_at_once(descriptor: int) -> None:
    gc.disable()
    try:
        file = LargeFile(descriptor, 0, hashlib.sha256())
        buffers = [weakref.ref(slot) for slot in file._slots]
        file.write(some(2 * BUFFER_BYTES + 5))
        file.finish()
        file.close()
        assert [buffer() for buffer in buffers] == [None] * len(buffers)
    finally:
        gc.enable()


def flags_of(buffer: mmap.mmap) -> set[str]:
    """What the system was told of the memory of a buffer; see proc(5), smaps."""
    address = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        head, *words = line.split()
        if "-" in head:
            start, end = (int(each, 16) for each in head.split("-"))
            inside = start <= address < end
        elif inside and head == "VmFlags:":
            return set(words)
    return set()


@pytest.mark.skipif(
    not hasattr(mmap, "MADV_HUGEPAGE") or not Path("/proc/self/smaps").exists(),
    reason="this system does not tell",
)
def test_a_buffer_is_private_memory_in_huge_pages_that_no_child_gets() -> None:
    buffer = disk._buffer()
    assert len(buffer) == BUFFER_BYTES
    flags = flags_of(buffer)
    assert "dc" in flags
    assert "sh" not in flags
    if Path("/sys/kernel/mm/transparent_hugepage").exists():
        assert "hg" in flags


def test_a_buffer_is_there_on_systems_without_huge_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(mmap, "MADV_HUGEPAGE", raising=False)
    assert len(disk._buffer()) == BUFFER_BYTES


@pytest.mark.parametrize("size", [1, LARGE_BYTES], ids=["small", "large"])
def test_only_large_files_are_read_into_huge_pages(
    descriptor: int, path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    made: list[mmap.mmap] = []
    real = disk._buffer

    def note() -> mmap.mmap:
        made.append(real())
        return made[-1]

    monkeypatch.setattr(disk, "_buffer", note)
    path.write_bytes(some(size))
    with closing(Reader(descriptor, 0, size)) as reader:
        assert reader.next().result()[:1] == some(1)
    assert bool(made) is (size == LARGE_BYTES)
