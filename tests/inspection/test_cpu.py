"""A processor is described by what kernels are chosen by."""

import platform

import pytest

from registry.inspection.cpu import describe, instruction_set


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("", "x86_64"),
        ("sse2 sse4_1 lahf_lm", "x86_64-v2"),
        ("sse4_1 avx avx2 f16c fma sse2", "x86_64-v3"),
        ("sse4_1 avx avx2 f16c fma avx_vnni", "x86_64-v3 avx_vnni"),
        ("sse4_1 avx avx2", "x86_64-v2 avx avx2"),
        (
            "sse4_1 avx avx2 f16c fma avx512f avx512bw avx512dq avx512vl amx_int8",
            "x86_64-v4 amx_int8",
        ),
        ("sse4_1 avx avx2 f16c fma avx512f", "x86_64-v3 avx512f"),
    ],
)
def test_a_level_is_said_by_its_number_and_the_rest_by_name(flags: str, said: str) -> None:
    assert describe("x86_64", frozenset(flags.split())) == said


def test_other_architectures_have_no_levels() -> None:
    assert describe("aarch64", frozenset({"fp", "asimd", "sve"})) == "aarch64 asimd sve"


def test_this_machine_is_described() -> None:
    assert instruction_set().partition("-")[0].partition(" ")[0] == platform.machine()
