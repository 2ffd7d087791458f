"""Responses of OpenGradient's gateway: a body or a stream, what it puts out, and the proof in it.

Current ones hold ``tee_signature``, ``tee_request_hash``, ``tee_output_hash``, ``tee_timestamp``
and ``tee_id``, a stream in its last event. Before 2026-02 the proof was what Python shows of a
dictionary, in ``system_fingerprint``.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Self

from registry.core import encoding
from registry.core.encoding import Number
from registry.core.evidence.checks import CheckError, Severity
from registry.core.foreign import spelling
from registry.core.foreign.json_document import unreadable
from registry.core.profiles.sse import EventReader
from registry.errors import LimitExceededError, MalformedError

MAX_TOOL_CALLS: Final = 1024
"""Tool calls of one response."""

END: Final = b"[DONE]"
"""The data of the event that ends a stream."""

_FINGERPRINT: Final = re.compile(
    r"\{'response_signature': '([A-Za-z0-9+/=]{1,1024})', "
    r"'request_signature': '([0-9a-f]{64})', "
    r"'response_timestamp': '([0-9T:.+Z-]{1,40})'\}",
    re.ASCII,
)
_TIMESTAMP: Final = re.compile(r"[1-9][0-9]{0,11}", re.ASCII)
_LEGACY: Final = "system_fingerprint"


class Found(StrEnum):
    """What may be found about a response and its proof."""

    NO_PROOF = "NO_PROOF"
    STREAM_ENDED = "STREAM_ENDED"
    PROOF_FORM = "PROOF_FORM"
    NO_CHOICE = "NO_CHOICE"
    KEY_FORM = "KEY_FORM"
    KEY_MISMATCH = "KEY_MISMATCH"
    BAD_SIGNATURE = "BAD_SIGNATURE"
    REQUEST_FORM = "REQUEST_FORM"
    REQUEST_MISMATCH = "REQUEST_MISMATCH"
    OUTPUT_MISMATCH = "OUTPUT_MISMATCH"
    SEVERAL_CHOICES = "SEVERAL_CHOICES"
    USER_DATA = "USER_DATA"
    KEY_UNBOUND = "KEY_UNBOUND"
    NONCE_MISMATCH = "NONCE_MISMATCH"
    NO_NONCE = "NO_NONCE"


@dataclass(frozen=True, slots=True)
class Proof:
    """What is signed, since 2026-02.

    Attributes:
        signature: RSA-PSS.
        request_hash: Keccak-256 of a spelling of the request.
        output_hash: Keccak-256 of the output.
        timestamp: Unix seconds, by the clock of the enclave.
        tee_id: Keccak-256 of the key.
    """

    signature: bytes
    request_hash: bytes
    output_hash: bytes
    timestamp: int
    tee_id: bytes

    @classmethod
    def of(cls, members: Mapping[str, Any]) -> Self:
        """Take the members that begin with ``tee_``.

        Raises:
            CheckError: ``PROOF_FORM``.
        """
        try:
            timestamp = members["tee_timestamp"]
            if not isinstance(timestamp, Number) or not _TIMESTAMP.fullmatch(timestamp):
                raise _form("tee_timestamp", timestamp)
            name = _text(members, "tee_id")
            if not name.startswith("0x"):
                raise _form("tee_id", name)
            return cls(
                encoding.base64_bytes(_text(members, "tee_signature")),
                encoding.hex_bytes(_text(members, "tee_request_hash"), 32),
                encoding.hex_bytes(_text(members, "tee_output_hash"), 32),
                int(timestamp),
                encoding.hex_bytes(name[2:], 32),
            )
        except (KeyError, MalformedError) as error:
            raise _form("tee_*", str(error)) from error


@dataclass(frozen=True, slots=True)
class LegacyProof:
    """What was signed before 2026-02.

    Attributes:
        request_hash: SHA-256 of a spelling of the request, in hexadecimal.
        timestamp: By the clock of the enclave, as text.
    """

    signature: bytes
    request_hash: str
    timestamp: str

    @classmethod
    def of(cls, shown: str) -> Self:
        """Read what Python showed of the dictionary.

        Raises:
            CheckError: ``PROOF_FORM``.
        """
        found = _FINGERPRINT.fullmatch(shown)
        if found is None:
            raise _form(_LEGACY, shown)
        try:
            return cls(encoding.base64_bytes(found[1]), found[2], found[3])
        except MalformedError as error:
            raise _form(_LEGACY, str(error)) from error


@dataclass(frozen=True, slots=True)
class Answer:
    """A response, gathered from a body or a stream.

    Attributes:
        members: Those of the body, or of the event with the proof.
        content: The text of the first choice.
        tool_calls: Its tool calls, as they are hashed.
        finish_reason: Why it ended, as the response says; not signed since 2026-02.
        message: Its message; empty for a stream.
        is_text: Whether a text was completed, not a chat continued.
        choices: How many choices there are.
    """

    members: Mapping[str, Any]
    content: str
    tool_calls: tuple[Any, ...]
    finish_reason: str | None
    message: Mapping[str, Any]
    is_text: bool
    choices: int

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a body or a stream.

        Raises:
            CheckError: What is wrong with it.
        """
        if data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"{":
            return cls.of_body(_object(data))
        return cls._of_stream(data)

    @classmethod
    def of_body(cls, body: dict[str, Any]) -> Self:
        """Take a body whose numbers are as they are spelled.

        Raises:
            CheckError: ``NO_CHOICE`` or ``PROOF_FORM``.
        """
        choices = _list(body.get("choices"))
        if not choices:
            raise CheckError(
                Found.NO_CHOICE,
                "the response has no choice",
                severity=Severity.TIME,
                actual=ascii(body.get("error"))[:200],
            )
        first = choices[0]
        is_text = "text" in first
        message = first.get("message")
        said = message if isinstance(message, dict) else {}
        return cls(
            members=body,
            content=_plain(first.get("text") if is_text else said.get("content")),
            tool_calls=tuple(_list(said.get("tool_calls"))),
            finish_reason=_plain(first.get("finish_reason")) or None,
            message=said,
            is_text=is_text,
            choices=len(choices),
        )

    @classmethod
    def _of_stream(cls, data: bytes) -> Self:
        members: Mapping[str, Any] = {}
        content: list[str] = []
        calls: dict[int, dict[str, Any]] = {}
        reason, indexes, ended = None, set(), False
        for event in _events(data):
            if event == END:
                ended = True
                break
            chunk = _object(event)
            if "tee_signature" in chunk or isinstance(chunk.get(_LEGACY), str):
                members = chunk
            for choice in _list(chunk.get("choices")):
                index = _count(choice.get("index"))
                indexes.add(index)
                delta = choice.get("delta")
                if index or not isinstance(delta, dict):
                    continue
                content.append(_plain(delta.get("content")))
                _gather(calls, _list(delta.get("tool_calls")))
                reason = _plain(choice.get("finish_reason")) or reason
        if not ended or not members:
            raise CheckError(
                Found.STREAM_ENDED,
                "the stream ended before its proof",
                severity=Severity.TIME,
                expected="the members tee_* and then [DONE]",
            )
        in_order = tuple(calls[index] for index in sorted(calls))
        return cls(
            members, "".join(content), in_order, reason, {}, is_text=False, choices=len(indexes)
        )

    def proof(self) -> Proof | LegacyProof:
        """The proof in it.

        Raises:
            CheckError: ``NO_PROOF`` or ``PROOF_FORM``.
        """
        if any(name.startswith("tee_") for name in self.members):
            return Proof.of(self.members)
        shown = self.members.get(_LEGACY)
        if isinstance(shown, str) and shown.startswith("{"):
            return LegacyProof.of(shown)
        raise CheckError(
            Found.NO_PROOF,
            "the response holds no proof; helpers that return only its content drop it",
            severity=Severity.TIME,
            actual=", ".join(self.members)[:200],
        )

    def output(self) -> bytes:
        """What is hashed of the output: its text, or its tool calls if it ended in some.

        Raises:
            MalformedError: ``MALFORMED_JSON`` for a number that Python would not read.
        """
        if self.finish_reason == "tool_calls" and self.tool_calls:
            return spelling.spell(list(self.tool_calls), spelling.PYTHON_SORTED)
        return self.content.encode()


def _events(data: bytes) -> Iterable[bytes]:
    try:
        return [event.data for event in EventReader().feed(data)]
    except LimitExceededError as error:
        raise CheckError(Found.PROOF_FORM, "an event is too long", actual=str(error)) from error


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = encoding.read_foreign_numbers(data, what="response", max_depth=spelling.MAX_DEPTH)
    except MalformedError as error:
        raise unreadable(error, "response") from error
    if not isinstance(value, dict):
        raise CheckError(Found.PROOF_FORM, "this is no JSON object", where="response")
    return value


def _gather(calls: dict[int, dict[str, Any]], deltas: list[dict[str, Any]]) -> None:
    """Put pieces of tool calls together, as the gateway does before it hashes them."""
    for delta in deltas:
        index = _count(delta.get("index"))
        if len(calls) >= MAX_TOOL_CALLS:
            raise _form("tool_calls", "too many")
        function = delta.get("function")
        said = function if isinstance(function, dict) else {}
        empty = {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
        call = calls.setdefault(index, empty)
        call["id"] = _plain(delta.get("id")) or call["id"]
        call["function"]["name"] = _plain(said.get("name")) or call["function"]["name"]
        call["function"]["arguments"] += _plain(said.get("arguments"))


def _list(value: Any) -> list[dict[str, Any]]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise _form("a list of objects", value)
    return value


def _count(value: Any) -> int:
    if value is None:
        return 0
    if not isinstance(value, Number) or not value.isdigit() or len(value) > len("9999"):
        raise _form("an index", value)
    return int(value)


def _plain(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or isinstance(value, Number):
        raise _form("a text", value)
    return value


def _text(members: Mapping[str, Any], name: str) -> str:
    value = members[name]
    if not isinstance(value, str) or isinstance(value, Number):
        raise _form(name, value)
    return value


def _form(where: str, actual: object) -> CheckError:
    return CheckError(
        Found.PROOF_FORM,
        "this is not as the gateway writes it",
        where=where,
        actual=ascii(actual)[:200],
    )
