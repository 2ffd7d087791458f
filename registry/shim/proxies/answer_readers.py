"""From an answer as it passes to its content digest: which profile a path has, and who reads it.

A reader is fed while bytes go by and decides nothing about them. Where a rule of the profile does
not hold, the answer is named by its bytes, and the record says why; nothing is guessed.
"""

import hashlib
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from registry.core.profiles import answers, chat, raw, tensor, text
from registry.core.profiles.answers import END, Digested
from registry.core.profiles.open_inference import InferenceResponse
from registry.core.profiles.sse import Event, EventReader
from registry.core.records import inference
from registry.errors import LimitExceededError, MalformedError, RegistryError

MAX_DECODED_BYTES = 256 * 1024 * 1024
"""Bytes of one answer after its content encoding is undone: what a bomb may become."""

Kind = Literal["chat", "text", "tensor", "bytes"]
"""How an answer is read."""

_KINDS: Final[tuple[tuple[re.Pattern[str], Kind], ...]] = (
    (re.compile(r"/chat/completions/?$"), "chat"),
    (re.compile(r"/completions/?$"), "text"),
    (re.compile(r"/v2/models/[^/]+(/versions/[^/]+)?/infer/?$"), "tensor"),
)
# How streams end that have no "[DONE]": of messages, and of responses.
_ENDS = frozenset((b"message_stop", b"response.completed", b"response.incomplete"))
_LENGTH = re.compile(r"[0-9]{1,18}", re.ASCII)
_RAW_PREFIX = raw.NAME.encode() + b"\0"


def kind_of(path: str) -> Kind:
    """How the answers of a path are read."""
    return next((kind for pattern, kind in _KINDS if pattern.search(path)), "bytes")


def announced(length: str) -> int | None:
    """How many bytes a header announces; None if it is no number of at most 18 digits."""
    return int(length) if _LENGTH.fullmatch(length) else None


@dataclass(frozen=True, slots=True)
class Named:
    """What names an answer.

    Attributes:
        error: The kind of failure, if the answer says itself that it is one.
        profile_error: Why it has no richer profile than its bytes.
    """

    response: inference.Response
    finish_reasons: tuple[str, ...] = ()
    events: int = 0
    error: str = ""
    profile_error: str = ""


class _Gathered(Protocol):
    @property
    def finish_reasons(self) -> tuple[str, ...]: ...

    def digest(self, *, ended: bool) -> Digested: ...


class AnswerReader:
    """Reads one answer while it passes.

    Attributes:
        ended: Whether the protocol's own end was seen; what follows it is only hashed.
    """

    def __init__(self, kind: Kind, headers: Mapping[str, str]) -> None:
        """Take the kind of the path, and the headers of the answer by lowercase name."""
        self.ended = False
        self._kind = kind
        self._wire = hashlib.sha256()
        self._raw = hashlib.sha256(_RAW_PREFIX)
        self._decode = _decoder(headers.get("content-encoding", ""))
        self._events = 0
        self._error = ""
        self._problem = ""
        self._body: list[bytes] = []
        media = headers.get("content-type", "").partition(";")[0].strip().lower()
        self.streamed = media == "text/event-stream"
        self._sse = EventReader() if self.streamed else None
        if self._decode is None:
            self._problem = "its content encoding is not known"
        # The protocol's extension for binary tensors: how much of the body is JSON.
        length = headers.get("inference-header-content-length")
        self._json_bytes = None if length is None else announced(length) or 0
        self._chat = chat.Chat()
        self._text = text.Completion()

    def feed(self, piece: bytes) -> None:
        """Take a piece of the answer as the wire has it."""
        data = self._decoded(piece)
        self._wire.update(data)
        self._raw.update(data)
        if self._sse is None:
            if not self._problem and self._kind != "bytes":
                self._body.append(data)
            return
        try:
            events = self._sse.feed(data)
        except LimitExceededError as error:
            # What is no event any more has no end either; what comes is only hashed.
            self._fail(error)
            return
        for event in events:
            try:
                self._event(event)
            except MalformedError as error:
                self._fail(error)

    def named(self, *, whole: bool) -> Named:
        """What names the answer.

        Args:
            whole: Whether everything that was announced came.
        """
        complete = whole and (self.ended or not self.streamed)
        if not self._problem and self._kind != "bytes":
            try:
                return self._by_profile(complete=complete)
            except RegistryError as error:
                self._fail(error)
        response = inference.Response(
            profile=raw.NAME,
            content_digest=self._raw.hexdigest(),
            wire_digest=self._wire.hexdigest(),
            complete=complete,
        )
        return Named(response, (), self._events, self._error, self._problem)

    def _by_profile(self, *, complete: bool) -> Named:
        if self._kind == "tensor":
            outputs = InferenceResponse.parse(b"".join(self._body), self._json_bytes).outputs
            digested = Digested(tensor.content_digest(outputs, complete=complete), complete)
            return self._named(tensor.NAME, digested, ())
        gathered: _Gathered = self._chat if self._kind == "chat" else self._text
        if not self.streamed:
            self._add(answers.read(b"".join(self._body)), body=True)
        profile: inference.Profile = chat.NAME if self._kind == "chat" else text.NAME
        return self._named(profile, gathered.digest(ended=complete), gathered.finish_reasons)

    def _named(
        self, profile: inference.Profile, digested: Digested, reasons: tuple[str, ...]
    ) -> Named:
        response = inference.Response(
            profile=profile,
            content_digest=digested.content.hex(),
            wire_digest=self._wire.hexdigest(),
            complete=digested.complete,
        )
        return Named(response, reasons, self._events, self._error)

    def _event(self, event: Event) -> None:
        if self.ended:
            return
        if event.data == END or (self._kind == "bytes" and event.name in _ENDS):
            self.ended = True
            return
        self._events += 1
        if self._kind == "bytes" or self._problem:
            return
        members = answers.read(event.data, halves=True)
        if "error" in members:
            self._error = "error event"
        self._add(members, body=False)

    def _add(self, members: dict[str, object], *, body: bool) -> None:
        if self._kind == "text":
            self._text.add(members)
        elif body:
            self._chat.add_body(members)
        else:
            self._chat.add_chunk(members)

    def _decoded(self, piece: bytes) -> bytes:
        if self._decode is None:
            return piece
        try:
            return self._decode(piece)
        except (zlib.error, LimitExceededError, MalformedError) as error:
            self._problem = self._problem or f"its content encoding fails: {type(error).__name__}"
            self._decode = None
            return piece

    def _fail(self, error: RegistryError) -> None:
        self._problem = self._problem or error.what
        self._body.clear()


class _Inflate:
    """Undoes gzip or deflate piece by piece, and no bomb becomes large."""

    def __init__(self, window: int) -> None:
        self._stream = zlib.decompressobj(window)
        self._size = 0

    def __call__(self, piece: bytes) -> bytes:
        room = MAX_DECODED_BYTES - self._size
        data = self._stream.decompress(piece, room + 1)
        self._size += len(data)
        if len(data) > room or self._stream.unused_data:
            # A second member, or more than any answer is: named by its bytes as they came.
            message = "more than one stream, or too long"
            raise zlib.error(message)
        return data


def _identity(piece: bytes) -> bytes:
    return piece


def _decoder(encoding: str) -> Callable[[bytes], bytes] | None:
    match encoding.strip().lower():
        case "" | "identity":
            return _identity
        case "gzip" | "x-gzip":
            return _Inflate(16 + zlib.MAX_WBITS)
        case "deflate":
            return _Inflate(zlib.MAX_WBITS)
        case _:
            return None
