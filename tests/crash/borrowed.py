"""File descriptors of another process, borrowed while one of its calls waits for us."""

import ctypes
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# linux/include/uapi/asm-generic/unistd.h: the same number everywhere
_PIDFD_GETFD = 438
_SYSCALL = ctypes.CDLL(None, use_errno=True).syscall


def process_of(thread: int) -> int:
    """The process that a thread belongs to."""
    for line in Path(f"/proc/{thread}/status").read_text().splitlines():
        if line.startswith("Tgid:"):
            return int(line.split()[1])
    raise RuntimeError(f"thread {thread} belongs to no process")


def thread_name(thread: int) -> str:
    """The first 15 characters of a thread's name, as the kernel knows it; empty if it is gone."""
    try:
        return Path(f"/proc/{thread}/comm").read_text().rstrip("\n")
    except OSError:
        return ""


@contextmanager
def borrowed(thread: int, descriptor: int) -> Iterator[int]:
    """A descriptor of our own for what a descriptor of that thread's process stands for.

    Raises:
        OSError: There is no such descriptor, or no such process any more.
    """
    process = os.pidfd_open(process_of(thread))
    try:
        ours = _SYSCALL(_PIDFD_GETFD, process, descriptor, 0)
        if ours < 0:
            number = ctypes.get_errno()
            raise OSError(number, f"pidfd_getfd: {os.strerror(number)}")
        try:
            yield ours
        finally:
            os.close(ours)
    finally:
        os.close(process)


def peer_port(thread: int, descriptor: int) -> int | None:
    """The port at the other end of a TCP connection of that thread's process; None if it is none.

    Raises:
        OSError: There is no such descriptor, or no such process any more.
    """
    with borrowed(thread, descriptor) as ours:
        try:
            connection = socket.socket(fileno=os.dup(ours))
        except OSError:
            return None
        with connection:
            if connection.family not in (socket.AF_INET, socket.AF_INET6):
                return None
            try:
                return int(connection.getpeername()[1])
            except OSError:
                # Not connected yet, or not any more.
                return None
