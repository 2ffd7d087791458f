"""Every public vector of evidence gets its expected verdict, with no network; the table says so."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from registry.core.evidence.claims import Family
from registry.core.evidence.families import FAMILIES
from tools.vector_report import Line, Outcome, write

REPOSITORY = Path(__file__).parents[2]
VECTORS = os.environ.get("PROVREG_TEST_VECTORS", "")

needs_vectors = pytest.mark.skipif(
    not VECTORS, reason="PROVREG_TEST_VECTORS does not say where the public vectors are"
)


def run(vectors: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, REPOSITORY / "tools" / "evidence-report"],
        env={**os.environ, "PROVREG_TEST_VECTORS": vectors},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )


@needs_vectors
def test_every_vector_is_judged_as_its_index_expects() -> None:
    done = run(VECTORS)
    lines = done.stdout.splitlines()
    differing = [line for line in lines if line.startswith("DIFFERS")]
    unknown = {family for family in Family if family not in FAMILIES}
    # What nobody here can read yet is told as a difference, and is the only one.
    assert [line for line in differing if line.split()[1] not in unknown] == []
    assert done.returncode == (1 if unknown else 0), done.stderr
    assert sum(line.startswith(("ok", "DIFFERS")) for line in lines) >= 109
    for family in FAMILIES:
        assert any(line.split()[1] == family for line in lines if line.startswith("ok"))


def test_without_vectors_nothing_is_claimed(tmp_path: Path) -> None:
    for folder in ("", str(tmp_path)):
        done = run(folder)
        assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.parametrize(
    "actual",
    [
        Outcome("invalid", "affirming", frozenset(), "ab"),
        Outcome("valid", "warning", frozenset(), "ab"),
        Outcome("valid", "affirming", frozenset({"DEBUG"}), "ab"),
        Outcome("valid", "affirming", frozenset(), "cd"),
    ],
    ids=["verdict", "tier", "finding", "evidence id"],
)
def test_each_difference_counts(actual: Outcome, capsys: pytest.CaptureFixture[str]) -> None:
    expected = Outcome("valid", "affirming", frozenset(), "ab")
    assert write([Line("f", "same", "", expected, expected)]) == 0
    assert write([Line("f", "other", "", expected, actual)]) == 1
    assert "DIFFERS" in capsys.readouterr().out
