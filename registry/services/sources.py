"""Sources of a capsule: statements of one log, each with its proof against one checkpoint."""

from collections.abc import Iterable, Iterator

from registry.core import digest
from registry.core.attestation.dsse import Envelope
from registry.core.capsule.parts import (
    MAX_FOREIGN,
    MAX_REPLAYS,
    MAX_TIMESTAMPS,
    LoggedEnvelope,
    Stamped,
    Token,
)
from registry.core.foreign.proof import ForeignProof
from registry.core.records import (
    attribution,
    foreign_proof,
    predicate,
    release,
    replay,
    verification,
)
from registry.core.records.verification import Verification
from registry.core.tlog.checkpoint import SignedCheckpoint
from registry.errors import DamagedError, Reason
from registry.services.keyring import Keyring
from registry.services.sequencing import Sequencer
from registry.storage.sql import catalog, log, timestamps
from registry.storage.sql.engine import Connection
from registry.storage.sql.log import StoredEntry

MAX_ATTRIBUTIONS = 64
"""Attributions of one release that a capsule carries, oldest first."""

MAX_REPLAYED = 1000
"""Replays of one record, and foreign proofs of one output, that are looked at."""

MAX_VERIFICATIONS = 16
"""Verifications of one statement that are looked at; more than one only after a crash."""


class Sources:
    """Statements of one log, each with its proof against one checkpoint."""

    def __init__(
        self,
        connection: Connection,
        keyring: Keyring,
        sequencer: Sequencer,
        head: SignedCheckpoint,
    ) -> None:
        self._connection = connection
        self._keyring = keyring
        self._sequencer = sequencer
        self._head = head

    @property
    def size(self) -> int:
        """How many entries can be proved."""
        return self._head.checkpoint.size

    def entry(self, stored: StoredEntry) -> LoggedEnvelope:
        """An entry with its proof."""
        receipt = self._sequencer.prove(stored, self._head)
        return LoggedEnvelope(stored.envelope, stored.index, receipt.proof)

    def at(self, index: int) -> LoggedEnvelope:
        """The entry with this index.

        Raises:
            DamagedError: ``STORED_BYTES``.
        """
        stored = log.entry(self._connection, index)
        if stored is None:
            raise damaged(f"entry {index}")
        return self.entry(stored)

    def statement(self, record_id: str) -> LoggedEnvelope | None:
        """The statement with this record id; None if it cannot be proved."""
        stored = log.entry_of_record(self._connection, digest.parse(record_id))
        # What was registered after this checkpoint cannot be proved against it.
        if stored is None or stored.index >= self._head.checkpoint.size:
            return None
        return self.entry(stored)

    def stamped(self, index: int) -> Stamped | None:
        """The smallest checkpoint with entry ``index`` that was stamped, and its tokens."""
        found = timestamps.first_after(self._connection, index)
        if not found or found[0].size > self._head.checkpoint.size:
            return None
        size, note = found[0].size, found[0].note
        proof, _ = self._sequencer.consistency(size, self._head.checkpoint.size)
        # After a restart the log may have signed the same tree with other lines beneath it.
        tokens = sorted((row.authority, row.token) for row in found if row.note == note)
        return Stamped(note, size, proof, tuple(Token(*each) for each in tokens[:MAX_TIMESTAMPS]))

    def data_of(
        self, released: LoggedEnvelope | None
    ) -> tuple[list[LoggedEnvelope], list[LoggedEnvelope]]:
        """The attributions of a release, and the datasets that it or they name."""
        if released is None:
            return [], []
        envelope = Envelope.parse(released.envelope)
        said: release.Release = predicate.parse(envelope.payload).predicate
        name = digest.text(envelope.record_id)
        found = catalog.find(
            self._connection,
            attribution.PREDICATE_TYPE,
            name=said.name,
            version=said.version,
            limit=MAX_ATTRIBUTIONS,
        )
        attributions = []
        wanted = dict.fromkeys(said.trained_on)
        for _, stored in found:
            claim = predicate.parse(Envelope.parse(stored.envelope).payload).predicate
            if claim.release == name and stored.index < self._head.checkpoint.size:
                attributions.append(self.entry(stored))
                wanted.update(dict.fromkeys(item.dataset for item in claim.datasets))
        datasets = [self.statement(record_id) for record_id in wanted]
        return attributions, [item for item in datasets if item is not None]

    def replays(self, leaf: bytes) -> list[LoggedEnvelope]:
        """What auditors say who ran a call again; the newest of many."""
        found = catalog.find(
            self._connection, replay.PREDICATE_TYPE, name=leaf.hex(), limit=MAX_REPLAYED
        )
        size = self._head.checkpoint.size
        provable = [stored for _, stored in found if stored.index < size]
        return [self.entry(stored) for stored in provable[-MAX_REPLAYS:]]

    def foreign(self, content_digest: str) -> list[tuple[LoggedEnvelope, ForeignProof]]:
        """What importers say of proofs of an output; the newest of many, in log order.

        Not of keys that were compromised: nobody's output shall be in doubt for what happened to
        an importer.
        """
        found = catalog.find(
            self._connection, foreign_proof.PREDICATE_TYPE, name=content_digest, limit=MAX_REPLAYED
        )
        size = self._head.checkpoint.size
        provable = [
            stored for row, stored in found if stored.index < size and self._is_unharmed(row.key_id)
        ]
        return [
            (self.entry(stored), predicate.parse(Envelope.parse(stored.envelope).payload).predicate)
            for stored in provable[-MAX_FOREIGN:]
        ]

    def _is_unharmed(self, key_id: str) -> bool:
        return all(item.event.action != "compromise" for item in self._keyring.events(key_id))

    def verifications(
        self, statements: Iterable[LoggedEnvelope | None]
    ) -> Iterator[tuple[LoggedEnvelope, Verification]]:
        """The last verification of each statement that came in a Sigstore bundle."""
        for item in statements:
            if item is None:
                continue
            envelope = Envelope.parse(item.envelope)
            found = catalog.find(
                self._connection,
                verification.PREDICATE_TYPE,
                name=envelope.record_id.hex(),
                limit=MAX_VERIFICATIONS,
            )
            said = [
                (stored, predicate.parse(Envelope.parse(stored.envelope).payload).predicate)
                for _, stored in found
                if stored.index < item.index
            ]
            # The same statement may have been signed more than once.
            own = [pair for pair in said if pair[1].key == envelope.keyid]
            if own:
                yield self.entry(own[-1][0]), own[-1][1]

    def key_events(self, signed: Iterable[LoggedEnvelope | None]) -> list[LoggedEnvelope]:
        """All events of every key that signed something here, or such an event."""
        keys = [Envelope.parse(item.envelope).keyid for item in signed if item is not None]
        known: set[str] = set()
        found: dict[int, LoggedEnvelope] = {}
        while keys:
            key_id = keys.pop()
            if key_id in known:
                continue
            known.add(key_id)
            for event in self._keyring.events(key_id):
                if event.index < self._head.checkpoint.size:
                    found[event.index] = self.at(event.index)
                    keys.append(Envelope.parse(found[event.index].envelope).keyid)
        return list(found.values())


def damaged(where: str) -> DamagedError:
    """The refusal to make a capsule of what is not there."""
    return DamagedError(
        Reason.STORED_BYTES,
        "the index names something that is not stored",
        where=where,
        hint="run: provreg db rebuild",
    )
