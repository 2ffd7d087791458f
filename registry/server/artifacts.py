"""Blobs over gRPC: chunks in order, hashed while they are written."""

import asyncio
import queue
import threading
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio

from registry.api.v1 import artifact_pb2
from registry.api.v1 import artifact_service_pb2 as pb
from registry.api.v1 import artifact_service_pb2_grpc as rpc
from registry.errors import (
    LimitExceededError,
    MalformedError,
    Reason,
    RegistryError,
    VerificationError,
)
from registry.services.artifacts import Artifacts
from registry.storage.blobs.port import CHUNK_BYTES, BlobWriter
from registry.wire import artifact as wire

UPLOAD_BACKLOG = 32
"""Chunks of one upload that may wait for the disk."""

READ_AHEAD_CHUNKS = 8
"""Chunks of a download that are read from the disk at once."""

Context = grpc.aio.ServicerContext[Any, Any]


class _Sink:
    """Writes one upload in a thread of its own, so that hashing never blocks the loop."""

    def __init__(self, writer: BlobWriter) -> None:
        self._writer = writer
        self._chunks: queue.Queue[bytes | None] = queue.Queue(UPLOAD_BACKLOG)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="upload", daemon=True)
        self._thread.start()

    async def put(self, data: bytes) -> None:
        """Hand over a chunk; raises what went wrong with an earlier one."""
        if self._error is not None:
            raise self._error
        try:
            self._chunks.put_nowait(data)
        except queue.Full:
            await asyncio.to_thread(self._chunks.put, data)

    async def finish(self) -> None:
        """Wait until everything is written."""
        await asyncio.to_thread(self._stop)
        if self._error is not None:
            raise self._error

    def _stop(self) -> None:
        self._chunks.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (data := self._chunks.get()) is not None:
            if self._error is not None:
                continue
            try:
                self._writer.write(data)
            except (OSError, RegistryError) as error:
                self._error = error


class ArtifactServicer(rpc.ArtifactServiceServicer):
    """Thin: wire → value, one service call, value → wire."""

    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts

    async def FindMissing(  # noqa: N802 - gRPC's spelling
        self, request: pb.FindMissingRequest, context: Context
    ) -> pb.FindMissingResponse:
        """Which blobs are missing."""
        missing = await asyncio.to_thread(self._artifacts.find_missing, list(request.sha256))
        return pb.FindMissingResponse(missing=missing)

    async def Stat(  # noqa: N802
        self, request: pb.StatRequest, context: Context
    ) -> pb.StatResponse:
        """What is known of a blob."""
        info = await asyncio.to_thread(self._artifacts.stat, request.sha256)
        return pb.StatResponse(blob=wire.blob_to_proto(info.sha256, info.sha512, info.size))

    async def Upload(  # noqa: N802
        self, request_iterator: AsyncIterator[pb.UploadRequest], context: Context
    ) -> pb.UploadResponse:
        """Store one blob, or nothing."""
        first = await anext(aiter(request_iterator), None)
        if first is None or first.WhichOneof("part") != "header":
            raise MalformedError(
                Reason.MALFORMED_FIELD, "an upload begins with a header", expected="header"
            )
        writer = self._artifacts.create(first.header.sha256, first.header.size)
        sink = _Sink(writer)
        try:
            await _receive(request_iterator, sink)
            await sink.finish()
            info = await asyncio.to_thread(self._artifacts.finish, writer)
        except BaseException:
            # Also when the client goes away: the thread must end before its file is removed.
            await asyncio.shield(_discard(sink, writer))
            raise
        return pb.UploadResponse(blob=wire.blob_to_proto(info.sha256, info.sha512, info.size))

    async def Download(  # noqa: N802
        self, request: pb.DownloadRequest, context: Context
    ) -> AsyncIterator[pb.DownloadResponse]:
        """Stream one blob from an offset."""
        info, file = await asyncio.to_thread(self._artifacts.open, request.sha256)
        with file:
            if request.offset > info.size:
                raise LimitExceededError(
                    Reason.OFFSET_OUT_OF_RANGE,
                    "the offset is behind the end of the blob",
                    expected=f"at most {info.size}",
                    actual=str(request.offset),
                )
            file.seek(request.offset)
            offset = request.offset
            while data := await asyncio.to_thread(file.read, CHUNK_BYTES * READ_AHEAD_CHUNKS):
                for start in range(0, len(data), CHUNK_BYTES):
                    piece = data[start : start + CHUNK_BYTES]
                    yield pb.DownloadResponse(chunk=artifact_pb2.Chunk(offset=offset, data=piece))
                    offset += len(piece)


async def _receive(requests: AsyncIterator[pb.UploadRequest], sink: _Sink) -> None:
    offset = 0
    async for request in requests:
        if request.WhichOneof("part") != "chunk":
            raise MalformedError(Reason.MALFORMED_FIELD, "after the header come only chunks")
        chunk = request.chunk
        size = len(chunk.data)
        if size > CHUNK_BYTES:
            raise LimitExceededError(
                Reason.CHUNK_TOO_LARGE,
                "this chunk is too large",
                where=f"offset {chunk.offset}",
                expected=f"at most {CHUNK_BYTES} bytes",
                actual=f"{size} bytes",
            )
        if chunk.offset != offset:
            raise VerificationError(
                Reason.CHUNK_OUT_OF_ORDER,
                "chunks come in order, without gaps",
                expected=f"offset {offset}",
                actual=f"offset {chunk.offset}",
            )
        await sink.put(chunk.data)
        offset += size


async def _discard(sink: _Sink, writer: BlobWriter) -> None:
    try:
        await sink.finish()
    except (OSError, RegistryError):
        # What went wrong is on its way to the caller already.
        pass
    finally:
        await asyncio.to_thread(writer.abort)
