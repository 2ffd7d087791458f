"""JSON of other systems: one object, read so that every reader must agree on what it says."""

from enum import StrEnum
from typing import TypeVar

import msgspec

from registry.core.encoding import DuplicateKeyError, read_foreign_json, write_json
from registry.core.evidence.checks import CheckError
from registry.errors import MalformedError

T = TypeVar("T")


class Found(StrEnum):
    """What may be wrong with a document of any format."""

    NOT_JSON = "NOT_JSON"
    DUPLICATE_MEMBER = "DUPLICATE_MEMBER"
    MEMBERS = "MEMBERS"
    NOT_CANONICALISABLE = "NOT_CANONICALISABLE"


def read_object(data: bytes, where: str) -> dict[str, object]:
    """Read one JSON object in any spelling; its numbers are integers.

    Raises:
        CheckError: ``NOT_JSON`` or ``DUPLICATE_MEMBER``.
    """
    try:
        value = read_foreign_json(data, what=where)
    except MalformedError as error:
        raise unreadable(error, where) from error
    if not isinstance(value, dict):
        raise CheckError(Found.NOT_JSON, "this is no JSON object", where=where)
    return value


def unreadable(error: MalformedError, where: str) -> CheckError:
    """The failure that says why JSON cannot be read."""
    if isinstance(error.__cause__, DuplicateKeyError):
        return CheckError(
            Found.DUPLICATE_MEMBER, "a member occurs twice", where=where, actual=error.actual
        )
    return CheckError(
        Found.NOT_JSON,
        "this is not JSON that every reader reads alike",
        where=where,
        actual=error.actual,
    )


def members(value: dict[str, object], kind: type[T], where: str) -> T:
    """The members of an object that matter, by type; others are left alone.

    Raises:
        CheckError: ``MEMBERS``.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise CheckError(
            Found.MEMBERS, "a member is missing or of another type", where=where, actual=str(error)
        ) from error


def canonical(value: dict[str, object], where: str) -> bytes:
    """The RFC 8785 form of a document.

    Names must be ASCII: only then do all readers sort them alike.

    Raises:
        CheckError: ``NOT_CANONICALISABLE``.
    """
    if not _ascii_names(value):
        raise CheckError(
            Found.NOT_CANONICALISABLE, "the name of a member is not ASCII", where=where
        )
    return write_json(value)


def _ascii_names(value: object) -> bool:
    if isinstance(value, dict):
        return all(key.isascii() and _ascii_names(item) for key, item in value.items())
    if isinstance(value, list):
        return all(_ascii_names(item) for item in value)
    return True
