"""What the clocks of this host say beside the time: one that nobody sets, and a bound of its error.

The kernel keeps a bound on the error of its wall clock (``maxerror`` of adjtimex(2), which grows
until a time service sets it again), and says so when nothing keeps the clock right.
"""

import ctypes
import struct
import sys
import time
from typing import Final

import msgspec

from registry.core.records import inference

# <sys/timex.h> of Linux, 64 bits: modes, offset, freq, maxerror, esterror, status; and much room.
_TIMEX: Final = struct.Struct("@i4xqqqqi")
_TIMEX_BYTES: Final = 256
_STA_UNSYNC: Final = 0x0040
_TIME_ERROR: Final = 5
_IS_KNOWN: Final = sys.platform == "linux" and ctypes.sizeof(ctypes.c_long) == 8  # noqa: PLR2004


def read_clocks() -> inference.Clock:
    """What the clocks say now."""
    monotonic_us = time.monotonic_ns() // 1000
    error_us = _error_us()
    return inference.Clock(
        monotonic_us=monotonic_us, error_us=msgspec.UNSET if error_us is None else error_us
    )


def _error_us() -> int | None:
    """How wrong the wall clock may be, in microseconds; None if nobody knows."""
    adjtimex = getattr(ctypes.CDLL(None), "adjtimex", None) if _IS_KNOWN else None
    if adjtimex is None:
        return None
    buffer = ctypes.create_string_buffer(_TIMEX_BYTES)
    state = adjtimex(buffer)
    _, _, _, max_error, _, status = _TIMEX.unpack_from(buffer.raw)
    if state < 0 or state == _TIME_ERROR or status & _STA_UNSYNC or max_error < 0:
        return None
    return int(max_error)
