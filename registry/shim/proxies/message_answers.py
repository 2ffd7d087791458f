"""From the messages of one gRPC answer to what its record says of it."""

import asyncio
import hashlib
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from registry.core.profiles import raw, tensor
from registry.core.records import inference
from registry.errors import MalformedError
from registry.shim.privacy.gathering import Gathering
from registry.shim.privacy.keeping import Content
from registry.shim.recorder.answer import Answer
from registry.shim.recorder.asking import OUTPUT, RECEIPT
from registry.shim.recorder.calls import Call, Calls
from registry.wire import open_inference

LONG_BYTES = 1024 * 1024
"""Bytes of messages that are read in a thread: hashing them takes a millisecond or more."""

T = TypeVar("T")
_FRAME = struct.Struct(">Q")


async def unhurried(read: Callable[[], T], messages: Sequence[bytes]) -> T:
    """Read messages; long ones in a thread, since all other calls wait meanwhile."""
    long = sum(map(len, messages)) > LONG_BYTES
    return await asyncio.to_thread(read) if long else read()


def frames_digest(messages: Sequence[bytes]) -> str:
    """The wire digest of messages: SHA-256 over ``u64 BE length ‖ message`` of each."""
    hasher = hashlib.sha256()
    for message in messages:
        hasher.update(_FRAME.pack(len(message)))
        hasher.update(message)
    return hasher.hexdigest()


@dataclass(frozen=True, slots=True)
class Read:
    """What the messages of one answer say.

    Attributes:
        profile_error: Why they have no richer profile than their bytes; empty if they have.
    """

    profile: inference.Profile
    content: bytes
    wire: str
    profile_error: str

    def answer(
        self, transport: Any, chunks: int = 0, content: Callable[[], Content] | None = None
    ) -> Answer:
        """As its record says it."""
        response = inference.Response(
            profile=self.profile,
            content_digest=self.content.hex(),
            wire_digest=self.wire,
            complete=True,
        )
        return Answer(
            response,
            transport,
            chunks=chunks,
            profile_error=self.profile_error,
            content=content,
        )

    def metadata(self, call: Call) -> tuple[tuple[str, str], ...]:
        """What tells the caller of the record."""
        return (*receipt_of(call), (OUTPUT, self.content.hex()))


def receipt_of(call: Call) -> tuple[tuple[str, str], ...]:
    """What names the record of a call, if it has one."""
    return ((RECEIPT, call.receipt_id),) if call.receipt_id else ()


def read_answers(messages: Sequence[bytes], read: Callable[[bytes], open_inference.Answer]) -> Read:
    """Name the answer that these messages are.

    One message of named tensors has its digest under ``output/tensor/v1``. Everything else is named
    by its bytes, framed as on the wire.
    """
    wire = frames_digest(messages)
    try:
        if len(messages) != 1:
            return _bytes_of(messages, wire, "several messages are one answer")
        content = tensor.content_digest(read(messages[0]).tensors)
    except MalformedError as error:
        return _bytes_of(messages, wire, error.what)
    return Read(tensor.NAME, content, wire, "")


def gathering_of(calls: Calls, requests: Sequence[bytes]) -> Gathering | None:
    """What holds the content of a call, messages framed as in its wire digest; None for nothing."""
    return calls.gathering(_framed(requests)) if calls.keeps else None


def content_of(
    gathering: Gathering | None, answers: Sequence[bytes]
) -> Callable[[], Content] | None:
    """What tells what a call said; None if nothing of it is kept."""
    if gathering is None:
        return None
    for message in answers:
        gathering.take(_framed([message]))
    return gathering.content


def _bytes_of(messages: Sequence[bytes], wire: str, why: str) -> Read:
    data = messages[0] if len(messages) == 1 else _framed(messages)
    return Read(raw.NAME, raw.content_digest(data), wire, why)


def _framed(messages: Sequence[bytes]) -> bytes:
    return b"".join(_FRAME.pack(len(item)) + item for item in messages)
