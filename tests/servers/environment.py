"""The virtual environment of the model servers: made once, kept beside that of the tests.

KServe and Triton's client want protobuf 6, this project wants 7. The environment lies in the folder
of the one that runs the tests, under a name that changes with ``tools/lock-servers.txt``; whoever
needs it first makes it, and the others wait.
"""

import fcntl
import hashlib
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

LOCK = Path(__file__).parents[2] / "tools" / "lock-servers.txt"
"""What is installed, each file by its hash."""

INSTALL_SECONDS = 300
"""How long pip may take; with everything to download it takes ten."""

OFFLINE = ("NewConnectionError", "ConnectTimeoutError", "ReadTimeoutError", "NameResolutionError")
"""What pip says if it cannot reach an index."""


def python() -> str:
    """The interpreter of the environment; skips, saying why, where no package index is reached."""
    name = "model-servers-" + hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]
    folder = Path(sys.prefix) / name
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            _install(folder)
    return str(folder / "bin" / "python")


def _install(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, symlinks=True)
    interpreter = str(folder / "bin" / "python")
    # The lock is complete, so nothing need be resolved; and few of the modules are ever imported.
    command = [sys.executable, "-m", "pip", "--python", interpreter, "install", "--quiet"]
    command += ["--disable-pip-version-check", "--no-deps", "--no-compile", "--retries", "2"]
    command += ["--only-binary", ":all:", "--require-hashes", "--requirement", str(LOCK)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
    )
    if done.returncode and any(word in done.stderr for word in OFFLINE):
        pytest.skip("no package index is reached: the model servers cannot be installed")
    assert done.returncode == 0, done.stderr
    (folder / "complete").touch()
