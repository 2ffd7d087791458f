"""Attestation results as statements: what was made of evidence, signed by the operator and logged.

The subject is the evidence, by its id over signed regions. Results are only ever added: a later one
about the same evidence speaks beside the earlier one.
"""

import msgspec

from registry.core.attestation.statement import STATEMENT_TYPE, Statement, Subject
from registry.core.digest import sha256
from registry.core.evidence import result
from registry.core.evidence.binding import GPU_FAMILIES
from registry.core.evidence.result import AttestationResult, Environment
from registry.core.keys import PublicKey
from registry.core.records import NAMESPACE
from registry.core.verdict import Verdict
from registry.errors import MalformedError, Reason

PREDICATE_TYPE = NAMESPACE + "attestation-result/v1"
"""The predicate type of an attestation result."""


def evidence_name(environment: Environment) -> str:
    """What a result's subject is named by: the evidence id, or the digest of unreadable bytes."""
    name = environment.evidence_id
    return environment.raw_evidence if isinstance(name, msgspec.UnsetType) else name


def build(said: AttestationResult) -> Statement[AttestationResult]:
    """The statement of a result."""
    return Statement(
        type_=STATEMENT_TYPE,
        predicate=said,
        predicate_type=PREDICATE_TYPE,
        subject=_subjects(said),
    )


def session_key(environment: Environment) -> str:
    """The key id of the session key that the evidence is bound to; empty if to none."""
    stated = environment.stated
    if isinstance(stated, msgspec.UnsetType):
        return ""
    key = stated.binding().session_key
    return "" if key is None else sha256(key).hex()


def in_force(said: AttestationResult, key: PublicKey, at: int) -> bool:
    """Whether a result admits a key as that of an attested environment at a moment.

    Args:
        said: The result.
        key: The key that signs.
        at: Unix seconds.
    """
    if not said.issued_at <= at < said.expires_at:
        return False
    return any(
        environment.verdict is Verdict.VALID and session_key(environment) == key.key_id
        for family, environment in said.submods.items()
        # A GPU commits to no key, whatever whoever submits its evidence may say.
        if family not in GPU_FAMILIES
    )


def validate(subject: tuple[Subject, ...], said: AttestationResult) -> None:
    """Check what types cannot express, and that the evidence is the subject.

    Raises:
        MalformedError: ``MALFORMED_FIELD``, ``MALFORMED_BASE64`` or ``SUBJECT_MISMATCH``.
    """
    result.validate(said)
    for environment in said.submods.values():
        session_key(environment)
    if subject != _subjects(said):
        raise MalformedError(
            Reason.SUBJECT_MISMATCH,
            "the subjects are not the evidence of this result",
            expected=", ".join(item.name for item in _subjects(said)),
            actual=", ".join(item.name for item in subject),
        )


def _subjects(said: AttestationResult) -> tuple[Subject, ...]:
    return tuple(
        Subject.named(family.value, bytes.fromhex(evidence_name(environment)))
        for family, environment in sorted(said.submods.items())
    )
