"""The registration policy: which key may say what, judged the same way by server and auditor.

A key speaks for a principal from the log entry that adds it until the entry that retires it. A
statement is admitted if its predicate type is one for that principal's role and its name lies in
the principal's namespaces.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from registry.core.attestation.statement import Statement
from registry.core.keys import PublicKey
from registry.core.records import attribution, dataset, release
from registry.core.records.identity_event import IdentityEvent
from registry.core.records.key_event import KeyEvent, ephemeral_until, public_key
from registry.core.records.names import covers
from registry.core.records.predicate import KINDS
from registry.errors import ForbiddenError, Reason, VerificationError

AFTER_EVERYTHING: Final = 2**63 - 1
"""An entry index that all entries come before."""


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


class KnownKeys:
    """All key events of a log that are known, by key: which key speaks for whom, from when on."""

    def __init__(self) -> None:
        self._keys: dict[str, PublicKey] = {}
        self._events: dict[str, list[LoggedKeyEvent]] = {}

    def add(self, index: int, event: KeyEvent) -> None:
        """Take note of a key event that is in the log; they come in log order."""
        key = public_key(event)
        self._keys[key.key_id] = key
        self._events.setdefault(key.key_id, []).append(LoggedKeyEvent(index, event))

    def introduces(self, key_id: str) -> bool:
        """Whether a key event says what this key is."""
        return key_id in self._keys

    def key(self, key_id: str) -> PublicKey:
        """The key with this id.

        Raises:
            VerificationError: ``UNKNOWN_SIGNER``.
        """
        key = self._keys.get(key_id)
        if key is None:
            raise VerificationError(
                Reason.UNKNOWN_SIGNER,
                "no key event of the log introduces a key with this id",
                actual=key_id[:64] or "no key id in the envelope",
                hint="ask the operator to run: provreg principal add NAME --key FILE",
            )
        return key

    def grant(self, key_id: str, before: int = AFTER_EVERYTHING) -> KeyEvent:
        """The event that admits this key for entry ``before``, or now.

        Raises:
            VerificationError: ``UNKNOWN_SIGNER`` or ``KEY_REVOKED``.
        """
        return grant(self.events(key_id), before)

    def events(self, key_id: str) -> tuple[LoggedKeyEvent, ...]:
        """All events of this key, in log order."""
        return tuple(self._events.get(key_id, ()))

    def admitted(self) -> tuple[LoggedKeyEvent, ...]:
        """Of each key that speaks for somebody now, the event that admits it."""
        newest = [events[-1] for events in list(self._events.values())]
        return tuple(item for item in newest if item.event.action == "add")

    def keys_of(self, principal: str) -> tuple[PublicKey, ...]:
        """The keys that speak for a principal now."""
        return tuple(
            self._keys[key_id]
            for key_id, events in self._events.items()
            if events[-1].event.action == "add" and events[-1].event.principal == principal
        )

    def unharmed_keys_of(self, principal: str) -> tuple[PublicKey, ...]:
        """The keys that speak, or spoke, for a principal and were never reported compromised.

        Without those that a certificate admitted for minutes, and that ended long ago.
        """
        return tuple(
            self._keys[key_id]
            for key_id, events in self._events.items()
            if events[-1].event.principal == principal
            and all(item.event.action != "compromise" for item in events)
            and (ephemeral_until(events[0].event) is None or events[-1].event.action == "add")
        )


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
