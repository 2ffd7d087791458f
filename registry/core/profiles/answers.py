"""Answers of OpenAI-compatible servers: the members that chat and text profiles share, gathered.

A stream comes in chunks with deltas, a whole answer in one body; both fill the same choices, so
that the same answer has one content digest over any transport.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from registry.core import encoding
from registry.core.digest import sha256
from registry.errors import MalformedError, Reason

MAX_CHOICES = 1024
"""Choices of one answer."""

MAX_TEXT_CHARACTERS = 64 * 1024 * 1024
"""Characters of all texts of one answer."""

END = b"[DONE]"
"""The data of the event that ends a stream."""

C = TypeVar("C")

_COUNT = re.compile(r"0|[1-9][0-9]{0,8}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Digested:
    """The digest that names the content of an answer, and whether its protocol's end was seen."""

    content: bytes
    complete: bool


def wrong(what: str, actual: object = "") -> MalformedError:
    """The refusal of an answer that a profile has no rule for."""
    return MalformedError(
        Reason.PROFILE,
        f"this answer does not follow its profile: {what}",
        actual=repr(actual)[:80] if actual != "" else "",
    )


def read(data: bytes, *, halves: bool = False) -> dict[str, Any]:
    """Read one JSON object of an answer.

    Args:
        data: A body, or the data of one event.
        halves: Whether halves of surrogate pairs may pass, because a text comes in pieces.

    Raises:
        MalformedError: ``PROFILE``.
    """
    try:
        members = encoding.read_foreign_numbers(data, what="answer", halves=halves)
    except MalformedError as error:
        raise wrong("it is not JSON that every reader reads alike", error.actual) from error
    if not isinstance(members, dict):
        raise wrong("it is no JSON object")
    return members


def text(value: object, name: str) -> str:
    """A text or nothing.

    Raises:
        MalformedError: ``PROFILE``.
    """
    if value is None:
        return ""
    # Numbers are texts to the reader that must not change them.
    if not isinstance(value, str) or isinstance(value, encoding.Number):
        raise wrong(f"{name} is no text", type(value).__name__)
    return value


def joined(pieces: list[str], name: str) -> str:
    """The pieces of a text in a row, with halves of surrogate pairs joined.

    Raises:
        MalformedError: ``PROFILE`` for a half that stays alone.
    """
    whole = "".join(pieces)
    try:
        whole.encode()
    except UnicodeEncodeError:
        try:
            return whole.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
        except UnicodeDecodeError as error:
            raise wrong(f"half a character is left in {name}") from error
    return whole


def number(value: object, name: str) -> int:
    """A count from 0; absent is 0.

    Raises:
        MalformedError: ``PROFILE``.
    """
    if value is None:
        return 0
    if not isinstance(value, encoding.Number) or not _COUNT.fullmatch(value):
        raise wrong(f"{name} is no count", value)
    return int(value)


def items(value: object, name: str) -> list[dict[str, Any]]:
    """A list of objects; absent is empty.

    Raises:
        MalformedError: ``PROFILE``.
    """
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise wrong(f"{name} is no list of objects")
    return value


class Choices(Generic[C]):
    """The choices of one answer by index, and how many characters they have together."""

    def __init__(self, new: Callable[[], C]) -> None:
        self._new = new
        self.by_index: dict[int, C] = {}
        self._characters = 0

    def of(self, members: dict[str, Any]) -> C:
        """The choice that a member of ``choices`` is about.

        Raises:
            MalformedError: ``PROFILE``.
        """
        index = number(members.get("index"), "the index of a choice")
        choice = self.by_index.get(index)
        if choice is None:
            if len(self.by_index) >= MAX_CHOICES:
                raise wrong(f"it has more than {MAX_CHOICES} choices")
            choice = self.by_index[index] = self._new()
        return choice

    def count(self, characters: int) -> None:
        """Take note of more text.

        Raises:
            MalformedError: ``PROFILE``.
        """
        self._characters += characters
        if self._characters > MAX_TEXT_CHARACTERS:
            raise wrong(f"it has more than {MAX_TEXT_CHARACTERS} characters")


def digested(schema: str, choices: list[dict[str, Any]], *, ended: bool) -> Digested:
    """Name an answer by its choices.

    Args:
        schema: The profile.
        choices: Sorted by index.
        ended: Whether the protocol's own end was seen.
    """
    complete = ended and bool(choices) and all("finish_reason" in item for item in choices)
    members = {"schema": schema, "complete": complete, "choices": choices}
    return Digested(sha256(encoding.write_json(members)), complete)
