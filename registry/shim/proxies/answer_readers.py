"""From an answer as it passes to its content digest: which profile a path has, and who reads it.

A reader is fed while bytes go by and decides nothing about them. Where a rule of the profile does
not hold, the answer is named by its bytes, and the record says why; nothing is guessed.
"""

import hashlib
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from registry.core.profiles import answers, chat, raw, tensor, text
from registry.core.profiles.answers import END, Digested
from registry.core.profiles.open_inference import InferenceResponse
from registry.core.profiles.sse import Event, EventReader
from registry.core.records import inference
from registry.errors import LimitExceededError, MalformedError, RegistryError

MAX_READ_BYTES = 64 * 1024 * 1024
"""Bytes of one document that is read for its profile; more is named by its bytes."""

MAX_COMMAS = 1_000_000
"""Commas of one document that is read for its profile: as many values take seconds, and 100 MB."""

LONG_BYTES = 64 * 1024
"""Bytes of a document that takes longer to read than an event loop should be kept waiting."""

MAX_DECODED_BYTES = 64 * 1024 * 1024
"""Bytes of one answer after its content encoding is undone: what a bomb may become."""

INFLATED_BYTES = 1024 * 1024
"""Bytes that exist at one time of what a content encoding becomes."""

Kind = Literal["chat", "text", "tensor", "events", "bytes"]
"""How an answer is read: ``events`` by their bytes, but for the event with which they end."""

_TENSORS = re.compile(r"/v2/models/[^/]+(/versions/[^/]+)?/infer$")
_STORED = re.compile(r"/chat/completions/[^/]+$")
_EVENTS = re.compile(r"/messages$|/responses(/[^/]+)?$|:streamRawPredict$")
# How streams end that have no "[DONE]": of messages, and of responses.
_ENDS = frozenset((b"message_stop", b"response.completed", b"response.incomplete"))
_BY_BYTES = ("events", "bytes")
_LENGTH = re.compile(r"[0-9]{1,18}", re.ASCII)
_RAW_PREFIX = raw.NAME.encode() + b"\0"


def kind_of(path: str) -> Kind:
    """How the answers of a path are read."""
    path = path.removesuffix("/")
    if path.endswith("/completions"):
        return "chat" if path.endswith("/chat/completions") else "text"
    if path.endswith("/infer") and _TENSORS.search(path):
        return "tensor"
    if _STORED.search(path):
        return "chat"
    return "events" if _EVENTS.search(path) else "bytes"


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

    def choices(self) -> list[dict[str, Any]]: ...


class AnswerReader:
    """Reads one answer while it passes.

    Attributes:
        ended: Whether the protocol's own end was seen; what follows it in the same piece is only
            hashed, and what comes later is no more of the answer.
        ending: Whether all but the last byte of that end was seen: the LF of a CRLF.
    """

    def __init__(self, kind: Kind, headers: Mapping[str, str], *, framed: bool = True) -> None:
        """Take what is known of the answer before its first byte.

        Args:
            kind: That of the path.
            headers: By lowercase name.
            framed: Whether the transport says where the answer ends.
        """
        self.ended = False
        self.ending = False
        self._crlf = self._after_cr = False
        self._last_is_end = False
        self._framed = framed
        self._kind = kind
        self._names = _Names()
        self._inflate, known = _decoder(headers.get("content-encoding", ""))
        # As it came: what names an answer whose encoding cannot be undone.
        self._coded = None if self._inflate is None else _Names()
        self._events = 0
        self._error = ""
        self._problem = "" if known else "its content encoding is not known"
        self._body: list[bytes] = []
        self._room = MAX_READ_BYTES
        self._commas = 0
        media = headers.get("content-type", "").partition(";")[0].strip().lower()
        self.streamed = media == "text/event-stream"
        self._sse = EventReader() if self.streamed else None
        # The protocol's extension for binary tensors: how much of the body is JSON.
        length = headers.get("inference-header-content-length")
        self._json_bytes = None if length is None else announced(length) or 0
        self._chat = chat.Chat()
        self._text = text.Completion()

    @property
    def is_coded(self) -> bool:
        """Whether an encoding is undone."""
        return self._inflate is not None

    @property
    def kept_bytes(self) -> int:
        """Bytes of a document that are read at its end."""
        return MAX_READ_BYTES - self._room

    def feed(self, piece: bytes) -> None:
        """Take a piece of the answer as the wire has it."""
        self.ended = self.ended or (self.ending and bool(piece))
        if self._inflate is None:
            self._take(piece)
            return
        if self._coded is not None:
            self._coded.update(piece)
        try:
            for data in self._inflate(piece):
                self._take(data)
        except zlib.error as error:
            self._give_up_decoding(str(error))

    def follows(self, piece: bytes) -> bool:
        """Whether a piece that comes after the answer was named says anything.

        Nothing is said by the end of a content encoding. What does is in no digest.
        """
        if self._inflate is None:
            return bool(piece)
        try:
            return any(self._inflate(piece))
        except zlib.error:
            return True

    def _take(self, data: bytes) -> None:
        """Take a piece after its content encoding is undone."""
        self._names.update(data)
        if self._sse is None:
            self._keep(data)
            return
        try:
            events = self._sse.feed(data)
        except LimitExceededError as error:
            # What is no event any more has no end either; what comes is only hashed.
            self._fail(error)
            self._sse = None
            return
        for event in events:
            try:
                self._event(event)
            except MalformedError as error:
                self._fail(error)
        self._crlf = self._crlf or b"\r\n" in data or (self._after_cr and data[:1] == b"\n")
        self._after_cr = data.endswith(b"\r")
        if self.ended and self._after_cr and self._crlf and events:
            # Where lines end in CRLF, the end is not whole before its last LF.
            self.ended, self.ending = False, True

    def _keep(self, data: bytes) -> None:
        if self._problem or self._kind in _BY_BYTES:
            return
        self._room -= len(data)
        self._commas += data.count(b",")
        if self._room < 0 or self._commas > MAX_COMMAS:
            bound = f"{MAX_READ_BYTES} bytes" if self._room < 0 else f"{MAX_COMMAS} values"
            self._problem = f"it is longer than {bound}"
            self._body.clear()
            return
        self._body.append(data)

    def _give_up_decoding(self, why: str) -> None:
        """Name the answer by its bytes as they came, the earlier ones, too."""
        if self._coded is not None:
            self._names, self._coded, self._inflate = self._coded, None, None
        self._sse = None
        self._problem = self._problem or f"its content encoding fails: {why}"[:200]
        self._body.clear()

    def named(self, *, whole: bool) -> Named:
        """What names the answer.

        Args:
            whole: Whether everything that was announced came.
        """
        ending = self.ended or self.ending
        if whole and not ending and self._inflate is not None and not self._inflate.ended:
            self._give_up_decoding("it does not end")
        ended = ending or self._last_is_end
        complete = whole and (ended or not self.streamed)
        if not self._problem and self._kind not in _BY_BYTES:
            try:
                return self._by_profile(complete=complete)
            except RegistryError as error:
                self._fail(error)
        response = inference.Response(
            profile=raw.NAME,
            content_digest=self._names.content.hexdigest(),
            wire_digest=self._names.wire.hexdigest(),
            # JSON says where it ends; of mere bytes nobody knows whether a connection lost some.
            complete=complete and (ended or self._framed),
        )
        return Named(response, (), self._events, self._error, self._problem)

    def document(self) -> dict[str, Any] | None:
        """What a stream stands for, as a document: the choices of a chat, or of a completion.

        None for what is no stream of these, and where a rule of the profile does not hold.
        """
        if not self.streamed or self._problem or self._kind not in ("chat", "text"):
            return None
        gathered: _Gathered = self._chat if self._kind == "chat" else self._text
        try:
            return {"choices": gathered.choices()}
        except MalformedError:
            return None

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
            wire_digest=self._names.wire.hexdigest(),
            complete=digested.complete,
        )
        return Named(response, reasons, self._events, self._error)

    def _event(self, event: Event) -> None:
        if self.ended or self.ending:
            return
        self._last_is_end = self._kind in _BY_BYTES and event.name in _ENDS
        if event.data == END or (self._last_is_end and self._kind == "events"):
            self.ended = True
            return
        self._events += 1
        if self._kind in _BY_BYTES or self._problem:
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

    def _fail(self, error: RegistryError) -> None:
        self._problem = self._problem or error.what
        self._body.clear()


class _Names:
    """What names bytes whatever they say: their digests on the wire and under ``output/bytes/v1``.

    Attributes:
        wire: Of the bytes alone.
        content: Of the profile's name and the bytes.
    """

    def __init__(self) -> None:
        self.wire = hashlib.sha256()
        self.content = hashlib.sha256(_RAW_PREFIX)

    def update(self, data: bytes) -> None:
        """Take a piece."""
        self.wire.update(data)
        self.content.update(data)


class _Inflate:
    """Undoes gzip or deflate piece by piece; however much it becomes, little exists at one time.

    Attributes:
        ended: Whether the stream came to its own end.
    """

    def __init__(self, window: int) -> None:
        self.ended = False
        self._stream = zlib.decompressobj(window)
        self._room = MAX_DECODED_BYTES

    def __call__(self, piece: bytes) -> Iterator[bytes]:
        """What a piece becomes.

        Raises:
            zlib.error: It is no such stream, more than one, or becomes too long.
        """
        stream = self._stream
        while piece or not self.ended:
            if self.ended:
                message = "something follows its end"
                raise zlib.error(message)
            data = stream.decompress(piece, INFLATED_BYTES)
            self._room -= len(data)
            if self._room < 0:
                message = f"it becomes longer than {MAX_DECODED_BYTES} bytes"
                raise zlib.error(message)
            if data:
                yield data
            self.ended = stream.eof
            piece = stream.unused_data if self.ended else stream.unconsumed_tail
            if not piece and len(data) < INFLATED_BYTES:
                return


def _decoder(encoding: str) -> tuple[_Inflate | None, bool]:
    """What undoes an encoding, if anything need, and whether it is known at all."""
    match encoding.strip().lower():
        case "" | "identity":
            return None, True
        case "gzip" | "x-gzip":
            return _Inflate(16 + zlib.MAX_WBITS), True
        case "deflate":
            return _Inflate(zlib.MAX_WBITS), True
        case _:
            return None, False
