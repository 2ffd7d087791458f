"""Errors of the project ↔ gRPC status: one table, read backwards by the client.

Reason and details travel as ``google.rpc.ErrorInfo`` in ``grpc-status-details-bin``.
"""

import grpc
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2

from registry.errors import (
    ConflictError,
    DamagedError,
    ForbiddenError,
    LimitExceededError,
    MalformedError,
    NotFoundError,
    Reason,
    RefusedError,
    RegistryError,
    UnauthenticatedError,
    UnavailableError,
    VerificationError,
)

DOMAIN = "provreg.dev"
"""The domain of our reasons (``ErrorInfo.domain``)."""

MAX_DETAIL_CHARACTERS = 500
"""Characters of one detail on the wire: headers are limited to 8 KiB in all."""

_DETAILS = "grpc-status-details-bin"

_TABLE: dict[type[RegistryError], grpc.StatusCode] = {
    MalformedError: grpc.StatusCode.INVALID_ARGUMENT,
    VerificationError: grpc.StatusCode.ABORTED,
    RefusedError: grpc.StatusCode.FAILED_PRECONDITION,
    ConflictError: grpc.StatusCode.ALREADY_EXISTS,
    UnauthenticatedError: grpc.StatusCode.UNAUTHENTICATED,
    ForbiddenError: grpc.StatusCode.PERMISSION_DENIED,
    NotFoundError: grpc.StatusCode.NOT_FOUND,
    LimitExceededError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    UnavailableError: grpc.StatusCode.UNAVAILABLE,
    DamagedError: grpc.StatusCode.DATA_LOSS,
}

_BACKWARDS = {code: kind for kind, code in _TABLE.items()}

Metadata = tuple[tuple[str, str | bytes], ...]


def to_status(error: RegistryError) -> tuple[grpc.StatusCode, str, Metadata]:
    """The status code, message and trailing metadata of an error."""
    code = _TABLE.get(type(error), grpc.StatusCode.INTERNAL)
    details = {
        "what": error.what,
        "where": error.where,
        "expected": error.expected,
        "actual": error.actual,
        "hint": error.hint,
    }
    info = error_details_pb2.ErrorInfo(
        reason=str(error.reason),
        domain=DOMAIN,
        metadata={
            key: _printable(value)[:MAX_DETAIL_CHARACTERS] for key, value in details.items() if value
        },
    )
    packed = any_pb2.Any()
    packed.Pack(info)
    message = _printable(str(error))[: 2 * MAX_DETAIL_CHARACTERS]
    status = status_pb2.Status(
        code=getattr(code_pb2, code.name), message=message, details=[packed]
    )
    return code, message, ((_DETAILS, status.SerializeToString()),)


def internal(request_id: str) -> tuple[grpc.StatusCode, str, Metadata]:
    """The status of an error that is none of the caller's business."""
    return grpc.StatusCode.INTERNAL, f"internal error, request {request_id}", ()


def from_rpc_error(error: grpc.RpcError) -> RegistryError:
    """What the server meant."""
    code = error.code() if isinstance(error, grpc.Call) else grpc.StatusCode.UNKNOWN
    message = (error.details() or "") if isinstance(error, grpc.Call) else str(error)
    metadata = (error.trailing_metadata() or ()) if isinstance(error, grpc.Call) else ()
    for key, value in metadata:
        if key == _DETAILS and isinstance(value, bytes):
            read = _read_details(code, value)
            if read is not None:
                return read
    if code is grpc.StatusCode.UNAVAILABLE:
        return UnavailableError(
            Reason.UNREACHABLE,
            "the registry does not answer",
            actual=message[:MAX_DETAIL_CHARACTERS],
            hint="is it running? start it with: provreg serve",
        )
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return UnavailableError(Reason.DEADLINE, "the registry did not answer in time")
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return LimitExceededError(
            Reason.MESSAGE_TOO_LARGE, "the message is too large", actual=message[:200]
        )
    return RegistryError(
        Reason.INTERNAL, "the registry failed", actual=f"{code.name}: {message}"[:300]
    )


def _read_details(code: grpc.StatusCode, value: bytes) -> RegistryError | None:
    status = status_pb2.Status.FromString(value)
    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info) and info.domain == DOMAIN and info.reason in Reason:
            kind = _BACKWARDS.get(code, RegistryError)
            given = dict(info.metadata)
            return kind(
                Reason(info.reason),
                given.get("what", status.message),
                where=given.get("where", ""),
                expected=given.get("expected", ""),
                actual=given.get("actual", ""),
                hint=given.get("hint", ""),
            )
    return None


def _printable(text: str) -> str:
    """Lone surrogates of file names cannot be encoded; show them escaped."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
