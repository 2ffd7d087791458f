"""A witness for other people's logs: compares, remembers durably, and only then cosigns."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from registry.core.tlog.policy import Policy
from registry.core.tlog.witnessing import advance, is_stale, log_id, open_request
from registry.signing.cosigner import Cosigner
from registry.storage.sql import witness
from registry.storage.sql.engine import Database
from registry.storage.sql.witness import WitnessedHead


@dataclass(frozen=True, slots=True)
class Stale:
    """The log must first learn that ``size`` was cosigned last."""

    size: int


class Witness:
    """Cosigns checkpoints of the logs in a policy, each only if it extends the one before."""

    def __init__(
        self,
        database: Database,
        logs: Policy,
        cosigners: Sequence[Cosigner],
        now: Callable[[], datetime],
    ) -> None:
        origins = {log.key.name for log in logs.logs}
        self._keys = {origin: logs.keys_of(origin) for origin in origins}
        self._database = database
        self._cosigners = tuple(cosigners)
        self._now = now
        witness.create(database)

    def add_checkpoint(self, data: bytes) -> bytes | Stale:
        """Judge a request; a signature line by each key, or what the log must learn first.

        Raises:
            MalformedError: Status 400.
            NotFoundError: Status 404: ``UNKNOWN_LOG``.
            VerificationError: Status 403, or 422 if its reason is ``CONSISTENCY_PROOF``.
        """
        request = open_request(data, self._keys)
        name = log_id(request.checkpoint.origin)
        with self._database.write() as connection:
            found = witness.last(connection, name)
            last = None if found is None else found.checkpoint
            if is_stale(request, last):
                return Stale(0 if last is None else last.size)
            advance(request, last)
            at = self._now()
            lines = [cosigner.cosign(request.checkpoint, at) for cosigner in self._cosigners]
            head = WitnessedHead(request.checkpoint, request.cosigned(*lines))
            witness.put(connection, name, head)
        # Durable here: nobody has seen a signature before.
        return "".join(map(str, lines)).encode()

    def latest(self, name: str) -> bytes | None:
        """The note cosigned last of the log with this id; None if nothing ever was."""
        with self._database.read() as connection:
            found = witness.last(connection, name)
        return None if found is None else found.note
