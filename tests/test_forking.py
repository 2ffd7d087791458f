"""A forked ``provreg`` is a process of its own, which ends as any ``python -m registry`` does."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.forking import Process, provreg
from tests.running import REPOSITORY, running_registry

SECONDS = 30
"""How long anything may take."""


def ended(process: Process) -> tuple[int, str, str]:
    """The exit status, and what was said."""
    assert process.stdout is not None
    assert process.stderr is not None
    with process:
        said = process.stdout.read(), process.stderr.read()
        return process.wait(SECONDS), *said


@pytest.mark.parametrize(
    "words",
    [("--version",), ("key", "show", "nowhere.pub"), ("serve", "--listen", "0.0.0.0:0"), ("x",)],
    ids=lambda words: words[0],
)
def test_it_says_and_ends_as_a_process_that_imports_everything(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    known = subprocess.run(
        [sys.executable, "-m", "registry", *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    forked = ended(provreg(*words, cwd=tmp_path, stdout=True, stderr=True))
    assert forked == (known.returncode, known.stdout, known.stderr)


def test_it_has_a_folder_and_an_environment_of_its_own(tmp_path: Path) -> None:
    made = ("key", "generate", "made.pem")
    status, _, _ = ended(provreg(*made, cwd=tmp_path, stdout=True, stderr=True))
    assert status == 0
    assert (tmp_path / "made.pem").exists()
    env = {"PROVREG_TOKEN": "x", "PROVREG_SERVER": "127.0.0.1:1"}
    asked = ("log", "checkpoint")
    status, _, said = ended(provreg(*asked, cwd=tmp_path, env=env, stdout=True, stderr=True))
    assert (status, "127.0.0.1:1" in said) == (3, True)


def open_files(number: int) -> Iterator[str]:
    """The files that a process has open."""
    for link in Path(f"/proc/{number}/fd").iterdir():
        # It may be closed meanwhile.
        with suppress(FileNotFoundError):
            yield str(link.readlink())


def test_it_has_no_files_open_but_its_own(tmp_path: Path) -> None:
    with running_registry(tmp_path / "one") as one, running_registry(tmp_path / "two") as two:
        for mine, other in ((one, two), (two, one)):
            links = list(open_files(mine.process.pid))
            assert any(str(mine.data) in link for link in links)
            assert not any(str(other.data) in link for link in links)


def test_whoever_kills_it_is_told_that_it_is_dead(tmp_path: Path) -> None:
    with running_registry(tmp_path / "data") as registry:
        assert registry.process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            registry.process.wait(0.01)
        registry.kill()
        assert registry.process.poll() == -signal.SIGKILL
        # It is nobody else who hears of it then.
        registry.process.terminate()


def test_it_stops_when_it_is_told_to(tmp_path: Path) -> None:
    with running_registry(tmp_path / "data") as registry:
        registry.process.terminate()
        assert registry.process.wait(SECONDS) == 0
