"""Stock ``sigstore-go`` decides our bundles, and those that are wrong, as we do.

Where Go is present, the program in the folder ``golang`` is built once and kept in the virtual
environment: 76 seconds of processor time from nothing. ``PROVREG_TEST_SIGSTORE_GO`` names one that
is built already.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance.foreign_cases import (
    CASES,
    ForeignCase,
    disagreements,
    signed_cases,
    verdicts,
)
from tests.conformance.signed import Signed

SOURCE = Path(__file__).parent / "golang"
FILES = ("go.mod", "go.sum", "main.go")

BUILD_SECONDS = 200
"""How long building may take; what is not finished then goes on in the next run."""

OFFLINE = ("no such host", "connection refused", "i/o timeout", "network is unreachable")
"""What go says if it cannot reach its proxy."""


def _built() -> Path:
    """Where the program of exactly these sources lies: inside the virtual environment."""
    digest = hashlib.sha256(b"".join((SOURCE / name).read_bytes() for name in FILES))
    return Path(sys.prefix) / f"sigstore-go-{digest.hexdigest()[:16]}"


def _build(target: Path) -> None:
    go = shutil.which("go")
    if go is None:
        pytest.skip("go is not installed, and PROVREG_TEST_SIGSTORE_GO names no program")
    # Complete before it has its name: another run may look for it at any time.
    unfinished = target.with_suffix(".unfinished")
    command = [go, "build", "-mod=readonly", "-trimpath", "-o", str(unfinished), "."]
    try:
        done = subprocess.run(
            command, cwd=SOURCE, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"sigstore-go was not built within {BUILD_SECONDS} seconds; run this again")
    if done.returncode != 0 and any(word in done.stderr for word in OFFLINE):
        pytest.skip("go reaches no proxy and has not all modules in its cache")
    assert done.returncode == 0, done.stderr
    unfinished.replace(target)


@pytest.fixture(scope="session")
def client() -> Path:
    """Find the program, or build it, in one process only."""
    chosen = os.environ.get("PROVREG_TEST_SIGSTORE_GO")
    if chosen:
        return Path(chosen)
    built = _built()
    with built.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pytest.skip("another run is building sigstore-go at this moment")
        if not built.exists():
            _build(built)
    return built


@pytest.fixture(scope="session")
def said(client: Path) -> dict[str, str]:
    """What the client says of every case."""
    return dict(zip((case.name for case in CASES), verdicts((client,), CASES), strict=True))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_sigstore_go_decides_as_we_do(case: ForeignCase, said: dict[str, str]) -> None:
    assert (said[case.name] == "") is case.holds, said[case.name]


def test_sigstore_go_decides_what_stock_clients_signed_as_we_do(
    signed: Signed, client: Path
) -> None:
    assert disagreements((client,), signed_cases(signed)) == []
