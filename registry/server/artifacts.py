"""Blobs over gRPC: chunks in order, hashed while they are written."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

import grpc.aio

from registry.api.v1 import artifact_service_pb2 as pb
from registry.api.v1 import artifact_service_pb2_grpc as rpc
from registry.disk import LARGE_BYTES, Reader
from registry.errors import (
    LimitExceededError,
    MalformedError,
    Reason,
    VerificationError,
)
from registry.server.guard import caller
from registry.server.storing import OneThread, store
from registry.services.artifacts import Artifacts
from registry.services.tickets import Right, Tickets
from registry.storage.blobs.port import CHUNK_BYTES, BlobWriter
from registry.wire import artifact as wire
from registry.wire import chunk

MAX_AT_ONCE = 64
"""Large uploads, and as many large downloads, that have their buffers of 6 MiB; more of them wait
for their turn. Small blobs, such as manifests, never wait."""

GATHERED_BYTES = 1024 * 1024
"""Bytes of an upload that are handed over to its writer at once."""

Context = grpc.aio.ServicerContext[Any, Any]
Part = chunk.Piece | pb.UploadRequest


def add_artifacts(
    artifacts: Artifacts, tickets: Tickets, http_port: int | None, server: grpc.aio.Server
) -> None:
    """Let a server answer for blobs; pieces of blobs are read and written by :mod:`chunk`.

    Callers are told that the same host serves blobs over HTTP at ``http_port``, if it does.
    """
    servicer = ArtifactServicer(artifacts, tickets, http_port)
    rpc.add_ArtifactServiceServicer_to_server(servicer, server)
    # In place of the generated ones.
    server.add_registered_method_handlers(
        "registry.api.v1.ArtifactService",
        {
            "Upload": grpc.stream_unary_rpc_method_handler(
                servicer.Upload, chunk.read_upload, pb.UploadResponse.SerializeToString
            ),
            "Download": grpc.unary_stream_rpc_method_handler(
                servicer.Download, pb.DownloadRequest.FromString
            ),
        },
    )


class ArtifactServicer(rpc.ArtifactServiceServicer):
    """Thin: wire → value, one service call, value → wire."""

    def __init__(self, artifacts: Artifacts, tickets: Tickets, http_port: int | None) -> None:
        self._artifacts = artifacts
        self._tickets = tickets
        self._http_port = http_port
        self._uploads = asyncio.Semaphore(MAX_AT_ONCE)
        self._downloads = asyncio.Semaphore(MAX_AT_ONCE)

    async def FindMissing(  # noqa: N802 - gRPC's spelling
        self, request: pb.FindMissingRequest, context: Context
    ) -> pb.FindMissingResponse:
        """Which blobs are missing."""
        missing = await asyncio.to_thread(self._artifacts.find_missing, list(request.sha256))
        return pb.FindMissingResponse(missing=missing)

    async def Stat(  # noqa: N802
        self, request: pb.StatRequest, context: Context
    ) -> pb.StatResponse:
        """What is known of a blob, and where it can be had over HTTP."""
        info = await asyncio.to_thread(self._artifacts.stat, request.sha256)
        answer = pb.StatResponse(blob=wire.blob_to_proto(info.sha256, info.sha512, info.size))
        if self._http_port is not None:
            answer.http.port = self._http_port
            # Who may ask for this may also read the blob: the rules of both are one.
            right = Right.to_read(info.sha256)
            answer.http.ticket = self._tickets.issue(caller.get().name, right)
        return answer

    async def OpenUpload(  # noqa: N802
        self, request: pb.OpenUploadRequest, context: Context
    ) -> pb.OpenUploadResponse:
        """Where a blob may be sent over HTTP; refused for what an upload would be refused for."""
        sha256, size = request.header.sha256, request.header.size
        self._artifacts.check_upload(sha256, size)
        answer = pb.OpenUploadResponse()
        if self._http_port is not None:
            answer.http.port = self._http_port
            right = Right.to_store(sha256, size)
            answer.http.ticket = self._tickets.issue(caller.get().name, right)
        return answer

    async def Upload(  # noqa: N802
        self, request_iterator: AsyncIterator[Part], context: Context
    ) -> pb.UploadResponse:
        """Store one blob, or nothing."""
        first = await anext(aiter(request_iterator), None)
        if not isinstance(first, pb.UploadRequest) or first.WhichOneof("part") != "header":
            raise MalformedError(
                Reason.MALFORMED_FIELD, "an upload begins with a header", expected="header"
            )
        async with _place(self._uploads, first.header.size):
            info = await store(
                self._artifacts,
                first.header.sha256,
                first.header.size,
                lambda writer, thread: _receive(request_iterator, writer, thread),
            )
        return pb.UploadResponse(blob=wire.blob_to_proto(info.sha256, info.sha512, info.size))

    async def Download(  # type: ignore[override]  # noqa: N802 - bytes: written already
        self, request: pb.DownloadRequest, context: Context
    ) -> AsyncIterator[bytes]:
        """Stream one blob from an offset."""
        info, file = await asyncio.to_thread(self._artifacts.open, request.sha256)
        with file:
            async with _place(self._downloads, info.size):
                if request.offset > info.size:
                    raise LimitExceededError(
                        Reason.OFFSET_OUT_OF_RANGE,
                        "the offset is behind the end of the blob",
                        expected=f"at most {info.size}",
                        actual=str(request.offset),
                    )
                offset = request.offset
                reader = Reader(file.fileno(), offset, info.size)
                try:
                    while piece := await asyncio.wrap_future(reader.next()):
                        for start in range(0, len(piece), CHUNK_BYTES):
                            part = chunk.Piece(offset, piece[start : start + CHUNK_BYTES])
                            # Written here: the buffer is read into again.
                            yield chunk.write_download(part)
                            offset += len(part.data)
                finally:
                    # It may be reading. Not in the loop, and also when the client goes away.
                    await asyncio.shield(asyncio.to_thread(reader.close))


def _place(places: asyncio.Semaphore, size: int) -> AbstractAsyncContextManager[None]:
    """A place among those that move large blobs; to be waited for if this is one."""
    return places if size >= LARGE_BYTES else nullcontext()


async def _receive(requests: AsyncIterator[Part], writer: BlobWriter, thread: OneThread) -> None:
    offset = gathered = 0
    chunks: list[bytes | memoryview] = []
    writing = thread.run(_write, writer, [])
    async for request in requests:
        if not isinstance(request, chunk.Piece):
            raise MalformedError(Reason.MALFORMED_FIELD, "after the header come only chunks")
        data = request.data
        if len(data) > CHUNK_BYTES:
            raise LimitExceededError(
                Reason.CHUNK_TOO_LARGE,
                "this chunk is too large",
                where=f"offset {request.offset}",
                expected=f"at most {CHUNK_BYTES} bytes",
                actual=f"{len(data)} bytes",
            )
        if request.offset != offset:
            raise VerificationError(
                Reason.CHUNK_OUT_OF_ORDER,
                "chunks come in order, without gaps",
                expected=f"offset {offset}",
                actual=f"offset {request.offset}",
            )
        offset += len(data)
        if data:
            chunks.append(data)
        gathered += len(data)
        if gathered >= GATHERED_BYTES:
            # These are written while the next ones come, and no more: their sender has to wait.
            await writing
            writing = thread.run(_write, writer, chunks)
            chunks, gathered = [], 0
    await writing
    await thread.run(_write, writer, chunks)


def _write(writer: BlobWriter, chunks: list[bytes | memoryview]) -> None:
    for data in chunks:
        writer.write(data)
