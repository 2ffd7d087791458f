"""Moving blobs: in chunks, in order, and never more or less than was announced."""

from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO, Final

from registry.api.v1 import artifact_pb2
from registry.api.v1 import artifact_service_pb2 as pb
from registry.core.digest import text as digest_text
from registry.errors import MalformedError, Reason, VerificationError
from registry.wire.chunk import Piece

CHUNK_BYTES: Final = 256 * 1024
"""Bytes of one chunk."""

Progress = Callable[[int], None]
"""Is told how many more bytes have been moved."""


def no_progress(_: int) -> None:
    """Tell nobody."""


def upload_requests(
    file: BinaryIO, sha256: bytes, size: int, progress: Progress, where: str
) -> Iterator[Piece | pb.UploadRequest]:
    """The messages that upload ``size`` bytes of ``file``.

    Raises:
        MalformedError: ``FILE_CHANGED`` if the file has another length.
    """
    yield pb.UploadRequest(header=artifact_pb2.UploadHeader(sha256=sha256, size=size))
    offset = 0
    while data := file.read(CHUNK_BYTES):
        if offset + len(data) > size:
            raise changed(where, f"{size} bytes", "more")
        yield Piece(offset, data)
        offset += len(data)
        progress(len(data))
    if offset != size:
        raise changed(where, f"{size} bytes", f"{offset} bytes")


def received_chunks(
    pieces: Iterable[Piece], sha256: bytes, offset: int
) -> Iterator[bytes | memoryview]:
    """The bytes of a download that starts at ``offset``, without gaps.

    Raises:
        VerificationError: ``CHUNK_OUT_OF_ORDER``.
    """
    for piece in pieces:
        if piece.offset != offset:
            raise VerificationError(
                Reason.CHUNK_OUT_OF_ORDER,
                "the registry sent a piece that does not follow the one before",
                where=digest_text(sha256),
                expected=f"offset {offset}",
                actual=f"offset {piece.offset}",
            )
        offset += len(piece.data)
        yield piece.data


def changed(where: str, expected: str, actual: str) -> MalformedError:
    """What to say of a file that changes while it is read."""
    return MalformedError(
        Reason.FILE_CHANGED,
        "this file changed while it was read",
        where=where,
        expected=expected,
        actual=actual,
        hint="stop whatever writes to it, and try again",
    )
