"""Errors ↔ gRPC: one table, written by the server and read backwards by the client.

An error travels as its status code, and as a ``google.rpc.Status`` with one ``ErrorInfo`` in the
trailer ``grpc-status-details-bin`` (https://google.aip.dev/193): the reason, our domain, and the
parts of the error as metadata. What is not in the table leaves by :func:`internal`.
"""

from collections.abc import Mapping
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import ErrorInfo  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]

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
    UnsupportedError,
    VerificationError,
)

Metadata = tuple[tuple[str, str | bytes], ...]
"""Trailing metadata as gRPC takes it."""

DOMAIN: Final = "provreg.dev"
"""The ``ErrorInfo`` domain of everything that this project refuses."""

DETAILS_KEY: Final = "grpc-status-details-bin"
"""The trailer that carries a serialised ``google.rpc.Status``."""

MAX_PART_BYTES: Final = 512
"""UTF-8 bytes of one part of an error. Five of them, in base64, stay well below the 8 KiB that
gRPC allows for all metadata of a call."""

_TABLE: Final[Mapping[type[RegistryError], grpc.StatusCode]] = {
    MalformedError: grpc.StatusCode.INVALID_ARGUMENT,
    VerificationError: grpc.StatusCode.INVALID_ARGUMENT,
    RefusedError: grpc.StatusCode.FAILED_PRECONDITION,
    ConflictError: grpc.StatusCode.ALREADY_EXISTS,
    UnauthenticatedError: grpc.StatusCode.UNAUTHENTICATED,
    ForbiddenError: grpc.StatusCode.PERMISSION_DENIED,
    NotFoundError: grpc.StatusCode.NOT_FOUND,
    LimitExceededError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    UnavailableError: grpc.StatusCode.UNAVAILABLE,
    UnsupportedError: grpc.StatusCode.UNIMPLEMENTED,
    DamagedError: grpc.StatusCode.DATA_LOSS,
}

# Two classes share a code, so the class travels as well.
_CLASSES: Final = {kind.__name__: kind for kind in _TABLE}

_FAILED: Final = "the registry failed; this is not about what you sent"

_PARTS: Final = ("what", "where", "expected", "actual", "hint")

_UNREACHABLE: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        # A stopping server cancels what it cannot finish.
        grpc.StatusCode.CANCELLED,
        # Too many calls at once.
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)


_ANSWERED: Final = {
    "http1.x server": (
        "what answers at this address speaks HTTP, and not gRPC as a registry does",
        "a registry prints both when it starts; by default HTTP has the port after that of gRPC",
    ),
    "CERTIFICATE_VERIFY_FAILED": (
        "the certificate of what answers at this address is not to be trusted",
        "name the authority that issued it: --ca-file, or PROVREG_CA_FILE",
    ),
    "WRONG_VERSION_NUMBER": (
        "what answers at this address does not speak TLS",
        "on a loopback address say http://HOST:PORT; anywhere else a registry needs --tls-cert",
    ),
    "Socket closed": (
        "what answers at this address ended the connection",
        "it may be stopping; or it speaks TLS, and wants https://HOST:PORT",
    ),
}
"""What gRPC says of somebody who answers, and is no registry that we can talk to, in our words."""


def to_status(error: RegistryError) -> tuple[grpc.StatusCode, str, Metadata]:
    """The status code, message and trailing metadata that tell a caller of ``error``."""
    code = _TABLE.get(type(error))
    if code is None:
        return internal("")
    parts = {part: text for part in _PARTS if (text := _bounded(getattr(error, part)))}
    parts["class"] = type(error).__name__
    return _status(code, error.reason, parts)


def internal(request_id: str) -> tuple[grpc.StatusCode, str, Metadata]:
    """The status of an error that is none of the caller's business; the server's log has it."""
    what = f"{_FAILED} (request {request_id})" if request_id else _FAILED
    return _status(grpc.StatusCode.INTERNAL, Reason.INTERNAL, {"what": what})


def _status(
    code: grpc.StatusCode, reason: Reason, parts: Mapping[str, str]
) -> tuple[grpc.StatusCode, str, Metadata]:
    message = f"{reason}: {parts.get('what', '')}"
    details = Status(code=code.value[0], message=message)
    details.details.add().Pack(ErrorInfo(reason=reason, domain=DOMAIN, metadata=parts))
    ascii_only = printable(message).encode("ascii", "backslashreplace").decode()
    return code, ascii_only, ((DETAILS_KEY, details.SerializeToString()),)


def from_rpc_error(error: grpc.RpcError) -> RegistryError:
    """The error that the server meant; what gRPC itself has to say becomes one of ours as well."""
    if not isinstance(error, grpc.Call):
        return RegistryError(Reason.INTERNAL, "the call failed", actual=printable(str(error)))
    code, text = error.code(), printable(_bounded(error.details() or ""))
    info = _read_details(error.trailing_metadata() or ())
    if info is None:
        return _foreign(code, text)
    kind = _CLASSES.get(info.metadata.get("class", ""), RegistryError)
    if _TABLE.get(kind, grpc.StatusCode.INTERNAL) is not code:
        # A class under another code than its own was not written by this table.
        return _foreign(code, text)
    parts = {part: printable(info.metadata.get(part, "")) for part in _PARTS}
    what = parts.pop("what")
    try:
        return kind(Reason(info.reason), what, **parts)
    except ValueError:
        # A newer server may know reasons that we do not.
        return kind(Reason.INTERNAL, printable(f"{info.reason}: {what}"), **parts)


def printable(text: str) -> str:
    """``text`` from elsewhere, fit for a terminal: no control, direction or line characters."""
    return "".join(c if c.isprintable() else "�" for c in text)


def _read_details(metadata: Any) -> Any | None:
    for key, value in metadata:
        if key != DETAILS_KEY or not isinstance(value, bytes):
            continue
        try:
            for item in Status.FromString(value).details:
                info = ErrorInfo()
                if item.Unpack(info) and info.domain == DOMAIN:
                    return info
        except DecodeError:
            return None
    return None


def _foreign(code: grpc.StatusCode, text: str) -> RegistryError:
    """An error of gRPC itself, or of something between us and the server."""
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return UnavailableError(
            Reason.DEADLINE,
            "the registry did not answer in time",
            hint="try again; what was sent may or may not have been registered",
        )
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in text:
        return LimitExceededError(
            Reason.MESSAGE_TOO_LARGE, "a message is larger than may be sent", actual=text
        )
    if code in _UNREACHABLE:
        for mark, (what, hint) in _ANSWERED.items():
            if mark in text:
                return UnavailableError(Reason.UNREACHABLE, what, hint=hint)
        return UnavailableError(
            Reason.UNREACHABLE,
            "the registry cannot be reached",
            actual=text,
            hint="is it running, and is the address right? start one with: provreg serve",
        )
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return RegistryError(
            Reason.INTERNAL,
            "the server does not know this call",
            actual=text,
            hint="is this a provreg registry, and not an older one?",
        )
    return RegistryError(
        Reason.INTERNAL,
        _FAILED,
        actual=f"{code.name}: {text}" if text else code.name,
    )


def _bounded(text: str) -> str:
    """Cut ``text`` to :data:`MAX_PART_BYTES`, at a character, and make it encodable."""
    raw = text.encode("utf-8", "backslashreplace")
    if len(raw) <= MAX_PART_BYTES:
        return raw.decode()
    mark = "…"
    return raw[: MAX_PART_BYTES - len(mark.encode())].decode("utf-8", "ignore") + mark
