"""In-toto Statement v1 (https://in-toto.io/Statement/v1): subjects, and what is said of them."""

from typing import Annotated, Final, Generic, Literal, TypeVar

import msgspec

from registry.core.digest import DigestSet
from registry.core.encoding import Hex32, Hex64, Text, Value
from registry.errors import MalformedError, Reason

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
"""The ``_type`` of every statement."""

MAX_SUBJECTS = 1024
"""Subjects of one statement."""

P = TypeVar("P")


class SubjectDigest(Value, frozen=True):
    """The digests of a subject: SHA-256 always, SHA-512 where the bytes were at hand."""

    sha256: Hex32
    sha512: Hex64 | msgspec.UnsetType = msgspec.UNSET


class Subject(Value, frozen=True):
    """Something that a statement is about: bytes, named by digest."""

    name: Text
    digest: SubjectDigest

    @classmethod
    def of(cls, name: str, digests: DigestSet) -> "Subject":
        """A subject whose bytes were at hand."""
        return cls(name=name, digest=SubjectDigest(sha256=digests.sha256, sha512=digests.sha512))

    @classmethod
    def named(cls, name: str, raw: bytes) -> "Subject":
        """A subject of which only the SHA-256 is known."""
        return cls(name=name, digest=SubjectDigest(sha256=raw.hex()))


class Statement(Value, Generic[P], frozen=True):
    """Subjects, and one predicate about them."""

    type_: Literal["https://in-toto.io/Statement/v1"] = msgspec.field(name="_type")
    predicate: P
    predicate_type: str = msgspec.field(name="predicateType")
    subject: Annotated[tuple[Subject, ...], msgspec.Meta(min_length=1, max_length=MAX_SUBJECTS)]


class _Head(msgspec.Struct, frozen=True):
    predicateType: str  # noqa: N815 - the specification's spelling


_read_head = msgspec.json.Decoder(_Head).decode


def predicate_type(payload: bytes) -> str:
    """Only the predicate type, so that the right reader can be chosen; nothing else is checked.

    Raises:
        MalformedError: ``MALFORMED_STATEMENT``.
    """
    try:
        return _read_head(payload).predicateType
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError(
            Reason.MALFORMED_STATEMENT, "this is not an in-toto statement", actual=str(error)
        ) from error


def check_subject(
    subject: tuple[Subject, ...], name: str, digests: DigestSet | None = None
) -> None:
    """Check that a statement has the one subject that its predicate speaks of.

    Raises:
        MalformedError: ``SUBJECT_MISMATCH``.
    """
    expected = name if digests is None else f"{name} sha256:{digests.sha256}"
    actual = ", ".join(f"{item.name} sha256:{item.digest.sha256}" for item in subject[:3])
    matches = len(subject) == 1 and subject[0].name == name
    if digests is not None:
        matches = matches and subject[0] == Subject.of(name, digests)
    if not matches:
        raise MalformedError(
            Reason.SUBJECT_MISMATCH,
            "the subject is not what the predicate speaks of",
            expected=expected,
            actual=actual,
        )
