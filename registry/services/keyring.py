"""Which keys speak for whom, as the log says: every key event, in memory, in log order."""

from registry.core.attestation.dsse import Envelope
from registry.core.records import key_event, predicate
from registry.core.registration import KnownKeys
from registry.errors import Reason, RegistryError, VerificationError
from registry.storage.sql import catalog, log
from registry.storage.sql.engine import Database


class Keyring(KnownKeys):
    """All keys that were ever admitted. Written by the sequencer only, read by everybody."""

    def load(self, database: Database) -> None:
        """Read all key events from the log."""
        with database.read() as connection:
            for entry in catalog.key_events(connection, key_event.PREDICATE_TYPE):
                statement = predicate.parse(Envelope.parse(entry.envelope).payload)
                self.add(entry.index, statement.predicate)

    def check_operator(self, database: Database, key_id: str) -> None:
        """Refuse an operator whom this log does not know: nobody would believe what it says.

        Raises:
            VerificationError: ``WRONG_LOG``.
        """
        with database.read() as connection:
            first = log.entries_from(connection, 0, 1)
        if not first or self.events(key_id):
            return
        try:
            known = Envelope.parse(first[0].envelope).keyid
        except RegistryError:
            # Damage is told of by those who read entries.
            return
        if known != key_id:
            raise VerificationError(
                Reason.WRONG_LOG,
                "this operator's key is not that of this log",
                where="keys/operator.pem",
                expected=known,
                actual=key_id,
                hint="is this the right database, and the right data folder?",
            )
