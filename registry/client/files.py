"""Walks and hashes a folder: the I/O half of a manifest.

Only plain files in plain folders: a link, a device or a pipe can be something else tomorrow, or on
another machine. Each file is read once, for both digests, and must be the same file, of the same
length and time of change, before and after.
"""

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from registry.client.transfer import Progress, changed, no_progress
from registry.core.digest import DigestSet
from registry.core.records.manifest import MAX_FILES, File, Manifest, check_path
from registry.core.records.release import Role
from registry.errors import (
    LimitExceededError,
    MalformedError,
    NotFoundError,
    Reason,
)

BUFFER_BYTES: Final = 1024 * 1024
"""Bytes read at once; two buffers of this size are in use."""

_ROLES: Final[Mapping[str, Role]] = {
    ".safetensors": "weights",
    ".onnx": "weights",
    ".gguf": "weights",
    ".bin": "weights",
    ".pt": "weights",
    ".pth": "weights",
    ".ckpt": "weights",
    ".h5": "weights",
    ".npz": "weights",
    ".npy": "weights",
    ".onnx_data": "weights",
    ".data": "weights",
    ".jinja": "template",
    ".model": "tokenizer",
    ".py": "code",
    ".md": "doc",
    ".rst": "doc",
    ".txt": "doc",
    ".pdf": "doc",
    ".csv": "data",
    ".parquet": "data",
    ".jsonl": "data",
    ".json": "config",
    ".yaml": "config",
    ".yml": "config",
    ".toml": "config",
    ".ini": "config",
}

_NAMED: Final[Mapping[str, Role]] = {
    "license": "doc",
    "licence": "doc",
    "readme": "doc",
    "notice": "doc",
    "merges.txt": "tokenizer",
    "vocab.txt": "tokenizer",
    "vocab.json": "tokenizer",
    "special_tokens_map.json": "tokenizer",
    "added_tokens.json": "tokenizer",
}


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A plain file in a folder: its path in the manifest, and what it was when it was found."""

    path: str
    location: Path
    status: os.stat_result

    @property
    def size(self) -> int:
        """Its length in bytes."""
        return self.status.st_size


def walk(folder: Path) -> list[FoundFile]:
    """All files below ``folder``, in any order; nothing is read.

    Raises:
        MalformedError: ``NOT_A_REGULAR_FILE``, ``UNSAFE_PATH``, ``PATH_NOT_NFC`` or
            ``EMPTY_MODEL``.
        NotFoundError: ``NOT_A_REGULAR_FILE`` if there is no such folder.
        LimitExceededError: ``TOO_MANY_FILES``.
    """
    if not folder.is_dir():
        raise NotFoundError(
            Reason.NOT_A_REGULAR_FILE, "there is no such folder", where=_shown(folder)
        )
    found: list[FoundFile] = []
    waiting = [(folder, "")]
    while waiting:
        location, prefix = waiting.pop()
        with os.scandir(location) as entries:
            for item in entries:
                path = prefix + item.name
                check_path(path)
                status = item.stat(follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    waiting.append((Path(item.path), path + "/"))
                    continue
                _require_plain(path, status)
                found.append(FoundFile(path, Path(item.path), status))
                if len(found) > MAX_FILES:
                    raise LimitExceededError(
                        Reason.TOO_MANY_FILES,
                        "this folder has too many files",
                        where=_shown(folder),
                        expected=f"at most {MAX_FILES}",
                    )
    if not found:
        raise MalformedError(
            Reason.EMPTY_MODEL, "there is no file in this folder", where=_shown(folder)
        )
    return found


def hash_folder(found: Sequence[FoundFile], progress: Progress = no_progress) -> Manifest:
    """Read all files once and list them with both digests.

    Raises:
        MalformedError: ``FILE_CHANGED``, ``PATH_COLLISION``, or what :func:`walk` refuses.
    """
    # Whatever is wrong with names is said before gigabytes are read.
    nothing = DigestSet.of(b"")
    Manifest.build(File(path=item.path, size=item.size, digest=nothing) for item in found)
    with _Hasher() as hasher:
        return Manifest.build(
            File(path=item.path, size=item.size, digest=hasher.digests(item, progress))
            for item in found
        )


def role_of(path: str) -> Role:
    """What a file is for, guessed from its name; a convenience, which nothing relies on."""
    name = path.rsplit("/", 1)[-1].lower()
    stem, dot, extension = name.rpartition(".")
    if name in _NAMED or stem in _NAMED or name.startswith("tokenizer"):
        return _NAMED.get(name) or _NAMED.get(stem) or "tokenizer"
    return _ROLES.get(dot + extension, "other")


@contextmanager
def open_unchanged(item: FoundFile) -> Iterator[int]:
    """A descriptor of the very file that was found; at the end it must still be as it was.

    Raises:
        MalformedError: ``FILE_CHANGED`` or ``NOT_A_REGULAR_FILE``.
    """
    try:
        # O_NONBLOCK: a pipe put in the file's place must not make us wait for ever.
        descriptor = os.open(
            item.location, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        )
    except OSError as error:
        raise changed(item.path, "the file that was found", error.strerror or "") from error
    try:
        _require_same(item, os.fstat(descriptor))
        yield descriptor
        _require_same(item, os.fstat(descriptor))
    finally:
        os.close(descriptor)


class _Hasher:
    """Both digests in one pass: SHA-512, the slower one, in a thread of its own."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sha512")
        self._buffers = [bytearray(BUFFER_BYTES), bytearray(BUFFER_BYTES)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()

    def digests(self, item: FoundFile, progress: Progress) -> DigestSet:
        """Read a file to its end."""
        name, twin = hashlib.sha256(), hashlib.sha512()
        waiting: Future[None] | None = None
        size = turn = 0
        with open_unchanged(item) as descriptor:
            while count := os.readv(descriptor, [self._buffers[turn]]):
                view = memoryview(self._buffers[turn])[:count]
                # At most one piece waits; its buffer is the one that is not being read into.
                if waiting is not None:
                    waiting.result()
                waiting = self._thread.submit(twin.update, view)
                name.update(view)
                size += count
                turn = 1 - turn
                progress(count)
                if size > item.size:
                    # It may grow faster than we read.
                    break
            if waiting is not None:
                waiting.result()
        if size != item.size:
            raise changed(item.path, f"{item.size} bytes", f"{size} bytes")
        return DigestSet(sha256=name.hexdigest(), sha512=twin.hexdigest())


def _require_plain(path: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kinds = {
            stat.S_IFLNK: "a symbolic link",
            stat.S_IFIFO: "a pipe",
            stat.S_IFSOCK: "a socket",
            stat.S_IFCHR: "a device",
            stat.S_IFBLK: "a device",
        }
        raise MalformedError(
            Reason.NOT_A_REGULAR_FILE,
            "only plain files can be published",
            where=path,
            expected="a file or a folder",
            actual=kinds.get(stat.S_IFMT(status.st_mode), "something else"),
            hint="replace a link by a copy of what it points to",
        )


def _require_same(item: FoundFile, status: os.stat_result) -> None:
    _require_plain(item.path, status)
    for name in ("st_dev", "st_ino", "st_size", "st_mtime_ns"):
        before, after = getattr(item.status, name), getattr(status, name)
        if before != after:
            raise changed(item.path, f"{name} {before}", f"{name} {after}")


def _shown(path: Path) -> str:
    return str(path).encode("utf-8", "backslashreplace").decode()
