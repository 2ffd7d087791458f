"""A bounded pool of processes that appraise, so that no evidence delays or kills the registry.

Workers are started when they are first needed, killed when a task takes too long, and replaced when
they die: whoever asked is told, and everybody else goes on. Only so many may wait.
"""

import logging
import math
import os
import queue
import subprocess
import threading
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import registry
from registry.core.encoding import read_json
from registry.core.evidence.result import AttestationResult
from registry.errors import LimitExceededError, Reason, RegistryError, UnavailableError
from registry.inspection.appraisal_exchange import (
    Answer,
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
        # Whoever was waiting for one gives it back now.
        for worker in [self._idle.get(timeout=STOP_SECONDS) for _ in self._all]:
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
        self._closed = False
        self.ends = math.inf
        """When the task that is under way must have ended."""

    def ask(self, message: bytes) -> Answer:
        if self._served >= MAX_TASKS:
            self.end()
        process, is_new = self._running()
        limit = self._time_limit + (self._start_limit if is_new else timedelta())
        self.ends = time.monotonic() + limit.total_seconds()
        try:
            parts = self._converse(process, message)
        finally:
            self.ends = math.inf
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

    def _converse(self, process: "subprocess.Popen[bytes]", message: bytes) -> "list[bytes] | None":
        if process.stdin is None or process.stdout is None:
            raise AssertionError("both are pipes")
        try:
            process.stdin.write(message)
            process.stdin.flush()
        except BrokenPipeError:
            return None
        return read_message(process.stdout.read)

    def _running(self) -> "tuple[subprocess.Popen[bytes], bool]":
        if self._closed:
            raise UnavailableError(Reason.APPRAISAL_BUSY, "the registry is stopping")
        if self._process is not None and self._process.poll() is None:
            return self._process, False
        self.end()
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=ENVIRONMENT,
            cwd="/",
            start_new_session=True,
        )
        if self._closed:
            # While this was started: whoever closed the pool saw no process.
            self.end()
            raise UnavailableError(Reason.APPRAISAL_BUSY, "the registry is stopping")
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
