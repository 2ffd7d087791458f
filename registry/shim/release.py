"""The release that a shim serves: pinned once, and compared with the bytes on this host.

What is compared here is what the publisher's manifest says. That the manifest itself is genuine,
signed and in the log, is what whoever builds a :class:`PinnedRelease` has verified before.
"""

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from registry.core import digest
from registry.core.records import inference
from registry.core.records.manifest import File, Manifest
from registry.errors import NotFoundError, Reason, VerificationError

_CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class PinnedRelease:
    """One version of a model, verified, and the files it consists of.

    Attributes:
        record_id: The record id of the release statement.
        manifest: The manifest it is bound to.
    """

    record_id: bytes
    name: str
    version: str
    manifest: Manifest

    @property
    def model(self) -> inference.Model:
        """How records name this release."""
        return inference.Model(
            release=digest.text(self.record_id),
            manifest=digest.sha256(self.manifest.to_bytes()).hex(),
            name=self.name,
            version=self.version,
        )

    def file(self, path: str) -> File:
        """The manifest's entry for ``path``.

        Raises:
            NotFoundError: ``WRONG_MODEL_FILE``.
        """
        for file in self.manifest.files:
            if file.path == path:
                return file
        raise NotFoundError(
            Reason.WRONG_MODEL_FILE,
            f"{self.name}@{self.version} has no such file",
            where=path[:200],
            expected=", ".join(file.path for file in self.manifest.files[:10]),
        )

    def verify_folder(self, folder: Path) -> None:
        """Check that every file of the release is in ``folder`` with just its registered bytes.

        Raises:
            NotFoundError: ``WRONG_MODEL_FILE`` if one is missing.
            VerificationError: ``WRONG_MODEL_FILE`` if one differs.
        """
        for file in self.manifest.files:
            hasher = hashlib.sha256()
            size = 0
            for chunk in _read(folder / file.path):
                hasher.update(chunk)
                size += len(chunk)
            _compare(folder / file.path, file, size, hasher.hexdigest())

    def read_verified(self, folder: Path, path: str) -> bytes:
        """The bytes of one file of the release, after the comparison and from the same reading.

        Whoever uses these bytes uses what was compared. Opening the path again would not do: the
        file could have been replaced in between.

        Raises:
            NotFoundError: ``WRONG_MODEL_FILE`` if it is missing, or not in the release.
            VerificationError: ``WRONG_MODEL_FILE`` if it differs.
        """
        file = self.file(path)
        data = b"".join(_read(folder / path))
        _compare(folder / path, file, len(data), hashlib.sha256(data).hexdigest())
        return data


def _read(path: Path) -> Iterator[bytes]:
    try:
        # Without O_NONBLOCK a named pipe in the place of the file would stop the shim for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise NotFoundError(
            Reason.WRONG_MODEL_FILE,
            "a file of the model cannot be read",
            where=str(path),
            actual=error.strerror or "",
            hint="run: provreg model fetch",
        ) from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise VerificationError(
                Reason.WRONG_MODEL_FILE, "a file of the model is no regular file", where=str(path)
            )
        while chunk := os.read(descriptor, _CHUNK_BYTES):
            yield chunk
    finally:
        os.close(descriptor)


def _compare(path: Path, file: File, size: int, sha256: str) -> None:
    if (size, sha256) != (file.size, file.digest.sha256):
        raise VerificationError(
            Reason.WRONG_MODEL_FILE,
            "a file of the model is not the registered one",
            where=str(path),
            expected=f"sha256:{file.digest.sha256}, {file.size} bytes",
            actual=f"sha256:{sha256}, {size} bytes",
            hint="fetch the version again, or publish these files as another version",
        )
