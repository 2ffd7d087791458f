"""Strikes at every file operation of a job in turn, and starts the registry again after each.

::

    hits = strike_each(victim, writer, "EIO", world)

A ``Job`` says how the job is brought to do its work once, behind a trap, and how it is seen that it
is done. What was struck must be made up for by the next start, which is asked for first of all.

Operations are counted anew each time the job works, which does not always take equally many: a row
that splits a page takes one more. Counting may pass over a call because of that. What must be
struck is therefore aimed at by name, in the end, if counting did not find it.
"""

import errno
import os
from collections.abc import Collection
from typing import NamedTuple, Protocol

from tests.crash.inject import MESSAGES, WRITES, Injector, Strike
from tests.crash.test_faults import MOST_OPERATIONS, Victim
from tests.crash.test_kill import Writer, check

MISSES = 6
"""Traps in a row that strike nothing: some rows split a page, and take more operations."""

CASES = {
    "EIO": (Strike.FAIL, errno.EIO),
    "ENOSPC": (Strike.FAIL, errno.ENOSPC),
    "EINTR": (Strike.FAIL, errno.EINTR),
    "short write": (Strike.SHORTEN, 0),
    "SIGSTOP": (Strike.STOP, 0),
    "SIGKILL": (Strike.KILL, 0),
}
"""What happens to an operation."""

KILLED = "SIGKILL"
"""The case after which nobody answers any more."""

HARMLESS = {"short write", "SIGSTOP"}
"""The cases that no job may even notice."""

SYNCS = frozenset(["fsync", "fdatasync"])
"""The calls after which what was written is durable."""

DURABLE = (frozenset(["pwrite64"]), SYNCS)
"""What a transaction of SQLite must be struck at: one call of each."""


class Aim(NamedTuple):
    """What is struck.

    Attributes:
        nth: The operation, counted from 1.
        case: What happens to it: a key of :data:`CASES`.
        calls: Count only these system calls; none means all that the job counts.
    """

    nth: int
    case: str
    calls: frozenset[str] | None = None


class Job(Protocol):
    """What is struck at."""

    def settle(self, writer: Writer, address: str) -> None:
        """Wait until the job has made up for whatever was lost, and has nothing left to do."""

    def work(self, writer: Writer, address: str, aim: Aim) -> None:
        """Let it work once, with a trap for what is aimed at; return when it is over."""


class Harmed(Protocol):
    """Somebody in the hands of an injector."""

    injector: Injector


def trap(
    victim: Harmed,
    aim: Aim,
    threads: Collection[str] | None = None,
    calls: Collection[str] | None = None,
) -> None:
    """From here, strike at what is aimed at, of all threads or of those with these names.

    If no calls are aimed at, only ``calls`` are counted; what can be shortened is writes only in
    any case.
    """
    strike, number = CASES[aim.case]
    victim.injector.arm(
        nth=aim.nth,
        errno=number,
        strike=strike,
        calls=WRITES if strike is Strike.SHORTEN else aim.calls or calls,
        threads=threads,
    )


class Striking:
    """Strikes at each operation of one job in turn, until there is none.

    Attributes:
        hits: What was struck.
    """

    def __init__(
        self, victim: Victim, writer: Writer, case: str, job: Job, *, most_misses: int = MISSES
    ) -> None:
        self.hits: list[str] = []
        self._most_misses = most_misses
        self._victim = victim
        self._writer = writer
        self._case = case
        self._job = job
        self._nth = self._misses = 0
        self._checked = 0
        self._calls: frozenset[str] | None = None

    def run(self, wanted: Collection[frozenset[str]]) -> None:
        """Strike at all, and then at those calls of which none was struck."""
        self._run_each()
        # Once more where none is left, and that is all: whoever wants it says that there is one.
        self._most_misses = 1
        for calls in wanted:
            if not calls & named(self.hits):
                self._nth = self._misses = 0
                self._calls = calls
                self._run_each()

    def _run_each(self) -> None:
        """Strike, and start again wherever somebody might have noticed."""
        while self._misses < self._most_misses:
            with self._victim.running() as address:
                # Nothing was struck since this start.
                self._victim.injector.arm()
                self._check(address)
                while self._misses < self._most_misses:
                    if self._strike(address) and self._case not in HARMLESS:
                        break
        with self._victim.running() as address:
            self._victim.check(address)

    def _check(self, address: str) -> None:
        """What came since the last start is there, under a log that extends all that it was."""
        memory = self._victim.memory
        items, heads = memory.items[self._checked :], list(memory.heads.values())
        check(address, memory, self._victim.acme, items, heads[-len(items) - 1 :])
        self._checked = len(memory.items)
        # What was asked for and not answered is taken now.
        assert self._writer.pending is None or self._victim.write(self._writer, address) is None

    def _strike(self, address: str) -> bool:
        """Let the job work once, with a trap; whether anything was struck."""
        self._nth += 1
        assert self._nth < MOST_OPERATIONS, self.hits
        self._job.settle(self._writer, address)
        self._job.work(self._writer, address, Aim(self._nth, self._case, self._calls))
        self._victim.injector.disarm()
        hit = self._victim.injector.hit
        self._misses = 0 if hit else self._misses + 1
        if hit is not None:
            is_message = hit.name in MESSAGES
            path = hit.path if is_message else os.path.relpath(hit.path, self._victim.data)
            self.hits.append(f"{hit.name} {path}")
        # So that nobody who waits for a strike sees the last one.
        self._victim.injector.arm()
        return hit is not None


def strike_each(
    victim: Victim,
    writer: Writer,
    case: str,
    job: Job,
    *,
    most_misses: int = MISSES,
    wanted: Collection[frozenset[str]],
) -> list[str]:
    """Strike at each operation of the job in turn; what was hit.

    Before each strike everything acknowledged must be there, under a log that only grew.
    ``most_misses`` traps in a row that strike nothing end it. Of each of the sets of calls that are
    ``wanted`` one was struck.
    """
    striking = Striking(victim, writer, case, job, most_misses=most_misses)
    striking.run(wanted)
    for calls in wanted:
        assert calls & named(striking.hits), striking.hits
    return striking.hits


def durable(case: str) -> Collection[frozenset[str]]:
    """What is wanted of a job that keeps something in SQLite: a durable write is struck."""
    return DURABLE[:1] if case == "short write" else DURABLE


def named(hits: Collection[str]) -> set[str]:
    """The system calls that were hit."""
    return {hit.split()[0] for hit in hits}
