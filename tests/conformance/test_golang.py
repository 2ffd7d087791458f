"""Stock ``sigstore-go`` and ``cosign`` decide our bundles, and those that are wrong, as we do.

Where Go is present, the program in the folder ``golang`` is built once and kept in the virtual
environment: 76 seconds of processor time from nothing. ``PROVREG_TEST_SIGSTORE_GO`` names one that
is built already. ``cosign`` is far larger: the one on the path is asked, or the one that
``PROVREG_TEST_COSIGN`` names.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance.foreign_cases import CASES, KEY_PEM, ForeignCase, verdicts

SOURCE = Path(__file__).parent / "golang"
FILES = ("go.mod", "go.sum", "main.go")

BUILD_SECONDS = 200
"""How long building may take; what is not finished then goes on in the next run."""

OFFLINE = ("no such host", "connection refused", "i/o timeout", "network is unreachable")
"""What go says if it cannot reach its proxy."""

COSIGN_SECONDS = 60
"""How long cosign may take for one bundle."""


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


# --- cosign ---


@pytest.fixture(scope="session")
def cosign() -> str:
    """Find cosign; it is far too large to be built here."""
    found = os.environ.get("PROVREG_TEST_COSIGN") or shutil.which("cosign")
    if found is None:
        pytest.skip("cosign is neither on the path nor named by PROVREG_TEST_COSIGN")
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_cosign_decides_as_we_do(case: ForeignCase, cosign: str, tmp_path: Path) -> None:
    (tmp_path / "bundle").write_bytes(case.bundle.to_bytes())
    (tmp_path / "root").write_bytes(case.root)
    (tmp_path / "artifact").write_bytes(case.artifact or b"")
    options = ["--bundle", "bundle", "--trusted-root", "root", "--use-signed-timestamps"]
    if case.by_key:
        (tmp_path / "key.pem").write_bytes(KEY_PEM)
        options = [*options[:4], "--key", "key.pem"]
    else:
        options += ["--certificate-identity", case.identity]
        options += ["--certificate-oidc-issuer", case.issuer]
    if case.artifact is None:
        options += ["--type", case.predicate_type, "--check-claims=false"]
        command = ["verify-blob-attestation", *options, "artifact"]
    else:
        command = ["verify-blob", *options, "artifact"]
    done = subprocess.run(
        [cosign, *command],
        cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=COSIGN_SECONDS,
        check=False,
    )
    assert (done.returncode == 0) is case.holds, done.stderr
