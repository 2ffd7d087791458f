"""What every blob store promises.

A blob is there completely under its SHA-256, or not at all. ``commit`` returns when it is durable.
Whoever owns the store can withhold blobs but not change them: readers hash what they read.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from registry.disk import BUFFER_BYTES

CHUNK_BYTES = 256 * 1024
"""Bytes moved at a time, in both directions."""


@dataclass(frozen=True, slots=True)
class BlobInfo:
    """The names and the size of a stored blob."""

    sha256: bytes
    sha512: bytes
    size: int


class BlobWriter(Protocol):
    """One blob on its way in. Nothing is visible before :meth:`commit` returns."""

    def write(self, data: bytes | memoryview) -> None:
        """Take the next bytes."""

    def room(self) -> memoryview:
        """Where the next bytes go, at least one of them: for those who can put them there."""

    def filled(self, count: int) -> None:
        """Take the first ``count`` bytes of :meth:`room`."""

    def prepare(self) -> None:
        """Check the digest and size that were announced and sync the bytes: only the name is left.

        Raises:
            VerificationError: ``DIGEST_MISMATCH`` or ``TRUNCATED_UPLOAD``.
        """

    def commit(self) -> BlobInfo:
        """Store the blob durably, prepared or not.

        Raises:
            VerificationError: ``DIGEST_MISMATCH`` or ``TRUNCATED_UPLOAD``; nothing is stored.
        """

    def abort(self) -> None:
        """Forget everything; may be called at any time, also after an error."""


class BlobStore(Protocol):
    """Blobs by digest."""

    def create(self, sha256: bytes, size: int, buffer_bytes: int = BUFFER_BYTES) -> BlobWriter:
        """Start to store a blob that is announced to have this digest and size.

        A large one gets buffers of ``buffer_bytes``.
        """

    def put(self, data: bytes) -> BlobInfo:
        """Store bytes that are in memory; already stored ones are left as they are."""

    def stage(self, data: bytes) -> BlobWriter:
        """Write bytes that are in memory as far as they can be without being visible."""

    def open(self, sha256: bytes) -> BinaryIO:
        """Open a blob for reading.

        Raises:
            NotFoundError: ``UNKNOWN_BLOB``.
        """

    def read(self, sha256: bytes, limit: int) -> bytes:
        """Read a whole blob of at most ``limit`` bytes and check its digest.

        Raises:
            NotFoundError: ``UNKNOWN_BLOB``.
            DamagedError: ``STORED_BYTES``.
            LimitExceededError: ``BLOB_TOO_LARGE``.
        """

    def __iter__(self) -> Iterator[bytes]:
        """The digests of all stored blobs, in no order."""

    def strays(self) -> Iterator[str]:
        """Where something is that is no blob and that nothing here has put there, in ASCII."""
