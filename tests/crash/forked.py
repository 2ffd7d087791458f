"""Registries that are forks of one process, to be killed one after the other, started in no time.

::

    with Forks(data) as forks:
        with forks.running() as registry:
            ...
            registry.kill()

Each is a process of its own, which the kernel kills as any other; only what it would import is
there already (see :mod:`tests.crash.nursery`).
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.crash.nursery import READY
from tests.running import REPOSITORY, STOP_SECONDS, Caller, address_in, admin_token, admit


@dataclass(frozen=True)
class Forked:
    """A registry that answers, until it is killed."""

    address: str
    data: Path
    kill: Callable[[], None]

    def admit(self, name: str, *roles: str, namespaces: Sequence[str] = ()) -> Caller:
        """Add a principal."""
        token = admin_token(self.data)
        return admit(self.address, token, name, *roles, namespaces=namespaces)


class Forks:
    """Whoever forks registries on one folder."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._process = subprocess.Popen(
            [sys.executable, "-u", "-m", "tests.crash.nursery", str(data), READY],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._alive = False
        # What is killed early is then a registry that starts, not one that is not begun yet.
        self._await(READY)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # It kills nobody whom it started: that is done before.
        self._process.kill()
        self._process.wait(STOP_SECONDS)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    @contextmanager
    def running(self) -> Iterator[Forked]:
        """A registry that answers; killed at the end, if not before."""
        self._tell("start")
        try:
            yield Forked(address_in(self._await("provreg is listening")), self._data, self.kill)
        finally:
            self.kill()

    def kill_early(self, seconds: float) -> None:
        """Start a registry, and kill it before or while it gets ready."""
        self._tell("start")
        time.sleep(seconds)
        self.kill()

    def kill(self) -> None:
        """Kill the registry as ``kill -9`` does, if it was not."""
        if self._alive:
            self._tell("kill")
            self._await("killed")

    def _tell(self, order: str) -> None:
        assert self._process.stdin is not None
        self._alive = order == "start"
        self._process.stdin.write(f"{order}\n")
        self._process.stdin.flush()

    def _await(self, beginning: str) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            assert not line.startswith("refused"), line
            if line.startswith(beginning):
                return line
        pytest.fail("whoever forks registries has died")
