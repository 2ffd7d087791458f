"""Blobs in files, durable when ``commit`` returns.

``<root>/sha256/ab/abcd…`` holds blobs, ``<root>/incoming/`` what is still arriving; the latter is
emptied at start. Files are written once, hashed with SHA-256 and SHA-512 on the way, synced, and
renamed into place.
"""

import hashlib
import os
import re
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from registry.core import digest
from registry.disk import BUFFER_BYTES, LARGE_BYTES, LargeFile
from registry.errors import (
    DamagedError,
    LimitExceededError,
    NotFoundError,
    Reason,
    VerificationError,
)
from registry.storage.blobs.port import CHUNK_BYTES, BlobInfo
from registry.storage.durable import make_folder, sync_folder

_NAME = re.compile(r"[0-9a-f]{64}")


class DiskBlobStore:
    """Blobs under one folder."""

    def __init__(self, root: Path) -> None:
        self._blobs = root / "sha256"
        self._incoming = root / "incoming"
        make_folder(self._blobs)
        make_folder(self._incoming)
        for leftover in self._incoming.iterdir():
            leftover.unlink()
        # A process that died may have made folders whose names are not durable yet.
        sync_folder(self._blobs)
        self._folders: set[str] = {path.name for path in self._blobs.iterdir()}
        self._folders_lock = threading.Lock()

    def create(
        self, sha256: bytes, size: int, buffer_bytes: int = BUFFER_BYTES
    ) -> "DiskBlobWriter":
        """Start to store a blob that is announced to have this digest and size."""
        path = self._incoming / secrets.token_hex(16)
        return DiskBlobWriter(self, path, sha256, size, buffer_bytes)

    def put(self, data: bytes) -> BlobInfo:
        """Store bytes that are in memory; already stored ones are left as they are."""
        name = hashlib.sha256(data).digest()
        if self.path(name).exists():
            # Whoever stored it may have died, or failed, before its name was durable.
            sync_folder(self.path(name).parent)
            return BlobInfo(name, hashlib.sha512(data).digest(), len(data))
        writer = self.stage(data)
        try:
            return writer.commit()
        except BaseException:
            # Also when interrupted: nothing half-written may stay.
            writer.abort()
            raise

    def stage(self, data: bytes) -> "DiskBlobWriter":
        """Write bytes that are in memory as far as they can be without being visible."""
        writer = self.create(hashlib.sha256(data).digest(), len(data))
        try:
            writer.write(data)
            writer.prepare()
        except BaseException:
            writer.abort()
            raise
        return writer

    def path(self, sha256: bytes) -> Path:
        """Where the blob is, or would be."""
        # Always from raw bytes: a digest given as text could hold a path.
        name = sha256.hex()
        return self._blobs / name[:2] / name

    def open(self, sha256: bytes) -> BinaryIO:
        """Open a blob for reading.

        Raises:
            NotFoundError: ``UNKNOWN_BLOB``.
        """
        try:
            return self.path(sha256).open("rb", buffering=0)
        except FileNotFoundError as error:
            raise NotFoundError(
                Reason.UNKNOWN_BLOB, "there is no such blob", where=digest.text(sha256)
            ) from error

    def read(self, sha256: bytes, limit: int) -> bytes:
        """Read a whole blob of at most ``limit`` bytes and check its digest.

        Raises:
            NotFoundError: ``UNKNOWN_BLOB``.
            DamagedError: ``STORED_BYTES``.
            LimitExceededError: ``BLOB_TOO_LARGE``.
        """
        with self.open(sha256) as file:
            size = os.fstat(file.fileno()).st_size
            if size > limit:
                raise LimitExceededError(
                    Reason.BLOB_TOO_LARGE,
                    "this blob is too large for its purpose",
                    where=digest.text(sha256),
                    expected=f"at most {limit} bytes",
                    actual=f"{size} bytes",
                )
            data = file.read()
        actual = hashlib.sha256(data).digest()
        if actual != sha256:
            raise DamagedError(
                Reason.STORED_BYTES,
                "a stored blob is not what was stored",
                where=str(self.path(sha256)),
                expected=digest.text(sha256),
                actual=digest.text(actual),
                hint="restore the file from a backup; run: provreg log fsck",
            )
        return data

    def __iter__(self) -> Iterator[bytes]:
        """The digests of all stored blobs, in no order."""
        for path in self._found():
            if (sha256 := self._named(path)) is not None:
                yield sha256

    def strays(self) -> Iterator[str]:
        """Where something is that is no blob and that nothing here has put there, in ASCII."""
        for path in self._found():
            if self._named(path) is None:
                yield ascii(str(path.relative_to(self._blobs)))[1:-1]

    def _found(self) -> Iterator[Path]:
        for folder in self._blobs.iterdir():
            if folder.is_dir():
                yield from folder.iterdir()
            else:
                yield folder

    def _named(self, path: Path) -> bytes | None:
        """The digest that a file is named by; None if no blob is looked for there."""
        if _NAME.fullmatch(path.name) is None:
            return None
        sha256 = bytes.fromhex(path.name)
        # Also no folder, which cannot be read, and no pipe, which would never end.
        return sha256 if path == self.path(sha256) and path.is_file() else None

    def settle(self, temporary: Path, sha256: bytes) -> None:
        """Move a synced file to its final name, durably."""
        final = self.path(sha256)
        folder = final.parent
        with self._folders_lock:
            if folder.name not in self._folders:
                # Synced even if it exists: an earlier attempt may have failed in between.
                folder.mkdir(mode=0o700, exist_ok=True)
                sync_folder(self._blobs)
                self._folders.add(folder.name)
        temporary.rename(final)
        sync_folder(folder)


class DiskBlobWriter:
    """One file on its way in."""

    def __init__(
        self, store: DiskBlobStore, path: Path, sha256: bytes, size: int, buffer_bytes: int
    ) -> None:
        self._store = store
        self._path = path
        self._sha256 = sha256
        self._size = size
        self._written = 0
        self._prepared = False
        self._name, self._twin = hashlib.sha256(), hashlib.sha512()
        # Opened first: if that fails, no thread is left behind.
        self._file = path.open("xb", buffering=0)
        self._small = memoryview(b"")
        self._large: LargeFile | None = None
        if size >= LARGE_BYTES:
            self._large = LargeFile(
                self._file.fileno(), 0, self._name, self._twin, buffer_bytes=buffer_bytes
            )

    def write(self, data: bytes | memoryview) -> None:
        """Take the next bytes.

        Raises:
            VerificationError: ``SIZE_MISMATCH`` if they are more than announced.
        """
        self._count(len(data))
        if self._large is not None:
            self._large.write(data)
            return
        self._name.update(data)
        self._twin.update(data)
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]

    def room(self) -> memoryview:
        """Where the next bytes go, at least one of them: for those who can put them there."""
        if self._large is not None:
            return self._large.room()
        if not self._small:
            self._small = memoryview(bytearray(CHUNK_BYTES))
        return self._small

    def filled(self, count: int) -> None:
        """Take the first ``count`` bytes of :meth:`room`.

        Raises:
            VerificationError: ``SIZE_MISMATCH`` as for :meth:`write`.
        """
        if self._large is None:
            self.write(self._small[:count])
            return
        self._count(count)
        self._large.filled(count)

    def prepare(self) -> None:
        """Check the digest and size that were announced and sync the bytes: only the name is left.

        Raises:
            VerificationError: ``DIGEST_MISMATCH`` or ``TRUNCATED_UPLOAD``.
        """
        if self._prepared:
            return
        if self._written != self._size:
            raise VerificationError(
                Reason.TRUNCATED_UPLOAD,
                "fewer bytes came than were announced",
                where=digest.text(self._sha256),
                expected=f"{self._size} bytes",
                actual=f"{self._written} bytes",
                hint="send the blob again",
            )
        if self._large is not None:
            self._large.finish()
        actual = self._name.digest()
        if actual != self._sha256:
            raise VerificationError(
                Reason.DIGEST_MISMATCH,
                "the bytes are not those that were announced",
                expected=digest.text(self._sha256),
                actual=digest.text(actual),
                hint="hash the file again and send it again",
            )
        os.fsync(self._file.fileno())
        self._close()
        self._prepared = True

    def commit(self) -> BlobInfo:
        """Store the blob durably, prepared or not.

        Raises:
            VerificationError: ``DIGEST_MISMATCH`` or ``TRUNCATED_UPLOAD``; nothing is stored.
        """
        self.prepare()
        self._store.settle(self._path, self._sha256)
        return BlobInfo(self._sha256, self._twin.digest(), self._size)

    def abort(self) -> None:
        """Forget everything; may be called at any time, also after an error."""
        self._close()
        self._path.unlink(missing_ok=True)

    def _count(self, more: int) -> None:
        self._written += more
        if self._written > self._size:
            raise VerificationError(
                Reason.SIZE_MISMATCH,
                "more bytes came than were announced",
                where=digest.text(self._sha256),
                expected=f"{self._size} bytes",
                actual=f"at least {self._written} bytes",
            )

    def _close(self) -> None:
        if not self._file.closed:
            if self._large is not None:
                self._large.close()
            self._file.close()
