"""Memory that is kept for the next message."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource
from registry.allocator import keep_memory

keep_memory()
for _ in range(100):
    bytearray(256 * 1024)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):
    bytearray(256 * 1024)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc gives memory back so eagerly")
def test_a_message_uses_the_memory_of_the_one_before() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, check=True, text=True
    )
    # Each message has 64 pages.
    assert int(done.stdout) < 100 * 64 / 10
