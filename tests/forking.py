"""``provreg`` in processes of their own that start in no time: forks of one that imported it all.

::

    with provreg("serve", "--data", data, stdout=True) as process:
        address = address_in(process.stdout.readline())
        process.kill()

A registry or a shim would spend more time on importing itself than on all that most tests ask of
it. Each of these is a process of its own, with its own folder, environment and streams, which ends
as ``python -m registry`` does and which the kernel kills as any other. Only what it would import is
there already. Tests of starting itself run ``python -m registry``.
"""

import atexit
import functools
import gc
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from registry.cli import main

MAX_REQUEST_BYTES = 128 * 1024
"""Arguments, folder and environment of one process."""

STOP_SECONDS = 30
"""How long whoever forks may take to stop."""


class Process:
    """A fork; what is there of :class:`subprocess.Popen` does the same.

    Attributes:
        returncode: Its exit status, or the negative signal that ended it; None while it runs.
    """

    def __init__(
        self, arguments: list[str], status: int, stdout: int | None, stderr: int | None
    ) -> None:
        self.args = arguments
        self.stdout = None if stdout is None else os.fdopen(stdout, encoding="utf-8")
        self.stderr = None if stderr is None else os.fdopen(stderr, encoding="utf-8")
        self.returncode: int | None = None
        self._status = os.fdopen(status, "rb", buffering=0)
        self.pid = self._told()
        self._descriptor: int | None = None
        # Whoever has ended already has nothing left to be told.
        with suppress(ProcessLookupError):
            self._descriptor = os.pidfd_open(self.pid)

    def _told(self) -> int:
        line = self._status.readline()
        if not line:
            raise RuntimeError("whoever forks processes has died")
        return int(line)

    def poll(self) -> int | None:
        """Its exit status, if it has ended."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended; its exit status."""
        if self.returncode is None:
            with selectors.DefaultSelector() as selector:
                selector.register(self._status, selectors.EVENT_READ)
                if not selector.select(timeout):
                    raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self.returncode = self._told()
            self._status.close()
            if self._descriptor is not None:
                os.close(self._descriptor)
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        if self.poll() is None and self._descriptor is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._descriptor, number)

    def terminate(self) -> None:
        """Ask it to stop."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it as ``kill -9`` does."""
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Wait for its end, which whoever started it brings about."""
        for stream in (self.stdout, self.stderr):
            if stream is not None:
                stream.close()
        self.wait()


class _Forks:
    """Whoever forks: a process beside this one, which ends with it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.forking", str(theirs.fileno())],
                cwd=Path(__file__).parents[1],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        atexit.register(self._close)

    def start(self, request: bytes, streams: list[int]) -> None:
        """Let a process be forked; of the streams the last one tells its number and its end."""
        with self._lock:
            socket.send_fds(self._control, [request], streams)

    def _close(self) -> None:
        self._control.close()
        self._process.wait(STOP_SECONDS)


_forks = functools.cache(_Forks)


def provreg(
    *arguments: object,
    cwd: str | os.PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
    stdout: bool = False,
    stderr: bool = False,
) -> Process:
    """Run ``provreg`` with these arguments.

    Args:
        arguments: What stands behind ``provreg``.
        cwd: Its folder, ours if absent.
        env: Its environment, ours if absent.
        stdout: Whether its standard output can be read; it is ours otherwise.
        stderr: Whether its standard error can be read.
    """
    words = [str(argument) for argument in arguments]
    request = json.dumps(
        {
            "arguments": words,
            "folder": str(Path(cwd or ".").resolve()),
            "environment": dict(os.environ if env is None else env),
        }
    ).encode()
    assert len(request) < MAX_REQUEST_BYTES
    given: list[int] = []
    ours: list[int | None] = []
    try:
        for number, wanted in ((1, stdout), (2, stderr), (None, True)):
            reading, writing = os.pipe() if wanted else (None, os.dup(number or 0))
            ours.append(reading)
            given.append(writing)
        _forks().start(request, given)
    finally:
        for descriptor in given:
            os.close(descriptor)
    output, errors, status = ours
    assert status is not None
    return Process(words, status, output, errors)


# --- Whoever forks ---


def _import_all() -> None:
    """Import what a registry and a shim import, and let no fork search all that for garbage."""
    from registry.cli import serve, shim  # noqa: F401, PLC0415 - only whoever forks needs them
    from registry.storage.sql import migrate  # noqa: PLC0415 - as above

    # What is read once is read before.
    migrate.head()
    gc.collect()
    gc.freeze()


def _fork(control: socket.socket) -> tuple[bytes, list[int]] | None:
    """Fork until nobody asks any more; each fork returns what it shall be, and its streams."""
    woken, waking = os.pipe()
    for descriptor in (woken, waking):
        os.set_blocking(descriptor, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waking)
    living: dict[int, int] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        selector.register(woken, selectors.EVENT_READ)
        while True:
            ready = {key.fd for key, _ in selector.select()}
            if woken in ready:
                with suppress(BlockingIOError):
                    os.read(woken, 4096)
                _bury(living)
            if control.fileno() in ready:
                request, given, *_ = socket.recv_fds(control, MAX_REQUEST_BYTES, 3)
                if not request:
                    return None
                number = os.fork()
                if number == 0:
                    return request, given
                for descriptor in given[:2]:
                    os.close(descriptor)
                living[number] = given[2]
                _tell(given[2], number)


def _bury(living: dict[int, int]) -> None:
    """Tell of all who have ended."""
    while living:
        number, status = os.waitpid(-1, os.WNOHANG)
        if number == 0:
            return
        teller = living.pop(number)
        _tell(teller, os.waitstatus_to_exitcode(status))
        os.close(teller)


def _tell(teller: int, number: int) -> None:
    # Nobody may be left who would read it.
    with suppress(BrokenPipeError):
        os.write(teller, b"%d\n" % number)


def _become(request: bytes, given: list[int]) -> list[str]:
    """Be what is asked for: nothing is left of whoever forked but what it imported.

    Returns:
        What stands behind ``provreg``.
    """
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, descriptor in zip((1, 2), given, strict=False):
        os.dup2(descriptor, number)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    asked = json.loads(request)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    if os.environ.get("PYTHONUNBUFFERED"):
        sys.stdout.reconfigure(write_through=True)  # type: ignore[union-attr]  # it is a text stream
    arguments: list[str] = asked["arguments"]
    sys.argv = ["provreg", *arguments]
    return arguments


def _serve(control: int) -> None:
    _import_all()
    listening = socket.socket(fileno=control)
    asked = _fork(listening)
    # A fork closes all that it was not asked to have.
    listening.detach()
    if asked is not None:
        main.main(_become(*asked))


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
