"""Salted field commitments: one root for many fields, each provable alone and none guessable.

A leaf is ``H(0x00 ‖ "field/v1" ‖ 0x00 ‖ salt ‖ JCS[path, value])``, where the path is a JSON
Pointer (RFC 6901) and the salt is ``HMAC-SHA256(key, "field-salt/v1" ‖ 0x00 ‖ path)`` under a key
of this record alone. The root is that of the RFC 6962 tree over the leaves in the order of their
paths' UTF-8 bytes.

Whoever holds the key and the values discloses any of them. Once both are erased nobody can, and the
root, its record and every proof of it stand as they were; what was disclosed before stays provable.
"""

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec

from registry.core import encoding
from registry.core.encoding import Count, Hex32, Value
from registry.core.tlog.merkle import inclusion_path, leaf_hash, root, root_from_inclusion
from registry.errors import MalformedError, NotFoundError, Reason, VerificationError

MAX_FIELDS: Final = 256
"""Fields of one record."""

MAX_PATH_CHARACTERS: Final = 256
"""Characters of a field's path."""

KEY_BYTES: Final = 32
"""Bytes of the key of one record."""

_PREFIX = b"field/v1\0"
_SALT_PREFIX = b"field-salt/v1\0"

Json = str | int | bool | list["Json"] | dict[str, "Json"] | None
"""What a field may hold; numbers of foreign documents come as the texts that spell them."""

Path = Annotated[
    str, msgspec.Meta(pattern=r"\A(/([^~/]|~[01])*)+\Z", max_length=MAX_PATH_CHARACTERS)
]
"""A JSON Pointer to something inside a document, never to the whole."""


class DisclosedField(Value, frozen=True):
    """One field in clear, with what proves it."""

    path: Path
    value: Any
    salt: Hex32
    index: Count
    proof: Annotated[tuple[Hex32, ...], msgspec.Meta(max_length=8)]

    def verify(self, root_: bytes, count: int) -> None:
        """Check that this is one of the ``count`` fields that ``root_`` commits to.

        Raises:
            VerificationError: ``FIELD_COMMITMENT``.
        """
        try:
            leaf = _leaf(bytes.fromhex(self.salt), self.path, self.value)
            proof = [bytes.fromhex(item) for item in self.proof]
            actual = root_from_inclusion(leaf, self.index, count, proof)
        except (MalformedError, VerificationError) as error:
            raise _not_committed(self.path, error.actual) from error
        if not hmac.compare_digest(actual, root_):
            raise _not_committed(self.path, f"root {actual.hex()}")


@dataclass(frozen=True, slots=True)
class FieldTree:
    """The commitments to all fields of one record, for whoever has key and values."""

    fields: tuple[tuple[str, Json], ...]
    salts: tuple[bytes, ...]
    leaves: tuple[bytes, ...]

    @classmethod
    def of(cls, key: bytes, fields: Mapping[str, Json]) -> "FieldTree":
        """Commit to ``fields``, by path.

        Raises:
            MalformedError: ``MALFORMED_FIELD`` for no field or too many, a path that is none, a
                name of a member that is not ASCII (readers would sort it differently), or text
                that is no Unicode.
        """
        if len(key) != KEY_BYTES or not 1 <= len(fields) <= MAX_FIELDS:
            raise MalformedError(
                Reason.MALFORMED_FIELD,
                "these fields cannot be committed to",
                expected=f"1 to {MAX_FIELDS} fields, a key of {KEY_BYTES} bytes",
                actual=f"{len(fields)} fields, {len(key)} bytes",
            )
        for path in fields:
            check_path(path)
        ordered = tuple(sorted(fields.items(), key=lambda item: item[0].encode()))
        salts = tuple(_salt(key, path) for path, _ in ordered)
        leaves = tuple(_leaf(salt, *field) for salt, field in zip(salts, ordered, strict=True))
        return cls(ordered, salts, leaves)

    @property
    def root(self) -> bytes:
        """What a record says of all of them."""
        return root(self.leaves)

    def disclose(self, paths: Sequence[str]) -> tuple[DisclosedField, ...]:
        """Some fields in clear, each with its proof.

        Raises:
            NotFoundError: ``UNKNOWN_FIELD``.
        """
        known = [path for path, _ in self.fields]
        for path in paths:
            if path not in known:
                raise NotFoundError(
                    Reason.UNKNOWN_FIELD,
                    "the record commits to no such field",
                    expected=", ".join(known)[:500],
                    actual=path[:MAX_PATH_CHARACTERS],
                )
        return tuple(
            DisclosedField(
                path=path,
                value=self.fields[index][1],
                salt=self.salts[index].hex(),
                index=index,
                proof=tuple(item.hex() for item in inclusion_path(self.leaves, index)),
            )
            for path, index in ((path, known.index(path)) for path in paths)
        )


def field_size(path: str, value: Json) -> int:
    """How many bytes a field is, as it is committed to.

    Raises:
        MalformedError: ``MALFORMED_FIELD``: it cannot be.
    """
    check_path(path)
    return len(_write(path, value))


def check_path(path: str) -> None:
    """Check that ``path`` is a JSON Pointer to something inside a document.

    Raises:
        MalformedError: ``MALFORMED_FIELD``.
    """
    try:
        msgspec.convert(path, Path)
        path.encode()
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        raise MalformedError(
            Reason.MALFORMED_FIELD,
            "this is no path of a field",
            expected="a JSON Pointer such as /request/user",
            actual=ascii(path[:MAX_PATH_CHARACTERS]),
        ) from error


def find(document: Json, path: str) -> tuple[bool, Json]:
    """What a JSON Pointer (RFC 6901) points at: whether there is anything, and what."""
    at = document
    for token in path.split("/")[1:]:
        name = token.replace("~1", "/").replace("~0", "~")
        if isinstance(at, dict) and name in at:
            at = at[name]
        elif isinstance(at, list) and _is_index(name) and int(name) < len(at):
            at = at[int(name)]
        else:
            return False, None
    return True, at


def _is_index(name: str) -> bool:
    return name == "0" or (name.isascii() and name.isdigit() and name[0] != "0" and len(name) < 10)  # noqa: PLR2004


def _salt(key: bytes, path: str) -> bytes:
    return hmac.digest(key, _SALT_PREFIX + path.encode(), "sha256")


def _leaf(salt: bytes, path: str, value: Json) -> bytes:
    return leaf_hash(_PREFIX + salt + _write(path, value))


def _write(path: str, value: Json) -> bytes:
    if not _one_spelling(value):
        raise MalformedError(
            Reason.MALFORMED_FIELD,
            "this field has more than one spelling: a number that is no integer, or a member "
            "whose name is not ASCII",
            where=path,
        )
    try:
        return encoding.write_json([path, value])
    except UnicodeEncodeError as error:
        raise MalformedError(
            Reason.MALFORMED_FIELD, "this field holds text that is no Unicode", where=path
        ) from error


def _one_spelling(value: object) -> bool:
    if isinstance(value, dict):
        return all(key.isascii() and _one_spelling(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(_one_spelling, value))
    return not isinstance(value, float)


def _not_committed(path: str, actual: str) -> VerificationError:
    return VerificationError(
        Reason.FIELD_COMMITMENT,
        "the record does not commit to this field with this value",
        where=path,
        actual=actual,
    )
