"""Verifications: what the operator saw when a statement came in a Sigstore bundle.

The bundle proves who signed, and the trusted root says whom to believe about that. Both are stored
as blobs and named here by digest, so that anybody can verify again, offline, what was verified.
"""

from typing import Annotated

import msgspec

from registry.core import encoding
from registry.core.attestation.identity import Identity
from registry.core.attestation.statement import STATEMENT_TYPE, Statement, Subject, check_subject
from registry.core.encoding import Hex32, Time, Value
from registry.core.records import NAMESPACE
from registry.core.records.identity_event import IdentityText

PREDICATE_TYPE = NAMESPACE + "verification/v1"
"""The predicate type of a verification."""

SUBJECT = "statement"
"""What the subject, the record id of the verified statement, is called."""


class Verification(Value, frozen=True):
    """The operator says: this bundle was verified, by these engines, against this root.

    Attributes:
        bundle: SHA-256 of the Sigstore bundle as it came.
        trusted_root: SHA-256 of the trusted root as it was pinned.
        key: SHA-256 of the signer's key; the key event that admits it follows.
        issuer: Who vouches for the signer's name.
        subject_name: The signer's name in the certificate.
        signed_at: The earliest proven time of the signature.
        engines: What verified it; all agreed.
    """

    bundle: Hex32
    trusted_root: Hex32
    key: Hex32
    issuer: IdentityText
    subject_name: IdentityText
    signed_at: Time
    verified_at: Time
    engines: Annotated[
        tuple[Annotated[str, msgspec.Meta(min_length=1, max_length=64)], ...],
        msgspec.Meta(min_length=1, max_length=8),
    ]

    @property
    def identity(self) -> Identity:
        """The signer, with who vouches for it."""
        return Identity(self.issuer, self.subject_name)


def build(record_id: bytes, members: dict[str, object]) -> Statement[Verification]:
    """The statement about the verification of the statement ``record_id``.

    Raises:
        MalformedError: ``MALFORMED_FIELD``.
    """
    return Statement(
        type_=STATEMENT_TYPE,
        predicate=encoding.convert(members, Verification),
        predicate_type=PREDICATE_TYPE,
        subject=(Subject.named(SUBJECT, record_id),),
    )


def validate(subject: tuple[Subject, ...], _said: Verification) -> None:
    """Check that one statement is the subject.

    Raises:
        MalformedError: ``SUBJECT_MISMATCH``.
    """
    check_subject(subject, SUBJECT)
