"""What a program asks of its disk, in order: what it syncs, as it is then, and what it renames."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Step:
    """One demand: ``sync`` of a file or folder, with what it holds then; or ``rename``."""

    act: str
    path: Path
    holds: frozenset[str] | bytes = b""


def _held(path: Path) -> frozenset[str] | bytes:
    if path.is_dir():
        return frozenset(each.name for each in path.iterdir())
    return path.read_bytes()


@contextmanager
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Step]]:
    """Note down all that is asked while the block runs; it is done, too."""
    steps: list[Step] = []
    rename = Path.replace

    def noting(sync: Callable[[int], None]) -> Callable[[int], None]:
        def note(descriptor: int) -> None:
            sync(descriptor)
            path = Path(f"/proc/self/fd/{descriptor}").readlink()
            steps.append(Step("sync", path, _held(path)))

        return note

    def renaming(self: Path, target: Path) -> Path:
        found = rename(self, target)
        steps.append(Step("rename", target))
        return found

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", noting(os.fsync))
        patched.setattr(os, "fdatasync", noting(os.fdatasync))
        patched.setattr(Path, "replace", renaming)
        yield steps
