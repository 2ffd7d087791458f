"""One recorded answer on its way: what may go out when, and when its outcome is written down.

The same for every transport of HTTP answers, whoever moves the bytes: it is asked with each piece,
and says in which :class:`Step` that goes on. In ``strict`` mode the last piece of an answer follows
its outcome, in every other mode the outcome follows the piece.

A stream of events ends where its protocol says, since clients close there: the record is written
then, and speaks of every byte that goes out. What a model server sends after that, in a later
piece, would be in no digest, and goes no further; its connection is read to its end all the same.
Where the length is announced every byte of it goes out, and the record waits for the last one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from registry.shim.privacy.gathering import Gathering
from registry.shim.proxies.answer_readers import LONG_BYTES, AnswerReader, Kind, Named, announced
from registry.shim.proxies.reply import BODILESS
from registry.shim.recorder.answer import Answer, Transport

MAX_HELD_BYTES = 1024 * 1024
"""Bytes of an answer that is held whole, so that its digest can go before it."""

ANSWERED = range(200, 300)
"""The HTTP statuses of an answer; any other says that there is none (RFC 9110 §15)."""


@dataclass(frozen=True, slots=True)
class Failed:
    """Why there is no answer; never anything of the answer itself."""

    error: str


Outcome = Answer | Failed
"""What is written down of an answer."""


@dataclass(frozen=True, slots=True)
class Step:
    """What is to be done now, in this order.

    Attributes:
        before: Bytes to let out.
        outcome: What to write down, if anything.
        after: Bytes to let out after that.
    """

    before: bytes = b""
    outcome: Outcome | None = None
    after: bytes = b""


class Passage:
    """Reads one answer beside the bytes that pass.

    Attributes:
        strict: Whether the outcome must be durable before the last byte goes out.
        settled: Whether its outcome was given out.
        content_digest: What names the answer; empty until its end is known.
    """

    def __init__(
        self,
        kind: Kind,
        headers: Mapping[str, str],
        status: int,
        *,
        strict: bool,
        framed: bool = True,
        gathering: Gathering | None = None,
    ) -> None:
        """Take what is known of the answer before its first byte.

        Args:
            kind: How answers of the path are read.
            headers: Its headers by lowercase name.
            status: Its status.
            strict: See the attribute.
            framed: Whether the transport says where the answer ends. Else it may have been cut off,
                unless its own form tells.
            gathering: Holds what the call says; None if nothing of it is kept.
        """
        self.settled = False
        self.content_digest = ""
        self._reader = AnswerReader(kind, headers, framed=framed)
        self._kind = kind
        self._status = status
        self.strict = strict
        self._size = announced(headers.get("content-length", ""))
        self._taken = 0
        self._held = b""
        self._cut = False
        self._gathering = gathering

    @property
    def is_document(self) -> bool:
        """Whether the answer says nothing before its end, and may be small enough to be held."""
        if self._status in BODILESS:
            return True
        if self._reader.streamed:
            return False
        # Of a document whose length is not announced one learns only by reading.
        known = self._kind not in ("events", "bytes")
        return known if self._size is None else self._size <= MAX_HELD_BYTES

    @property
    def is_coded(self) -> bool:
        """Whether an encoding is undone: then a piece may become a thousand times as long."""
        return self._reader.is_coded

    @property
    def goes_first(self) -> bool:
        """Whether a piece goes out whatever it says, and so before it is read: nobody waits."""
        free = not self.strict and not self.settled
        return free and self._reader.streamed and not self._reader.is_coded

    def takes_long(self, more: int = 0) -> bool:
        """Whether it may take long to read what came, and so many bytes more, at its end."""
        return self.is_coded or self._reader.kept_bytes + more > LONG_BYTES

    def document(self, body: bytes) -> Outcome:
        """The outcome of an answer that was held whole."""
        self._feed(body)
        return self._settle(self._reader.named(whole=True), "unary")

    def piece(self, piece: bytes) -> Step:
        """Take a piece that came."""
        reader = self._reader
        if self.settled:
            self._cut = self._cut or reader.follows(piece)
            return Step() if self._cut else Step(piece)
        self._feed(piece)
        self._taken += len(piece)
        if reader.ended and (self._size is None or self._taken >= self._size):
            # From here on the answer is whole, whatever the client does: stock clients close.
            outcome = self._settle(reader.named(whole=True), "sse")
            return Step(b"", outcome, self._held + piece) if self.strict else Step(piece, outcome)
        if self.strict and (not reader.streamed or reader.ended or reader.ending):
            # An answer without frames, or with a length, ends with its last piece.
            held, self._held = self._held, piece
            return Step(held)
        return Step(piece)

    def end(self) -> Step:
        """Take note that nothing more comes, and that this is not the failure of a connection."""
        if self.settled:
            return Step()
        said = self._reader.named(whole=True)
        streamed = self._reader.streamed
        outcome = self._settle(said, "sse" if streamed else "unary")
        ended = self._reader.ended or self._reader.ending
        if streamed and not ended and self._kind in ("chat", "text"):
            why = f": {said.profile_error}" if said.profile_error else ""
            outcome = Failed(f"the stream ended before its end{why}")
        return Step(b"", outcome, self._held)

    def _settle(self, said: Named, transport: Transport) -> Outcome:
        self.settled = True
        self.content_digest = said.response.content_digest
        if said.error or self._status not in ANSWERED:
            return Failed(said.error or f"http status {self._status}")
        return Answer(
            said.response,
            transport,
            chunks=said.events,
            finish_reasons=said.finish_reasons,
            profile_error=said.profile_error,
            content=(
                None
                if self._gathering is None
                else partial(self._gathering.content, self._reader.document())
            ),
        )

    def _feed(self, piece: bytes) -> None:
        self._reader.feed(piece)
        if self._gathering is not None and not self.settled:
            self._gathering.take(piece)
