"""Predicate type → record: which statements this registry knows, and how each is read."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from registry.core import encoding
from registry.core.attestation.statement import Statement, predicate_type
from registry.core.evidence.distrust import Entry
from registry.core.evidence.policy import Policy
from registry.core.evidence.result import AttestationResult
from registry.core.foreign.proof import ForeignProof
from registry.core.records import (
    appraisal_policy,
    attestation_result,
    attribution,
    batch,
    certificate,
    dataset,
    distrust_entry,
    foreign_proof,
    identity_event,
    key_event,
    release,
    replay,
    verification,
)
from registry.errors import MalformedError, Reason


@dataclass(frozen=True, slots=True)
class Kind:
    """A known predicate type.

    Attributes:
        noun: What people call it.
        role: The role whose keys may sign it.
        statement: The typed statement.
        validate: What types cannot express.
    """

    noun: str
    role: str
    statement: Any
    validate: Callable[[Any, Any], None]


KINDS: dict[str, Kind] = {
    release.PREDICATE_TYPE: Kind(
        "release", "publisher", Statement[release.Release], release.validate
    ),
    dataset.PREDICATE_TYPE: Kind(
        "dataset", "publisher", Statement[dataset.Dataset], dataset.validate
    ),
    attribution.PREDICATE_TYPE: Kind(
        "attribution", "publisher", Statement[attribution.Attribution], attribution.validate
    ),
    batch.PREDICATE_TYPE: Kind("batch", "node", Statement[batch.Batch], batch.validate),
    key_event.PREDICATE_TYPE: Kind(
        "key event", "operator", Statement[key_event.KeyEvent], key_event.validate
    ),
    certificate.PREDICATE_TYPE: Kind(
        "certificate", "operator", Statement[certificate.Certificate], certificate.validate
    ),
    identity_event.PREDICATE_TYPE: Kind(
        "identity event",
        "operator",
        Statement[identity_event.IdentityEvent],
        identity_event.validate,
    ),
    verification.PREDICATE_TYPE: Kind(
        "verification", "operator", Statement[verification.Verification], verification.validate
    ),
    appraisal_policy.PREDICATE_TYPE: Kind(
        "appraisal policy", "operator", Statement[Policy], appraisal_policy.validate
    ),
    distrust_entry.PREDICATE_TYPE: Kind(
        "distrust entry", "operator", Statement[Entry], distrust_entry.validate
    ),
    foreign_proof.PREDICATE_TYPE: Kind(
        "foreign proof", "publisher", Statement[ForeignProof], foreign_proof.validate
    ),
    replay.PREDICATE_TYPE: Kind("replay", "auditor", Statement[replay.Replay], replay.validate),
    attestation_result.PREDICATE_TYPE: Kind(
        "attestation result", "operator", Statement[AttestationResult], attestation_result.validate
    ),
}
"""Every predicate type that can be registered."""


def parse(payload: bytes) -> Statement[Any]:
    """Read a statement of a known predicate type exactly.

    Raises:
        MalformedError: ``FOREIGN_PREDICATE``, ``MALFORMED_STATEMENT``, ``NOT_CANONICAL``, or what
            the record's own rules refuse.
    """
    kind = KINDS.get(name := predicate_type(payload))
    if kind is None:
        raise MalformedError(
            Reason.FOREIGN_PREDICATE,
            "this registry does not know this predicate type",
            expected=", ".join(KINDS),
            actual=name[:200],
        )
    try:
        statement: Statement[Any] = encoding.read_json(
            payload, kind.statement, what=f"{kind.noun} statement"
        )
    except MalformedError as error:
        if error.reason is Reason.MALFORMED_JSON:
            error.reason = Reason.MALFORMED_STATEMENT
        raise
    kind.validate(statement.subject, statement.predicate)
    return statement


def noun(predicate_type_name: str) -> str:
    """What people call a predicate type."""
    kind = KINDS.get(predicate_type_name)
    return kind.noun if kind else "statement"
