"""The paths that a system call of another process is about.

A call names its files by descriptor, by a path in its memory, or by a path relative to a
descriptor. All of them are looked up through ``/proc`` while the call waits.
"""

import ctypes
import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

_AT_FDCWD = -100
_PAGE_BYTES = 4096
_PATH_MAX_BYTES = 4096


class _Operand(NamedTuple):
    """Where a call keeps one of its paths, by argument number.

    Without ``path`` the file descriptor itself is meant, without ``folder`` the working directory.
    """

    folder: int | None
    path: int | None


OPERANDS: dict[str, tuple[_Operand, ...]] = {
    **dict.fromkeys(("write", "pwrite64", "writev", "pwritev", "pwritev2"), (_Operand(0, None),)),
    **dict.fromkeys(("fsync", "fdatasync", "ftruncate", "fallocate"), (_Operand(0, None),)),
    **dict.fromkeys(
        ("open", "creat", "mkdir", "rmdir", "unlink", "truncate"), (_Operand(None, 0),)
    ),
    **dict.fromkeys(("openat", "openat2", "mkdirat", "unlinkat"), (_Operand(0, 1),)),
    **dict.fromkeys(("rename", "link"), (_Operand(None, 0), _Operand(None, 1))),
    **dict.fromkeys(("renameat", "renameat2", "linkat"), (_Operand(0, 1), _Operand(2, 3))),
}
"""System call → where its paths are; a renaming has the new name last."""


def paths_of_call(name: str, thread: int, arguments: Sequence[int]) -> list[str]:
    """The paths of one call, absolute, as far as they can be found."""
    found = []
    for operand in OPERANDS[name]:
        try:
            found.append(_resolve(thread, operand, arguments))
        except (OSError, OverflowError, RuntimeError):
            # A bad pointer or descriptor, a loop of links (RuntimeError before Python 3.13), or a
            # process that is gone: the call itself will find out.
            continue
    return found


def _resolve(thread: int, operand: _Operand, arguments: Sequence[int]) -> str:
    folder = Path(f"/proc/{thread}/cwd")
    if operand.folder is not None:
        # Descriptors are 32 bits wide, whatever the rest of the register holds.
        descriptor = ctypes.c_int32(arguments[operand.folder]).value
        if descriptor != _AT_FDCWD:
            folder = Path(f"/proc/{thread}/fd/{descriptor}")
    if operand.path is None:
        return str(folder.readlink())
    path = Path(_read_text(thread, arguments[operand.path]))
    if not path.is_absolute():
        path = folder.readlink() / path
    # The last part may be a link that is itself replaced: only its folder is followed.
    return str(path.parent.resolve() / path.name)


def _read_text(thread: int, address: int) -> str:
    """A NUL-terminated path in the memory of another process."""
    text = b""
    memory = os.open(f"/proc/{thread}/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        while b"\0" not in text and len(text) < _PATH_MAX_BYTES:
            # Up to the end of the page: the next one need not exist.
            position = address + len(text)
            part = os.pread(memory, _PAGE_BYTES - position % _PAGE_BYTES, position)
            if not part:
                raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
            text += part
    finally:
        os.close(memory)
    return os.fsdecode(text.partition(b"\0")[0])
