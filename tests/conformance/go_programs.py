"""Programs in Go that decide as we do: built once, where Go is present, and kept.

They lie in the virtual environment, under a name that changes with what they are built of. Workers
that need the same one wait for whoever builds it.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

OFFLINE = ("no such host", "connection refused", "i/o timeout", "network is unreachable")
"""What go says if it cannot reach its proxy."""

CHEAP = ("-trimpath", "-ldflags=-s -w", "-gcflags=all=-N -l")
"""What ``go build`` and ``go install`` are told, both the same, so that they share what is built.

The programs run for seconds: without optimizing them, C and debugging, building takes half as long.
"""

POLL_SECONDS = 0.5
"""How often whoever waits looks whether the program is there."""


def program(
    name: str,
    command: Sequence[str],
    *,
    seconds: float,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Path:
    """Find the program ``name``, or let ``go`` build it within so many seconds.

    ``{folder}`` in the command and the environment stands for the folder where ``go`` shall leave
    one file. Skips, saying why, where it cannot be built; what is not finished in time goes on in
    the next run.
    """
    target = Path(sys.prefix) / name
    with _alone(target.with_suffix(".lock"), seconds):
        if not target.exists():
            _build(target, command, seconds, folder, environment or {})
    return target


@contextmanager
def _alone(lock: Path, seconds: float) -> Iterator[None]:
    end = time.monotonic() + seconds
    with lock.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    pytest.skip(f"another run is still building {lock.stem}")
                time.sleep(POLL_SECONDS)
        yield


def _build(
    target: Path,
    command: Sequence[str],
    seconds: float,
    folder: Path | None,
    environment: Mapping[str, str],
) -> None:
    go = shutil.which("go")
    if go is None:
        pytest.skip(f"go is not installed: {target.name} cannot be built")
    # Complete before it has its name: another run may look for it at any time.
    unfinished = target.with_suffix(".unfinished")
    unfinished.mkdir(exist_ok=True)
    given = {key: value.format(folder=unfinished) for key, value in environment.items()}
    given["CGO_ENABLED"] = "0"
    try:
        done = subprocess.run(
            [go, *(word.format(folder=unfinished) for word in command)],
            cwd=folder,
            env={**os.environ, **given},
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"{target.name} was not built within {seconds:.0f} seconds; run this again")
    if done.returncode != 0 and any(word in done.stderr for word in OFFLINE):
        pytest.skip("go reaches no proxy and has not all modules in its cache")
    assert done.returncode == 0, done.stderr
    [built] = unfinished.iterdir()
    built.replace(target)
    unfinished.rmdir()
