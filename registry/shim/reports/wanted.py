"""What a model server is asked about, and what all readers of reports have in common."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeGuard

from registry.core import encoding
from registry.core.digest import sha256
from registry.core.records.inference import Report
from registry.errors import MalformedError, NotFoundError, Reason, RegistryError
from registry.remote.http import HTTPClient

MAX_ANSWER_BYTES: Final = 4 * 1024 * 1024
"""Bytes of what a model server says of itself: templates, and lists of many models."""

MAX_NAME_CHARACTERS: Final = 256
"""Characters of a name or version that a report repeats."""

TIMEOUT: Final = timedelta(seconds=5)
"""For one question."""

_NOT_FOUND: Final = 404

Reader = Callable[[], Report]
"""Asks a model server what it serves; raises a RegistryError if it does not say."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Of which model a report is wanted.

    Attributes:
        name: What the model server calls it; empty if it serves no other.
        version: What the model server calls its version; empty for the one it serves.
        reference: The registered version, as ``namespace/name@version``.
    """

    name: str
    version: str
    reference: str

    def among(self, names: Iterable[str], where: str) -> str:
        """Which of the models that a server names is meant.

        Raises:
            NotFoundError: ``UNREPORTED``: none is, or it is not said which of several.
        """
        listed = list(dict.fromkeys(names))
        found = [each for each in listed if self.name in {"", each}]
        if len(found) == 1:
            return found[0]
        raise NotFoundError(
            Reason.UNREPORTED,
            "the model server does not say which model this is",
            where=where,
            expected=self.name or "one model",
            actual=", ".join(each[:80] for each in listed[:5]) or "no model",
            hint="name it as the model server does: --served-as NAME",
        )


class Asking:
    """Asks one model server for JSON."""

    def __init__(self, base: str, client: HTTPClient) -> None:
        self._base = base.rstrip("/")
        self._client = client

    def get(self, path: str) -> Mapping[str, object]:
        """The object at a path.

        Raises:
            RegistryError: Nobody answers, or with something else.
        """
        answer = self._client.get(self._base + path, max_bytes=MAX_ANSWER_BYTES)
        return _object(answer.expect().body, path)

    def find(self, path: str) -> Mapping[str, object]:
        """As :meth:`get`; empty if there is nothing at that path.

        Raises:
            RegistryError: As :meth:`get`.
        """
        answer = self._client.get(self._base + path, max_bytes=MAX_ANSWER_BYTES)
        if answer.status == _NOT_FOUND:
            return {}
        return _object(answer.expect().body, path)

    def post(self, path: str, body: Mapping[str, str]) -> Mapping[str, object]:
        """What is answered to an object.

        Raises:
            RegistryError: As :meth:`get`.
        """
        sent = encoding.write_json(dict(body))
        answer = self._client.post(
            self._base + path,
            sent,
            content_type="application/json",
            max_bytes=MAX_ANSWER_BYTES,
        )
        return _object(answer.expect().body, path)


def is_text(value: object) -> TypeGuard[str]:
    """Whether a value is a text; a number of a document is a text of a kind of its own."""
    return isinstance(value, str) and not isinstance(value, encoding.Number)


def text(members: Mapping[str, object], name: str) -> str:
    """A short text; empty if it is absent.

    Raises:
        MalformedError: ``UNREPORTED``: it is none, is too long, or cannot be printed.
    """
    value = long_text(members, name)
    if len(value) > MAX_NAME_CHARACTERS or not value.isprintable():
        raise unlike(name, "a short text")
    return value


def long_text(members: Mapping[str, object], name: str) -> str:
    """A text of any length; empty if it is absent.

    Raises:
        MalformedError: ``UNREPORTED``.
    """
    value = _said(members, name, "")
    if not is_text(value):
        raise unlike(name, "a text")
    return value


def texts(members: Mapping[str, object], name: str) -> list[str]:
    """A list of texts; empty if it is absent.

    Raises:
        MalformedError: ``UNREPORTED``.
    """
    value = _said(members, name, [])
    if not isinstance(value, list) or not all(map(is_text, value)):
        raise unlike(name, "a list of texts")
    return value


def objects(members: Mapping[str, object], name: str) -> list[Mapping[str, object]]:
    """A list of objects; empty if it is absent.

    Raises:
        MalformedError: ``UNREPORTED``.
    """
    value = _said(members, name, [])
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise unlike(name, "a list of objects")
    return value


def part(members: Mapping[str, object], name: str) -> Mapping[str, object]:
    """An object; empty if it is absent.

    Raises:
        MalformedError: ``UNREPORTED``.
    """
    value = _said(members, name, {})
    if not isinstance(value, dict):
        raise unlike(name, "an object")
    return value


def digest_of(members: Mapping[str, object], name: str) -> str:
    """SHA-256 of a text of any length, which is not repeated; empty if there is none.

    Raises:
        MalformedError: ``UNREPORTED``.
    """
    value = long_text(members, name)
    return sha256(value.encode()).hex() if value else ""


def unlike(where: str, expected: str) -> RegistryError:
    """The refusal of an answer that is none of this interface."""
    return MalformedError(
        Reason.UNREPORTED,
        "the model server answers something else than this interface does",
        where=where[:80],
        expected=expected,
        hint="is --report the interface that it has?",
    )


def _said(members: Mapping[str, object], name: str, absent: object) -> object:
    """A member; servers in Python spell what is absent ``null``."""
    value = members.get(name)
    return absent if value is None else value


def _object(body: bytes, path: str) -> Mapping[str, object]:
    value = encoding.read_foreign_numbers(body, what=f"answer to {path}"[:80])
    if not isinstance(value, dict):
        raise unlike(path, "a JSON object")
    return value
