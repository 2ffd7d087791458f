"""Targets: a decoder, what it accepts, and what must hold for whatever it is given."""

import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from hypothesis import strategies as st

from registry.errors import RegistryError
from tools.fuzz.edits import NUMBERS, RANGE, SPECIAL, Edit, Shape, confusables, numbers, raw

T = TypeVar("T")

MAX_CPU_SECONDS: Final = 1.0
"""Processor time that one input may take, whatever it is."""

MAX_MEMORY_BYTES: Final = 100 * 1024 * 1024
"""Address space that one input may take beside what the process has already. Linux only."""

MAX_EDITS: Final = 5
"""Edits of one input: the first ones break what is checked first, and few reach further."""

Again = Callable[[bytes], bytes | None]
"""Reads bytes, and writes again what was read. None: it was read, and there is no one spelling."""


class FuzzFailure(AssertionError):  # noqa: N818 - a finding, not an error of ours
    """Something that must not happen, with the input that makes it happen."""

    def __init__(self, target: str, what: str, data: bytes) -> None:
        super().__init__(target, what, data)
        self.target = target
        self.what = what
        self.data = data

    def __str__(self) -> str:
        shown = self.data if len(self.data) <= 200 else self.data[:200] + b"..."  # noqa: PLR2004
        return f"{self.target}: {self.what}\n  {len(self.data)} bytes: {shown!r}"


@dataclass(frozen=True, slots=True)
class Target:
    """One decoder.

    Attributes:
        name: How it is chosen; lowercase words and dashes.
        examples: Inputs that are accepted.
        again: Reads and writes.
        shapes: The structure of its inputs, beside bytes, numbers and characters.
        words: Bytes that mean something to this decoder.
    """

    name: str
    examples: tuple[bytes, ...]
    again: Again
    shapes: tuple[Shape, ...] = ()
    words: tuple[bytes, ...] = ()

    def examine(self, data: bytes) -> bool:
        """Give it one input; whether it was accepted.

        Raises:
            FuzzFailure: Another error than ours left it, it wrote something else than it had read,
                or it took too long or too much memory.
        """
        began = time.thread_time()
        try:
            with at_most_memory(MAX_MEMORY_BYTES):
                again = self.again(data)
        except RegistryError:
            accepted = False
        except Exception as error:
            what = f"{type(error).__name__} left the decoder: {error}"[:300]
            raise FuzzFailure(self.name, what, data) from error
        else:
            accepted = True
            if again is not None and again != data:
                what = f"accepted, and written back as {again[:200]!r}"
                raise FuzzFailure(self.name, what, data)
        took = time.thread_time() - began
        if took > MAX_CPU_SECONDS:
            raise FuzzFailure(self.name, f"took {took:.1f} seconds", data)
        return accepted

    def inputs(self) -> st.SearchStrategy[bytes]:
        """Examples with edits, pieces of examples put together, and now and then any bytes."""
        contents = st.one_of(
            st.sampled_from((*SPECIAL, *self.words)),
            st.sampled_from(NUMBERS),
            st.binary(max_size=8),
        )
        place = st.integers(0, RANGE - 1)
        edits = st.builds(Edit, st.integers(0, 255), place, place, contents)
        # The structure counts twice: edits along it get furthest.
        shapes = (*self.shapes, *self.shapes, raw, numbers, confusables)
        steps = st.lists(st.tuples(st.sampled_from(shapes), edits), max_size=MAX_EDITS)
        which = st.sampled_from(self.examples)
        edited = st.builds(_apply, which, which, steps)
        return st.one_of(edited, edited, edited, st.binary(max_size=300))


def _apply(data: bytes, donor: bytes, steps: list[tuple[Shape, Edit]]) -> bytes:
    for shape, edit in steps:
        data = shape(data, edit, donor)
    return data


@contextmanager
def at_most_memory(more: int) -> Iterator[None]:
    """Let this process take so many bytes more of address space, and no more. Linux only."""
    status = Path("/proc/self/statm")
    if not status.exists():
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = int(status.read_text().split()[0]) * resource.getpagesize() + more
    if soft != resource.RLIM_INFINITY:
        limit = min(limit, soft)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def stable(read: Callable[[bytes], T], write: Callable[[T], bytes]) -> Again:
    """For formats that others spell as they like: what we write must mean what we read."""

    def again(data: bytes) -> None:
        first = read(data)
        written = write(first)
        if read(written) != first or write(read(written)) != written:
            message = f"what is written means something else: {written[:200]!r}"
            raise AssertionError(message)

    return again
