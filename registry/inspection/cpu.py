"""Which instructions this machine has, as far as numerical kernels are chosen by them.

The same model, input and settings may give other bits where a kernel for other vectors is taken.
"""

import platform
from functools import lru_cache
from pathlib import Path
from typing import Final

_CPU_INFO: Final = Path("/proc/cpuinfo")
_READ_CHARACTERS: Final = 64 * 1024

# What nearly all kernels are chosen by, in the steps of the x86-64 psABI, as Linux spells it.
_LEVELS: Final = (
    frozenset({"sse4_1"}),
    frozenset({"avx", "avx2", "f16c", "fma"}),
    frozenset({"avx512bw", "avx512dq", "avx512f", "avx512vl"}),
)
_FIRST_LEVEL: Final = 2

_FURTHER: Final = frozenset(
    {
        # x86-64.
        "avx_vnni",
        "avx_vnni_int8",
        "avx512_vnni",
        "avx512_bf16",
        "avx512_fp16",
        "amx_tile",
        "amx_int8",
        "amx_bf16",
        # 64-bit Arm.
        "asimd",
        "asimdhp",
        "asimddp",
        "i8mm",
        "bf16",
        "sve",
        "sve2",
        "sme",
    }
)
"""The other extensions by which ONNX Runtime's kernels (MLAS, oneDNN) are chosen."""


@lru_cache(maxsize=1)
def instruction_set() -> str:
    """Architecture, level and further extensions, such as ``x86_64-v3 avx_vnni``.

    The architecture alone where the operating system does not list extensions.
    """
    try:
        with _CPU_INFO.open(encoding="ascii", errors="replace") as file:
            text = file.read(_READ_CHARACTERS)
    except OSError:
        text = ""
    return describe(platform.machine(), _flags(text))


def describe(architecture: str, flags: frozenset[str]) -> str:
    """What :func:`instruction_set` says of a processor with these flags."""
    level = 0
    further = flags & _FURTHER
    for number, needed in enumerate(_LEVELS, _FIRST_LEVEL):
        if not needed <= flags:
            # Part of a level, such as AVX without FMA, decides as well.
            further |= frozenset().union(*_LEVELS[number - _FIRST_LEVEL :]) & flags
            break
        level = number
    name = f"{architecture}-v{level}" if level else architecture
    return " ".join((name, *sorted(further)))


def _flags(text: str) -> frozenset[str]:
    """What the first processor in Linux's list has."""
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()
