"""``output/text/v1``: what a legacy completion says: text and finish reason of each choice."""

from typing import Any, Final

from registry.core.profiles.answers import Choices, Digested, digested, items, joined
from registry.core.profiles.answers import text as read_text

NAME: Final = "output/text/v1"
"""The name of this profile."""


class _Choice:
    __slots__ = ("finish", "text")

    def __init__(self) -> None:
        self.finish = ""
        self.text: list[str] = []


class Completion:
    """Gathers one answer: chunks and whole bodies have the same form."""

    def __init__(self) -> None:
        self._choices = Choices(_Choice)

    def add(self, members: dict[str, Any]) -> None:
        """Take a chunk of a stream, or a whole answer.

        Raises:
            MalformedError: ``PROFILE``.
        """
        for item in items(members.get("choices"), "choices"):
            choice = self._choices.of(item)
            said = read_text(item.get("text"), "text")
            self._choices.count(len(said))
            choice.text.append(said)
            choice.finish = read_text(item.get("finish_reason"), "finish_reason") or choice.finish

    @property
    def finish_reasons(self) -> tuple[str, ...]:
        """Why each choice ended, in the order of their indexes; empty for one that did not."""
        return tuple(choice.finish for _, choice in sorted(self._choices.by_index.items()))

    def choices(self) -> list[dict[str, Any]]:
        """What was gathered, as the profile writes it, in the order of the indexes.

        Raises:
            MalformedError: ``PROFILE``.
        """
        choices: list[dict[str, Any]] = []
        for index, choice in sorted(self._choices.by_index.items()):
            said: dict[str, Any] = {"index": index, "text": joined(choice.text, "text")}
            if choice.finish:
                said["finish_reason"] = joined([choice.finish], "finish_reason")
            choices.append(said)
        return choices

    def digest(self, *, ended: bool) -> Digested:
        """Name what was gathered.

        Args:
            ended: Whether the protocol's own end was seen: ``[DONE]``, or the whole body.

        Raises:
            MalformedError: ``PROFILE``.
        """
        return digested(NAME, self.choices(), ended=ended)
