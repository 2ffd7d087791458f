"""What a gRPC call says beside its messages: what goes on, what is asked, and until when."""

import math
import re
from collections.abc import Sequence
from typing import Any, Final, Protocol

from registry.errors import MalformedError, Reason
from registry.shim.proxies.exchange import listed
from registry.shim.proxies.request_params import params_of_message
from registry.shim.recorder.asking import TOLD, Asked

ANSWER_SECONDS: Final = 0.1
"""How long before a call's own deadline its answer goes out, whatever else it waits for."""

MAX_TIMEOUT_SECONDS: Final = 10 * 365 * 24 * 3600.0
"""A deadline that is farther away is none: ten years."""

_TEXT = re.compile(r"[\x20-\x7e]*", re.ASCII)
_OWN = ("x-provreg-", ":")
# What each connection says anew; other names that begin with "grpc-" are a caller's.
_DROPPED = frozenset(
    (
        *("content-type", "te", "user-agent", "accept-encoding"),
        *("grpc-timeout", "grpc-encoding", "grpc-accept-encoding", "grpc-message-type"),
        "grpc-previous-rpc-attempts",
    )
)

Metadata = Sequence[tuple[str, str | bytes]]


class Context(Protocol):
    """What is known of a call."""

    def invocation_metadata(self) -> Any:
        """What the caller sent; None for nothing."""

    def time_remaining(self) -> Any:
        """Seconds until the caller takes no answer any more; None without a deadline."""


def metadata_of(context: Context) -> Metadata:
    """What the caller sent."""
    return tuple((key, value) for key, value in context.invocation_metadata() or ())


def passing(metadata: Metadata) -> Metadata:
    """What goes on to the model server: all but what belongs to this connection, or to us.

    Raises:
        MalformedError: ``MALFORMED_FIELD``: something that gRPC lets in, but nobody may send.
    """
    kept = tuple(
        (key, value) for key, value in metadata if key not in _DROPPED and not key.startswith(_OWN)
    )
    for key, value in kept:
        if not key.endswith("-bin") and not (isinstance(value, str) and _TEXT.fullmatch(value)):
            raise MalformedError(
                Reason.MALFORMED_FIELD,
                "metadata is printable ASCII, unless its name ends with -bin",
                where=key,
                actual=ascii(value)[:80],
            )
    return kept


def theirs(metadata: Any) -> Metadata:
    """What goes on to the caller of what the model server says: all but what only we may say."""
    return tuple((key, value) for key, value in metadata or () if key not in TOLD)


def asked_of(metadata: Metadata, request: bytes) -> Asked:
    """What the caller asks of the record, which model it names, and how that should run.

    Raises:
        MalformedError: ``MALFORMED_FIELD``.
    """
    texts = ((key, value) for key, value in metadata if isinstance(value, str))
    return Asked.read(listed(texts), params_of_message(request))


def timeout_of(context: Context) -> float | None:
    """The caller's deadline, for the model server; None if it has none that anybody can wait for.

    gRPC adds it to a clock, and a sum that is too large would be a deadline in the past.
    """
    remaining: float | None = context.time_remaining()
    return remaining if remaining is not None and remaining <= MAX_TIMEOUT_SECONDS else None


def left(context: Context) -> float:
    """Seconds until the caller takes no answer any more, less what it takes to give it one."""
    remaining: float | None = context.time_remaining()
    return math.inf if remaining is None else max(0.0, remaining - ANSWER_SECONDS)
