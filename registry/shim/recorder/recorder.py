"""The recorder: a durable intent before every call, exactly one outcome after it.

This is ``strict`` recording, the only mode so far:

* :meth:`Recorder.intent` returns when the intent is durable. Only then may the model run.
* :meth:`Recorder.complete` and :meth:`Recorder.fail` return when the outcome is durable. Only then
  may the answer be given away.
* If the journal fails, no call is made and no answer is given away: a full disk stops the service.

A process that dies in between leaves an open intent, and its next start says so. One case remains:
a completion that reached the disk although the caller was told that it failed. The record then
speaks of an answer that was made and never given away.
"""

import secrets
import threading
from dataclasses import dataclass
from typing import Literal

from registry.core import encoding
from registry.core.digest import SHA256_SIZE
from registry.core.records import inference
from registry.errors import ConflictError, MalformedError, Reason, UnavailableError
from registry.shim.recorder.journal import Ticket
from registry.shim.recorder.request_key import RequestKey
from registry.shim.recorder.sequence import Sequence

SALT_BYTES = 32
"""Bytes of a record's public salt: it keeps neighbours in a proof from being guessed."""

MAX_ERROR_CHARACTERS = 500
"""Characters of what is written down about a failed call."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """What answers, as far as the shim knows it.

    Attributes:
        uncovered: What belongs to a call and is in no digest, each by name.
    """

    model: inference.Model
    binding: Literal["artifact_verified", "runtime_reported", "provider_attested", "name_only"]
    runtime: inference.Runtime
    uncovered: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse now what would otherwise make every record of this deployment unreadable."""
        nothing = "00" * SHA256_SIZE
        place = inference.Sequence(
            shim_id="00" * 16, boot_id="00" * 16, n=0, prev_digest=inference.FIRST_PREVIOUS
        )
        response = inference.Response(
            profile="output/bytes/v1", content_digest=nothing, wire_digest=nothing, complete=True
        )
        sample = _completion(place, "2000-01-01T00:00:00Z", Open(0, nothing, self), response)
        inference.parse(inference.write(sample))


@dataclass(frozen=True, slots=True)
class Open:
    """A call that is under way: its intent's number and commitment."""

    n: int
    request: str
    deployment: Deployment


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

    def intent(self, deployment: Deployment, request_digest: bytes) -> Open:
        """Write down that a call is about to be made; returns when that is durable.

        Args:
            deployment: What will answer.
            request_digest: The digest of the whole request, 32 bytes.

        Raises:
            UnavailableError: ``JOURNAL_LATCHED``, or ``JOURNAL_BUSY`` if too many calls are open.
                The call must not be made.
            MalformedError: ``MALFORMED_FIELD``.
        """
        if len(request_digest) != SHA256_SIZE:
            raise MalformedError(
                Reason.MALFORMED_FIELD,
                "this is not the SHA-256 of a request",
                expected=f"{SHA256_SIZE} bytes",
                actual=f"{len(request_digest)} bytes",
            )
        opened: list[Open] = []

        def build(place: inference.Sequence, at: str) -> inference.Record:
            salt = self._request_key.salt(place.shim_id, place.n)
            request = inference.commit_request(salt, request_digest).hex()
            opened.append(Open(place.n, request, deployment))
            # Before the record exists, so that nobody can think its segment settled, and in one
            # step with the question whether there is room, so that nothing follows the last record.
            with self._changed:
                self._check_room()
                self._unsettled.add(place.n)
            return inference.Intent(
                sequence=place,
                at=at,
                release=deployment.model.release,
                request=request,
                salt=secrets.token_hex(SALT_BYTES),
            )

        self._sequence.add(build).wait()
        [open_] = opened
        with self._changed:
            self._running.add(open_.n)
        return open_

    def complete(self, open_: Open, response: inference.Response) -> int:
        """Write down the answer of a call; returns the record's number when that is durable.

        Raises:
            UnavailableError: ``JOURNAL_LATCHED``. The answer must not be given away.
            ConflictError: ``INTENT_CLOSED``.
            MalformedError: ``MALFORMED_HEX``; the call is still open.
        """
        for digest in (response.content_digest, response.wire_digest):
            encoding.hex_bytes(digest, SHA256_SIZE)
        self._claim(open_)
        return self._settle(
            open_,
            self._sequence.add(lambda place, at: _completion(place, at, open_, response)),
        )

    def fail(self, open_: Open, error: str) -> int:
        """Write down that a call gave no answer; returns the record's number when that is durable.

        Args:
            open_: The call.
            error: What kind of failure it was; never anything from the request or the answer.

        Raises:
            UnavailableError: ``JOURNAL_LATCHED``.
            ConflictError: ``INTENT_CLOSED``.
        """
        text = error.encode("unicode_escape").decode("ascii")[:MAX_ERROR_CHARACTERS]
        self._claim(open_)
        return self._settle(
            open_,
            self._sequence.add(
                lambda place, at: inference.Failure(
                    sequence=place, at=at, intent_n=open_.n, error=text
                )
            ),
        )

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
        if len(self._unsettled) >= inference.MAX_OPEN_INTENTS:
            raise UnavailableError(
                Reason.JOURNAL_BUSY,
                "too many calls are under way",
                expected=f"at most {inference.MAX_OPEN_INTENTS}",
                hint="try again when some have been answered",
            )

    def _claim(self, open_: Open) -> None:
        with self._changed:
            if open_.n not in self._running:
                raise ConflictError(
                    Reason.INTENT_CLOSED,
                    "this call has its outcome already",
                    where=f"intent {open_.n}",
                )
            self._running.remove(open_.n)

    def _settle(self, open_: Open, ticket: Ticket) -> int:
        ticket.wait()
        with self._changed:
            self._unsettled.discard(open_.n)
            if self._closing:
                self._changed.notify_all()
        return ticket.n


def _completion(
    place: inference.Sequence, at: str, open_: Open, response: inference.Response
) -> inference.Completion:
    deployment = open_.deployment
    return inference.Completion(
        sequence=place,
        at=at,
        intent_n=open_.n,
        model=deployment.model,
        binding=deployment.binding,
        request=open_.request,
        response=response,
        runtime=deployment.runtime,
        uncovered=deployment.uncovered,
        salt=secrets.token_hex(SALT_BYTES),
    )
