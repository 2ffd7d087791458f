"""The registration policy: which key may say what, judged the same way by server and auditor.

A key speaks for a principal from the log entry that adds it until the entry that retires it. A
statement is admitted if its predicate type is one for that principal's role and its name lies in
the principal's namespaces.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from registry.core.attestation.statement import Statement
from registry.core.records import attribution, dataset, release
from registry.core.records.identity_event import IdentityEvent
from registry.core.records.key_event import KeyEvent
from registry.core.records.names import covers
from registry.core.records.predicate import KINDS
from registry.errors import ForbiddenError, Reason, VerificationError


@dataclass(frozen=True, slots=True)
class LoggedKeyEvent:
    """A key event and its index in the log."""

    index: int
    event: KeyEvent


def grant(events: Sequence[LoggedKeyEvent], before: int) -> KeyEvent:
    """The event that admits a key for entry ``before`` of the log.

    Args:
        events: All known events of that one key, in log order.
        before: The index of the entry that the key signed; only earlier events count.

    Raises:
        VerificationError: ``UNKNOWN_SIGNER`` if nothing admitted the key by then, ``KEY_REVOKED``
            if it was retired or reported compromised by then.
    """
    admitted: KeyEvent | None = None
    for item in events:
        if item.index >= before:
            break
        if item.event.action == "add":
            admitted = item.event
        else:
            raise VerificationError(
                Reason.KEY_REVOKED,
                f"the key was ended ({item.event.action}) by entry {item.index} of the log",
                where=f"entry {before}",
            )
    if admitted is None:
        raise VerificationError(
            Reason.UNKNOWN_SIGNER,
            "no earlier entry of the log admits this key",
            where=f"entry {before}",
            hint="ask the operator to run: provreg principal add",
        )
    return admitted


def admit(statement: Statement[Any], admitted: KeyEvent | IdentityEvent) -> None:
    """Check that a key or identity with this grant may make this statement.

    Raises:
        ForbiddenError: ``ROLE`` or ``NAMESPACE``.
    """
    kind = KINDS[statement.predicate_type]
    if kind.role not in admitted.roles:
        raise ForbiddenError(
            Reason.ROLE,
            f"a {kind.noun} is signed by a {kind.role}",
            where=f"principal {admitted.principal}",
            expected=kind.role,
            actual=", ".join(admitted.roles) or "no role",
        )
    name = published_name(statement)
    if name is not None and not any(covers(pattern, name) for pattern in admitted.namespaces):
        raise ForbiddenError(
            Reason.NAMESPACE,
            f"this principal may not publish under {name}",
            where=f"principal {admitted.principal}",
            expected=" or ".join(admitted.namespaces) or "nothing",
            actual=name,
        )


def published_name(statement: Statement[Any]) -> str | None:
    """The name that a statement publishes under; None for statements that publish no name."""
    predicate = statement.predicate
    if isinstance(predicate, (release.Release, dataset.Dataset, attribution.Attribution)):
        return predicate.name
    return None
