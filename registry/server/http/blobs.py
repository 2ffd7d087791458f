"""``GET /blobs/sha256:HEX``: the same bytes as over gRPC, for the same callers, at less cost.

Blobs are read past the page cache, some pieces ahead, and go to the socket without being copied
again. The caller shows a bearer token, or a ticket for this one blob, which it got over gRPC. A
digest names its bytes for ever, so the digest is the entity tag; an interrupted transfer goes on
with ``Range``. Whoever reads hashes: what is on the disk is not checked here.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import replace
from http import HTTPStatus
from typing import BinaryIO, Final

from registry.core import digest
from registry.disk import Reader
from registry.errors import (
    DamagedError,
    LimitExceededError,
    Reason,
    RegistryError,
    UnavailableError,
)
from registry.server.guard import DOWNLOAD, RULES, check_role
from registry.server.http import byte_range
from registry.server.http.routing import BYTES, Headers, Request, Response, Route, refusal
from registry.services import tickets
from registry.services.access import Access
from registry.services.artifacts import Artifacts
from registry.services.tickets import Right, Tickets

PATH: Final = "/blobs/{digest}"

MAX_TRANSFERS: Final = 16
"""Blobs that are sent at once; each takes three buffers of 2 MiB. More callers are told to come
back; ours go on over gRPC meanwhile."""

_FOR_EVER: Final = ("cache-control", "private, max-age=31536000, immutable")


class BlobRoom:
    """Answers reads of blobs."""

    def __init__(self, artifacts: Artifacts, access: Access, tickets: Tickets) -> None:
        self._artifacts = artifacts
        self._access = access
        self._tickets = tickets
        self._transfers = 0

    def routes(self) -> tuple[Route, ...]:
        """What is served where."""
        return (Route("GET", PATH, self.read),)

    async def read(self, request: Request) -> Response:
        """A blob, or one range of it.

        Raises:
            UnauthenticatedError, ForbiddenError: As over gRPC.
            MalformedError: ``MALFORMED_DIGEST`` or ``MALFORMED_RANGE``.
            NotFoundError: ``UNKNOWN_BLOB``.
            UnavailableError: ``TOO_MANY_TRANSFERS``.
        """
        sha256 = self._admit(request)
        info, file = await asyncio.to_thread(self._artifacts.open, sha256)
        etag = f'"{digest.text(sha256)}"'
        try:
            asked = byte_range.parse(request.headers, info.size, etag)
            self._check_transfers()
        except RegistryError as error:
            file.close()
            response = refusal(error)
            if isinstance(error, LimitExceededError):
                told = ("content-range", f"bytes */{info.size}")
                return replace(
                    response, status=HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, headers=(told,)
                )
            return response
        headers: Headers = (("accept-ranges", "bytes"), ("etag", etag), _FOR_EVER)
        status, part = HTTPStatus.OK, range(info.size)
        if asked is not None:
            status, part = HTTPStatus.PARTIAL_CONTENT, asked
            headers += (("content-range", f"bytes {part.start}-{part.stop - 1}/{info.size}"),)
        self._transfers += 1
        blob = _Blob(file, part, self._end_transfer)
        return Response(status, media_type=BYTES, headers=headers, stream=blob)

    def _admit(self, request: Request) -> bytes:
        """The digest that is asked for by somebody who may."""
        token = request.token
        if token is not None and token.startswith(tickets.PREFIX):
            # What is no digest has no ticket either.
            sha256 = digest.parse(request.parts["digest"])
            principal = self._tickets.authenticate(token, Right.to_read(sha256))
        else:
            principal = self._access.authenticate(token)
            sha256 = digest.parse(request.parts["digest"])
        check_role(principal, RULES.get(DOWNLOAD))
        return sha256

    def _check_transfers(self) -> None:
        if self._transfers >= MAX_TRANSFERS:
            raise UnavailableError(
                Reason.TOO_MANY_TRANSFERS,
                "too many blobs are being sent",
                expected=f"at most {MAX_TRANSFERS} at once",
                hint="try again in a moment, or over gRPC",
            )

    def _end_transfer(self) -> None:
        self._transfers -= 1


class _Blob:
    """One open blob, or a range of it, on its way out."""

    def __init__(self, file: BinaryIO, part: range, ended: Callable[[], None]) -> None:
        self.size = len(part)
        self._file = file
        self._part = part
        self._ended = ended
        self._reader: Reader | None = None

    async def __aiter__(self) -> AsyncIterator[memoryview]:
        if not self._part:
            return
        self._reader = Reader(self._file.fileno(), self._part.start, self._part.stop)
        left = self.size
        while left:
            piece = (await asyncio.wrap_future(self._reader.next()))[:left]
            if not piece:
                raise DamagedError(
                    Reason.STORED_BYTES, "a stored blob is shorter than what was stored"
                )
            left -= len(piece)
            yield piece

    async def close(self) -> None:
        """Let go of the file; may be called at any time, once."""
        self._ended()
        try:
            if self._reader is not None:
                # It may be reading. Not in the loop, and also when the client goes away.
                await asyncio.shield(asyncio.to_thread(self._reader.close))
        finally:
            with suppress(OSError):
                self._file.close()
