"""Distrust entries as statements: what is no longer believed, since when, signed and logged."""

from registry.core import encoding
from registry.core.attestation.statement import STATEMENT_TYPE, Statement, Subject, check_subject
from registry.core.digest import DigestSet
from registry.core.evidence import distrust
from registry.core.evidence.distrust import Entry
from registry.core.records import NAMESPACE

PREDICATE_TYPE = NAMESPACE + "distrust/v1"
"""The predicate type of a distrust entry."""

SUBJECT = "distrusted"
"""What the subject, the entry's one spelling, is called."""


def build(entry: Entry) -> Statement[Entry]:
    """The statement that puts an entry on the list; its digest is what results name it by."""
    return Statement(
        type_=STATEMENT_TYPE,
        predicate=entry,
        predicate_type=PREDICATE_TYPE,
        subject=(Subject.of(SUBJECT, DigestSet.of(encoding.write_json(entry))),),
    )


def validate(subject: tuple[Subject, ...], entry: Entry) -> None:
    """Check that the entry selects something and is itself the subject.

    Raises:
        MalformedError: ``MALFORMED_FIELD`` or ``SUBJECT_MISMATCH``.
    """
    distrust.check(entry)
    check_subject(subject, SUBJECT, DigestSet.of(encoding.write_json(entry)))
