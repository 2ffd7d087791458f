"""``PUT /blobs/sha256:HEX``: an upload as over gRPC, for the same callers, at less cost.

The caller shows a ticket for exactly this blob, of exactly this length, which it got over gRPC;
nothing else opens this door. The body comes as it is, of a length that is said before, and goes
from the socket into the buffers that are hashed and written. The answer comes when the blob is
durable: 201 for a new one, 200 for one that was known, and both digests. ::

    {"sha256":"…","sha512":"…","size":…}

The connection is closed then, and when a body is refused: what could follow a body that was taken
past the parser of requests, or left, is not read.
"""

import asyncio
from dataclasses import replace
from http import HTTPStatus
from typing import Final

from registry.core import digest, encoding
from registry.disk import WIDE_BUFFER_BYTES
from registry.errors import (
    MalformedError,
    Reason,
    RegistryError,
    UnauthenticatedError,
    UnavailableError,
    UnsupportedError,
)
from registry.server.guard import RULES, UPLOAD, check_role
from registry.server.http.blobs import PATH
from registry.server.http.routing import BYTES, Request, Response, Route, refusal
from registry.server.storing import store
from registry.services import tickets
from registry.services.artifacts import Artifacts
from registry.services.tickets import Right, Tickets

MAX_UPLOADS: Final = 8
"""Blobs that are taken at once; each takes three buffers of 4 MiB. More callers are told to come
back; ours go on over gRPC meanwhile."""

_STATUS: Final = {
    Reason.LENGTH_REQUIRED: HTTPStatus.LENGTH_REQUIRED,
    Reason.MEDIA_TYPE: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    Reason.SLOW_REQUEST: HTTPStatus.REQUEST_TIMEOUT,
}
"""Refusals that HTTP has a status of its own for."""


class UploadRoom:
    """Takes blobs in."""

    def __init__(
        self, artifacts: Artifacts, tickets: Tickets, frozen: UnsupportedError | None
    ) -> None:
        """Take blobs; if the log is ``frozen``, none."""
        self._artifacts = artifacts
        self._tickets = tickets
        self._frozen = frozen
        self._uploads = 0

    def routes(self) -> tuple[Route, ...]:
        """What is taken where."""
        return (Route("PUT", PATH, self.store, takes_body=True),)

    async def store(self, request: Request) -> Response:
        """Store a blob, or nothing of it.

        Raises:
            UnauthenticatedError: ``NO_TOKEN``, ``UNKNOWN_TOKEN``, ``TOKEN_EXPIRED`` or
                ``TOKEN_REVOKED``.
            ForbiddenError, MalformedError, LimitExceededError, VerificationError: As over gRPC.
            UnavailableError: As over gRPC, and ``TOO_MANY_TRANSFERS``.
            UnsupportedError: ``LOG_FROZEN``.
        """
        try:
            return await self._store(request)
        except RegistryError as error:
            status = _STATUS.get(error.reason)
            if status is None:
                raise
            return replace(refusal(error), status=status)

    async def _store(self, request: Request) -> Response:
        sha256, size = self._admit(request)
        _check_form(request)
        if self._uploads >= MAX_UPLOADS:
            raise UnavailableError(
                Reason.TOO_MANY_TRANSFERS,
                "too many blobs are being taken in",
                expected=f"at most {MAX_UPLOADS} at once",
                hint="try again in a moment, or over gRPC",
            )
        take = request.take
        if take is None:
            message = "whoever answers requests lets this route take the body"
            raise TypeError(message)
        self._uploads += 1
        try:
            known = await asyncio.to_thread(self._artifacts.stat_all, [sha256])
            info = await store(
                self._artifacts,
                sha256,
                size,
                lambda writer, thread: take(size, writer, thread),
                WIDE_BUFFER_BYTES,
            )
        finally:
            self._uploads -= 1
        status = HTTPStatus.OK if known else HTTPStatus.CREATED
        said = {"sha256": info.sha256.hex(), "sha512": info.sha512.hex(), "size": info.size}
        return Response(status, encoding.write_json(said))

    def _admit(self, request: Request) -> tuple[bytes, int]:
        """The digest and the length of what is sent by somebody who may."""
        token = request.token
        if token is None or not token.startswith(tickets.PREFIX):
            raise UnauthenticatedError(
                Reason.NO_TOKEN if token is None else Reason.UNKNOWN_TOKEN,
                "blobs are stored here with a ticket only",
                hint="ask for one over gRPC: OpenUpload",
            )
        # What is no digest, or has no length, has no ticket either.
        sha256, size = digest.parse(request.parts["digest"]), _length(request)
        principal = self._tickets.authenticate(token, Right.to_store(sha256, size))
        check_role(principal, RULES.get(UPLOAD))
        if self._frozen is not None:
            raise self._frozen
        return sha256, size


def _length(request: Request) -> int:
    told = request.headers.get("content-length")
    if told is None or "transfer-encoding" in request.headers:
        raise MalformedError(
            Reason.LENGTH_REQUIRED,
            "the length of a blob is said before it is sent",
            where="content-length",
            hint="do not send it chunked",
        )
    return encoding.decimal(told)


def _check_form(request: Request) -> None:
    """Refuse what is not the bytes themselves, all of them."""
    if request.media_type != BYTES:
        raise MalformedError(
            Reason.MEDIA_TYPE,
            "a blob is sent as bytes",
            where="content-type",
            expected=BYTES,
            actual=request.media_type or "nothing",
        )
    packed = request.headers.get("content-encoding", "identity")
    if packed.lower() != "identity":
        raise MalformedError(
            Reason.MEDIA_TYPE, "a blob is sent as it is", where="content-encoding", actual=packed
        )
    if "content-range" in request.headers:
        # RFC 9110 §14.4: taken for the whole, a part would be stored as something it is not.
        raise MalformedError(
            Reason.MALFORMED_RANGE, "a blob is sent as a whole", where="content-range"
        )
