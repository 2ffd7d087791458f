"""What calls come to, as records say it: what answered, with what, and how far it went out."""

import secrets
from dataclasses import dataclass, field

import msgspec

from registry.core import encoding
from registry.core.digest import SHA256_SIZE
from registry.core.records import inference
from registry.shim.recorder.ticket import Ticket

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
    binding: inference.Binding
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
        inference.parse(inference.write(completion(place, "2000-01-01T00:00:00Z", call, answer)))


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
        course: How it went out; None if nobody says.
        deadline_ms: By when the caller wants it proven, after the request.
        private: What it commits to of content that it does not show.
    """

    response: inference.Response
    asked: inference.Level | None = None
    course: inference.Course | None = None
    deadline_ms: int = 0
    private: inference.Private | None = None

    def check(self) -> None:
        """Refuse digests that no record takes.

        Raises:
            MalformedError: ``MALFORMED_HEX``.
        """
        for digest in (self.response.content_digest, self.response.wire_digest):
            encoding.hex_bytes(digest, SHA256_SIZE)


@dataclass(frozen=True, slots=True)
class Sent:
    """What went out of an answer that did not come to its end."""

    size: int = 0
    sha256: str = ""


NOTHING = Sent()
"""No byte of an answer went out."""


def printable(text: str) -> str:
    """What is written down about a failed call: short, and plain ASCII."""
    return text.encode("unicode_escape").decode("ascii")[:MAX_ERROR_CHARACTERS]


def completion(
    place: inference.Sequence, at: str, open_: Open, answer: Answered
) -> inference.Completion:
    """The record of an answer."""
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
