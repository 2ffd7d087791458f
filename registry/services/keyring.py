"""Which keys speak for whom, as the log says: every key event, in memory, in log order."""

from registry.core.attestation.dsse import Envelope
from registry.core.keys import PublicKey
from registry.core.records import key_event, predicate
from registry.core.records.key_event import KeyEvent
from registry.core.registration import LoggedKeyEvent, grant
from registry.errors import Reason, VerificationError
from registry.storage.sql import catalog
from registry.storage.sql.engine import Database

AFTER_EVERYTHING = 2**63 - 1
"""An entry index that all entries come before."""


class Keyring:
    """All keys that were ever admitted. Written by the sequencer only, read by everybody."""

    def __init__(self) -> None:
        self._events: dict[str, list[LoggedKeyEvent]] = {}
        self._keys: dict[str, PublicKey] = {}

    def load(self, database: Database) -> None:
        """Read all key events from the log."""
        with database.read() as connection:
            for entry in catalog.key_events(connection, key_event.PREDICATE_TYPE):
                statement = predicate.parse(Envelope.parse(entry.envelope).payload)
                self.add(entry.index, statement.predicate)

    def add(self, index: int, event: KeyEvent) -> None:
        """Take note of a key event that is in the log."""
        key = key_event.public_key(event)
        self._keys[key.key_id] = key
        self._events.setdefault(key.key_id, []).append(LoggedKeyEvent(index, event))

    def key(self, key_id: str) -> PublicKey:
        """The key with this id.

        Raises:
            VerificationError: ``UNKNOWN_SIGNER``.
        """
        key = self._keys.get(key_id)
        if key is None:
            raise VerificationError(
                Reason.UNKNOWN_SIGNER,
                "no key with this id was ever admitted here",
                actual=key_id[:64] or "no key id in the envelope",
                hint="ask the operator to run: provreg principal add NAME --key FILE",
            )
        return key

    def grant(self, key_id: str, before: int = AFTER_EVERYTHING) -> KeyEvent:
        """The event that admits this key for entry ``before``, or now.

        Raises:
            VerificationError: ``UNKNOWN_SIGNER`` or ``KEY_REVOKED``.
        """
        return grant(self._events.get(key_id, ()), before)

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
