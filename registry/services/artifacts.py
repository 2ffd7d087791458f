"""Blobs in and out: what is stored is also listed, with both digests."""

from collections.abc import Sequence
from typing import BinaryIO

from registry.core.digest import SHA256_SIZE
from registry.core.digest import text as digest_text
from registry.disk import BUFFER_BYTES
from registry.errors import LimitExceededError, MalformedError, NotFoundError, Reason
from registry.storage.blobs.port import BlobInfo, BlobStore, BlobWriter
from registry.storage.space import DiskSpace
from registry.storage.sql import catalog
from registry.storage.sql.engine import Database

MAX_BLOB_BYTES = 1 << 40
"""Bytes of one blob: 1 TiB."""

MAX_ASKED = 10_000
"""Digests in one question."""


def check_digest(sha256: bytes) -> None:
    """Refuse what is not a SHA-256.

    Raises:
        MalformedError: ``MALFORMED_DIGEST``.
    """
    if len(sha256) != SHA256_SIZE:
        raise MalformedError(
            Reason.MALFORMED_DIGEST,
            "this is not a SHA-256",
            expected="32 bytes",
            actual=f"{len(sha256)} bytes",
        )


class Artifacts:
    """Blobs, listed in the catalog."""

    def __init__(self, database: Database, blobs: BlobStore, space: DiskSpace) -> None:
        self._database = database
        self._blobs = blobs
        self._space = space

    def find_missing(self, digests: Sequence[bytes]) -> list[bytes]:
        """Which of these blobs are not stored, in the order asked.

        Raises:
            LimitExceededError: ``MESSAGE_TOO_LARGE``.
            MalformedError: ``MALFORMED_DIGEST``.
        """
        if len(digests) > MAX_ASKED:
            raise LimitExceededError(
                Reason.MESSAGE_TOO_LARGE,
                "too many digests in one question",
                expected=f"at most {MAX_ASKED}",
                actual=str(len(digests)),
            )
        for item in digests:
            check_digest(item)
        known = self.stat_all(digests)
        return [item for item in dict.fromkeys(digests) if item not in known]

    def stat_all(self, digests: Sequence[bytes]) -> dict[bytes, BlobInfo]:
        """What is known of these blobs; unknown ones are left out."""
        with self._database.glance() as connection:
            return catalog.blobs(connection, digests)

    def stat(self, sha256: bytes) -> BlobInfo:
        """What is known of one blob.

        Raises:
            NotFoundError: ``UNKNOWN_BLOB``.
        """
        check_digest(sha256)
        info = self.stat_all([sha256]).get(sha256)
        if info is None:
            raise NotFoundError(
                Reason.UNKNOWN_BLOB, "there is no such blob", where=digest_text(sha256)
            )
        return info

    def check_upload(self, sha256: bytes, size: int) -> None:
        """Refuse a blob that would not be taken in, as far as its announcement tells.

        Raises:
            LimitExceededError: ``BLOB_TOO_LARGE``.
            MalformedError: ``MALFORMED_DIGEST``.
            UnavailableError: ``DISK_LOW``.
        """
        check_digest(sha256)
        self._space.check()
        if size > MAX_BLOB_BYTES:
            raise LimitExceededError(
                Reason.BLOB_TOO_LARGE,
                "this blob is too large",
                expected=f"at most {MAX_BLOB_BYTES} bytes",
                actual=f"{size} bytes",
            )

    def create(self, sha256: bytes, size: int, buffer_bytes: int = BUFFER_BYTES) -> BlobWriter:
        """Start to take in a blob; a large one gets buffers of ``buffer_bytes``.

        Raises:
            LimitExceededError, MalformedError, UnavailableError: As :meth:`check_upload`.
        """
        self.check_upload(sha256, size)
        return self._blobs.create(sha256, size, buffer_bytes)

    def finish(self, writer: BlobWriter) -> BlobInfo:
        """Store what came in; durable and listed on return.

        Raises:
            VerificationError: ``DIGEST_MISMATCH`` or ``TRUNCATED_UPLOAD``.
        """
        info = writer.commit()
        self._list(info)
        return info

    def put(self, data: bytes) -> BlobInfo:
        """Store bytes that are in memory; durable and listed on return.

        Raises:
            UnavailableError: ``DISK_LOW``.
        """
        self._space.check()
        info = self._blobs.put(data)
        self._list(info)
        return info

    def stage(self, data: bytes) -> BlobWriter:
        """Write bytes that are in memory, to be committed with the statement that names them."""
        return self._blobs.stage(data)

    def open(self, sha256: bytes) -> tuple[BlobInfo, BinaryIO]:
        """Open a blob for reading; whoever reads hashes.

        Raises:
            NotFoundError: ``UNKNOWN_BLOB``.
        """
        return self.stat(sha256), self._blobs.open(sha256)

    def read(self, sha256: bytes, limit: int) -> bytes:
        """Read a whole blob, checked.

        Raises:
            NotFoundError: ``UNKNOWN_BLOB``.
            DamagedError: ``STORED_BYTES``.
            LimitExceededError: ``BLOB_TOO_LARGE``.
        """
        return self._blobs.read(sha256, limit)

    def _list(self, info: BlobInfo) -> None:
        with self._database.write() as connection:
            catalog.add_blob(connection, info)
