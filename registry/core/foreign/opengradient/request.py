"""The spellings of a request that OpenGradient's gateway has hashed, from one version to the next.

What is hashed is never what was sent: some members are taken out, changed and written as Python
writes sorted JSON. What a spelling leaves out is named, since changing it changes no signature.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from registry.core import encoding
from registry.core.encoding import Number
from registry.core.foreign import spelling
from registry.errors import MalformedError, Reason

_ROLES: Final = ("system", "user", "assistant", "tool", "function")


@dataclass(frozen=True, slots=True)
class Spelling:
    """One way to write a request.

    Attributes:
        name: How a record names it.
        write: From the members of a request to the bytes.
        members: The members that it may contain; None for all.
    """

    name: str
    write: Callable[[Mapping[str, Any]], bytes]
    members: tuple[str, ...] | None

    def uncovered(self, request: Mapping[str, Any]) -> tuple[str, ...]:
        """The members of a request that it leaves out."""
        return tuple(sorted(set(request) - set(request if self.members is None else self.members)))


def read(data: bytes) -> dict[str, Any]:
    """The members of a request; its numbers as they are spelled.

    Raises:
        MalformedError: ``MALFORMED_JSON``.
    """
    value = encoding.read_foreign_numbers(data, what="request", max_depth=spelling.MAX_DEPTH)
    if not isinstance(value, dict):
        raise MalformedError(Reason.MALFORMED_JSON, "this is no request", where="request")
    return value


def _sorted(value: object) -> bytes:
    return spelling.spell(value, spelling.PYTHON_SORTED)


# --- Since 2026-02: a few members, in a form of their own. ---


def _chosen(request: Mapping[str, Any], user: Callable[[Any], Any], *, search: bool) -> bytes:
    chosen: dict[str, Any] = {
        "model": request.get("model"),
        "messages": [_message(item, user) for item in _items(request.get("messages"))],
        "temperature": _temperature(request),
    }
    if request.get("max_tokens") is not None:
        chosen["max_tokens"] = request["max_tokens"]
    names = ["stop", "tools", "response_format", *(["web_search"] if search else [])]
    chosen |= {name: request[name] for name in names if _truthy(request.get(name))}
    return _sorted(chosen)


def _completion(request: Mapping[str, Any]) -> bytes:
    chosen: dict[str, Any] = {
        "model": request.get("model"),
        "prompt": request.get("prompt"),
        "temperature": _temperature(request),
    }
    if request.get("max_tokens") is not None:
        chosen["max_tokens"] = request["max_tokens"]
    if _truthy(request.get("stop")):
        chosen["stop"] = request["stop"]
    return _sorted(chosen)


def _message(message: Mapping[str, Any], user: Callable[[Any], Any]) -> dict[str, Any]:
    role, content = message.get("role"), message.get("content")
    role = "system" if role == "developer" else role
    if role not in _ROLES:
        raise MalformedError(
            Reason.MALFORMED_FIELD,
            "the gateway knows no such role",
            where="request, messages",
            actual=ascii(role)[:80],
        )
    if role == "user":
        return {"role": role, "content": user(content)}
    if role == "assistant":
        said: dict[str, Any] = {"role": role, "content": content if _truthy(content) else ""}
        if _truthy(message.get("tool_calls")):
            said["tool_calls"] = [_tool_call(item) for item in _items(message["tool_calls"])]
        return said
    said = {"role": role, "content": content}
    if role == "tool":
        said["tool_call_id"] = message.get("tool_call_id")
    if role == "function":
        said["name"] = message.get("name")
    return said


def _tool_call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call.get("function")
    named = function if isinstance(function, dict) else {}
    return {
        "id": call.get("id"),
        "type": call.get("type"),
        "function": {"name": named.get("name"), "arguments": named.get("arguments")},
    }


def _reduced(content: Any) -> Any:
    """Of a list the texts, and of everything else the kind and the name of a file."""
    if not isinstance(content, list):
        return content
    parts: list[dict[str, Any]] = []
    for part in content:
        if not isinstance(part, dict):
            continue
        if part.get("type") == "text":
            parts.append({"type": "text", "text": part.get("text", "")})
            continue
        kept: dict[str, Any] = {"type": part.get("type")}
        file = part.get("file")
        if part.get("type") == "file" and isinstance(file, dict) and _truthy(file.get("filename")):
            kept["filename"] = file["filename"]
        parts.append(kept)
    return parts


def _shown(content: Any) -> Any:
    """Of a list what Python shows of it, as one text."""
    return content if isinstance(content, str) else python_repr(content)


def _temperature(request: Mapping[str, Any]) -> Number:
    value = request.get("temperature")
    if not isinstance(value, Number):
        return Number("0.0")
    # Always a float: 1 is hashed as 1.0.
    return Number(spelling.python_number(f"{value}.0" if value.lstrip("-").isdigit() else value))


def _items(value: Any) -> Iterable[Mapping[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise MalformedError(Reason.MALFORMED_FIELD, "this is no list of objects", where="request")
    return value


def _truthy(value: Any) -> bool:
    """Whether Python takes it for true."""
    if isinstance(value, Number):
        return float(value) != 0
    return bool(value)


def python_repr(value: Any) -> str:
    """What ``repr`` says of a value that Python has read from JSON."""
    if isinstance(value, dict):
        members = (f"{name!r}: {python_repr(item)}" for name, item in value.items())
        return "{" + ", ".join(members) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(python_repr, value)) + "]"
    if isinstance(value, Number):
        text = spelling.python_number(value)
        return {"Infinity": "inf", "-Infinity": "-inf"}.get(text, text)
    return repr(value)


# --- The whole request, as a sealed channel hashes it. ---


def _whole(request: Mapping[str, Any]) -> bytes:
    messages = [
        {**item, "content": _reduced(item.get("content"))} if item.get("role") == "user" else item
        for item in _items(request.get("messages", []))
    ]
    return _sorted({**request, "messages": messages})


_CHAT: Final = (
    "max_tokens",
    "messages",
    "model",
    "response_format",
    "stop",
    "temperature",
    "tools",
)

CHAT: Final = (
    Spelling("whole-request/1", _whole, None),
    Spelling(
        "sdk-1.1.4/1",
        lambda request: _chosen(request, _reduced, search=True),
        (*_CHAT, "web_search"),
    ),
    Spelling("gateway-cb95a5c/1", lambda request: _chosen(request, _shown, search=False), _CHAT),
)
"""Spellings of a request for a chat, newest first."""

COMPLETION: Final = (
    Spelling("completion/1", _completion, ("max_tokens", "model", "prompt", "stop", "temperature")),
)
"""Spellings of a request to complete a text."""


# --- Before 2026-02: members with null, hashed with SHA-256. ---

_LEGACY: Final = ("max_tokens", "messages", "model", "stop", "temperature", "tool_choice", "tools")


def _legacy(request: Mapping[str, Any], tool_choice: str | None) -> bytes:
    filled = {name: request.get(name) for name in _LEGACY}
    if "tool_choice" not in request:
        filled["tool_choice"] = tool_choice
    filled["messages"] = [
        {name: item.get(name) for name in ("content", "name", "role", "tool_call_id", "tool_calls")}
        for item in _items(request.get("messages"))
    ]
    return _sorted(filled)


LEGACY: Final = (
    Spelling("server-2025/auto", lambda request: _legacy(request, "auto"), _LEGACY),
    Spelling("server-2025/null", lambda request: _legacy(request, None), _LEGACY),
)
"""Spellings of a request before 2026-02."""
