"""JSON as other systems spell it: some hash what they would write, not what they sent.

Read with :func:`registry.core.encoding.read_foreign_numbers`, so that a number is written as it
stood, or as Python would write it.
"""

import json
from dataclasses import dataclass
from typing import Final

from registry.core.encoding import Number
from registry.errors import MalformedError, Reason

MAX_DEPTH: Final = 64
"""Levels of arrays and objects in a request; the schema of a tool has some ten."""

MAX_DIGITS: Final = 400
"""Characters of one number; the largest float has 309 digits."""


@dataclass(frozen=True, slots=True)
class Style:
    """How a system writes JSON.

    Attributes:
        item: What stands between members and elements.
        key: What stands between a name and its value.
        ascii_only: Whether everything else is escaped.
        sort: Whether members are sorted by name.
        python_numbers: Whether numbers are written as Python's ``json`` writes what it has read.
    """

    item: str = ","
    key: str = ":"
    ascii_only: bool = False
    sort: bool = False
    python_numbers: bool = False


COMPACT: Final = Style()
"""No white space, nothing escaped that need not be: what web frameworks answer with."""

COMPACT_ASCII: Final = Style(ascii_only=True)
"""As :data:`COMPACT`, with everything else than ASCII escaped."""

PYTHON_SORTED: Final = Style(", ", ": ", ascii_only=True, sort=True, python_numbers=True)
"""Python's ``json.dumps(value, sort_keys=True)``."""


def spell(value: object, style: Style) -> bytes:
    """Write a JSON value; text must have no half of a surrogate pair unless all is escaped.

    Raises:
        MalformedError: ``MALFORMED_JSON`` for a number that Python would not read.
    """
    parts: list[str] = []
    _spell(value, style, parts)
    return "".join(parts).encode("utf-8")


def _spell(value: object, style: Style, parts: list[str]) -> None:
    if isinstance(value, dict):
        names = sorted(value) if style.sort else value
        parts.append("{")
        for position, name in enumerate(names):
            parts.append(style.item if position else "")
            parts += (_text(name, style), style.key)
            _spell(value[name], style, parts)
        parts.append("}")
    elif isinstance(value, list):
        parts.append("[")
        for position, item in enumerate(value):
            parts.append(style.item if position else "")
            _spell(item, style, parts)
        parts.append("]")
    elif isinstance(value, Number):
        parts.append(python_number(value) if style.python_numbers else value)
    elif isinstance(value, str):
        parts.append(_text(value, style))
    else:
        parts.append({True: "true", False: "false", None: "null"}[value])  # type: ignore[index]  # nothing else is read


def _text(value: str, style: Style) -> str:
    return json.dumps(value, ensure_ascii=style.ascii_only)


def python_number(text: str) -> str:
    """A number as Python's ``json`` would write it again.

    Raises:
        MalformedError: ``MALFORMED_JSON`` if it is too long.
    """
    if len(text) > MAX_DIGITS:
        raise MalformedError(
            Reason.MALFORMED_JSON,
            "this number is too long",
            expected=f"at most {MAX_DIGITS} characters",
            actual=f"{len(text)} characters",
        )
    if text.lstrip("-").isdigit():
        return str(int(text))
    return json.dumps(float(text))
