"""Which statements of a log somebody looks for: by what they say, and by who signed them.

Judged by what is in the log, never by a catalog: a row that is missing there must not hide an entry
from somebody who was told that nothing else matches.
"""

from dataclasses import dataclass, field
from typing import Any

from registry.core.attestation.dsse import Envelope
from registry.core.attestation.statement import Statement
from registry.core.records import predicate
from registry.core.tlog.selection import MAX_WANTED, Selection
from registry.errors import LimitExceededError, MalformedError, Reason


@dataclass(frozen=True, slots=True)
class Said:
    """What an entry's statement says of itself; all empty if there is no statement to read."""

    predicate_type: str = ""
    name: str = ""
    version: str = ""
    subjects: frozenset[str] = frozenset()

    @classmethod
    def of(cls, envelope: bytes) -> "Said":
        """Read the statement in an envelope, as far as it can be read."""
        if not envelope:
            return cls()
        try:
            statement: Statement[Any] = predicate.parse(Envelope.parse(envelope).payload)
        except MalformedError:
            return cls()
        said = statement.predicate
        return cls(
            statement.predicate_type,
            getattr(said, "name", ""),
            getattr(said, "version", ""),
            frozenset(item.digest.sha256 for item in statement.subject),
        )


@dataclass(frozen=True, slots=True)
class Wanted:
    """One of the values of every kind that has any; nothing given is everything.

    Attributes:
        selection: What the entry must be.
        predicate_types: What the statement must be.
        names: What it must publish under.
        subjects: Lowercase hexadecimal SHA-256 of what it must be about.
    """

    selection: Selection = field(default_factory=Selection)
    predicate_types: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    subjects: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        """Refuse what nobody can have meant.

        Raises:
            LimitExceededError: ``SELECTION`` for too many values.
        """
        for values in (self.predicate_types, self.names, self.subjects):
            if len(values) > MAX_WANTED:
                raise LimitExceededError(
                    Reason.SELECTION,
                    "this selection has too many values of one kind",
                    expected=f"at most {MAX_WANTED}",
                    actual=str(len(values)),
                )

    @property
    def is_everything(self) -> bool:
        """Whether every entry matches."""
        return self.selection.is_everything and not (
            self.predicate_types or self.names or self.subjects
        )

    def find(self, body: bytes, envelope: bytes) -> Said | None:
        """What an entry says, if it is one of those that are looked for."""
        if not self.selection.matches(body):
            return None
        said = Said.of(envelope)
        fits = (
            (not self.predicate_types or said.predicate_type in self.predicate_types)
            and (not self.names or said.name in self.names)
            and (not self.subjects or bool(said.subjects & self.subjects))
        )
        return said if fits else None
