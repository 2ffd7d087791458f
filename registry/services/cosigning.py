"""Witness cosignatures, off the write path: from the newest checkpoint to a quorum, and again.

A round takes the newest checkpoint and asks every witness that is not still busy with an older
one, each in a thread of its own. When a quorum has cosigned, the checkpoint moves durably into the
second slot, and the next round takes whatever is newest by then; checkpoints in between are never
asked for. Lines that come later are still added, as long as their checkpoint stands in the slot.

=========================================  =====================================================
a witness …                                then
=========================================  =====================================================
does not answer, or not to quorum          the round ends when all have; another one follows
says that it cosigned a larger tree,       its stored checkpoint is fetched; if it carries our
or that ours is another one                signature and is not of our history, the log latches
answers with a foreign or wrong line       nothing of it is kept
answers well, but the slot cannot be       the log latches, since the disk is in doubt; the next
written                                    start finds the old checkpoint in the slot or the new
=========================================  =====================================================

A log that fails closed holds its answers back until a quorum has seen them: see :mod:`holding`.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from registry.core.tlog.checkpoint import SignedCheckpoint
from registry.core.tlog.note import Note, SignatureLine, VerifierKey
from registry.core.tlog.policy import Policy, shown
from registry.errors import DamagedError, Reason, RegistryError
from registry.remote.witness import WitnessClient, is_alarming
from registry.services.holding import Holding
from registry.services.sequencing import Sequencer
from registry.storage.sql import cosigned
from registry.storage.sql.engine import Database

PACE_SECONDS = 0.5
"""From one round to the next: each one that ends well costs the writer one commit."""

CLOSED_PACE_SECONDS = 0.1
"""The same, if callers wait for the quorum."""

RETRY_SECONDS = 2.0
"""Until a checkpoint that found no quorum is asked for again."""

RENEW_SECONDS = 600.0
"""Until a checkpoint that has its quorum is asked for again, if the log does not grow: who looks
for the time at which witnesses saw it finds a recent one."""

TICK_SECONDS = 0.25
"""How often somebody looks whether there is something new, or an answer has waited too long."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Round:
    """One checkpoint, and who cosigned it so far."""

    head: SignedCheckpoint
    began: float
    waiting_for: int
    lines: list[SignatureLine] = field(default_factory=list)
    met: bool = False
    proofs: dict[int, tuple[bytes, ...]] = field(default_factory=dict)

    def note(self) -> Note:
        signed = Note.parse(self.head.note)
        return Note(signed.text, (*signed.signatures, *self.lines))


@dataclass(frozen=True, slots=True)
class WitnessState:
    """How one witness does.

    Attributes:
        size: The largest tree that it cosigned since the start; 0 for none.
        reason: Why it did not cosign when it was asked last; empty if it did, or was not asked.
    """

    name: str
    size: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a witness said, or why that was nothing of use."""

    asked: _Round
    client: WitnessClient
    lines: tuple[SignatureLine, ...]
    reason: str


class Cosigning:
    """Brings the newest checkpoint to the witnesses of a policy, and their signatures back."""

    def __init__(
        self,
        database: Database,
        sequencer: Sequencer,
        key: VerifierKey,
        policy: Policy,
        clients: Sequence[WitnessClient],
    ) -> None:
        """Take up the second slot where it was left.

        Raises:
            DamagedError: ``FORK`` if it holds a checkpoint that is not of the log's history.
        """
        self._database = database
        self._sequencer = sequencer
        self._heads = sequencer.heads
        self._key = key
        self._policy = policy
        self._clients = tuple(clients)
        self._events: queue.SimpleQueue[_Answer | None] = queue.SimpleQueue()
        self._busy: set[str] = set()
        self._states = {
            item.witness.name: WitnessState(shown(item.witness.name)) for item in clients
        }
        self._current: _Round | None = None
        self._met_size = -1
        self._met_at = 0.0
        self._holding = Holding(sequencer, self.quorum, lambda: self._events.put(None))
        self._stopping = False
        self._load()
        self._heads.on_signed(self._signed)
        self._thread = threading.Thread(target=self._run, name="cosigning", daemon=True)
        self._thread.start()

    # --- Asking, from any thread ---

    @property
    def quorum(self) -> str:
        """What the policy asks for, fit for showing."""
        return shown(self._policy.quorum)

    @property
    def states(self) -> tuple[WitnessState, ...]:
        """How each witness does."""
        return tuple(self._states.values())

    def fail_closed(self) -> None:
        """From now on, show and acknowledge nothing that has no quorum."""
        self._heads.hold()
        self._sequencer.gate(self._holding.gate)

    def close(self) -> None:
        """Ask no more. Answers that still wait are told to come back."""
        self._stopping = True
        self._events.put(None)
        self._thread.join()
        self._holding.close()

    def _signed(self, _head: SignedCheckpoint) -> None:
        # Ingestion does not wake us with every group, unless callers wait for the quorum.
        if self._heads.held:
            self._events.put(None)

    # --- The one thread that decides ---

    def _load(self) -> None:
        with self._database.read() as connection:
            note = cosigned.newest(connection)
        if note is None:
            return
        head = SignedCheckpoint.open(note, self._key)
        fault = self._contradiction(head)
        if fault is not None:
            raise fault
        self._heads.put_cosigned(head)
        if self._policy.standing(Note.parse(note)).met:
            self._met_size, self._met_at = head.checkpoint.size, time.monotonic()

    def _run(self) -> None:
        while not self._stopping:
            try:
                event = self._events.get(timeout=TICK_SECONDS)
            except queue.Empty:
                event = None
            try:
                if event is not None:
                    self._take(event)
                self._begin()
                self._holding.release()
            except Exception:
                # Ingestion goes on without us; the slot stays where it is.
                logger.exception("cosigning failed; it goes on with the next checkpoint")

    def _begin(self) -> None:
        """Begin a round, if there is something new and the last one is over."""
        newest, current, now = self._heads.newest, self._current, time.monotonic()
        if newest is None:
            return
        if newest.checkpoint.size == self._met_size and now < self._met_at + RENEW_SECONDS:
            return
        if current is not None:
            seen = current.head.checkpoint.size == newest.checkpoint.size
            pace = CLOSED_PACE_SECONDS if self._heads.held else PACE_SECONDS
            pause = RETRY_SECONDS if seen else pace
            if (current.waiting_for and not current.met) or now - current.began < pause:
                return
        free = [client for client in self._clients if client.witness.name not in self._busy]
        if self._sequencer.latched is not None or (self._clients and not free):
            return
        asked = self._current = _Round(newest, now, len(free))
        for client in free:
            self._busy.add(client.witness.name)
            threading.Thread(
                target=self._ask, args=(client, asked), name="witness", daemon=True
            ).start()
        # The log's own post-quantum signature may be all that the policy asks for.
        self._judge(asked)

    def _take(self, answer: _Answer) -> None:
        """Add what a witness said to its round."""
        asked = answer.asked
        name = answer.client.witness.name
        self._busy.discard(name)
        asked.waiting_for -= 1
        size = asked.head.checkpoint.size if answer.lines else self._states[name].size
        self._states[name] = WitnessState(shown(name), size, answer.reason)
        if answer.lines:
            asked.lines.extend(answer.lines)
            self._judge(asked)

    def _judge(self, asked: _Round) -> None:
        """Keep the checkpoint of a round that found its quorum, unless a larger one is kept."""
        asked.met = self._policy.standing(asked.note()).met
        slot = self._heads.cosigned
        larger = slot is not None and slot.checkpoint.size > asked.head.checkpoint.size
        if asked.met and not larger:
            self._keep(asked)

    def _keep(self, asked: _Round) -> None:
        head = SignedCheckpoint(asked.head.checkpoint, str(asked.note()).encode())
        try:
            with self._database.write() as connection:
                cosigned.put(connection, head.checkpoint.size, head.note)
        except Exception as error:  # noqa: BLE001 - the writer's disk is in doubt
            self._sequencer.latch("keeping a cosigned checkpoint failed", error)
            return
        # Durable here: a restart shows no smaller one.
        self._heads.put_cosigned(head)
        self._met_size, self._met_at = head.checkpoint.size, time.monotonic()

    # --- One thread for each witness that is asked ---

    def _ask(self, client: WitnessClient, asked: _Round) -> None:
        lines: tuple[SignatureLine, ...] = ()
        reason = ""
        try:
            lines = client.add_checkpoint(asked.head, self._prover(asked))
        except RegistryError as error:
            reason = error.reason.value
            logger.warning("witness %s: %s", client.witness.name, error)
            if is_alarming(error):
                self._look_at(client)
        except Exception:
            reason = Reason.INTERNAL.value
            # Whoever closes the log does not wait for witnesses.
            if not self._stopping:
                logger.exception("witness %s could not be asked", client.witness.name)
        finally:
            self._events.put(_Answer(asked, client, lines, reason))

    def _prover(self, asked: _Round) -> Callable[[int], tuple[bytes, ...]]:
        size = asked.head.checkpoint.size

        def prove(old: int) -> tuple[bytes, ...]:
            # Witnesses that stand at one size share one proof.
            proof = asked.proofs.get(old)
            if proof is None:
                proof = asked.proofs[old] = self._sequencer.growth(old, size)
            return proof

        return prove

    def _look_at(self, client: WitnessClient) -> None:
        """A witness hints at another history: latch, if it can show our signature under one."""
        try:
            note = client.cosigned_last(self._key.name)
            if note is None:
                return
            theirs = SignedCheckpoint.open(note, self._key)
        except RegistryError as error:
            logger.warning(
                "witness %s shows nothing that we signed: %s", client.witness.name, error
            )
            return
        fault = self._contradiction(theirs)
        if fault is not None:
            newest = self._heads.newest
            ours = "" if newest is None else newest.note.decode()
            logger.critical(
                "witness %s shows:\n%s\nours is:\n%s", client.witness.name, note.decode(), ours
            )
            self._sequencer.latch("a witness has seen another history of this log", fault)

    def _contradiction(self, theirs: SignedCheckpoint) -> DamagedError | None:
        """Why a checkpoint with our signature cannot be of our history; None if it can."""
        # Read after the checkpoint came: it was signed, so it was the newest one before.
        newest, seen = self._heads.newest, theirs.checkpoint
        size = 0 if newest is None else newest.checkpoint.size
        if seen.size > size:
            return DamagedError(
                Reason.LOG_ROLLBACK,
                "the log signed a larger tree before: entries are lost, or this is an old backup",
                where=seen.origin,
                expected=f"at least {seen.size} entries",
                actual=f"{size} entries",
                hint="keep the checkpoint that the witness shows, and find the newest database",
            )
        root = self._sequencer.root_at(seen.size)
        if root != seen.root:
            return DamagedError(
                Reason.FORK,
                "the log signed two trees of one size",
                where=f"{seen.origin}, {seen.size} entries",
                expected=seen.root.hex(),
                actual=root.hex(),
                hint="keep both checkpoints; this log cannot be believed any more",
            )
        return None
