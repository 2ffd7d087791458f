"""Fails or kills a whole process at the n-th file operation it does below one folder.

::

    with Injector([sys.executable, "-m", "registry", "serve"], watch=data) as process:
        process.arm(nth=5, errno=errno.EIO)  # the fifth file operation from here fails
        ...
        process.disarm()
        print(process.trace)  # every operation seen while armed

All threads and children of the process are covered, whatever library does the call: the kernel
asks us (seccomp user notification, see :mod:`tests.crash.inject_launch`) before it does what the
process wants. A failed operation is not done at all; a killed process dies *before* its operation,
and a moment later, so that whatever its other threads tell others too early is told; a stopped
process is woken again a moment later; of a shortened write we do the first half. Operations on
anything outside ``watch`` are neither counted nor harmed. With a ``port``, messages to a server on
that port of this machine, and the beginnings of its answers, are operations like those on files.
"""

import contextlib
import ctypes
import enum
import errno as errors
import fcntl
import functools
import mmap
import os
import platform
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, NamedTuple, Self

from tests.crash import inject_launch
from tests.crash.borrowed import borrowed, peer_port, process_of, thread_name
from tests.crash.call_paths import OPERANDS, paths_of_call

_BLOCK_BYTES = 4096
_START_SECONDS = 30.0
_STOP_SECONDS = 30.0

# linux/include/uapi/linux/seccomp.h
_NOTIFICATION = struct.Struct("=QIIiIQ6Q")  # id, pid, flags; nr, arch, ip, args
_RESPONSE = struct.Struct("=QqiI")  # id, val, error, flags
_IOCTL_RECV = 0xC0502100
_IOCTL_SEND = 0xC0182101
_IOCTL_ID_VALID = 0x40082102
_FLAG_CONTINUE = 1


class Call(NamedTuple):
    """One file operation: the system call and the path it is about.

    For renames and links the path is the new name. For a message, see :class:`Injector`, the path
    is :data:`WIRE` and the port.
    """

    name: str
    path: str


WIRE = "tcp:"
"""What comes before the port where a message goes to, or comes from."""


class Strike(enum.Enum):
    """What happens to the n-th operation."""

    FAIL = "fail"
    KILL = "SIGKILL"
    STOP = "SIGSTOP"
    SHORTEN = "short write"


MESSAGES = frozenset(["sendto", "recvfrom"])
"""The calls that say something to a server, or take its answer, as libpq does it."""

_THREAD_NAME = 15
"""Characters of a thread's name that the kernel keeps."""

WRITES = frozenset(["write", "pwrite64"])
"""The calls that can be shortened."""

HELD_SECONDS = 0.02
"""How long a process lives on, but for the one operation, before it is killed there."""

STOPPED_SECONDS = 0.05
"""How long a stopped process stays stopped."""


class _Plan(NamedTuple):
    """What to do with which operation, counted from 1."""

    nth: int | None
    errno: int
    kill_at: int | None
    lasting: bool
    calls: frozenset[str] | None
    below: str | None
    strike: Strike
    threads: frozenset[str] | None


class _Asked(NamedTuple):
    """Who waits for an answer, and for which call."""

    call: Call
    thread: int
    arguments: Sequence[int]


class _Answer(NamedTuple):
    """What the kernel is told: go on, or this result."""

    error: int = 0
    value: int | None = None


class Injector:
    """A running command, and the power to fail or kill it at any file operation.

    Attributes:
        child: The process; its streams are there if asked for by ``stdin`` and ``stdout``.
        trace: The operations seen while armed, in the order in which they were asked for.
        hit: The first operation that was failed or killed since :meth:`arm`.
    """

    child: subprocess.Popen[str]
    trace: list[Call]
    hit: Call | None

    def __init__(
        self,
        command: Sequence[str | os.PathLike[str]],
        *,
        watch: str | os.PathLike[str],
        port: int | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        stdin: int | IO[str] | None = subprocess.DEVNULL,
        stdout: int | IO[str] | None = None,
        stderr: int | IO[str] | None = None,
    ) -> None:
        self.trace = []
        self.hit = None
        self._command = [os.fspath(word) for word in command]
        self._watch = str(Path(watch).resolve())
        self._port = port
        self._env = None if env is None else dict(env)
        self._cwd = cwd
        self._stdin, self._stdout, self._stderr = stdin, stdout, stderr
        calls = inject_launch.calls(platform.machine(), messages=port is not None)
        self._names = {number: name for name, number in calls.items()}
        self._lock = threading.Lock()
        self._plan: _Plan | None = None
        self._struck = threading.Event()
        self._failure: BaseException | None = None
        self._awaiting: set[int] = set()
        self._listener: int | None = None

    def arm(
        self,
        nth: int | None = None,
        errno: int = errors.EIO,
        *,
        kill_at: int | None = None,
        lasting: bool = False,
        calls: Collection[str] | None = None,
        below: str | os.PathLike[str] | None = None,
        strike: Strike = Strike.FAIL,
        threads: Collection[str] | None = None,
    ) -> None:
        """Begin a new trace, and fail or kill at one operation counted from here.

        Without ``nth`` and ``kill_at`` operations are only traced. May be called before the
        process is started.

        Args:
            nth: The operation to fail, counted from 1.
            errno: What it fails with.
            kill_at: The operation before which the process is killed, counted from 1.
            lasting: Fail every operation from the n-th on, as a full disk does.
            calls: Count only these system calls.
            below: Count only operations on paths below this folder.
            strike: What happens to the n-th operation instead of failing. ``KILL`` kills the one
                process that asked, ``kill_at`` all of them.
            threads: Count only what threads of these names do.
        """
        if calls is not None and (unknown := set(calls) - set(OPERANDS) - MESSAGES):
            raise ValueError(f"not supervised: {sorted(unknown)}")
        with self._lock:
            self.trace = []
            self.hit = None
            self._struck.clear()
            self._plan = _Plan(
                nth,
                errno,
                kill_at,
                lasting,
                None if calls is None else frozenset(calls),
                None if below is None else str(Path(below).resolve()),
                strike,
                None if threads is None else frozenset(name[:_THREAD_NAME] for name in threads),
            )

    def disarm(self) -> None:
        """Let every operation pass again; the trace stays."""
        with self._lock:
            self._plan = None

    def wait_for_hit(self, seconds: float) -> bool:
        """Whether an operation was failed or killed, after waiting at most so long."""
        return self._struck.wait(seconds)

    def __enter__(self) -> Self:
        """Start the command under supervision.

        Raises:
            RuntimeError: The kernel does not allow it; :func:`available` says so beforehand.
        """
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self.child = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", inject_launch.__file__),
                    *(str(theirs.fileno()), inject_launch.MODES[self._port is not None]),
                    *self._command,
                ],
                env=self._env,
                cwd=self._cwd,
                pass_fds=[theirs.fileno()],
                # A group of its own, so that its children can be killed with it.
                start_new_session=True,
                text=True,
                stdin=self._stdin,
                stdout=self._stdout,
                stderr=self._stderr,
            )
            theirs.close()
            try:
                listener = _receive_listener(ours)
            except BaseException:
                self._kill()
                raise
        self._listener = listener
        self._wake_reader, self._wake_writer = os.pipe()
        self._thread = threading.Thread(
            target=self._supervise, args=(listener,), name="injector", daemon=True
        )
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Kill what is still running.

        Raises:
            RuntimeError: The supervision itself failed.
        """
        self._kill()
        os.close(self._wake_writer)
        self._thread.join(_STOP_SECONDS)
        os.close(self._wake_reader)
        if self._listener is not None:
            os.close(self._listener)
            self._listener = None
        if self._failure is not None and error is None:
            raise RuntimeError("the supervision failed") from self._failure

    def _kill(self) -> None:
        # When the process itself is gone its children may still be there. When they are gone too,
        # the number of the group is free and may be somebody else's.
        if self.child.poll() is None or self._is_supervising():
            self._kill_group()
        self.child.wait(_STOP_SECONDS)
        for stream in (self.child.stdin, self.child.stdout, self.child.stderr):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.child.pid, signal.SIGKILL)

    def _is_supervising(self) -> bool:
        """Whether any process is left under the filter."""
        if self._listener is None:
            return False
        poll = select.poll()
        poll.register(self._listener, 0)
        return not any(events & select.POLLHUP for _, events in poll.poll(0))

    def _supervise(self, listener: int) -> None:
        try:
            self._answer_all(listener)
        except BaseException as failure:  # noqa: BLE001 - raised again by __exit__
            self._failure = failure
            # Nobody answers any more: what is left of the process would hang.
            self._kill_group()

    def _answer_all(self, listener: int) -> None:
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        poll.register(self._wake_reader, select.POLLIN)
        while True:
            ready = dict(poll.poll())
            if self._wake_reader in ready:
                return
            if not ready[listener] & select.POLLIN:
                # POLLHUP: the last process under the filter is gone.
                poll.unregister(listener)
                continue
            self._answer_one(listener)

    def _answer_one(self, listener: int) -> None:
        buffer = bytearray(_NOTIFICATION.size)
        try:
            fcntl.ioctl(listener, _IOCTL_RECV, buffer)
        except OSError as error:
            # ENOENT: whoever asked was killed in the meantime.
            if error.errno in {errors.ENOENT, errors.EINTR}:
                return
            raise
        identifier, thread, _, number, _, _, *arguments = _NOTIFICATION.unpack(buffer)
        name = self._names[number]
        path = None
        plan = self._plan
        if plan is not None and (plan.threads is None or thread_name(thread) in plan.threads):
            path = self._watched(name, thread, arguments)
        # What was read is the process's only if it still waits: its number may already be another.
        answer: _Answer | None = _Answer()
        if plan is not None and path is not None and _is_waiting(listener, identifier):
            answer = self._decide(plan, _Asked(Call(name, path), thread, arguments))
        if answer is None:
            return
        does_it = answer.error == 0 and answer.value is None
        flags = _FLAG_CONTINUE if does_it else 0
        response = bytearray(_RESPONSE.pack(identifier, answer.value or 0, -answer.error, flags))
        try:
            fcntl.ioctl(listener, _IOCTL_SEND, response)
        except OSError as error:
            if error.errno != errors.ENOENT:
                raise

    def _decide(self, plan: _Plan, asked: _Asked) -> _Answer | None:
        """What to answer; None if no answer is due."""
        call = asked.call
        with self._lock:
            # What was asked before another plan was made is not of the threads that it names.
            if plan is not self._plan:
                return _Answer()
            if plan.calls is not None and call.name not in plan.calls:
                return _Answer()
            if plan.below is not None and not _is_below(call.path, plan.below):
                return _Answer()
            self.trace.append(call)
            position = len(self.trace)
            if position == plan.kill_at:
                self._kill_group()
                self._strike(call)
                return None
            if plan.nth is not None and (
                position == plan.nth or (plan.lasting and position > plan.nth)
            ):
                self._strike(call)
                return _strike(plan, asked)
            return _Answer()

    def _strike(self, call: Call) -> None:
        if self.hit is None:
            self.hit = call
        self._struck.set()

    def _is_message(self, name: str, thread: int, arguments: Sequence[int]) -> bool:
        """Whether this is something said to the watched server, or the beginning of its answer."""
        try:
            if peer_port(thread, ctypes.c_int32(arguments[0]).value) != self._port:
                return False
        except (OSError, RuntimeError):
            # Whoever asked is gone, or the connection is: the call itself will find out.
            return False
        if name == "sendto":
            self._awaiting.add(thread)
            return True
        begins = thread in self._awaiting
        self._awaiting.discard(thread)
        return begins

    def _watched(self, name: str, thread: int, arguments: Sequence[int]) -> str | None:
        """The last path of a call below the watched folder, or the port of a watched message."""
        if name in MESSAGES:
            return f"{WIRE}{self._port}" if self._is_message(name, thread, arguments) else None
        for path in reversed(paths_of_call(name, thread, arguments)):
            if _is_below(path, self._watch):
                return path
        return None


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + "/")


def _strike(plan: _Plan, asked: _Asked) -> _Answer | None:
    match plan.strike:
        case Strike.FAIL:
            return _Answer(error=plan.errno)
        case Strike.KILL:
            # The operation waits, and the rest goes on: what is told too early gets out.
            _signal_later(process_of(asked.thread), signal.SIGKILL, HELD_SECONDS)
            return None
        case Strike.STOP:
            process = process_of(asked.thread)
            os.kill(process, signal.SIGSTOP)
            _signal_later(process, signal.SIGCONT, STOPPED_SECONDS)
            return _Answer()
        case Strike.SHORTEN:
            return _Answer(value=_write_half(asked))


def _signal_later(process: int, number: signal.Signals, seconds: float) -> None:
    # Its number may be another's by then.
    descriptor = os.pidfd_open(process)

    def send() -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, number)
        os.close(descriptor)

    threading.Timer(seconds, send).start()


def _write_half(asked: _Asked) -> int:
    """Do the first half of a write through the process's own file description."""
    descriptor, address, size = asked.arguments[:3]
    # Direct writes are cut between blocks, as the kernel does, and come from memory that begins at
    # a page.
    half = size // 2 - size // 2 % _BLOCK_BYTES or max(1, size // 2)
    data = mmap.mmap(-1, half)
    with Path(f"/proc/{asked.thread}/mem").open("rb", buffering=0) as memory:
        memory.seek(address)
        memory.readinto(data)
    with borrowed(asked.thread, descriptor) as theirs:
        if asked.call.name == "pwrite64":
            return os.pwrite(theirs, data, asked.arguments[3])
        return os.write(theirs, data)


def _receive_listener(supervisor: socket.socket) -> int:
    supervisor.settimeout(_START_SECONDS)
    message, descriptors, _, _ = socket.recv_fds(supervisor, 1024, 1)
    if message != inject_launch.LISTENER:
        reason = message.decode() or "the launcher died"
        raise RuntimeError(f"the kernel does not let us supervise: {reason}")
    return descriptors[0]


def _is_waiting(listener: int, identifier: int) -> bool:
    """Whether the call is still waiting for our answer."""
    try:
        fcntl.ioctl(listener, _IOCTL_ID_VALID, struct.pack("=Q", identifier))
    except OSError as error:
        if error.errno == errors.ENOENT:
            return False
        raise
    return True


@functools.cache
def available() -> str | None:
    """Why nothing can be injected on this machine, or None if it can."""
    if sys.platform != "linux":
        return f"seccomp is Linux only, this is {sys.platform}"
    if platform.machine() not in inject_launch.CALLS:
        return f"no system call table for {platform.machine()}"
    with tempfile.TemporaryDirectory() as folder:
        victim = Path(folder, "victim")
        probe = Injector([sys.executable, "-I", "-S", "-c", _PROBE, victim], watch=folder)
        probe.arm(nth=1, errno=errors.ENOSPC)
        try:
            with probe:
                outcome = probe.child.wait(_START_SECONDS)
        except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
            return str(error)
    if outcome != errors.ENOSPC:
        return f"an injected error did not arrive: the probe ended with {outcome}"
    return None


_PROBE = """\
import os, sys
try:
    os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
except OSError as error:
    os._exit(error.errno)
os._exit(0)
"""
