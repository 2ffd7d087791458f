"""The single writer: index, integrate, sign, commit, and only then answer.

Submissions that arrive while a commit is under way form the next group, so the group grows with the
load; after a group of several the next one waits a moment for company, since a commit costs about
the same for one as for thirty. A lone caller waits for nobody. For each group: leave out duplicates
and what contradicts the catalog, give indices, add leaves to the tree, sign the checkpoint in
memory, prove and verify each new entry against it, and write everything in **one** durable
transaction. The signature leaves the process afterwards.

=====================  =========================  ==========================================
dies                   after restart              callers
=====================  =========================  ==========================================
before the commit      nothing was stored         retry
during the commit      all of it, or nothing      retry: original index, fresh proof
after the commit       all of it                  retry: original index, fresh proof
=====================  =========================  ==========================================

A failed commit leaves open what is on the disk. It latches: the log accepts nothing more until the
process is started again and has read what is there.
"""

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from registry.core.tlog import tree as proofs
from registry.core.tlog.checkpoint import Checkpoint, SignedCheckpoint
from registry.core.tlog.merkle import verify_inclusion
from registry.core.tlog.note import VerifierKey
from registry.core.tlog.receipt import Receipt
from registry.errors import (
    DamagedError,
    NotFoundError,
    Reason,
    RegistryError,
    UnavailableError,
)
from registry.services.keyring import Keyring
from registry.services.submission import Submission, check_chain, check_free, store_batch
from registry.services.tree import Tree
from registry.signing.file import LogSigner
from registry.storage.sql import catalog, log, outputs
from registry.storage.sql.catalog import Listed, ShimHead
from registry.storage.sql.engine import Connection, Database
from registry.storage.sql.log import StoredEntry

MAX_GROUP = 512
"""Submissions in one commit."""

GATHER_SECONDS = 0.008
"""How long a group waits for more after one that was not alone."""

MAX_WAITING = 4096
"""Submissions that may wait; more are told to come back."""

COMPACTION_STEPS = 4
"""Steps of index compaction after a commit, at most, if nobody waits."""


@dataclass(slots=True)
class _Ticket:
    submission: Submission
    answer: "Future[Receipt]" = field(default_factory=Future)
    index: int = -1


class Sequencer:
    """Gives every submission its place, durably, and the proof of it."""

    def __init__(self, database: Database, signer: LogSigner, keyring: Keyring) -> None:
        """Read the state of the log.

        Raises:
            DamagedError: ``STORED_BYTES`` if tree and signed checkpoint disagree.
        """
        self._database = database
        self._signer = signer
        self._keyring = keyring
        self._tree = Tree(database)
        self._head = self._load()
        self._waiting: queue.SimpleQueue[_Ticket | None] = queue.SimpleQueue()
        self._latched: UnavailableError | None = None
        self._compaction = outputs.Compaction()
        self._pause = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sequencer", daemon=True)
        self._thread.start()

    # --- Asking, from any thread ---

    @property
    def head(self) -> SignedCheckpoint | None:
        """The newest signed checkpoint; None for an empty log."""
        return self._head

    @property
    def latched(self) -> UnavailableError | None:
        """Why nothing is accepted any more; None if all is well."""
        return self._latched

    def submit(self, submission: Submission) -> "Future[Receipt]":
        """Ask for a place. The future is done when the entry is durable and proven.

        Raises:
            UnavailableError: ``LOG_LATCHED`` or ``LOG_BUSY``.
        """
        if self._latched is not None:
            raise self._latched
        if self._waiting.qsize() >= MAX_WAITING:
            raise UnavailableError(
                Reason.LOG_BUSY,
                "too many statements wait for the log",
                expected=f"at most {MAX_WAITING}",
                hint="try again in a second",
            )
        ticket = _Ticket(submission)
        # A caller that goes away cannot take back what may already be on the disk.
        ticket.answer.set_running_or_notify_cancel()
        self._waiting.put(ticket)
        return ticket.answer

    def receipt(self, index: int, head: SignedCheckpoint | None = None) -> Receipt:
        """A fresh proof of entry ``index`` against the newest (or the given) checkpoint.

        Raises:
            NotFoundError: ``BEYOND_TREE`` if the entry comes after that checkpoint.
        """
        chosen = head or self._require_head()
        size = chosen.checkpoint.size
        if index >= size:
            # A reader of the database may see an entry just before its checkpoint is ours.
            raise NotFoundError(
                Reason.BEYOND_TREE,
                "this entry comes after the checkpoint",
                where=f"entry {index}",
                expected=f"below {size}",
                hint="try again: it is being registered",
            )
        return Receipt(index, proofs.inclusion_proof(self._tree.node, index, size), chosen)

    def consistency(self, size: int) -> tuple[tuple[bytes, ...], SignedCheckpoint]:
        """The proof that the newest checkpoint extends the tree of ``size`` entries."""
        head = self._require_head()
        return proofs.consistency_proof(self._tree.node, size, head.checkpoint.size), head

    def close(self) -> None:
        """Finish what waits, and stop."""
        self._waiting.put(None)
        self._thread.join()

    # --- The one thread that writes ---

    def _require_head(self) -> SignedCheckpoint:
        if self._head is None:
            raise UnavailableError(Reason.LOG_BUSY, "the log has no checkpoint yet")
        return self._head

    def _load(self) -> SignedCheckpoint | None:
        with self._database.write() as connection:
            size = log.size(connection)
            note = log.newest_checkpoint(connection)
            outputs.Compaction.drop_unfinished(connection)
        self._tree.load(size)
        if note is None and size == 0:
            return None
        head = None if note is None else _newest(note, self._signer.key)
        expected = Checkpoint(self._signer.key.name, size, self._tree.root())
        if head is None or head.checkpoint != expected:
            from_note = "no checkpoint" if head is None else str(head.checkpoint.size)
            raise _damaged(str(size), from_note)
        return head

    def _run(self) -> None:
        stopping = busy = False
        while not stopping:
            group = [self._waiting.get()]
            if busy:
                self._pause.wait(GATHER_SECONDS)
            # A key event ends its group: what follows is judged by a keyring that knows of it.
            while len(group) < MAX_GROUP and not _ends(group[-1]) and not self._waiting.empty():
                group.append(self._waiting.get())
            stopping = None in group
            busy = len(group) > 1
            tickets = [ticket for ticket in group if ticket is not None]
            if tickets:
                self._commit(tickets)
            self._compact()
        while not self._waiting.empty():
            ticket = self._waiting.get()
            if ticket is not None:
                _fail([ticket], UnavailableError(Reason.LOG_BUSY, "the registry is stopping"))

    def _commit(self, tickets: Sequence[_Ticket]) -> None:
        if self._latched is not None:
            _fail(tickets, self._latched)
            return
        try:
            settled = self._group(tickets)
        except Exception as error:  # noqa: BLE001 - whatever it was, the disk's state is unknown
            _fail(tickets, self._latch("a write failed", error))
            return
        for answer in settled:
            answer()

    def _group(self, tickets: Sequence[_Ticket]) -> list[Callable[[], None]]:
        settled: list[Callable[[], None]] = []
        with self._database.write() as connection:
            fresh = self._place(connection, tickets, settled)
            head = self._integrate(connection, fresh) if fresh else self._require_head()
            proven = self._prove(tickets, head)
        # The commit is durable here: what follows may be seen.
        self._head = head
        for ticket in fresh:
            event = ticket.submission.key_event
            if event is not None:
                self._keyring.add(ticket.index, event)
        settled.extend(proven)
        return settled

    def _place(
        self,
        connection: Connection,
        tickets: Sequence[_Ticket],
        settled: list[Callable[[], None]],
    ) -> list[_Ticket]:
        """Give indices to what is new; answer what contradicts the catalog."""
        known = log.find_leaves(connection, [ticket.submission.leaf_hash for ticket in tickets])
        taken = catalog.taken_versions(
            connection,
            (
                (
                    ticket.submission.predicate_type,
                    ticket.submission.name,
                    ticket.submission.version,
                )
                for ticket in tickets
                if ticket.submission.unique
            ),
        )
        heads: dict[bytes, ShimHead | None] = {}
        fresh: list[_Ticket] = []
        size = self._tree.size
        for ticket in tickets:
            submission = ticket.submission
            if submission.leaf_hash in known:
                ticket.index = known[submission.leaf_hash]
                continue
            try:
                if submission.unique:
                    key = (submission.predicate_type, submission.name, submission.version)
                    check_free(key, taken)
                # The key may have been retired while the statement waited. Only entry 0 is by a
                # key that nothing admitted before: the operator's.
                if size + len(fresh) > 0:
                    self._keyring.grant(submission.key_id)
                if submission.batch is not None:
                    check_chain(connection, submission, submission.batch, heads)
            except RegistryError as error:
                settled.append(_failure(ticket, error))
                continue
            ticket.index = known[submission.leaf_hash] = size + len(fresh)
            if submission.unique:
                taken[key] = ticket.index
            fresh.append(ticket)
        return fresh

    def _integrate(self, connection: Connection, fresh: Sequence[_Ticket]) -> SignedCheckpoint:
        """Add the leaves, sign the new head, write all rows."""
        tiles = []
        for ticket in fresh:
            tiles.extend(self._tree.append(ticket.submission.leaf_hash))
        head = self._signer.sign(
            Checkpoint(self._signer.key.name, self._tree.size, self._tree.root())
        )
        log.append(connection, [_row(ticket) for ticket in fresh], tiles)
        log.add_checkpoint(connection, self._tree.size, head.note)
        listed = [_listed(ticket) for ticket in fresh]
        catalog.add_statements(connection, listed)
        catalog.add_versions(
            connection,
            [row for row, ticket in zip(listed, fresh, strict=True) if ticket.submission.unique],
        )
        for ticket in fresh:
            if ticket.submission.batch is not None:
                store_batch(connection, ticket.index, ticket.submission, ticket.submission.batch)
        return head

    def _prove(
        self, tickets: Sequence[_Ticket], head: SignedCheckpoint
    ) -> list[Callable[[], None]]:
        """Build each proof and check it ourselves, before anything is committed."""
        proven: list[Callable[[], None]] = []
        checkpoint = head.checkpoint
        for ticket in tickets:
            if ticket.index < 0:
                continue
            receipt = self.receipt(ticket.index, head)
            verify_inclusion(
                ticket.submission.leaf_hash,
                ticket.index,
                checkpoint.size,
                receipt.proof,
                checkpoint.root,
            )
            proven.append(_success(ticket, receipt))
        return proven

    def _compact(self) -> None:
        for _ in range(COMPACTION_STEPS):
            if self._latched is not None or not self._waiting.empty():
                return
            if not self._compact_once():
                return

    def _compact_once(self) -> bool:
        try:
            with self._database.write() as connection:
                return self._compaction.step(connection)
        except Exception as error:  # noqa: BLE001 - the writer's disk is in doubt
            self._latch("merging its index failed", error)
            return False

    def _latch(self, why: str, error: Exception) -> UnavailableError:
        """Accept nothing more; only a new start can tell what is on the disk."""
        self._latched = UnavailableError(
            Reason.LOG_LATCHED,
            f"the log stopped accepting statements: {why}",
            actual=f"{type(error).__name__}: {error}"[:300],
            hint="free disk space or repair the database, then start the registry again",
        )
        return self._latched


def _ends(ticket: _Ticket | None) -> bool:
    return ticket is None or ticket.submission.key_event is not None


def _row(ticket: _Ticket) -> StoredEntry:
    submission = ticket.submission
    return StoredEntry(
        ticket.index,
        submission.leaf_hash,
        submission.record_id,
        submission.body,
        submission.envelope,
    )


def _listed(ticket: _Ticket) -> Listed:
    submission = ticket.submission
    return Listed(
        ticket.index,
        submission.predicate_type,
        submission.name,
        submission.version,
        submission.key_id,
        submission.principal,
    )


def _success(ticket: _Ticket, receipt: Receipt) -> Callable[[], None]:
    return lambda: ticket.answer.set_result(receipt)


def _failure(ticket: _Ticket, error: RegistryError) -> Callable[[], None]:
    return lambda: ticket.answer.set_exception(error)


def _fail(tickets: Sequence[_Ticket], error: RegistryError) -> None:
    for ticket in tickets:
        ticket.answer.set_exception(error)


def _newest(note: bytes, key: VerifierKey) -> SignedCheckpoint:
    try:
        return SignedCheckpoint.open(note, key)
    except RegistryError as error:
        if error.reason is Reason.WRONG_LOG:
            # The checkpoint may be in order: it is the key file that belongs to another log.
            raise
        raise _damaged("any number of", str(error)) from error


def _damaged(expected: str, actual: str) -> RegistryError:
    return DamagedError(
        Reason.STORED_BYTES,
        "the log and its newest signed checkpoint disagree",
        expected=f"a checkpoint over {expected} entries",
        actual=actual,
        hint="do not go on: restore the newest backup, and compare with checkpoints seen by others",
    )
