"""The recorder: a durable intent before every call, exactly one outcome after it.

What is durable before an answer goes out is the mode's choice:

===============  =================================  ==================================
mode             before the call                    before its answer goes out
===============  =================================  ==================================
``strict``       its intent                         its outcome
``stream``       its intent                         nothing more; the outcome follows
``best_effort``  nothing                            nothing; what is lost is counted
===============  =================================  ==================================

If the journal fails or is full, ``strict`` and ``stream`` make no more calls. The recorder itself
only writes: :meth:`Recorder.begin` and the methods that end a call return a ticket at once, and
whoever serves the call waits for it or does not. :meth:`Recorder.intent`, :meth:`Recorder.complete`
and :meth:`Recorder.fail` wait.

A process that dies in between leaves an open intent, and its next start says so. One case remains:
a completion that reached the disk although the caller was told that it failed. The record then
speaks of an answer that was made and never given away.
"""

import secrets
import threading
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from registry.core import encoding
from registry.core.digest import SHA256_SIZE
from registry.core.records import inference
from registry.errors import ConflictError, MalformedError, Reason, UnavailableError
from registry.shim.recorder.request_key import RequestKey
from registry.shim.recorder.sequence import Build, Sequence
from registry.shim.recorder.ticket import After, Ticket, Urgency

SALT_BYTES = 32
"""Bytes of a record's public salt: it keeps neighbours in a proof from being guessed."""

MAX_ERROR_CHARACTERS = 500
"""Characters of what is written down about a failed call."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """What answers, as far as the shim knows it.

    Attributes:
        uncovered: What belongs to a call and is in no digest, each by name.
        setup_n: The number of the record that tells more; None if none was written.
        evidence: The evidence id of the attestation in force; empty if there is none.
    """

    model: inference.Model
    binding: Literal["artifact_verified", "runtime_reported", "provider_attested", "name_only"]
    runtime: inference.Runtime
    uncovered: tuple[str, ...]
    setup_n: int | None = None
    evidence: str = ""

    def __post_init__(self) -> None:
        """Refuse now what would otherwise make every record of this deployment unreadable."""
        nothing = "00" * SHA256_SIZE
        place = inference.Sequence(
            shim_id="00" * 16, boot_id="00" * 16, n=0, prev_digest=inference.FIRST_PREVIOUS
        )
        response = inference.Response(
            profile="output/bytes/v1", content_digest=nothing, wire_digest=nothing, complete=True
        )
        call, answer = Open(0, nothing, self, Ticket(0, b"")), Answered(response)
        inference.parse(inference.write(_completion(place, "2000-01-01T00:00:00Z", call, answer)))


@dataclass(frozen=True, slots=True)
class Open:
    """A call that is under way: its intent's number, commitment and place in the journal."""

    n: int
    request: str
    deployment: Deployment
    ticket: Ticket = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer, and what else its record says.

    Attributes:
        asked: How strongly the caller wanted it proven; None if it did not say.
        course: How it went out; None within one process.
        deadline_ms: By when the caller wants it proven, after the request.
        private: What it commits to of content that it does not show.
    """

    response: inference.Response
    asked: inference.Level | None = None
    course: inference.Course | None = None
    deadline_ms: int = 0
    private: inference.Private | None = None


@dataclass(frozen=True, slots=True)
class Sent:
    """What went out of an answer that did not come to its end."""

    size: int = 0
    sha256: str = ""


NOTHING = Sent()
"""No byte of an answer went out."""


class Recorder:
    """Writes down calls, from any number of threads."""

    def __init__(self, sequence: Sequence, request_key: RequestKey) -> None:
        self._sequence = sequence
        self._request_key = request_key
        self._changed = threading.Condition()
        # Without an outcome yet; and with one that is not durable yet, or never will be.
        self._running: set[int] = set()
        self._unsettled: set[int] = set()
        self._closing = False

    @property
    def latched(self) -> str:
        """Why nothing is written down any more; empty if all is well."""
        return self._sequence.journal.latched

    @property
    def quick(self) -> bool:
        """Whether :meth:`intent` is likely to return at once."""
        return self._sequence.journal.quick

    @property
    def shim_id(self) -> str:
        """The shim's id, sixteen bytes in hexadecimal."""
        return self._sequence.shim_id

    def intent(self, deployment: Deployment, request_digest: bytes) -> Open:
        """Write down that a call is about to be made; returns when that is durable.

        Raises:
            RegistryError: As :meth:`begin`. The call must not be made.
        """
        open_ = self.begin(deployment, request_digest, urgency="mine")
        self._sequence.journal.commit(open_.ticket)
        return open_

    def begin(
        self,
        deployment: Deployment,
        request_digest: bytes,
        after: After | None = None,
        urgency: Urgency = "now",
    ) -> Open:
        """Write down that a call is about to be made; its ticket tells when that is durable.

        Args:
            deployment: What will answer.
            request_digest: The digest of the whole request, 32 bytes.
            after: Called when the intent is durable or never will be.
            urgency: Who writes it, and when; see :meth:`Sequence.add`.

        Raises:
            UnavailableError: ``JOURNAL_LATCHED``, ``JOURNAL_FULL`` or ``JOURNAL_BUSY``.
            MalformedError: ``MALFORMED_FIELD``.
        """
        if len(request_digest) != SHA256_SIZE:
            raise MalformedError(Reason.MALFORMED_FIELD, "this is not the SHA-256 of a request")
        said: list[inference.Intent] = []

        def build(place: inference.Sequence, at: str) -> inference.Record:
            salt = self._request_key.salt(place.shim_id, place.n)
            intent = inference.Intent(
                sequence=place,
                at=at,
                release=deployment.model.release,
                request=inference.commit_request(salt, request_digest).hex(),
                salt=secrets.token_hex(SALT_BYTES),
            )
            said.append(intent)
            # Before the record exists, so that nobody can think its segment settled, and in one
            # step with the question whether there is room, so that nothing follows the last record.
            with self._changed:
                self._check_room()
                self._unsettled.add(place.n)
            return intent

        ticket = self._sequence.add(build, after, urgency)
        with self._changed:
            self._running.add(ticket.n)
        return Open(ticket.n, said[0].request, deployment, ticket)

    def complete(
        self,
        open_: Open,
        response: inference.Response,
        private: inference.Private | None = None,
    ) -> int:
        """Write down the answer of a call; returns the record's number when that is durable.

        Raises:
            RegistryError: As :meth:`answered`. The answer must not be given away.
        """
        ticket = self.answered(open_, Answered(response, private=private), urgency="mine")
        self._sequence.journal.commit(ticket)
        return ticket.n

    def answered(
        self,
        open_: Open,
        answer: Answered,
        after: After | None = None,
        urgency: Urgency = "now",
    ) -> Ticket:
        """Write down the answer of a call.

        Args:
            open_: The call.
            answer: Its answer.
            after: Called when that is durable or never will be.
            urgency: Who writes it, and when; see :meth:`Sequence.add`.

        Raises:
            UnavailableError: ``JOURNAL_LATCHED``.
            ConflictError: ``INTENT_CLOSED``.
            MalformedError: ``MALFORMED_HEX``; the call is still open.
        """
        for digest in (answer.response.content_digest, answer.response.wire_digest):
            encoding.hex_bytes(digest, SHA256_SIZE)
        return self._end(
            open_, lambda place, at: _completion(place, at, open_, answer), after, urgency
        )

    def fail(self, open_: Open, error: str) -> int:
        """As :meth:`failed`, of a call that gave nothing; waits, and returns the number."""
        ticket = self.failed(open_, error)
        self._sequence.journal.commit(ticket)
        return ticket.n

    def failed(
        self, open_: Open, error: str, sent: Sent = NOTHING, after: After | None = None
    ) -> Ticket:
        """Write down that a call gave no whole answer.

        Args:
            open_: The call.
            error: What kind of failure it was; never anything from the request or the answer.
            sent: What went out before.
            after: Called when that is durable or never will be.

        Raises:
            UnavailableError: ``JOURNAL_LATCHED``.
            ConflictError: ``INTENT_CLOSED``.
        """
        return self._end(
            open_,
            lambda place, at: inference.Failure(
                sequence=place,
                at=at,
                intent_n=open_.n,
                error=_printable(error),
                sent_bytes=sent.size,
                sent_digest=sent.sha256 or msgspec.UNSET,
            ),
            after,
        )

    def abandoned(self, open_: Open, sent: Sent = NOTHING, after: After | None = None) -> Ticket:
        """Write down that whoever asked left before the answer was delivered.

        Raises:
            RegistryError: As :meth:`failed`.
        """
        return self._end(
            open_,
            lambda place, at: inference.ClientGone(
                sequence=place,
                at=at,
                intent_n=open_.n,
                sent_bytes=sent.size,
                sent_digest=sent.sha256 or msgspec.UNSET,
            ),
            after,
        )

    def refused(self, open_: Open, reason: str, after: After | None = None) -> Ticket:
        """Write down that a call was refused here, before the model server saw it.

        Raises:
            RegistryError: As :meth:`failed`.
        """
        return self._end(
            open_,
            lambda place, at: inference.NotForwarded(
                sequence=place, at=at, intent_n=open_.n, reason=_printable(reason)
            ),
            after,
        )

    def note(self, build: Build, after: After | None = None) -> Ticket:
        """Write down something that opens and ends no call: a setup, or an attached proof.

        Raises:
            UnavailableError: ``JOURNAL_LATCHED``.
        """
        return self._sequence.add(build, after)

    def oldest_open(self) -> int | None:
        """The first intent that has no durable outcome: the journal must be kept from there on."""
        with self._changed:
            return min(self._unsettled, default=None)

    def close(self, timeout: float) -> bool:
        """Take no more calls, wait for those under way, and write down the end.

        Args:
            timeout: Seconds to wait for calls under way.

        Returns:
            Whether the end is clean. If it is not, the next start will say so and list what was
            open.

        Raises:
            UnavailableError: ``JOURNAL_LATCHED``.
        """
        with self._changed:
            self._closing = True
            if self._sequence.journal.latched:
                return False
            clean = self._changed.wait_for(lambda: not self._unsettled, timeout)
        if clean:
            self._sequence.stop()
        return clean

    def _check_room(self) -> None:
        if self._closing:
            raise UnavailableError(Reason.JOURNAL_LATCHED, "the shim is stopping")
        self._sequence.journal.check_room()
        if len(self._unsettled) >= inference.MAX_OPEN_INTENTS:
            raise UnavailableError(
                Reason.JOURNAL_BUSY,
                "too many calls are under way",
                expected=f"at most {inference.MAX_OPEN_INTENTS}",
                hint="try again when some have been answered",
            )

    def _end(
        self, open_: Open, build: Build, after: After | None, urgency: Urgency = "now"
    ) -> Ticket:
        """Write the one outcome of a call, and remember the call until that is durable."""
        with self._changed:
            if open_.n not in self._running:
                raise ConflictError(
                    Reason.INTENT_CLOSED,
                    "this call has its outcome already",
                    where=f"intent {open_.n}",
                )
            self._running.remove(open_.n)

        def settled(ticket: Ticket) -> None:
            if not ticket.failed:
                with self._changed:
                    self._unsettled.discard(open_.n)
                    if self._closing:
                        self._changed.notify_all()
            if after is not None:
                after(ticket)

        return self._sequence.add(build, settled, urgency)


def _printable(text: str) -> str:
    return text.encode("unicode_escape").decode("ascii")[:MAX_ERROR_CHARACTERS]


def _completion(
    place: inference.Sequence, at: str, open_: Open, answer: Answered
) -> inference.Completion:
    deployment = open_.deployment
    return inference.Completion(
        sequence=place,
        at=at,
        intent_n=open_.n,
        model=deployment.model,
        binding=deployment.binding,
        request=open_.request,
        response=answer.response,
        runtime=deployment.runtime,
        uncovered=deployment.uncovered,
        salt=secrets.token_hex(SALT_BYTES),
        setup_n=msgspec.UNSET if deployment.setup_n is None else deployment.setup_n,
        asked=msgspec.UNSET if answer.asked is None else answer.asked,
        deadline_ms=answer.deadline_ms,
        course=msgspec.UNSET if answer.course is None else answer.course,
        private=msgspec.UNSET if answer.private is None else answer.private,
    )
