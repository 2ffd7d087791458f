"""How a process of ours gets memory from the system: it keeps what it will need again.

A blob moves in messages of 256 KiB. The allocator of glibc maps each anew and gives it back at
once, so that the kernel has to find and zero the same pages for every message: more work than
everything else that happens to the message. Only a process that is ours may be told so; one that
merely uses our client belongs to somebody else.
"""

import ctypes
from typing import Final

KEPT_BYTES: Final = 8 * 1024 * 1024
"""Free bytes at the end of a heap that are not given back; each of some threads has a heap."""

MAPPED_BYTES: Final = 1024 * 1024
"""Pieces from this size on, such as batches, are mapped on their own and given back when free."""

# <malloc.h> of glibc.
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3


def keep_memory() -> None:
    """Keep freed memory of this process for its next messages, where the allocator is glibc's."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(_M_MMAP_THRESHOLD, MAPPED_BYTES)
