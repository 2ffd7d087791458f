"""Appraisal policies as statements: what this registry wants of evidence, signed and logged."""

from registry.core import encoding
from registry.core.attestation.statement import STATEMENT_TYPE, Statement, Subject, check_subject
from registry.core.digest import DigestSet
from registry.core.evidence.policy import Policy
from registry.core.records import NAMESPACE

PREDICATE_TYPE = NAMESPACE + "appraisal-policy/v1"
"""The predicate type of an appraisal policy."""

SUBJECT = "policy"
"""What the subject, the policy's one spelling, is called."""


def build(policy: Policy) -> Statement[Policy]:
    """The statement that registers a policy; its digest is what results name it by."""
    return Statement(
        type_=STATEMENT_TYPE,
        predicate=policy,
        predicate_type=PREDICATE_TYPE,
        subject=(Subject.of(SUBJECT, DigestSet.of(encoding.write_json(policy))),),
    )


def validate(subject: tuple[Subject, ...], policy: Policy) -> None:
    """Check that the policy itself is the subject.

    Raises:
        MalformedError: ``SUBJECT_MISMATCH``.
    """
    check_subject(subject, SUBJECT, DigestSet.of(encoding.write_json(policy)))
