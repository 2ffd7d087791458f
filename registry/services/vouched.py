"""Which certified identities speak for whom, as the log says: every identity event, in memory."""

from collections.abc import Container

from registry.core.attestation.dsse import Envelope
from registry.core.attestation.identity import Identity
from registry.core.records import identity_event, predicate
from registry.core.records.identity_event import IdentityEvent
from registry.errors import ConflictError, Reason, VerificationError
from registry.storage.sql import catalog
from registry.storage.sql.engine import Database


class Vouched:
    """The newest event of every identity. Written by who admits principals, read by everybody."""

    def __init__(self) -> None:
        self._events: dict[Identity, IdentityEvent] = {}

    def load(self, database: Database) -> None:
        """Read all identity events from the log."""
        with database.read() as connection:
            for entry in catalog.key_events(connection, identity_event.PREDICATE_TYPE):
                statement = predicate.parse(Envelope.parse(entry.envelope).payload)
                self.note(statement.predicate)

    def note(self, event: IdentityEvent) -> None:
        """Take note of an identity event that is in the log."""
        self._events[event.identity] = event

    def grant(self, identity: Identity) -> IdentityEvent:
        """The event that admits this identity now.

        Raises:
            VerificationError: ``UNKNOWN_SIGNER`` or ``KEY_REVOKED``.
        """
        event = self._events.get(identity)
        if event is None:
            raise VerificationError(
                Reason.UNKNOWN_SIGNER,
                "this identity was never admitted here",
                actual=str(identity),
                hint="the operator runs: provreg principal add NAME --identity ISSUER SUBJECT",
            )
        if event.action != "add":
            raise VerificationError(
                Reason.KEY_REVOKED, "this identity was ended here", actual=str(identity)
            )
        return event

    def require_free(self, identity: Identity, principals: Container[str]) -> None:
        """Check that an identity speaks for none of these principals yet.

        An event about a principal that was never added counts for nothing: adding it failed.

        Raises:
            ConflictError: ``IDENTITY_KNOWN``.
        """
        event = self._events.get(identity)
        if event is not None and event.action == "add" and event.principal in principals:
            raise ConflictError(
                Reason.IDENTITY_KNOWN,
                "this identity speaks for a principal already",
                where=event.principal,
                actual=str(identity),
            )

    def identities_of(self, principal: str) -> tuple[Identity, ...]:
        """The identities that speak for a principal now."""
        return tuple(
            identity
            for identity, event in list(self._events.items())
            if event.action == "add" and event.principal == principal
        )
