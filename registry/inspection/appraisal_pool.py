"""A bounded pool of processes that appraise, so that no evidence delays or kills the registry.

Workers are started when they are first needed, killed when a task takes too long, and replaced when
they die: whoever asked is told, and everybody else goes on. Only so many may wait.
"""

import asyncio
import contextlib
import fcntl
import logging
import math
import os
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import registry
from registry.core.encoding import read_json
from registry.core.evidence.result import AttestationResult
from registry.errors import LimitExceededError, Reason, RegistryError, UnavailableError
from registry.inspection.appraisal_exchange import (
    Answer,
    Arriving,
    Task,
    digest_of,
    read_message,
    write_message,
)
from registry.inspection.confinement import ENVIRONMENT, INTERPRETER

WORKERS = max(1, min(4, (os.cpu_count() or 1) - 1))
"""Processes, unless the operator says otherwise: one processor is left to the log."""

MAX_WAITING = 64
"""Appraisals that may wait for a worker; more are told to come back."""

WAIT_LIMIT = timedelta(seconds=30)
"""How long an appraisal may wait for a worker."""

TIME_LIMIT = timedelta(seconds=10)
"""How long one appraisal may take; the slowest real one takes a tenth of a second."""

START_LIMIT = timedelta(seconds=30)
"""How long a worker may take for its first answer, in which it imports everything."""

MAX_TASKS = 1000
"""Appraisals after which a worker is replaced by a fresh one."""

WATCH_SECONDS = 0.1
"""How often is looked for tasks that take too long."""

READ_BYTES = 64 * 1024
"""Bytes of an answer that are read at a time."""

STOP_SECONDS = 5
"""How long a killed worker may take to be gone."""

_BEGIN = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from registry.inspection.appraisal_worker import main; main()"
)

COMMAND: Sequence[str] = (
    *INTERPRETER,
    "-c",
    _BEGIN,
    # The same code as this process, wherever that was found.
    str(Path(registry.__file__).parents[1]),
)
"""The command of a worker."""

logger = logging.getLogger(__name__)


class AppraisalPool:
    """Carries out appraisals in other processes. Any thread may ask."""

    def __init__(
        self,
        workers: int = WORKERS,
        *,
        command: Sequence[str] = COMMAND,
        time_limit: timedelta = TIME_LIMIT,
        start_limit: timedelta = START_LIMIT,
        wait_limit: timedelta = WAIT_LIMIT,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        """Prepare ``workers`` processes; none is started yet."""
        self.workers = workers
        self._wait_limit = wait_limit
        self._max_waiting = max_waiting
        self._waiting = 0
        self._lock = threading.Lock()
        self._all = [_Worker(command, time_limit, start_limit) for _ in range(workers)]
        self._idle: queue.LifoQueue[_Worker] = queue.LifoQueue()
        for worker in self._all:
            self._idle.put(worker)
        self._stopping = threading.Event()
        self._watch = threading.Thread(target=self._watching, name="appraisals", daemon=True)
        self._watch.start()

    def appraise(self, task: Task) -> AttestationResult:
        """What comes of one appraisal; blocks until it is done.

        Raises:
            UnavailableError: ``APPRAISAL_BUSY``.
            LimitExceededError: ``APPRAISAL_LIMIT`` if it took too long or too much memory, or the
                worker died of it.
            RegistryError: What is wrong with the policy.
        """
        parts = task.to_parts()
        message = write_message(parts)
        with self._lock:
            if self._waiting >= self._max_waiting + self.workers:
                raise _busy(self._max_waiting)
            self._waiting += 1
        try:
            try:
                worker = self._idle.get(timeout=self._wait_limit.total_seconds())
            except queue.Empty as error:
                raise _busy(self._max_waiting) from error
            try:
                answer = worker.ask(message)
            finally:
                self._idle.put(worker)
        except LimitExceededError:
            logger.warning("an appraisal of evidence %s… did not end well", digest_of(parts))
            raise
        finally:
            with self._lock:
                self._waiting -= 1
        if answer.result is None:
            raise answer.to_error()
        return answer.result

    def begin(self, task: Task) -> "asyncio.Future[AttestationResult] | None":
        """Have an appraisal carried out, and let the running loop wait for it; None if not at once.

        Then a thread must ask. Here none does: each time that one waits for a worker and for the
        interpreter costs more than all else that a small appraisal costs this process.

        Raises:
            LimitExceededError: ``APPRAISAL_LIMIT``: the task is too large. The future raises what
                :meth:`appraise` does.
        """
        parts = task.to_parts()
        message = write_message(parts)
        try:
            worker = self._idle.get_nowait()
        except queue.Empty:
            return None
        loop = asyncio.get_running_loop()
        done: asyncio.Future[AttestationResult] = loop.create_future()

        def answered(answer: Answer | RegistryError) -> None:
            self._idle.put(worker)
            if isinstance(answer, LimitExceededError):
                logger.warning("an appraisal of evidence %s… did not end well", digest_of(parts))
            if done.done():
                # Whoever asked has gone.
                return
            if isinstance(answer, RegistryError):
                done.set_exception(answer)
            elif answer.result is None:
                done.set_exception(answer.to_error())
            else:
                done.set_result(answer.result)

        if worker.begin(message, loop, answered):
            return done
        self._idle.put(worker)
        return None

    def _watching(self) -> None:
        while not self._stopping.wait(WATCH_SECONDS):
            for worker in self._all:
                worker.overdue()

    def close(self) -> None:
        """End all workers."""
        self._stopping.set()
        self._watch.join()
        for worker in self._all:
            worker.kill()
        # Whoever was waiting for one gives it back now; a loop that has ended no longer can.
        ends = time.monotonic() + STOP_SECONDS
        with contextlib.suppress(queue.Empty):
            for _ in self._all:
                self._idle.get(timeout=max(0.0, ends - time.monotonic()))
        for worker in self._all:
            worker.end()
            self._idle.put(worker)


class _Worker:
    """One process, or the place of one that is started with the next task."""

    def __init__(
        self, command: Sequence[str], time_limit: timedelta, start_limit: timedelta
    ) -> None:
        self._command = command
        self._time_limit = time_limit
        self._start_limit = start_limit
        self._process: subprocess.Popen[bytes] | None = None
        self._served = 0
        self._room = 0
        self._closed = False
        self.ends = math.inf
        """When the task that is under way must have ended."""

    def ask(self, message: bytes) -> Answer:
        if self._served >= MAX_TASKS:
            self.end()
        process, is_new = self._running()
        try:
            parts, limit = self._converse(process, message, is_new=is_new)
        except BrokenPipeError:
            # It died unseen, before this task: asking the system each time whether it is there
            # would hand the interpreter to other threads, and wait for it once more.
            if is_new:
                raise self._died(self._time_limit + self._start_limit) from None
            self.end()
            return self.ask(message)
        return self._answer(parts, limit)

    def begin(
        self,
        message: bytes,
        loop: asyncio.AbstractEventLoop,
        answered: "Callable[[Answer | RegistryError], None]",
    ) -> bool:
        """Let ``loop`` wait for the answer; False if that needs a thread: nothing was begun then.

        A process that waits for a task has read all before it, so that its pipe takes in as much
        as it has room for, and at once.
        """
        process = self._process
        if process is None or self._served >= MAX_TASKS or len(message) > self._room:
            return False
        if self._closed:
            return False
        if process.stdin is None or process.stdout is None:
            raise AssertionError("both are pipes")
        self.ends = time.monotonic() + self._time_limit.total_seconds()
        try:
            process.stdin.write(message)
            process.stdin.flush()
        except BrokenPipeError:
            self.ends = math.inf
            self.end()
            return False
        arriving, descriptor = Arriving(), process.stdout.fileno()

        def readable() -> None:
            if not arriving.add(os.read(descriptor, READ_BYTES)):
                return
            loop.remove_reader(descriptor)
            self.ends = math.inf
            try:
                answered(self._answer(arriving.message(), self._time_limit))
            except RegistryError as error:
                answered(error)

        loop.add_reader(descriptor, readable)
        return True

    def _answer(self, parts: "list[bytes] | None", limit: timedelta) -> Answer:
        if parts is None:
            raise self._died(limit)
        self._served += 1
        try:
            return read_json(parts[0], Answer, what="answer of an appraisal")
        except RegistryError as error:
            self.end()
            raise RegistryError(
                Reason.INTERNAL, "an appraisal gave an answer that cannot be read"
            ) from error

    def _converse(
        self, process: "subprocess.Popen[bytes]", message: bytes, *, is_new: bool
    ) -> "tuple[list[bytes] | None, timedelta]":
        """The answer, or None if there came none; and how long it was waited for at most.

        Raises:
            BrokenPipeError: The process took not all of the message.
        """
        if process.stdin is None or process.stdout is None:
            raise AssertionError("both are pipes")
        limit = self._time_limit + (self._start_limit if is_new else timedelta())
        self.ends = time.monotonic() + limit.total_seconds()
        try:
            process.stdin.write(message)
            process.stdin.flush()
            return read_message(process.stdout.read), limit
        finally:
            self.ends = math.inf

    def _running(self) -> "tuple[subprocess.Popen[bytes], bool]":
        if self._closed:
            raise UnavailableError(Reason.APPRAISAL_BUSY, "the registry is stopping")
        if self._process is not None:
            return self._process, False
        self.end()
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=ENVIRONMENT,
            cwd="/",
            # Out of the way of a terminal's signals. A session of its own would have a share of the
            # processors of its own on Linux (autogroup), whatever its niceness.
            process_group=0,
        )
        if self._closed:
            # While this was started: whoever closed the pool saw no process.
            self.end()
            raise UnavailableError(Reason.APPRAISAL_BUSY, "the registry is stopping")
        if self._process.stdin is not None:
            self._room = fcntl.fcntl(self._process.stdin, fcntl.F_GETPIPE_SZ)
        return self._process, True

    def _died(self, limit: timedelta) -> RegistryError:
        status = self.end()
        if self._closed:
            return UnavailableError(Reason.APPRAISAL_BUSY, "the registry is stopping")
        return LimitExceededError(
            Reason.APPRAISAL_LIMIT,
            "this evidence could not be judged within the limits of an appraisal",
            expected=f"an answer in {limit.total_seconds():g} seconds",
            actual=f"the worker ended with status {status}",
        )

    def end(self) -> int:
        process, self._process, self._served = self._process, None, 0
        if process is None:
            return 0
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    # What was not sent yet is of no use to anybody.
                    continue
        return process.wait()

    def overdue(self) -> None:
        """Kill the process if its task takes too long.

        That closes its ends of both pipes, so whoever waits for an answer waits no longer.
        """
        process = self._process
        if process is not None and time.monotonic() > self.ends:
            process.kill()

    def kill(self) -> None:
        self._closed = True
        process = self._process
        if process is not None:
            process.kill()


def _busy(limit: int) -> UnavailableError:
    return UnavailableError(
        Reason.APPRAISAL_BUSY,
        "too much evidence waits to be judged",
        expected=f"at most {limit}",
        hint="try again in a few seconds",
    )
