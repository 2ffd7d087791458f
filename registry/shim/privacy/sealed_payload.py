"""A sealed payload: what a call said, readable only with the key of its retention class.

::

    head (RFC 8785 JSON) ‖ 0x0A ‖ AES-256-GCM ciphertext and tag

Each payload has a key of its own, wrapped (RFC 3394) under that of its class in the head, which is
the cipher's associated data. Field keys and salts follow from the payload's key, so that whoever
loses the key can open nothing and disclose nothing.
"""

import hmac
import secrets
from dataclasses import dataclass
from typing import Annotated, Final, Literal, Self

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from registry.core import encoding
from registry.core.digest import sha256
from registry.core.encoding import Value
from registry.core.records.disclosure import DisclosedOutput, commit_output
from registry.core.records.field_commitments import FieldTree, Json
from registry.errors import (
    LimitExceededError,
    MalformedError,
    Reason,
    VerificationError,
)
from registry.shim.privacy.policy import RetentionClass

SCHEMA: Final = "sealed-payload/v1"
"""Names the form of a sealed payload."""

MAX_PAYLOAD_BYTES: Final = 32 * 1024 * 1024
"""Bytes of a request and its answer together; what is longer is not kept."""

_MAX_HEAD_BYTES = 4096
_NONCE_BYTES = 12
_KEY_BYTES = 32
_LENGTH_BYTES = 8
_FIELD_KEY = b"field-key/v1\0"
_PAYLOAD_SALT = b"payload-salt/v1\0"
_OUTPUT_SALT = b"output-salt/v1\0"
_PAYLOAD = b"payload-commitment/v1\0"


class Head(Value, frozen=True):
    """What is readable of a sealed payload."""

    schema: Literal["sealed-payload/v1"]
    receipt: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{32}/(0|[1-9][0-9]{0,18})\Z")]
    retention_class: RetentionClass
    wrapped_key: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{80}\Z")]
    nonce: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{24}\Z")]


class _Said(Value, frozen=True):
    fields: dict[str, object]
    content_digest: encoding.Hex32
    wire_digest: encoding.Hex32


@dataclass(frozen=True, slots=True)
class Payload:
    """What is sealed of one call.

    Attributes:
        receipt: Shim id and number of the intent.
        retention_class: Whose key wraps this payload's.
        fields: The fields that the record commits to, by path.
        content_digest: The digest that names the output, 32 bytes.
        wire_digest: That of its bytes as they went out, 32 bytes.
        request: The request; empty if it is not kept.
        answer: The answer; empty if it is not kept.
    """

    receipt: str
    retention_class: str
    fields: dict[str, Json]
    content_digest: bytes
    wire_digest: bytes
    request: bytes = b""
    answer: bytes = b""


@dataclass(frozen=True, slots=True)
class Opened:
    """A payload and its key: enough to prove, and to disclose, what its record commits to."""

    payload: Payload
    key: bytes

    @classmethod
    def new(cls, payload: Payload) -> Self:
        """A payload with a fresh key.

        Raises:
            LimitExceededError: ``PAYLOAD_TOO_LARGE``.
        """
        size = len(payload.request) + len(payload.answer)
        if size > MAX_PAYLOAD_BYTES:
            raise LimitExceededError(
                Reason.PAYLOAD_TOO_LARGE,
                "this call is too large to be kept",
                expected=f"at most {MAX_PAYLOAD_BYTES} bytes",
                actual=f"{size} bytes",
            )
        return cls(payload, secrets.token_bytes(_KEY_BYTES))

    @property
    def tree(self) -> FieldTree | None:
        """The commitments to its fields; None if it has none."""
        if not self.payload.fields:
            return None
        return FieldTree.of(hmac.digest(self.key, _FIELD_KEY, "sha256"), self.payload.fields)

    @property
    def commitment(self) -> bytes:
        """The salted commitment to all of it."""
        salt = hmac.digest(self.key, _PAYLOAD_SALT, "sha256")
        return sha256(_PAYLOAD + salt + _write(self.payload))

    @property
    def disclosed_output(self) -> DisclosedOutput:
        """The digests of the output, and the salt with which its record commits to them."""
        return DisclosedOutput(
            content_digest=self.payload.content_digest.hex(),
            wire_digest=self.payload.wire_digest.hex(),
            salt=self.output_salt.hex(),
        )

    @property
    def output_salt(self) -> bytes:
        """The salt of the commitments to the output's digests."""
        return hmac.digest(self.key, _OUTPUT_SALT, "sha256")

    @property
    def committed_output(self) -> tuple[bytes, bytes]:
        """What a record with committed digests has instead: of content, and of wire."""
        return (
            commit_output(self.output_salt, self.payload.content_digest),
            commit_output(self.output_salt, self.payload.wire_digest),
        )

    def seal(self, class_key: bytes) -> bytes:
        """Write the sealed payload."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        head = encoding.write_json(
            Head(
                schema=SCHEMA,
                receipt=self.payload.receipt,
                retention_class=self.payload.retention_class,
                wrapped_key=aes_key_wrap(class_key, self.key).hex(),
                nonce=nonce.hex(),
            )
        )
        return head + b"\n" + AESGCM(self.key).encrypt(nonce, _write(self.payload), head)


def read_head(data: bytes) -> tuple[Head, int]:
    """The head of a sealed payload, and where its ciphertext begins.

    Raises:
        MalformedError: ``MALFORMED_SEALED_PAYLOAD``.
    """
    end = data.find(b"\n", 0, _MAX_HEAD_BYTES)
    if end == -1:
        raise _malformed("it has no head")
    try:
        return encoding.read_json(data[:end], Head, what="head of a sealed payload"), end + 1
    except MalformedError as error:
        raise _malformed(error.actual or error.what) from error


def open_payload(data: bytes, class_key: bytes) -> Opened:
    """Open a sealed payload.

    Raises:
        MalformedError: ``MALFORMED_SEALED_PAYLOAD``.
        VerificationError: ``SEALED_PAYLOAD_KEY``: it was sealed under another key, or changed.
    """
    head, start = read_head(data)
    try:
        key = aes_key_unwrap(class_key, bytes.fromhex(head.wrapped_key))
        clear = AESGCM(key).decrypt(bytes.fromhex(head.nonce), data[start:], data[: start - 1])
    except (InvalidUnwrap, InvalidTag) as error:
        raise VerificationError(
            Reason.SEALED_PAYLOAD_KEY,
            "this key does not open the payload",
            where=head.receipt,
            expected=f"the key of class {head.retention_class}, and an unchanged file",
            actual=type(error).__name__,
        ) from error
    said, request, answer = _read(clear)
    fields: dict[str, Json] = said.fields  # type: ignore[assignment]  # as JSON has it
    payload = Payload(
        head.receipt,
        head.retention_class,
        fields,
        bytes.fromhex(said.content_digest),
        bytes.fromhex(said.wire_digest),
        request,
        answer,
    )
    return Opened(payload, key)


def _write(payload: Payload) -> bytes:
    said = encoding.write_json(
        _Said(
            fields=dict(payload.fields),
            content_digest=payload.content_digest.hex(),
            wire_digest=payload.wire_digest.hex(),
        )
    )
    parts = (said, payload.request, payload.answer)
    return b"".join(len(part).to_bytes(_LENGTH_BYTES) + part for part in parts)


def _read(clear: bytes) -> tuple[_Said, bytes, bytes]:
    parts: list[bytes] = []
    position = 0
    while position < len(clear):
        start = position + _LENGTH_BYTES
        position = start + int.from_bytes(clear[position:start])
        parts.append(clear[start:position])
    if position != len(clear) or len(parts) != 3:  # noqa: PLR2004 - as written above
        raise _malformed("its parts do not fill it")
    return encoding.read_json(parts[0], _Said, what="sealed payload"), parts[1], parts[2]


def _malformed(actual: str) -> MalformedError:
    return MalformedError(
        Reason.MALFORMED_SEALED_PAYLOAD,
        "this is no sealed payload",
        expected=SCHEMA,
        actual=actual,
    )
