"""The uploader: closes batches, signs them, registers them, and keeps the proofs.

One thread, one batch at a time. A batch is closed when it has enough records or its first one is
old enough; whatever waits by then goes along. If the registry is down the batch waits, records pile
up in the journal, and the next batch is larger.

A registry that is not available is asked again, for as long as it takes, and so is one that takes
batches of attested keys only while this key is not attested. A registry that *refuses* otherwise,
or that proves something else than it should, is not asked again: the uploader stops with the reason
in its status, the journal keeps everything, and a person has to look.
"""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from registry.core.records.batch import MAX_RECORDS
from registry.core.tlog.checkpoint import Checkpoint
from registry.core.tlog.note import VerifierKey
from registry.core.tlog.receipt import Receipt
from registry.errors import (
    Reason,
    RefusedError,
    RegistryError,
    UnavailableError,
)
from registry.shim.one_history import OneHistory
from registry.shim.ports import Registry
from registry.shim.recorder.batch import MAX_RECORDS_BYTES, Registered, SignedBatch, sign
from registry.shim.recorder.batch_folder import BatchFolder
from registry.shim.recorder.sequence import Clock, time_text
from registry.shim.recorder.sequence import Sequence as RecordSequence
from registry.shim.resuming import Resumed, compare_heads, resume
from registry.signing.file import StatementSigner

FIRST_PAUSE_SECONDS = 0.1
"""The pause after the first vain attempt; it doubles with each further one."""

MAX_PAUSE_SECONDS = 30.0
"""The longest pause between two attempts."""

Follower = Callable[[int, int, Registered], None]
"""Told of every batch that the log has now: its first record, the next one, and its proof."""


@dataclass(frozen=True, slots=True)
class Pace:
    """When a batch is closed.

    Attributes:
        records: As soon as this many wait.
        seconds: As soon as the first one has waited this long.
    """

    records: int = 256
    seconds: float = 1.0


DEFAULT_PACE = Pace()
"""256 records or one second."""


@dataclass(frozen=True, slots=True)
class Status:
    """How uploading goes.

    Attributes:
        registered_n: All records below are in the log, with proof.
        durable_n: All records below are in the journal.
        behind_seconds: How long the oldest record waits that is not in the log; 0 if none does.
        attempts: Vain attempts since the last success.
        unavailable: Why the last attempt was in vain; None after a success.
        refused: Why nothing is sent any more; None if all is well.
    """

    registered_n: int
    durable_n: int
    behind_seconds: float
    attempts: int
    unavailable: UnavailableError | None
    refused: RegistryError | None


class Uploader:
    """Brings the records of one shim into the log, in order and once, in the background."""

    def __init__(
        self,
        sequence: RecordSequence,
        folder: BatchFolder,
        registry: Registry,
        *,
        log_key: VerifierKey,
        signer: StatementSigner,
        clock: Clock,
        keep_from: Callable[[], int | None] = lambda: None,
        pace: Pace = DEFAULT_PACE,
    ) -> None:
        """Find out what was registered already, and start.

        Args:
            sequence: The shim's records.
            folder: The shim's batches.
            registry: Where they go.
            log_key: The pinned key of the log; no receipt under another counts.
            signer: The node's key.
            clock: Says when a batch was closed.
            keep_from: The first record that the journal must keep although it is registered.
            pace: When a batch is closed.

        Raises:
            DamagedError: ``JOURNAL_DAMAGED`` if the journal lacks records that were signed.
            VerificationError: A stored batch is not by this signer.
        """
        self._sequence = sequence
        self._journal = sequence.journal
        self._folder = folder
        self._registry = registry
        self._log_key = log_key
        self._signer = signer
        self._clock = clock
        self._keep_from = keep_from
        self._pace = pace
        self._jitter = random.Random()  # noqa: S311 - pauses are no secret
        self._changed = threading.Condition()
        self._stopping = False
        self._hurry = False
        self._flush_below = 0
        self._attempts = 0
        self._unavailable: UnavailableError | None = None
        self._refused: RegistryError | None = None
        self._compared = False
        self._records: list[bytes] = []
        self._history = OneHistory(registry)
        self._followers: list[Follower] = []
        # Since when the oldest record waits that is not in the log; and when a batch was closed.
        self._behind_since = self._closed = time.monotonic()
        resumed = resume(folder, sequence, signer, log_key)
        self._next, self._previous, self._pending = (
            resumed.next_n,
            resumed.previous,
            resumed.pending,
        )
        if resumed.head is not None:
            self._history.begin(resumed.head)
        self._thread = threading.Thread(target=self._run, name="uploader", daemon=True)
        self._thread.start()

    def status(self) -> Status:
        """How uploading goes."""
        with self._changed:
            return Status(
                self._next,
                self._journal.durable_n,
                self._behind_seconds(),
                self._attempts,
                self._unavailable,
                self._refused,
            )

    def _behind_seconds(self) -> float:
        waits = self._journal.durable_n > self._next
        return time.monotonic() - self._behind_since if waits else 0.0

    @property
    def refused(self) -> RegistryError | None:
        """Why nothing is sent any more; None if all is well."""
        return self._refused

    @property
    def seen(self) -> Checkpoint | None:
        """The newest head of the log under which a batch was proven; None if none was yet."""
        return self._history.newest

    def hasten(self, below: int) -> None:
        """Close the batches of all records below ``below`` as soon as they are durable."""
        with self._changed:
            self._flush_below = max(self._flush_below, below)
        self._journal.wake_reader()

    def follow(self, follower: Follower) -> None:
        """Have a follower told of every batch that comes into the log; it must be quick."""
        self._followers.append(follower)

    def batch_of(self, n: int) -> Registered | None:
        """The batch of record ``n`` if the log has it."""
        if n >= self._next:
            return None
        stored = next(self._folder.newest_first(below=n + 1), None)
        return None if stored is None else Registered.of(stored.envelope, stored.receipt or b"")

    def settle(self, timeout: float) -> None:
        """Wait until the registry said what it has of this shim, or could not be asked.

        Args:
            timeout: Seconds to wait.

        Raises:
            RegistryError: It has other records, so that nothing will ever be sent:
                ``JOURNAL_ROLLBACK`` if journal or registry is an old copy, or two shims share one.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._compared or self._attempts or self._refused or self._stopping, timeout
            )
        if self._refused is not None:
            raise self._refused

    def require_taken(self) -> None:
        """Require that what is recorded is taken, now or when the registry is back.

        Raises:
            UnavailableError: With the reason why nothing is sent any more.
        """
        refused = self._refused
        if refused is not None:
            raise UnavailableError(
                refused.reason,
                "what this shim records is not sent any more",
                where=refused.where,
                actual=refused.what,
                hint="what it says is in the shim's health; a person has to look",
            )

    def flush(self, timeout: float) -> None:
        """Close and register, without waiting for more, everything that is durable now.

        Args:
            timeout: Seconds to wait.

        Raises:
            UnavailableError: ``DEADLINE``; the records are safe, and uploading goes on.
            RegistryError: Why uploading stopped.
        """
        below = self._journal.durable_n
        with self._changed:
            self._flush_below = max(self._flush_below, below)
            self._wake()
            self._changed.wait_for(
                lambda: self._next >= below or self._refused or self._stopping, timeout
            )
            if self._next >= below:
                return
            if self._refused is not None:
                raise self._refused
            raise UnavailableError(
                Reason.DEADLINE,
                "not all records were registered in time",
                expected=f"all {below}",
                actual=f"{self._next}",
                hint="they are safe in the journal and will be sent when the registry is back",
            ) from self._unavailable

    def stop(self) -> None:
        """Stop after the attempt under way; what is not registered then waits for the next run."""
        with self._changed:
            self._stopping = True
            self._wake()
        self._thread.join()

    def _wake(self) -> None:
        self._hurry = True
        self._changed.notify_all()
        self._journal.wake_reader()

    def _run(self) -> None:
        """The thread's life."""
        try:
            if not self._try_until_done(self._compare_heads):
                return
            with self._changed:
                self._compared = True
                self._changed.notify_all()
            while True:
                if self._pending is None and not self._close_batch():
                    return
                if not self._try_until_done(self._register):
                    return
        except RegistryError as error:
            self._refuse(error)
        except OSError as error:
            self._refuse(
                UnavailableError(
                    Reason.STORAGE_FAILED,
                    "the shim's folder cannot be read or written",
                    actual=f"{type(error).__name__}: {error}",
                    hint="repair the disk, then start the shim again",
                )
            )
        except Exception as error:  # noqa: BLE001 - a thread that dies silently loses all
            self._refuse(RegistryError(Reason.INTERNAL, "uploading failed", actual=repr(error)))

    def _refuse(self, error: RegistryError) -> None:
        with self._changed:
            self._refused = error
            self._changed.notify_all()

    def _try_until_done(self, attempt: Callable[[], None]) -> bool:
        """Try, with pauses, until the registry is available; False if told to stop."""
        pause = FIRST_PAUSE_SECONDS
        while not self._stopping:
            try:
                attempt()
            except UnavailableError as error:
                with self._changed:
                    self._attempts += 1
                    self._unavailable = error
                    self._changed.notify_all()
                    # Half to all of it, so that shims do not come back all at once.
                    seconds = pause * self._jitter.uniform(0.5, 1.0)
                    self._changed.wait_for(lambda: self._hurry, seconds)
                    self._hurry = False
                pause = min(2 * pause, MAX_PAUSE_SECONDS)
            else:
                with self._changed:
                    self._attempts = 0
                    self._unavailable = None
                return True
        return False

    def _compare_heads(self) -> None:
        """Refuse to go on if the registry knows another past than we do."""
        compare_heads(
            self._registry.shim_head(bytes.fromhex(self._sequence.shim_id)),
            Resumed(self._next, self._previous, self._pending),
            self._sequence,
        )

    def _close_batch(self) -> bool:
        """Wait for records, and sign and store their batch; False if told to stop."""
        first = self._next
        waiting = self._journal.durable_n <= first
        while not self._journal.wait_durable(first, None):
            if self._stopping or self._journal.latched:
                return False
        if waiting:
            self._behind_since = time.monotonic()
        if self._flush_below <= first:
            self._journal.wait_durable(first + self._pace.records - 1, self._pace.seconds)
        if self._stopping:
            return False
        records = self._journal.read(first, MAX_RECORDS, MAX_RECORDS_BYTES)
        self._closed = time.monotonic()
        closed_at = time_text(self._clock())
        batch = sign(self._sequence.shim_id, records, self._previous, closed_at, self._signer)
        self._folder.put_envelope(first, batch.envelope.to_bytes())
        self._pending, self._records = batch, records
        return True

    def _register(self) -> None:
        """Send the pending batch; verify and store what comes back."""
        pending = self._pending
        if pending is None:
            return
        batch = pending.batch
        if not self._records:
            records = self._journal.read(batch.n_first, batch.count, MAX_RECORDS_BYTES)
            pending.check_records(records)
            self._records = records
        receipt = self._send(pending)
        pending.verify_receipt(receipt, self._signer, self._log_key)
        self._history.follow(receipt.head.checkpoint)
        proof = receipt.to_bytes()
        self._folder.put_receipt(batch.n_first, proof)
        with self._changed:
            self._pending, self._records = None, []
            self._next, self._previous = pending.next_n, pending.record_id
            self._behind_since = self._closed
            self._changed.notify_all()
        told = Registered.of(pending.envelope.to_bytes(), proof)
        for follower in self._followers:
            follower(batch.n_first, pending.next_n, told)
        keep_from = self._keep_from()
        self._journal.forget(self._next if keep_from is None else min(self._next, keep_from))

    def _send(self, pending: SignedBatch) -> Receipt:
        try:
            return self._registry.register_batch(pending.envelope.to_bytes(), self._records)
        except RefusedError as error:
            if error.reason is not Reason.UNATTESTED:
                raise
            # The key may be attested later, and then the registry takes what was signed before.
            raise UnavailableError(
                error.reason,
                error.what,
                where=error.where,
                expected=error.expected,
                actual=error.actual,
                hint="attest this node: --attest, --attester and --attest-policy",
            ) from error
