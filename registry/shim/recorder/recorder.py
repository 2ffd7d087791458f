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
from collections.abc import Callable

import msgspec

from registry.core.digest import SHA256_SIZE
from registry.core.records import inference
from registry.errors import (
    ConflictError,
    MalformedError,
    Reason,
    RegistryError,
    UnavailableError,
)
from registry.shim.recorder.outcomes import (
    NOTHING,
    SALT_BYTES,
    Answered,
    Deployment,
    Open,
    Sent,
    completion,
    printable,
)
from registry.shim.recorder.request_key import RequestKey
from registry.shim.recorder.sequence import Build, Sequence
from registry.shim.recorder.ticket import After, Ticket, Urgency


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
    def quick_seconds(self) -> float:
        """How long :meth:`intent` is likely to take; infinite if that is long or not known."""
        return self._sequence.journal.quick_seconds

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
        return self.completed(open_, Answered(response, private=private)).n

    def completed(self, open_: Open, answer: Answered) -> Ticket:
        """As :meth:`answered`; returns when that is durable.

        Raises:
            RegistryError: As :meth:`answered`. The answer must not be given away.
        """
        ticket = self.answered(open_, answer, urgency="mine")
        self._sequence.journal.commit(ticket)
        return ticket

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
        answer.check()
        return self._end(
            open_, lambda place, at: completion(place, at, open_, answer), after, urgency
        )

    def answered_later(
        self, open_: Open, answer: Callable[[], Answered], lost: Callable[[], None]
    ) -> None:
        """As :meth:`answered`, for an answer that goes out meanwhile: it need not wait for this.

        Args:
            open_: The call.
            answer: Tells its answer; must be quick.
            lost: Called if it is not written down; its intent then has no outcome.

        Raises:
            ConflictError: ``INTENT_CLOSED``.
        """
        self._close(open_)

        def write() -> None:
            try:
                said = answer()
                said.check()
                self._write_end(
                    open_, lambda place, at: completion(place, at, open_, said), None, "soon"
                )
            except RegistryError:
                lost()

        if not self._sequence.journal.later(write):
            write()

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
                error=printable(error),
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
                sequence=place, at=at, intent_n=open_.n, reason=printable(reason)
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
        self._close(open_)
        return self._write_end(open_, build, after, urgency)

    def _close(self, open_: Open) -> None:
        with self._changed:
            if open_.n not in self._running:
                raise ConflictError(
                    Reason.INTENT_CLOSED,
                    "this call has its outcome already",
                    where=f"intent {open_.n}",
                )
            self._running.remove(open_.n)

    def _write_end(
        self, open_: Open, build: Build, after: After | None, urgency: Urgency
    ) -> Ticket:
        def settled(ticket: Ticket) -> None:
            if not ticket.failed:
                with self._changed:
                    self._unsettled.discard(open_.n)
                    if self._closing:
                        self._changed.notify_all()
            if after is not None:
                after(ticket)

        return self._sequence.add(build, settled, urgency)
