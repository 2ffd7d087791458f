"""``output/chat/v1``: what a chat completion says, whatever carried it.

``H(JCS{schema, complete, choices: [{index, role, content, …}]})``. Left out by rule are
identifiers, times, model names, usage, log probabilities and how the answer was cut into chunks.
Texts are neither normalised nor parsed; the arguments of a tool call are the exact string.
"""

from typing import Any, Final

from registry.core.profiles.answers import Choices, Digested, digested, items, joined, number, wrong
from registry.core.profiles.answers import text as read_text

NAME: Final = "output/chat/v1"
"""The name of this profile."""

MAX_TOOL_CALLS = 4096
"""Tool calls of one choice."""

# They carry content and have no rule: an answer with one of them is named by its bytes.
_NO_RULE = ("function_call", "audio")


class _Call:
    __slots__ = ("arguments", "id", "name", "type")

    def __init__(self) -> None:
        self.id = self.type = self.name = ""
        self.arguments: list[str] = []

    def set_once(self, name: str, value: str) -> None:
        held = getattr(self, name)
        if value and held and value != held:
            raise wrong(f"the {name} of a tool call changes", value)
        if value:
            setattr(self, name, value)


class _Choice:
    __slots__ = ("calls", "content", "finish", "reasoning", "reasoning_content", "refusal", "role")

    def __init__(self) -> None:
        self.role = self.finish = ""
        self.content: list[str] = []
        self.refusal: list[str] = []
        self.reasoning: list[str] | None = None
        self.reasoning_content: list[str] | None = None
        self.calls: dict[int, _Call] = {}


class Chat:
    """Gathers one answer: from chunks as they pass, or from one body."""

    def __init__(self) -> None:
        self._choices = Choices(_Choice)

    def add_chunk(self, members: dict[str, Any]) -> None:
        """Take one chunk of a stream.

        Raises:
            MalformedError: ``PROFILE``.
        """
        self._add(members, "delta")

    def add_body(self, members: dict[str, Any]) -> None:
        """Take a whole answer.

        Raises:
            MalformedError: ``PROFILE``.
        """
        self._add(members, "message")

    @property
    def finish_reasons(self) -> tuple[str, ...]:
        """Why each choice ended, in the order of their indexes; empty for one that did not."""
        return tuple(choice.finish for _, choice in sorted(self._choices.by_index.items()))

    def choices(self) -> list[dict[str, Any]]:
        """What was gathered, as the profile writes it, in the order of the indexes.

        Raises:
            MalformedError: ``PROFILE``.
        """
        return [_written(*item) for item in sorted(self._choices.by_index.items())]

    def digest(self, *, ended: bool) -> Digested:
        """Name what was gathered.

        Args:
            ended: Whether the protocol's own end was seen: ``[DONE]``, or the whole body.

        Raises:
            MalformedError: ``PROFILE``.
        """
        return digested(NAME, self.choices(), ended=ended)

    def _add(self, members: dict[str, Any], part: str) -> None:
        for item in items(members.get("choices"), "choices"):
            choice = self._choices.of(item)
            said = item.get(part)
            if isinstance(said, dict):
                self._say(choice, said, by_position=part == "message")
            elif said is not None:
                raise wrong(f"{part} is no object")
            choice.finish = read_text(item.get("finish_reason"), "finish_reason") or choice.finish

    def _say(self, choice: _Choice, said: dict[str, Any], *, by_position: bool) -> None:
        content = said.get("content")
        if content:
            self._append(choice.content, content, "content")
        for name, value in said.items():
            if name == "content" and not isinstance(value, str | None):
                raise wrong("content is no text", type(value).__name__)
            if name == "role":
                choice.role = read_text(value, name) or choice.role
            elif name == "refusal":
                self._append(choice.refusal, value, name)
            elif name == "reasoning":
                choice.reasoning = choice.reasoning or []
                self._append(choice.reasoning, value, name)
            elif name == "reasoning_content":
                choice.reasoning_content = choice.reasoning_content or []
                self._append(choice.reasoning_content, value, name)
            elif name == "tool_calls":
                self._call(choice, value, by_position=by_position)
            elif name in _NO_RULE and value is not None:
                raise wrong(f"there is no rule for {name}")

    def _append(self, pieces: list[str], value: object, name: str) -> None:
        said = read_text(value, name)
        self._choices.count(len(said))
        if said:
            pieces.append(said)

    def _call(self, choice: _Choice, value: object, *, by_position: bool) -> None:
        for position, item in enumerate(items(value, "tool_calls")):
            index = position if by_position else number(item.get("index"), "index of a tool call")
            if index not in choice.calls:
                if len(choice.calls) >= MAX_TOOL_CALLS:
                    raise wrong(f"it has more than {MAX_TOOL_CALLS} tool calls")
                choice.calls[index] = _Call()
            call = choice.calls[index]
            call.set_once("id", read_text(item.get("id"), "id of a tool call"))
            call.set_once("type", read_text(item.get("type"), "type of a tool call"))
            function = item.get("function")
            if function is None:
                continue
            if not isinstance(function, dict):
                raise wrong("function is no object")
            call.set_once("name", read_text(function.get("name"), "name of a function"))
            self._append(call.arguments, function.get("arguments"), "arguments")


def _written(index: int, choice: _Choice) -> dict[str, Any]:
    said: dict[str, Any] = {
        "index": index,
        "role": joined([choice.role], "role") or "assistant",
        "content": joined(choice.content, "content"),
    }
    if refusal := joined(choice.refusal, "refusal"):
        said["refusal"] = refusal
    if reasoning := _reasoning(choice):
        said["reasoning"] = reasoning
    if choice.calls:
        said["tool_calls"] = [_written_call(call) for _, call in sorted(choice.calls.items())]
    if choice.finish:
        said["finish_reason"] = joined([choice.finish], "finish_reason")
    return said


def _reasoning(choice: _Choice) -> str:
    if choice.reasoning is None:
        return joined(choice.reasoning_content or [], "reasoning_content")
    said = joined(choice.reasoning, "reasoning")
    if choice.reasoning_content is not None:
        other = joined(choice.reasoning_content, "reasoning_content")
        if other != said:
            raise wrong("reasoning and reasoning_content differ")
    return said


def _written_call(call: _Call) -> dict[str, Any]:
    return {
        "id": joined([call.id], "id"),
        "type": joined([call.type], "type") or "function",
        "function": {
            "name": joined([call.name], "name"),
            "arguments": joined(call.arguments, "arguments"),
        },
    }
