"""What happens around every call: who is calling, may they, and how errors leave the server.

One interceptor for all four kinds of calls. A method that is not in the table below may not be
called by anybody. Errors of the project leave with their reason; anything else leaves as INTERNAL
with a request id, and its detail stays in the server's own record.
"""

import contextlib
import errno
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from registry.core.access import Principal
from registry.errors import (
    ForbiddenError,
    MalformedError,
    Reason,
    RegistryError,
    UnavailableError,
    UnsupportedError,
)
from registry.services.access import Access
from registry.wire.status import internal, to_status

logger = logging.getLogger(__name__)

caller: ContextVar[Principal] = ContextVar("caller")
"""Who makes the call that is being answered."""

PUBLIC = "public"
ANYBODY = "anybody"

_V1 = "/registry.api.v1."

DOWNLOAD = f"{_V1}ArtifactService/Download"
"""The method whose rule is also that of blobs that are read over HTTP."""

UPLOAD = f"{_V1}ArtifactService/Upload"
"""The method whose rule is also that of blobs that are stored over HTTP."""

RULES: dict[str, str] = {
    "/grpc.health.v1.Health/Check": PUBLIC,
    "/grpc.health.v1.Health/Watch": PUBLIC,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": PUBLIC,
    f"{_V1}LogService/GetLogKey": PUBLIC,
    f"{_V1}LogService/GetCheckpoint": PUBLIC,
    f"{_V1}LogService/GetProof": ANYBODY,
    f"{_V1}LogService/GetCoseReceipt": ANYBODY,
    f"{_V1}LogService/GetConsistency": PUBLIC,
    f"{_V1}LogService/Watch": ANYBODY,
    f"{_V1}ArtifactService/FindMissing": ANYBODY,
    UPLOAD: "publisher",
    f"{_V1}ArtifactService/OpenUpload": "publisher",
    DOWNLOAD: ANYBODY,
    f"{_V1}ArtifactService/Stat": ANYBODY,
    # Whose signatures are logged is judged by the admission policy.
    "/dev.sigstore.rekor.v2.Rekor/CreateEntry": PUBLIC,
    # The statement's own signer and role are judged by the registration policy.
    f"{_V1}StatementService/Register": "publisher or auditor",
    f"{_V1}StatementService/RegisterBatch": "node",
    f"{_V1}StatementService/GetStatement": ANYBODY,
    f"{_V1}StatementService/ListStatements": ANYBODY,
    f"{_V1}StatementService/GetShimHead": ANYBODY,
    f"{_V1}LineageService/FindOutput": ANYBODY,
    f"{_V1}LineageService/Trace": ANYBODY,
    f"{_V1}JournalService/GetRecord": ANYBODY,
    f"{_V1}JournalService/FindAbout": ANYBODY,
    f"{_V1}JournalService/ListBatches": ANYBODY,
    f"{_V1}JournalService/SumCosts": "auditor or publisher or admin",
    f"{_V1}JournalService/ListShims": ANYBODY,
    # Who may submit evidence, of whom and by which challenge, is judged by the service.
    f"{_V1}EvidenceService/Challenge": ANYBODY,
    f"{_V1}EvidenceService/Submit": ANYBODY,
    f"{_V1}EvidenceService/GetResults": ANYBODY,
    f"{_V1}EvidenceService/PutPolicy": "admin",
    f"{_V1}EvidenceService/ListPolicies": ANYBODY,
    f"{_V1}EvidenceService/PutDistrust": "admin",
    f"{_V1}EvidenceService/ListDistrust": ANYBODY,
    f"{_V1}EvidenceService/Reappraise": "admin",
    f"{_V1}AccessService/AddPrincipal": "admin",
    f"{_V1}AccessService/RevokePrincipal": "admin",
    f"{_V1}AccessService/ListPrincipals": "admin",
}
"""Which role a method needs: one of these, ``anybody`` with a token, or ``public`` without one."""

WRITES = frozenset(
    {
        UPLOAD,
        f"{_V1}ArtifactService/OpenUpload",
        f"{_V1}StatementService/Register",
        f"{_V1}StatementService/RegisterBatch",
        f"{_V1}EvidenceService/Challenge",
        f"{_V1}EvidenceService/Submit",
        f"{_V1}EvidenceService/PutPolicy",
        f"{_V1}EvidenceService/PutDistrust",
        f"{_V1}EvidenceService/Reappraise",
        f"{_V1}AccessService/AddPrincipal",
        "/dev.sigstore.rekor.v2.Rekor/CreateEntry",
    }
)
"""Methods that a frozen log answers nobody. A principal's tokens can still be ended."""

_BEARER = "Bearer "

Context = grpc.aio.ServicerContext[Any, Any]
Handler = Callable[[Any, Context], Any]


def _token(context: Context) -> str | None:
    for key, value in context.invocation_metadata() or ():
        if key == "authorization" and isinstance(value, str) and value.startswith(_BEARER):
            return value.removeprefix(_BEARER)
    return None


class Guard(grpc.aio.ServerInterceptor):
    """Wraps every method once, and then answers from its table."""

    def __init__(self, access: Access, frozen: UnsupportedError | None) -> None:
        """Answer by the rules; if the log is ``frozen``, no method that writes."""
        self._access = access
        self._frozen = frozen
        self._wrapped: dict[str, grpc.RpcMethodHandler[Any, Any] | None] = {}

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], Awaitable["grpc.RpcMethodHandler[Any, Any] | None"]
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """Find the method's handler, wrapped."""
        method = handler_call_details.method
        known = self._wrapped.get(method)
        if known is not None:
            return known
        handler = await continuation(handler_call_details)
        if handler is None:
            return handler
        wrapped = self._wrap(handler, RULES.get(method), writes=method in WRITES)
        self._wrapped[method] = wrapped
        return wrapped

    def _admit(self, context: Context, rule: str | None, *, writes: bool) -> None:
        if writes and self._frozen is not None:
            raise self._frozen
        if rule == PUBLIC:
            return
        principal = self._access.authenticate(_token(context))
        check_role(principal, rule)
        caller.set(principal)

    def _wrap(
        self, handler: "grpc.RpcMethodHandler[Any, Any]", rule: str | None, *, writes: bool
    ) -> "grpc.RpcMethodHandler[Any, Any]":
        codec = {
            "request_deserializer": _reader(handler.request_deserializer),
            "response_serializer": handler.response_serializer,
        }
        if handler.request_streaming and handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(
                self._stream(handler.stream_stream, rule, writes=writes), **codec
            )
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(
                self._stream(handler.unary_stream, rule, writes=writes), **codec
            )
        if handler.request_streaming:
            return grpc.stream_unary_rpc_method_handler(
                self._unary(handler.stream_unary, rule, writes=writes), **codec
            )
        return grpc.unary_unary_rpc_method_handler(
            self._unary(handler.unary_unary, rule, writes=writes), **codec
        )

    # The stubs know only the blocking forms of methods: hence Any.
    def _unary(self, method: Any, rule: str | None, *, writes: bool) -> Handler:
        async def answer(request: Any, context: Context) -> Any:
            try:
                self._admit(context, rule, writes=writes)
                return await method(_read(request), context)
            except Exception as error:  # noqa: BLE001 - the one place where errors leave
                await refuse(context, error)

        return answer

    def _stream(self, method: Any, rule: str | None, *, writes: bool) -> Handler:
        async def answer(request: Any, context: Context) -> AsyncIterator[Any]:
            try:
                self._admit(context, rule, writes=writes)
                answers = method(_read(request), context)
                if hasattr(answers, "__aiter__"):
                    async for item in answers:
                        yield item
                else:
                    # The method writes to the context itself, as the reflection service may.
                    await answers
            except Exception as error:  # noqa: BLE001 - the one place where errors leave
                await refuse(context, error)

        return answer


class _Unreadable:
    """What came instead of a message; told of where errors leave, and after who is calling."""

    def __init__(self, error: DecodeError) -> None:
        self._error = error

    def refusal(self) -> MalformedError:
        return MalformedError(
            Reason.MALFORMED_MESSAGE,
            "this is not the message that the method takes",
            actual=str(self._error),
            hint="does the client speak this version of registry.api.v1?",
        )


def _reader(parse: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    """Read messages without ever failing: gRPC would answer that by a text of its own."""
    if parse is None:
        return None

    def read(data: bytes) -> Any:
        try:
            return parse(data)
        except DecodeError as error:
            return _Unreadable(error)

    return read


def _read(request: Any) -> Any:
    """A request, or a stream of them, that could be read.

    Raises:
        MalformedError: ``MALFORMED_MESSAGE``; of a stream, when that message is reached.
    """
    if isinstance(request, _Unreadable):
        raise request.refusal()
    return _read_all(request) if hasattr(request, "__aiter__") else request


async def _read_all(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield _read(request)


def check_role(principal: Principal, rule: str | None) -> None:
    """Refuse a principal that may not do what a rule is for.

    Raises:
        ForbiddenError: ``ROLE``.
    """
    if rule != ANYBODY and not set((rule or "").split(" or ")) & set(principal.roles):
        raise ForbiddenError(
            Reason.ROLE,
            "this call needs another role",
            where=f"principal {principal.name}",
            expected=rule or "a method with a rule",
            actual=", ".join(principal.roles),
        )


async def refuse(context: Context, error: Exception) -> None:
    """End a call with an error, as the client will read it."""
    if isinstance(error, grpc.aio.AbortError):
        raise error
    if isinstance(error, OSError):
        logger.error("storage failed", exc_info=error)
        error = UnavailableError(
            Reason.STORAGE_FAILED,
            "the registry could not read or write its disk",
            actual=errno.errorcode.get(error.errno or 0, type(error).__name__),
            hint="nothing was stored; try again when the operator has looked at it",
        )
    if isinstance(error, RegistryError):
        code, message, metadata = to_status(error)
    else:
        request_id = secrets.token_hex(8)
        logger.error("request %s failed", request_id, exc_info=error)
        code, message, metadata = internal(request_id)
    with contextlib.suppress(grpc.aio.UsageError):
        await context.abort(code, message, metadata)
