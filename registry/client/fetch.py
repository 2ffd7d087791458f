"""Fetching a release: nothing appears at its final path before everything was verified.

Statement, signer, inclusion proof, checkpoint and manifest are checked first. Files are then hashed
while they arrive, in a staging folder beside the target; it takes the target's name when every file
is complete, right and on the disk. An interrupted fetch leaves the staging folder, and the next one
goes on where it stopped, after reading again what is there.

=============================  ====================================================================
ends                           leaves behind
=============================  ====================================================================
in good order                  the target folder, holding exactly the files of the manifest
killed, or registry gone       the staging folder; no target
with a wrong byte              nothing
=============================  ====================================================================
"""

import errno
import fcntl
import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from registry.client.publish import Stages, silent
from registry.client.registry import KnownRelease, RegistryClient
from registry.client.transfer import Progress
from registry.core.records.manifest import File, Manifest
from registry.disk import BLOCK_BYTES, LARGE_BYTES, LargeFile
from registry.errors import ConflictError, Reason, VerificationError

STAGING_SUFFIX: Final = ".provreg-partial"
"""What the name of a staging folder ends in; it begins with a dot."""

READ_BYTES: Final = 1024 * 1024
"""Bytes read at once from what an earlier fetch left."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A release whose files are in ``folder``.

    Attributes:
        received_bytes: How many bytes came from the registry.
        kept_bytes: How many an earlier, interrupted fetch had left.
    """

    known: KnownRelease
    folder: Path
    received_bytes: int
    kept_bytes: int


def fetch(
    client: RegistryClient, name: str, version: str, target: Path, *, stages: Stages = silent
) -> Fetched:
    """Fetch ``name@version`` into ``target``, which must not exist, or be an empty folder.

    Raises:
        NotFoundError: ``UNKNOWN_VERSION``.
        ConflictError: ``TARGET_EXISTS``.
        VerificationError: ``DIGEST_MISMATCH`` or ``SIZE_MISMATCH``, naming the file; or what is
            wrong with the release.
        RegistryError: Why the registry cannot answer.
    """
    target = Path(os.path.abspath(target))  # noqa: PTH100 - resolve() would follow links
    _require_free(target)
    known = client.release(name, version)
    manifest = known.manifest
    target.parent.mkdir(parents=True, exist_ok=True)
    with (
        _staging(target) as staging,
        stages("fetching", sum(file.size for file in manifest.files)) as progress,
    ):
        _clean(staging, manifest)
        job = _Job(client, staging, progress)
        for file in manifest.files:
            job.fetch(file)
        _finish(staging, target)
    return Fetched(known, target, job.received_bytes, job.kept_bytes)


class _Job:
    """One run over the files of a manifest."""

    def __init__(self, client: RegistryClient, staging: Path, progress: Progress) -> None:
        self._client = client
        self._staging = staging
        self._progress = progress
        self.received_bytes = 0
        self.kept_bytes = 0

    def fetch(self, file: File) -> None:
        """Make one file complete, right and durable."""
        path = self._staging / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            self._complete(descriptor, file)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _complete(self, descriptor: int, file: File) -> None:
        hasher, kept = self._keep(descriptor, file)
        actual = self._receive(descriptor, file, hasher, kept)
        if actual != file.digest.sha256 and kept:
            # What was left may have been damaged when the machine stopped: once more, whole.
            os.ftruncate(descriptor, 0)
            self._progress(-file.size)
            self.kept_bytes -= kept
            actual = self._receive(descriptor, file, hashlib.sha256(), 0)
        if actual != file.digest.sha256:
            raise VerificationError(
                Reason.DIGEST_MISMATCH,
                "the registry sent other bytes than the publisher signed",
                where=file.path,
                expected=f"sha256:{file.digest.sha256}",
                actual=f"sha256:{actual}",
                hint="nothing was kept; tell the operator, or fetch from another registry",
            )

    def _keep(self, descriptor: int, file: File) -> "tuple[hashlib._Hash, int]":
        """Hash what an earlier fetch left of the file."""
        hasher = hashlib.sha256()
        left = os.fstat(descriptor).st_size
        if left > file.size:
            left = 0
        elif left < file.size and file.size >= LARGE_BYTES:
            # Direct writes go on at a whole block only.
            left -= left % BLOCK_BYTES
        os.ftruncate(descriptor, left)
        kept = 0
        while data := os.read(descriptor, READ_BYTES):
            hasher.update(data)
            kept += len(data)
            self._progress(len(data))
        self.kept_bytes += kept
        return hasher, kept

    def _receive(self, descriptor: int, file: File, hasher: "hashlib._Hash", offset: int) -> str:
        """Append what is missing; returns the digest of the whole file."""
        if file.size - offset < LARGE_BYTES:
            os.lseek(descriptor, offset, os.SEEK_SET)

            def take(data: bytes | memoryview) -> None:
                hasher.update(data)
                _write(descriptor, data)

            self._pass_on(file, offset, take)
        else:
            with closing(LargeFile(descriptor, offset, hasher)) as large:
                offset = self._fill(file, offset, large)
                self._pass_on(file, offset, large.write)
                large.finish()
        return hasher.hexdigest()

    def _fill(self, file: File, offset: int, large: LargeFile) -> int:
        """Receive what comes over HTTP; returns the position from which gRPC goes on."""
        for count in self._client.fill(file.digest.raw, file.size, offset, large.room):
            large.filled(count)
            offset += count
            self.received_bytes += count
            self._progress(count)
        return offset

    def _pass_on(self, file: File, offset: int, take: Callable[[bytes | memoryview], None]) -> None:
        """Receive a file from ``offset`` to its end, and not a byte more or less."""
        if offset < file.size:
            for data in self._client.download(file.digest.raw, file.size, offset):
                offset += len(data)
                if offset > file.size:
                    break
                take(data)
                self.received_bytes += len(data)
                self._progress(len(data))
        if offset != file.size:
            raise VerificationError(
                Reason.SIZE_MISMATCH,
                "the registry sent more or fewer bytes than the publisher signed",
                where=file.path,
                expected=f"{file.size} bytes",
                actual="more" if offset > file.size else f"{offset} bytes",
            )


def _write(descriptor: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _require_free(target: Path) -> None:
    occupied = target.is_symlink() or (
        target.exists() and (not target.is_dir() or any(target.iterdir()))
    )
    if occupied:
        raise _exists(target)


def _exists(target: Path) -> ConflictError:
    return ConflictError(
        Reason.TARGET_EXISTS,
        "there is something at the target already",
        where=str(target),
        expected="no such path, or an empty folder",
        hint="fetch into another folder; files are never overwritten",
    )


@contextmanager
def _staging(target: Path) -> Iterator[Path]:
    """The staging folder of ``target``, for this process alone."""
    staging = target.with_name(f".{target.name}{STAGING_SUFFIX}")
    staging.mkdir(exist_ok=True)
    descriptor = os.open(staging, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConflictError(
                Reason.TARGET_EXISTS,
                "another process is fetching into this folder",
                where=str(target),
                hint="wait for it, or fetch into another folder",
            ) from error
        try:
            yield staging
        except VerificationError:
            # Of a registry that sends wrong bytes nothing is kept.
            shutil.rmtree(staging)
            raise
    finally:
        os.close(descriptor)


def _clean(staging: Path, manifest: Manifest) -> None:
    """Remove whatever is not a plain file or folder of this manifest: it would be renamed along."""
    files = {file.path for file in manifest.files}
    folders = {parent for path in files for parent in _parents(path)}
    waiting = [("", staging)]
    while waiting:
        prefix, folder = waiting.pop()
        with os.scandir(folder) as entries:
            for item in list(entries):
                path = prefix + item.name
                mode = item.stat(follow_symlinks=False).st_mode
                if stat.S_ISDIR(mode) and path in folders:
                    waiting.append((path + "/", Path(item.path)))
                elif stat.S_ISDIR(mode):
                    shutil.rmtree(item.path)
                elif not (stat.S_ISREG(mode) and path in files):
                    Path(item.path).unlink()


def _parents(path: str) -> Iterator[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def _finish(staging: Path, target: Path) -> None:
    """Give the staging folder its name, durably, with everything in it."""
    for folder, _, _ in os.walk(staging, topdown=False):
        _sync_folder(Path(folder))
    try:
        staging.rename(target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise _exists(target) from error
        raise
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
