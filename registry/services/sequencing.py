"""The single writer: index, integrate, commit, lock, sign, and only then answer.

Submissions that arrive while a commit is under way form the next group, so the group grows with the
load; after a group of several the next one waits a moment for company, since a commit costs about
the same for one as for thirty. A lone caller waits for nobody. For each group: leave out duplicates
and what contradicts the log, give indices, add leaves to the tree, prove each new entry in it and
write everything in **one** durable transaction; replace the checkpoint in the lock, durably; sign.

=====================  =========================  ==========================================
dies                   after restart              callers
=====================  =========================  ==========================================
before the commit      nothing was stored         retry
during the commit      all of it, or nothing      retry: original index, fresh proof
before the lock        all; the lock follows      retry: original index, fresh proof
after the lock         all of it                  retry: original index, fresh proof
=====================  =========================  ==========================================

No signature exists before the lock holds its checkpoint, so no copy of the database can carry one
that the lock does not know. The row of a signed checkpoint is therefore written one group later.

What fails between a commit and its answer leaves open what is on the disk. It latches: the log
accepts nothing more, reads go on, and a new start looks at what is there.
"""

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from registry.core.tlog import tree as proofs
from registry.core.tlog.checkpoint import Checkpoint, SignedCheckpoint
from registry.core.tlog.note import VerifierKey
from registry.core.tlog.receipt import Receipt
from registry.errors import (
    NotFoundError,
    Reason,
    RegistryError,
    UnavailableError,
)
from registry.services import freezing
from registry.services.heads import Heads, Observer
from registry.services.keyring import Keyring
from registry.services.placing import Group, Ticket
from registry.services.proving import Proving
from registry.services.recovery import recover
from registry.services.submission import Submission
from registry.services.tree import Tree
from registry.signing.file import LogSigner
from registry.storage.space import DiskSpace
from registry.storage.sql import log, outputs
from registry.storage.sql.engine import Connection, Database
from registry.storage.sql.lock import CheckpointLock

MAX_GROUP = 512
"""Submissions in one commit."""

GATHER_SECONDS = 0.008
"""How long a group waits for more after one that was not alone."""

MAX_WAITING = 4096
"""Submissions that may wait; more are told to come back."""

COMPACTION_STEPS = 4
"""Steps of index compaction after a commit, at most, if nobody waits."""

Gate = Callable[["Future[Receipt]"], "Future[Receipt]"]
"""Holds answers back until somebody else has seen their checkpoint."""

logger = logging.getLogger(__name__)


class Sequencer(Proving):
    """Gives every submission its place, durably, and the proof of it."""

    def __init__(
        self,
        database: Database,
        signer: LogSigner,
        keyring: Keyring,
        lock: CheckpointLock,
        space: DiskSpace,
    ) -> None:
        """Read the state of the log, and take the lock.

        Raises:
            DamagedError: ``STORED_BYTES``, ``LOG_ROLLBACK`` or ``FORK`` if log, checkpoints and
                lock disagree.
        """
        self._database = database
        self._signer = signer
        self._keyring = keyring
        self._lock = lock
        self._space = space
        self._tree = Tree(database)
        self.frozen = freezing.refusal(database)
        self._noted = 0
        self._gate: Gate | None = None
        self.heads = Heads()
        self.heads.newest = self._load()
        self._waiting: queue.SimpleQueue[Ticket | None] = queue.SimpleQueue()
        self._latched: UnavailableError | None = None
        self._latching = threading.Lock()
        self._compaction = outputs.Compaction()
        self._pause = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sequencer", daemon=True)
        self._thread.start()

    # --- Asking, from any thread ---

    @property
    def head(self) -> SignedCheckpoint | None:
        """The checkpoint that answers go by; None for an empty log. See :mod:`heads`."""
        return self.heads.shown

    @property
    def latched(self) -> UnavailableError | None:
        """Why nothing is accepted any more; None if all is well."""
        return self._latched

    @property
    def key(self) -> VerifierKey:
        """The key that signs checkpoints."""
        return self._signer.key

    @property
    def tree(self) -> Tree:
        """The log's tree: for reading what some checkpoint covers."""
        return self._tree

    def observe(self, observer: Observer) -> None:
        """Tell ``observer`` of every checkpoint from now on, after it is public."""
        self.heads.on_shown(observer)

    def gate(self, gate: Gate) -> None:
        """From now on, let ``gate`` say when an answer may be given."""
        self._gate = gate

    def submit(self, submission: Submission) -> "Future[Receipt]":
        """Ask for a place. The future is done when the entry is durable and proven.

        Raises:
            UnavailableError: ``LOG_LATCHED``, ``DISK_LOW`` or ``LOG_BUSY``.
            UnsupportedError: ``LOG_FROZEN``.
        """
        for refused in (self.frozen, self._latched):
            if refused is not None:
                raise refused
        self._space.check()
        if self._waiting.qsize() >= MAX_WAITING:
            raise UnavailableError(
                Reason.LOG_BUSY,
                "too many statements wait for the log",
                expected=f"at most {MAX_WAITING}",
                hint="try again in a second",
            )
        ticket = Ticket(submission)
        # A caller that goes away cannot take back what may already be on the disk.
        ticket.answer.set_running_or_notify_cancel()
        answer = ticket.answer if self._gate is None else self._gate(ticket.answer)
        self._waiting.put(ticket)
        return answer

    def receipt(self, index: int, head: SignedCheckpoint | None = None) -> Receipt:
        """A fresh proof of entry ``index`` against the newest (or the given) checkpoint.

        Raises:
            NotFoundError: ``BEYOND_TREE`` if the entry comes after that checkpoint.
        """
        chosen = head or self.heads.require()
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

    def growth(self, old: int, new: int) -> tuple[bytes, ...]:
        """The proof that the tree of ``new`` entries extends that of ``old``; 0 < old <= new."""
        return proofs.consistency_proof(self._tree.node, old, new)

    def root_at(self, size: int) -> bytes:
        """The root of the first ``size`` entries, all of which are in the log."""
        return proofs.root_hash(self._tree.node, size)

    def latch(self, why: str, error: Exception) -> UnavailableError:
        """Accept nothing more: only a new start can tell what is on the disk. The first wins."""
        with self._latching:
            if self._latched is None:
                logger.critical("the log is read-only from now on: %s", why, exc_info=error)
                self._latched = UnavailableError(
                    Reason.LOG_LATCHED,
                    f"the log stopped accepting statements: {why}",
                    actual=f"{type(error).__name__}: {error}"[:300],
                    hint="find the cause in the registry's record, then start it again",
                )
            return self._latched

    def close(self) -> None:
        """Finish what waits, and stop."""
        self._waiting.put(None)
        self._thread.join()

    # --- The one thread that writes ---

    def _require_newest(self) -> SignedCheckpoint:
        head = self.heads.newest
        if head is None:
            raise UnavailableError(Reason.LOG_BUSY, "the log has no checkpoint yet")
        return head

    def _load(self) -> SignedCheckpoint | None:
        with self._database.write() as connection:
            outputs.Compaction.drop_unfinished(connection)
        checkpoint = recover(self._database, self._tree, self._lock, self._signer.key)
        if checkpoint.size == 0:
            return None
        head = self._signer.sign(checkpoint)
        with self._database.write() as connection:
            newest = log.newest_checkpoint(connection)
            if newest is None or newest[0] < checkpoint.size:
                log.add_checkpoint(connection, checkpoint.size, head.note)
        self._noted = checkpoint.size
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

    def _commit(self, tickets: Sequence[Ticket]) -> None:
        if self._latched is not None:
            _fail(tickets, self._latched)
            return
        try:
            head = self._group(tickets)
        except Exception as error:  # noqa: BLE001 - whatever it was, the disk's state is unknown
            _fail(tickets, self.latch("a write failed", error))
            return
        for ticket in tickets:
            if ticket.refused is None:
                ticket.answer.set_result(Receipt(ticket.index, ticket.proof, head))
            else:
                ticket.fail(ticket.refused)

    def _group(self, tickets: Sequence[Ticket]) -> SignedCheckpoint:
        with self._database.write() as connection:
            group = Group(connection, self._keyring, self._tree)
            group.place(tickets)
            checkpoint = (
                Checkpoint(self._signer.key.name, self._tree.size, self._tree.root())
                if group.fresh
                else self._require_newest().checkpoint
            )
            group.prove(tickets, checkpoint)
            noted = self._note(connection)
        self._noted = noted
        if not group.fresh:
            return self._require_newest()
        # The commit is durable here. Nobody may see the signature before the lock knows of it.
        self._lock.replace(checkpoint)
        head = self._signer.sign(checkpoint)
        for ticket in group.fresh:
            event = ticket.submission.key_event
            if event is not None:
                self._keyring.add(ticket.index, event)
        self.heads.signed(head)
        return head

    def _note(self, connection: Connection) -> int:
        """Keep the checkpoint that the last group left signed."""
        head = self.heads.newest
        if head is None or head.checkpoint.size <= self._noted:
            return self._noted
        log.add_checkpoint(connection, head.checkpoint.size, head.note)
        return head.checkpoint.size

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
            self.latch("merging its index failed", error)
            return False


def _ends(ticket: Ticket | None) -> bool:
    return ticket is None or ticket.submission.key_event is not None


def _fail(tickets: Sequence[Ticket], error: RegistryError) -> None:
    for ticket in tickets:
        ticket.fail(error)
