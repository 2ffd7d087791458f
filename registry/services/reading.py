"""Entries of the log, by index or by record id."""

from registry.core import digest
from registry.errors import NotFoundError, Reason
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
