"""Blobs to and from a registry."""

import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Final

from registry.api.v1 import artifact_pb2
from registry.api.v1 import artifact_service_pb2 as pb
from registry.api.v1 import artifact_service_pb2_grpc as rpc
from registry.client import http_download, http_upload, transfer
from registry.client.channel import Connection, transfer_seconds
from registry.client.http_download import Part
from registry.client.http_exchange import HTTPAddress
from registry.client.http_upload import Source
from registry.client.session import Session
from registry.client.transfer import Progress, no_progress
from registry.core import digest
from registry.core.tlog.note import VerifierKey
from registry.disk import LARGE_BYTES
from registry.errors import (
    LimitExceededError,
    MalformedError,
    Reason,
    RegistryError,
    UnavailableError,
    VerificationError,
)
from registry.wire import chunk

MAX_ASKED: Final = 10_000
"""Digests in one question about missing blobs."""

_SERVICE: Final = "/registry.api.v1.ArtifactService"


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """What the registry says that it stored, in agreement with what was sent."""

    sha256: bytes
    sha512: bytes
    size: int


class ArtifactCalls(Session):
    """Asks about blobs, sends and receives them.

    Attributes:
        over_http: Whether large blobs go over HTTP; false once that led nowhere.
        http_bytes: How many bytes went that way.
    """

    def __init__(self, connection: Connection, log_key: VerifierKey) -> None:
        super().__init__(connection, log_key)
        self.over_http = True
        self.http_bytes = 0
        self._artifacts = rpc.ArtifactServiceStub(connection.channel)
        # In place of the generated ones, which copy every piece several times.
        self._upload = connection.channel.stream_unary(
            f"{_SERVICE}/Upload", chunk.write_upload, pb.UploadResponse.FromString
        )
        self._download = connection.channel.unary_stream(
            f"{_SERVICE}/Download", pb.DownloadRequest.SerializeToString, chunk.read_download
        )

    def find_missing(self, digests: Sequence[bytes]) -> list[bytes]:
        """Which of these blobs the registry does not have."""
        missing: list[bytes] = []
        for start in range(0, len(digests), MAX_ASKED):
            asked = digests[start : start + MAX_ASKED]
            request = pb.FindMissingRequest(sha256=asked)
            answer = self.connection.call(self._artifacts.FindMissing, request)
            known = set(asked)
            missing.extend(item for item in answer.missing if item in known)
        return missing

    def stat(self, sha256: bytes) -> StoredBlob:
        """What the registry knows of a blob.

        Raises:
            NotFoundError: ``UNKNOWN_BLOB``.
        """
        request = pb.StatRequest(sha256=sha256)
        blob = self.connection.call(self._artifacts.Stat, request).blob
        return StoredBlob(blob.sha256, blob.sha512, blob.size)

    def upload(
        self, path: Path, size: int, sha256: bytes, progress: Progress = no_progress
    ) -> StoredBlob:
        """Send a file whose size and digest are known.

        Raises:
            MalformedError: ``FILE_CHANGED``.
            VerificationError: ``DIGEST_MISMATCH``: the file is not what its digest names any more.
        """
        with path.open("rb", buffering=0) as file:
            return self.send(file, sha256, size, progress, str(path))

    def upload_bytes(self, data: bytes) -> StoredBlob:
        """Send bytes that are in memory."""
        return self.send(BytesIO(data), digest.sha256(data), len(data), no_progress, "bytes")

    def send(
        self, file: BinaryIO, sha256: bytes, size: int, progress: Progress, where: str
    ) -> StoredBlob:
        """Send an open file from its beginning; ``where`` names it in errors.

        Raises:
            MalformedError, VerificationError: As :meth:`upload`.
        """
        if isinstance(file, io.FileIO) and size >= LARGE_BYTES and self.over_http:
            stored = self._send_over_http(Source(file, sha256, size, where), progress)
            if stored is not None:
                return stored
        failures: list[MalformedError] = []

        def requests() -> Iterator[chunk.Piece | pb.UploadRequest]:
            # gRPC runs this in a thread of its own and tells nobody why it ended.
            try:
                yield from transfer.upload_requests(file, sha256, size, progress, where)
            except MalformedError as error:
                failures.append(error)
                raise

        try:
            answer = self.connection.send(self._upload, requests(), transfer_seconds(size))
        # Whatever gRPC makes of it, why the file could not be sent is the better answer.
        except Exception:
            if failures:
                raise failures[0] from None
            raise
        blob = answer.blob
        if (blob.sha256, blob.size) != (sha256, size):
            raise VerificationError(
                Reason.DIGEST_MISMATCH,
                "the registry stored something else than was sent",
                where=where,
                expected=f"{digest.text(sha256)}, {size} bytes",
                actual=f"{digest.text(blob.sha256)}, {blob.size} bytes",
            )
        return StoredBlob(blob.sha256, blob.sha512, blob.size)

    def _send_over_http(self, source: Source, progress: Progress) -> StoredBlob | None:
        """Send a file over HTTP; None where that leads nowhere."""
        sent = 0

        def count(more: int) -> None:
            nonlocal sent
            sent += more
            progress(more)

        header = artifact_pb2.UploadHeader(sha256=source.sha256, size=source.size)
        try:
            answer = self.connection.call(
                self._artifacts.OpenUpload, pb.OpenUploadRequest(header=header)
            )
            address = HTTPAddress(answer.http.port, answer.http.ticket)
            if address.usable:
                http_upload.send(self.connection, address, source, count)
                # Whoever answered there: the registry knows what it stored.
                stored = self.stat(source.sha256)
                if (stored.sha256, stored.size) == (source.sha256, source.size):
                    self.http_bytes += source.size
                    return stored
        except MalformedError as error:
            if error.reason is Reason.FILE_CHANGED:
                raise
        except RegistryError:
            # As for those who fetch: gRPC will say what is wrong, if it is.
            pass
        # Not for every file of a model once more.
        self.over_http = False
        progress(-sent)
        return None

    def download(self, sha256: bytes, size: int, offset: int = 0) -> Iterator[bytes | memoryview]:
        """The bytes of a blob from ``offset`` on, as the registry sends them: hash them.

        ``size`` is that of the whole blob; it only bounds how long the transfer may take.

        Raises:
            NotFoundError: ``UNKNOWN_BLOB``.
            VerificationError: ``CHUNK_OUT_OF_ORDER``.
        """
        request = pb.DownloadRequest(sha256=sha256, offset=offset)
        answers = self.connection.receive(self._download, request, transfer_seconds(size - offset))
        return transfer.received_chunks(answers, sha256, offset)

    def fill(
        self, sha256: bytes, size: int, offset: int, room: Callable[[], memoryview]
    ) -> Iterator[int]:
        """Receive a blob from ``offset`` on into whatever ``room`` gives, as far as HTTP leads.

        Yields how many bytes came each time. Where HTTP is off, out of reach or interrupted it ends
        early and without an error: go on with :meth:`download`. As there, hash what comes.

        Raises:
            NotFoundError: ``UNKNOWN_BLOB``.
        """
        if not self.over_http:
            return
        answer = self.connection.call(self._artifacts.Stat, pb.StatRequest(sha256=sha256))
        address = HTTPAddress(answer.http.port, answer.http.ticket)
        came = 0
        try:
            if address.usable:
                part = Part(sha256, size, offset)
                for count in http_download.receive(self.connection, address, part, room):
                    came += count
                    yield count
        except UnavailableError:
            # Why it led nowhere is of no use to anybody: gRPC will say what is wrong, if it is.
            pass
        finally:
            self.http_bytes += came
            # Not for every file of a model once more.
            self.over_http = came > 0

    def read_blob(self, sha256: bytes, limit: int) -> bytes:
        """A whole small blob, checked.

        Raises:
            NotFoundError: ``UNKNOWN_BLOB``.
            LimitExceededError: ``BLOB_TOO_LARGE``.
            VerificationError: ``DIGEST_MISMATCH``.
        """
        data = bytearray()
        for piece in self.download(sha256, limit):
            data += piece
            if len(data) > limit:
                raise LimitExceededError(
                    Reason.BLOB_TOO_LARGE,
                    "this blob is larger than what it should be",
                    where=digest.text(sha256),
                    expected=f"at most {limit} bytes",
                )
        actual = hashlib.sha256(data).digest()
        if actual != sha256:
            raise VerificationError(
                Reason.DIGEST_MISMATCH,
                "the registry sent other bytes than were asked for",
                expected=digest.text(sha256),
                actual=digest.text(actual),
            )
        return bytes(data)
