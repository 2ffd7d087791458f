"""Entries of the log, by index or by record id, and whether they are what was stored."""

from registry.core import digest
from registry.core.attestation.dsse import Envelope
from registry.core.tlog import entry as entries
from registry.core.tlog.merkle import leaf_hash
from registry.errors import DamagedError, MalformedError, NotFoundError, Reason
from registry.storage.sql import log
from registry.storage.sql.engine import Database
from registry.storage.sql.log import StoredEntry


class Reading:
    """Reads the log."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def entry(self, index: int) -> StoredEntry:
        """Entry number ``index``.

        Raises:
            NotFoundError: ``BEYOND_TREE``.
        """
        with self._database.read() as connection:
            found = log.entry(connection, index) if index < 2**63 else None
        if found is None:
            raise NotFoundError(
                Reason.BEYOND_TREE, "the log has no such entry", where=f"entry {index}"
            )
        return found

    def entry_of_record(self, record_id: bytes) -> StoredEntry:
        """The first entry of a statement.

        Raises:
            NotFoundError: ``UNKNOWN_RECORD``.
        """
        with self._database.read() as connection:
            found = log.entry_of_record(connection, record_id)
        if found is None:
            raise NotFoundError(
                Reason.UNKNOWN_RECORD,
                "no statement with this record id is registered",
                where=digest.text(record_id),
            )
        return found


def verify_stored(stored: StoredEntry) -> None:
    """Check that leaf, entry and statement of one row belong together; no signature is verified.

    Raises:
        DamagedError: ``STORED_BYTES``.
    """
    fits = leaf_hash(stored.body) == stored.leaf_hash
    if fits and stored.envelope:
        try:
            body, envelope = entries.parse(stored.body), Envelope.parse(stored.envelope)
        except MalformedError:
            fits = False
        else:
            signed = envelope.record_id
            fits = (
                signed == body.digest == stored.record_id and envelope.signature == body.signature
            )
    if not fits:
        raise DamagedError(
            Reason.STORED_BYTES,
            "an entry of the log is not what was stored",
            where=f"entry {stored.index}, {digest.text(stored.record_id)}",
            hint="run: provreg log fsck",
        )
