"""The journal: records in the order in which they were appended, durable before anybody goes on.

::

    journal/lock                          one process at a time
    journal/00000000000000000000.segment  frames of records 0, 1, 2, …
    journal/00000000000000071234.segment  frames of records 71234, …

One thread at a time writes. It takes everything that waits, writes it at once, syncs once, and then
lets all callers go: the more callers, the more records share one sync. A caller that waits anyway
writes itself if nobody else does, which spares two changes of threads; else the journal's own
thread does. What may be done after an answer went out is left to that thread, too: it looks by
itself every now and then while there is work, so that calls need not wake it. There is no index:
records are read back in order, from where the last reading ended.

A journal that holds more than it may takes no further calls until some of it is forgotten: whatever
keeps the registry from taking records, the disk is not filled with them. What ends a call that is
under way is taken all the same.

The first failed write or sync latches the journal. After a failed sync nobody knows what the disk
holds, so nothing is accepted any more until a new process has read the journal again.

Longer than 400 lines because one lock guards all of it.
"""

import contextlib
import math
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from registry.core.records.inference import MAX_RECORD_BYTES
from registry.errors import (
    DamagedError,
    LimitExceededError,
    MalformedError,
    Reason,
    UnavailableError,
)
from registry.shim.durable import make_folder, sync_folder
from registry.shim.recorder.frames import frame
from registry.shim.recorder.segment_reader import SegmentReader
from registry.shim.recorder.segments import (
    RESERVE_BYTES,
    OpenSegment,
    check,
    create,
    find,
    lock_folder,
)
from registry.shim.recorder.ticket import After, Ticket, Urgency, take_group

SEGMENT_BYTES = 64 * 1024 * 1024
"""Bytes after which the next segment begins."""

MAX_BYTES = 8 * 1024 * 1024 * 1024
"""Bytes at which no more calls begin, unless told otherwise: some four million of them."""

QUICK_SECONDS = 0.0005
"""A disk that syncs within this is one that an event loop may wait for."""

LAZY_SECONDS = 0.005
"""How long what nobody waits for may wait: records for others to share their sync, and chores."""

AWAKE_SECONDS = 0.1
"""How long after the last record the journal's thread looks for work without being woken."""

MAX_CHORES = 512
"""What is left to the journal's thread at one time; callers do further work themselves."""


class Journal:
    """An append-only sequence of records in one folder, for one process.

    Any thread may append and wait. Only one thread reads and forgets.

    Attributes:
        torn_bytes: What was cut off at the end when the journal was opened.
    """

    def __init__(
        self,
        folder: Path,
        replay: Callable[[int, bytes], None],
        *,
        segment_bytes: int = SEGMENT_BYTES,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        """Open the journal in ``folder``, or begin one.

        Args:
            folder: Where the segments are.
            replay: Called with the number and the bytes of every record still kept, in order.
            segment_bytes: When the next segment begins.
            max_bytes: When no more calls begin: several segments, since only whole ones go.

        Raises:
            UnavailableError: ``JOURNAL_IN_USE``.
            DamagedError: ``JOURNAL_DAMAGED``.
        """
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._max_bytes = max_bytes
        self._latched = ""
        make_folder(folder)
        with contextlib.ExitStack() as opened:
            opened.callback(os.close, lock_folder(folder))
            self._segments = find(folder)
            self._next, size, self.torn_bytes = check(self._segments, replay)
            self._reserve_bytes = min(RESERVE_BYTES, segment_bytes)
            self._open = OpenSegment(self._segments[-1].path, size, self._reserve_bytes)
            self._earlier_bytes = sum(item.path.stat().st_size for item in self._segments[:-1])
            opened.callback(self._close_last)
            # What the last process wrote may still be only in memory; it counts as durable from
            # here on.
            self._open.finish()
            sync_folder(folder)
            self._opened = opened.pop_all()
        self._durable = self._next
        self._reader = SegmentReader()
        self._opened.callback(self._reader.close)
        self._mutex = threading.Lock()
        self._wake_writer = threading.Condition(self._mutex)
        self._wake_reader = threading.Condition(self._mutex)
        self._reader_wants = -1
        self._woken = False
        self._queue: list[Ticket] = []
        self._chores: list[Callable[[], None]] = []
        self._urgent = False
        self._due = 0.0
        self._idle = False
        self._last = 0.0
        self._committing = False
        self._sync_seconds = QUICK_SECONDS
        self._closing = False
        self._writer = threading.Thread(target=self._write, name="journal", daemon=True)
        self._writer.start()

    @property
    def first_n(self) -> int:
        """The number of the first record still kept."""
        return self._segments[0].first

    @property
    def next_n(self) -> int:
        """The number that the next record will have."""
        return self._next

    @property
    def durable_n(self) -> int:
        """All records below this number are durable."""
        return self._durable

    @property
    def size(self) -> int:
        """Bytes of all frames still kept."""
        return self._earlier_bytes + self._open.size

    @property
    def full(self) -> str:
        """Why no call may begin until some records are forgotten; empty if all is well."""
        size = self.size
        return "" if size < self._max_bytes else f"it holds {size} bytes of {self._max_bytes}"

    def check_room(self) -> None:
        """Let a call begin only if there is room for more.

        Raises:
            UnavailableError: ``JOURNAL_FULL``.
        """
        if full := self.full:
            raise UnavailableError(
                Reason.JOURNAL_FULL,
                "too many records wait for the registry",
                where=str(self._folder),
                actual=full,
                hint="see why it does not take them; calls go on as soon as it does",
            )

    @property
    def quick_seconds(self) -> float:
        """How long the last sync took; infinite if not quick, or if somebody writes now."""
        quick = self._sync_seconds < QUICK_SECONDS and not (self._committing or self._urgent)
        return self._sync_seconds if quick else math.inf

    @property
    def latched(self) -> str:
        """Why nothing is accepted any more; empty if all is well."""
        return self._latched

    def append(
        self, payload: bytes, after: After | None = None, urgency: Urgency = "now"
    ) -> Ticket:
        """Take the next place for ``payload``; it is durable once the ticket has been waited for.

        Args:
            payload: The record.
            after: Called when the ticket is settled, for whoever does not wait.
            urgency: ``now``: the journal's thread writes at once; ``soon``: it may wait
                :data:`LAZY_SECONDS` for others to share its sync; ``mine``: the caller goes on to
                :meth:`commit`.

        Raises:
            LimitExceededError: ``BATCH_TOO_LARGE``: no frame, and no registry, takes such a record.
            MalformedError: ``MALFORMED_STATEMENT``: it holds a zero byte.
            UnavailableError: ``JOURNAL_LATCHED``; nothing was written.
        """
        if not 1 <= len(payload) <= MAX_RECORD_BYTES:
            raise LimitExceededError(
                Reason.BATCH_TOO_LARGE,
                "this record is too large",
                expected=f"1 to {MAX_RECORD_BYTES} bytes",
                actual=f"{len(payload)} bytes",
            )
        if b"\0" in payload:
            raise MalformedError(Reason.MALFORMED_STATEMENT, "a record holds no zero byte")
        framed = frame(payload)
        with self._mutex:
            if self._latched or self._closing:
                raise self._refusal()
            ticket = Ticket(self._next, framed, after)
            self._next += 1
            self._queue.append(ticket)
            if urgency == "now" and not self._urgent:
                self._urgent = True
                self._wake_writer.notify()
            elif urgency == "mine" and self._committing:
                # Too late for what is written now, and its caller will wait for the next.
                self._urgent = True
            elif urgency == "soon":
                self._await_others()
        return ticket

    def later(self, chore: Callable[[], None]) -> bool:
        """Leave something to the journal's thread, for within :data:`LAZY_SECONDS` if it may run.

        Args:
            chore: Appends a record, say; must be quick, and raises nothing.

        Returns:
            Whether it was taken; else the caller does it.
        """
        with self._mutex:
            if self._latched or self._closing or len(self._chores) >= MAX_CHORES:
                return False
            self._chores.append(chore)
            self._await_others()
        return True

    def _await_others(self) -> None:
        """Have what waits written, but not yet; with the mutex held."""
        if len(self._queue) + len(self._chores) == 1:
            self._due = time.monotonic() + LAZY_SECONDS
        # A thread that is awake looks again by itself.
        if self._idle:
            self._idle = False
            self._wake_writer.notify()

    def commit(self, ticket: Ticket) -> None:
        """As ``ticket.wait()``, writing the record here if nobody else does."""
        while not ticket.settled:
            with self._mutex:
                if self._committing or not self._queue:
                    # Whoever writes now settles it, or wakes the journal's thread for the rest.
                    break
                group = self._take()
            self._write_group(group)
        ticket.wait()

    def wait_durable(self, n: int, timeout: float | None) -> bool:
        """Wait until record ``n`` is durable, or the journal fails, or the reader is woken.

        Returns:
            Whether it is durable.
        """
        with self._mutex:
            self._reader_wants = n
            self._wake_reader.wait_for(
                lambda: self._woken or self._durable > n or self._latched or self._closing,
                timeout,
            )
            self._reader_wants = -1
            self._woken = False
            return self._durable > n

    def wake_reader(self) -> None:
        """End the wait of :meth:`wait_durable` that is under way, or else the next one."""
        with self._mutex:
            self._woken = True
            self._wake_reader.notify_all()

    def read(self, first: int, max_records: int, max_bytes: int) -> list[bytes]:
        """Durable records from ``first`` on: at least one if there is one, within both limits.

        Raises:
            DamagedError: ``JOURNAL_DAMAGED``; the journal is then latched, too.
        """
        limit = min(self._durable, first + max_records)
        with self._mutex:
            segments = tuple(self._segments)
        try:
            return self._reader.read(segments, first, limit, max_bytes)
        except DamagedError as error:
            self._latched = self._latched or f"it is damaged: {error.where}"
            raise

    def forget(self, below: int) -> None:
        """Delete segments that hold only records below ``below``.

        The segment of record ``below - 1`` always stays, so that the journal never looks new.
        """
        while len(self._segments) > 1 and self._segments[1].first < below:
            size = self._segments[0].path.stat().st_size
            with self._mutex:
                segment = self._segments.pop(0)
                self._earlier_bytes -= size
            segment.path.unlink()

    def close(self) -> None:
        """Write what waits, and give the folder back."""
        self._do_chores()
        with self._mutex:
            self._closing = True
            self._wake_writer.notify_all()
            self._wake_reader.notify_all()
        self._writer.join()
        self._opened.close()

    def _write(self) -> None:
        """The life of the journal's thread."""
        while True:
            with self._mutex:
                while (pause := self._pause()) != 0:
                    self._idle = pause is None
                    self._wake_writer.wait(pause)
                self._idle = False
            self._do_chores()
            with self._mutex:
                if self._committing or not self._queue:
                    if self._closing and not self._committing:
                        return
                    continue
                group = self._take()
            self._write_group(group)

    def _do_chores(self) -> None:
        with self._mutex:
            chores, self._chores = self._chores, []
        try:
            for chore in chores:
                chore()
        except Exception as error:  # noqa: BLE001 - or everybody would wait for ever
            with self._mutex:
                self._latched = self._latched or f"{type(error).__name__}: {error}"

    def _pause(self) -> float | None:
        """Seconds in which the journal's thread has nothing to do; None until it is woken."""
        if self._committing:
            # Whoever writes now wakes it if more is urgent.
            writable = False
        elif (self._urgent and self._queue) or self._closing:
            return 0
        else:
            writable = bool(self._queue)
        now = time.monotonic()
        if self._chores or writable:
            self._last = now
            return max(0, self._due - now)
        return LAZY_SECONDS if now - self._last < AWAKE_SECONDS else None

    def _take(self) -> list[Ticket]:
        """Begin to write what waits; with the mutex held."""
        self._committing = True
        group = take_group(self._queue)
        self._urgent = bool(self._queue)
        return group

    def _write_group(self, group: list[Ticket]) -> None:
        """Write and sync a group, and let everybody go who waits for it."""
        try:
            self._commit(group)
        except Exception as error:  # noqa: BLE001 - or everybody would wait for ever
            self._latch(f"{type(error).__name__}: {error}", group)
            return
        with self._mutex:
            self._durable = group[-1].n + 1
            if 0 <= self._reader_wants < self._durable:
                self._wake_reader.notify_all()
            self._committing = False
            if self._urgent or self._closing:
                self._wake_writer.notify()
        for ticket in group:
            ticket.settle()

    def _commit(self, group: list[Ticket]) -> None:
        if self._open.size >= self._segment_bytes:
            self._begin_segment(group[0].n)
        start = time.monotonic()
        self._open.append(b"".join([ticket.frame for ticket in group]))
        self._sync_seconds = time.monotonic() - start

    def _begin_segment(self, first: int) -> None:
        self._open.finish()
        segment = create(self._folder, first)
        following = OpenSegment(segment.path, 0, self._reserve_bytes)
        self._open.close()
        with self._mutex:
            self._earlier_bytes += self._open.size
            self._open = following
            self._segments.append(segment)

    def _close_last(self) -> None:
        if not self._latched:
            # Whatever is in the way, zeros after the last frame do no harm.
            with contextlib.suppress(OSError):
                self._open.finish()
        self._open.close()

    def _latch(self, why: str, group: list[Ticket]) -> None:
        with self._mutex:
            self._latched = self._latched or why
            waiting = group + self._queue
            self._queue = []
            self._committing = False
            self._wake_reader.notify_all()
            self._wake_writer.notify_all()
        for ticket in waiting:
            ticket.settle(self._refusal())

    def _refusal(self) -> UnavailableError:
        return UnavailableError(
            Reason.JOURNAL_LATCHED,
            "the journal accepts no more records",
            where=str(self._folder),
            actual=self._latched or "it is closed",
            hint="free disk space or replace the disk, then start the shim again",
        )
