"""Runs a command whose file operations another process may veto.

This file is executed by its path, in a bare interpreter, by :class:`tests.crash.inject.Injector`::

    python -I -S inject_launch.py SOCKET MODE COMMAND [ARGUMENT...]

It puts itself under a seccomp filter that hands every file operation to a listener, passes that
listener over the unix socket ``SOCKET`` and becomes ``COMMAND``. In the mode ``messages`` what
passes through sockets is put to the listener as well. Whatever the command starts is
under the same filter. Nothing is compiled and nothing is traced: Linux 5.5 or newer and Python do.

Only the standard library may be imported here, and all of it at the top: between installing the
filter and passing the listener on, opening a file would wait for an answer that nobody can give.
"""

import array  # noqa: F401 - socket.send_fds imports it when called, which would be too late
import ctypes
import os
import platform
import socket
import struct
import sys
from typing import NoReturn

LISTENER = b"listener"
"""The message that carries the listener; any other message says why there is none."""

CALLS: dict[str, dict[str, int]] = {
    # linux/arch/x86/entry/syscalls/syscall_64.tbl
    "x86_64": {
        "write": 1,
        "open": 2,
        "pwrite64": 18,
        "writev": 20,
        "fsync": 74,
        "fdatasync": 75,
        "truncate": 76,
        "ftruncate": 77,
        "rename": 82,
        "mkdir": 83,
        "rmdir": 84,
        "creat": 85,
        "link": 86,
        "unlink": 87,
        "openat": 257,
        "mkdirat": 258,
        "unlinkat": 263,
        "renameat": 264,
        "linkat": 265,
        "fallocate": 285,
        "pwritev": 296,
        "renameat2": 316,
        "pwritev2": 328,
        "openat2": 437,
    },
    # linux/include/uapi/asm-generic/unistd.h
    "aarch64": {
        "mkdirat": 34,
        "unlinkat": 35,
        "linkat": 37,
        "renameat": 38,
        "truncate": 45,
        "ftruncate": 46,
        "fallocate": 47,
        "openat": 56,
        "write": 64,
        "writev": 66,
        "pwrite64": 68,
        "pwritev": 70,
        "fsync": 82,
        "fdatasync": 83,
        "renameat2": 276,
        "pwritev2": 287,
        "openat2": 437,
    },
}
"""Machine → system call → number: the calls that are put to the listener."""

MESSAGE_CALLS: dict[str, dict[str, int]] = {
    "x86_64": {"sendto": 44, "recvfrom": 45},
    "aarch64": {"sendto": 206, "recvfrom": 207},
}
"""The same for what passes through sockets, which is asked about only if somebody wants it."""

MODES = ("files", "messages")
"""Whether calls on sockets are put to the listener as well: the second argument."""


def calls(machine: str, *, messages: bool) -> dict[str, int]:
    """The calls that are put to the listener."""
    return CALLS.get(machine, {}) | (MESSAGE_CALLS.get(machine, {}) if messages else {})


_SECCOMP_CALL = {"x86_64": 317, "aarch64": 277}
_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_SET_MODE_FILTER = 1
_FLAG_NEW_LISTENER = 1 << 3
_FLAG_WAIT_KILLABLE_RECV = 1 << 5
_RET_ALLOW = 0x7FFF0000
_RET_USER_NOTIF = 0x7FC00000

_LOAD_WORD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_JUMP_IF_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_RETURN = 0x06  # BPF_RET | BPF_K
_NUMBER_OFFSET, _ARCH_OFFSET = 0, 4  # in struct seccomp_data


class _Program(ctypes.Structure):
    """``struct sock_fprog``."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def _filter(machine: str, *, messages: bool) -> bytes:
    """The filter program: the listed calls of this architecture go to the listener."""
    numbers = sorted(calls(machine, messages=messages).values())

    def instruction(code: int, if_true: int, if_false: int, operand: int) -> bytes:
        return struct.pack("=HBBI", code, if_true, if_false, operand)

    lines = [
        instruction(_LOAD_WORD, 0, 0, _ARCH_OFFSET),
        # The numbers mean other calls to a program of another architecture: leave it alone.
        instruction(_JUMP_IF_EQUAL, 0, len(numbers) + 1, _AUDIT_ARCH[machine]),
        instruction(_LOAD_WORD, 0, 0, _NUMBER_OFFSET),
    ]
    for position, number in enumerate(numbers):
        lines.append(instruction(_JUMP_IF_EQUAL, len(numbers) - position, 0, number))
    lines.append(instruction(_RETURN, 0, 0, _RET_ALLOW))
    lines.append(instruction(_RETURN, 0, 0, _RET_USER_NOTIF))
    return b"".join(lines)


def _install(*, messages: bool) -> int:
    """Put this process under the filter and return the listener.

    Raises:
        OSError: The kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    machine = platform.machine()
    code = ctypes.create_string_buffer(_filter(machine, messages=messages))
    program = _Program(len(code.raw) // 8, ctypes.addressof(code))
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl(PR_SET_NO_NEW_PRIVS): {os.strerror(number)}")
    # With WAIT_KILLABLE_RECV (Linux 5.19) a signal cannot restart a call that the supervisor has
    # already seen, so that each call is counted once.
    for flags in (_FLAG_NEW_LISTENER | _FLAG_WAIT_KILLABLE_RECV, _FLAG_NEW_LISTENER):
        listener: int = libc.syscall(
            ctypes.c_long(_SECCOMP_CALL[machine]),
            ctypes.c_long(_SECCOMP_SET_MODE_FILTER),
            ctypes.c_long(flags),
            ctypes.byref(program),
        )
        if listener >= 0:
            return listener
    number = ctypes.get_errno()
    raise OSError(number, f"seccomp(SECCOMP_SET_MODE_FILTER): {os.strerror(number)}")


def main(arguments: list[str]) -> NoReturn:
    """Install the filter, pass the listener on, become the command."""
    messages, command = arguments[1] == MODES[1], arguments[2:]
    with socket.socket(fileno=int(arguments[0])) as supervisor:
        try:
            listener = _install(messages=messages)
        except OSError as error:
            supervisor.sendall(str(error).encode())
            sys.exit(1)
        socket.send_fds(supervisor, [LISTENER], [listener])
    os.close(listener)
    os.execvp(command[0], command)  # noqa: S606 - the command is the caller's


if __name__ == "__main__":
    main(sys.argv[1:])
