"""Which keys speak for whom, as the log says: every key event, in memory, in log order."""

from registry.core.attestation.dsse import Envelope
from registry.core.records import key_event, predicate
from registry.core.registration import KnownKeys
from registry.storage.sql import catalog
from registry.storage.sql.engine import Database


class Keyring(KnownKeys):
    """All keys that were ever admitted. Written by the sequencer only, read by everybody."""

    def load(self, database: Database) -> None:
        """Read all key events from the log."""
        with database.read() as connection:
            for entry in catalog.key_events(connection, key_event.PREDICATE_TYPE):
                statement = predicate.parse(Envelope.parse(entry.envelope).payload)
                self.add(entry.index, statement.predicate)
