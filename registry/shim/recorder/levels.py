"""Levels: what callers asked for beyond a logged record: had in time, attached later, or missed.

===============  ================================================================================
level            is reached when
===============  ================================================================================
``logged``       the intent is durable, and the outcome as the mode says
``signed``       the registry has acknowledged the batch of the outcome, with proof
``attested``     the same, and an attestation of the key was in force when the call began
``recomputed``   the registry has the statement of an auditor who ran the call again, with that
                 output or one within tolerance
===============  ================================================================================

An answer waits for its level until the caller's deadline at most, and goes out with what was
reached. Every call that asked for more than a logged record gets one ``attached`` record in the
end: with what proves the level, or with why it was missed. ``signed`` and ``attested`` may come
after the deadline, for a while: a registry that is down comes back. ``recomputed`` is waited for
until the deadline, which may be a day; the answer itself waits only if that is soon, and not at all
if replays cannot compare such an output.

Nothing is forgotten by a crash: the journal tells which calls still lack their ``attached`` record,
and for those that wait long a file beside it does.
"""

import contextlib
import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

import msgspec

from registry.core.records import inference
from registry.core.records.inference import Level
from registry.errors import Reason, RegistryError, UnavailableError
from registry.shim.recorder.asking import MAX_HELD_SECONDS
from registry.shim.recorder.awaited_folder import AwaitedFolder
from registry.shim.recorder.batch import Registered
from registry.shim.recorder.patience import DEFAULT_PATIENCE, Patience
from registry.shim.recorder.recorder import Recorder
from registry.shim.recorder.sequence import Awaited, Clock
from registry.shim.recorder.ticket import Ticket

MAX_WAITING: Final = 1024
"""Calls that wait for their level at once; more are told that they missed it."""

MAX_POLLED: Final = 16
"""Questions about replays in one round."""

IDLE_SECONDS: Final = 3600.0
"""How long nothing is looked at if nothing waits."""


class Uploads(Protocol):
    """What brings records into the log."""

    @property
    def refused(self) -> RegistryError | None:
        """Why nothing is sent any more; None if all is well."""

    def hasten(self, below: int) -> None:
        """Send all records below ``below`` as soon as they are durable."""

    def batch_of(self, n: int) -> Registered | None:
        """The batch of record ``n`` if the log has it."""


class Replayed(Protocol):
    """A replay."""

    @property
    def record_id(self) -> bytes:
        """The record id of its statement."""

    @property
    def agrees(self) -> bool:
        """Whether it gave that output again, or one within tolerance."""

    @property
    def proof_bytes(self) -> int:
        """Bytes of its statement and receipt."""


class Replays(Protocol):
    """Whom to ask for replays. A call may take long; it raises and never hangs."""

    def replay_of(self, leaf: bytes) -> Replayed | None:
        """What an auditor who ran the call of this completion again says; None if nobody did.

        Raises:
            RegistryError: It is not known now.
        """


@dataclass(frozen=True, slots=True)
class Proof:
    """What proves a level: its digest in hexadecimal, and how many bytes whoever checks it reads.

    For ``attested`` these are of the batch alone: evidence is read once for all calls of a node.
    """

    digest: str = ""
    size: int = 0


NONE = Proof()
"""Nothing proves it."""


@dataclass(frozen=True, slots=True)
class Reached:
    """What a wait came to: the level, or why it was missed."""

    level: Level | Literal[""]
    missed: str = ""


@dataclass(slots=True)
class Waiting:
    """A call that waits for its level; ``reached`` is done once it is known what became of it."""

    awaited: Awaited
    reached: "Future[Reached]" = field(default_factory=Future)
    signed: bool = False
    kept: bool = False

    @property
    def replayed(self) -> bool:
        """Whether it waits for a replay."""
        return self.awaited.level == "recomputed"

    @property
    def hurried(self) -> bool:
        """Whether it waits for a replay, and the answer with it."""
        ends_us = self.awaited.deadline_ms * 1000
        return self.replayed and ends_us - self.awaited.since_us <= MAX_HELD_SECONDS * 1_000_000


class Levels:
    """Watches over all calls of one shim that asked for more than a logged record."""

    def __init__(
        self,
        recorder: Recorder,
        folder: AwaitedFolder,
        awaited: Iterable[Awaited] = (),
        replays: Replays | None = None,
        *,
        clock: Clock,
        patience: Patience = DEFAULT_PATIENCE,
    ) -> None:
        """Look after nothing yet.

        Args:
            recorder: Where it is written down what became of each call.
            folder: Where calls are kept that wait long.
            awaited: What an earlier run left unanswered, as the journal tells.
            replays: Whom to ask for replays; None if nobody can be asked.
            clock: Tells the time: deadlines outlive the process.
            patience: How long to wait.

        Raises:
            DamagedError: ``JOURNAL_DAMAGED``: a file in the folder cannot be read.
        """
        self._recorder = recorder
        self._uploads: Uploads | None = None
        self._folder = folder
        self._replays = replays
        self._clock = clock
        self._patience = patience
        self._changed = threading.Condition()
        # Held while it is written down what became of a call: nothing follows the last record.
        self._noting = threading.Lock()
        self._waiting: dict[int, Waiting] = {}
        self._left = {each.intent_n: each for each in (*folder.read(), *awaited)}
        # Outcomes by intent, until it is durable what became of what their callers asked for.
        self._owed = {each.intent_n: each.n for each in self._left.values()}
        self._fresh = False
        self._stopping = False
        self._polled_at = float("-inf")
        self._thread = threading.Thread(target=self._run, name="levels", daemon=True)

    def start(self, uploads: Uploads) -> None:
        """Begin, with what an earlier run left unanswered.

        Args:
            uploads: What brings records into the log, and tells :meth:`registered` of it.
        """
        self._uploads = uploads
        for _, awaited in sorted(self._left.items()):
            self.ask(awaited)
        self._left.clear()
        self._thread.start()

    def stop(self) -> None:
        """Look after nothing any more, and write nothing down; the next start goes on."""
        with self._noting, self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    def oldest(self) -> int | None:
        """The first record of which the journal must still tell: an outcome that waits."""
        with self._changed:
            return min(self._owed.values(), default=None)

    def moment(self, seconds: float) -> int:
        """The moment in so many seconds, in milliseconds of Unix time."""
        return self._now_ms() + int(seconds * 1000)

    def ask(self, awaited: Awaited, never: str = "") -> Waiting:
        """Wait for the level of a call whose outcome has its place in the journal.

        Args:
            awaited: The call.
            never: Why it will not reach its level, if that is known by now.
        """
        waiting = Waiting(awaited)
        with self._changed:
            full = len(self._waiting) >= MAX_WAITING
            self._waiting[awaited.intent_n] = waiting
            self._owed[awaited.intent_n] = awaited.n
            self._fresh = True
            self._changed.notify_all()
        if full:
            self._settle(waiting, missed=Reason.LEVELS_BUSY)
        elif awaited.level == "attested" and not awaited.evidence:
            self._settle(waiting, missed=Reason.UNATTESTED)
        elif never:
            self._settle(waiting, missed=never)
        elif self._uploads is not None:
            if waiting.hurried or not waiting.replayed:
                self._uploads.hasten(awaited.n + 1)
            # It may have come into the log before anybody waited for it.
            if (batch := self._uploads.batch_of(awaited.n)) is not None:
                self._signed(waiting, batch)
        return waiting

    def registered(self, first: int, below: int, batch: Registered) -> None:
        """Take note that the log has a batch: records ``first`` to ``below - 1``."""
        with self._changed:
            found = [each for each in self._waiting.values() if first <= each.awaited.n < below]
        for waiting in found:
            self._signed(waiting, batch)

    def _signed(self, waiting: Waiting, batch: Registered) -> None:
        waiting.signed = True
        match waiting.awaited.level:
            case "signed":
                self._settle(waiting, Proof(batch.record_id.hex(), batch.proof_bytes))
            case "attested":
                self._settle(waiting, Proof(waiting.awaited.evidence, batch.proof_bytes))
            case _:
                pass

    def _settle(self, waiting: Waiting, proof: Proof = NONE, *, missed: str = "") -> None:
        """Tell whoever waits, and write down what became of it; the first time only."""
        awaited = waiting.awaited
        with self._changed:
            if self._waiting.get(awaited.intent_n) is not waiting:
                return
            del self._waiting[awaited.intent_n]
        late_us = max(0, self._now_ms() - awaited.deadline_ms) * 1000
        since_us = awaited.since_us or self.now_us()
        # A clock that was set back tells nothing.
        evidence_us = max(0, self.now_us() - since_us)
        waiting.reached.set_result(Reached("" if missed else awaited.level, missed))

        def build(place: inference.Sequence, at: str) -> inference.Record:
            return inference.Attached(
                sequence=place,
                at=at,
                intent_n=awaited.intent_n,
                level=awaited.level,
                late_us=late_us,
                evidence_us=evidence_us,
                proof=proof.digest or msgspec.UNSET,
                proof_bytes=proof.size,
                missed=missed,
            )

        def after(ticket: Ticket) -> None:
            if not ticket.failed:
                with self._changed:
                    self._owed.pop(awaited.intent_n, None)
                self._folder.remove(awaited.intent_n)

        # A journal that takes nothing any more is told of elsewhere; the next start tries again.
        with self._noting, contextlib.suppress(UnavailableError):
            if not self._stopping:
                self._recorder.note(build, after)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or self._fresh, self._pause())
                if self._stopping:
                    return
                self._fresh = False
                waiting = list(self._waiting.values())
            for each in waiting:
                self._look_at(each)
            self._poll([each for each in waiting if each.replayed])

    def _pause(self) -> float:
        """Seconds until something has to be looked at again; with the lock held."""
        now = self._now_ms()
        pauses = [(self._ends_ms(each) - now) / 1000 for each in self._waiting.values()]
        if replayed := [each for each in self._waiting.values() if each.replayed]:
            pauses.append(self._between(replayed))
        return max(0.0, min([*pauses, IDLE_SECONDS]))

    def _between(self, waiting: Iterable[Waiting]) -> float:
        """Seconds between two rounds of questions about the replays of these calls."""
        hurried = any(each.hurried for each in waiting)
        return self._patience.hurried if hurried else self._patience.poll

    def _ends_ms(self, waiting: Waiting) -> int:
        """When a wait is given up."""
        awaited = waiting.awaited
        if waiting.replayed or self._refused() is not None:
            return awaited.deadline_ms
        return awaited.deadline_ms + int(self._patience.grace * 1000)

    def _refused(self) -> RegistryError | None:
        return None if self._uploads is None else self._uploads.refused

    def now_us(self) -> int:
        """The time, in microseconds of Unix time."""
        return int(self._clock().timestamp() * 1_000_000)

    def _now_ms(self) -> int:
        return int(self._clock().timestamp() * 1000)

    def _look_at(self, waiting: Waiting) -> None:
        if self._now_ms() >= self._ends_ms(waiting):
            refused = self._refused()
            self._settle(waiting, missed=Reason.DEADLINE if refused is None else refused.reason)
        elif waiting.replayed and not waiting.kept:
            # A full disk shows elsewhere; until it is kept here the journal keeps it.
            with contextlib.suppress(OSError):
                self._folder.put(waiting.awaited)
                self._keep(waiting)

    def _keep(self, waiting: Waiting) -> None:
        """Let the journal forget a call that is kept here; or this file, if all is said."""
        intent_n = waiting.awaited.intent_n
        with self._changed:
            waiting.kept = True
            settled = self._owed.pop(intent_n, None) is None
        if settled:
            self._folder.remove(intent_n)

    def _poll(self, waiting: list[Waiting]) -> None:
        """Ask for replays of some of these calls, and of the others in the next rounds.

        First of those whose answers are held back.
        """
        now = time.monotonic()
        if self._replays is None or now < self._polled_at + self._between(waiting):
            return
        self._polled_at = now
        signed = [each for each in waiting if each.signed]
        for each in sorted(signed, key=lambda each: not each.hurried)[:MAX_POLLED]:
            if self._stopping:
                return
            try:
                found = self._replays.replay_of(bytes.fromhex(each.awaited.leaf))
            except RegistryError:
                return
            if found is not None:
                missed = "" if found.agrees else Reason.REPLAY_MISMATCH
                self._settle(each, Proof(found.record_id.hex(), found.proof_bytes), missed=missed)
            else:
                self._last_in_line(each)

    def _last_in_line(self, waiting: Waiting) -> None:
        with self._changed:
            if self._waiting.pop(waiting.awaited.intent_n, None) is not None:
                self._waiting[waiting.awaited.intent_n] = waiting
