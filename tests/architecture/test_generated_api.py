"""The committed API code is exactly what the definitions generate."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools import generate_api

REPOSITORY = Path(__file__).parents[2]
PACKAGE = Path("registry/api/v1")

DEFINITION = """\
// A word.
syntax = "proto3";

package registry.api.v1;

// Says words.
service WordService {
  // Says one.
  rpc Say(SayRequest) returns (SayResponse);
}

// Asks for a word.
message SayRequest {
  // Which.
  string word = 1;
}

// The word.
message SayResponse {
  // As it was said.
  string word = 1;
}
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout of one definition and its code."""
    definitions = tmp_path / "proto" / PACKAGE
    definitions.mkdir(parents=True)
    (definitions / "word.proto").write_text(DEFINITION)
    assert generate_api.main(["--root", str(tmp_path)]) == 0
    return tmp_path


def problems(checkout: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    assert generate_api.main(["--check", "--root", str(checkout)]) == 1
    return capsys.readouterr().out.splitlines()[:-1]


def test_the_code_of_this_checkout_is_what_its_definitions_generate() -> None:
    assert generate_api.differences(REPOSITORY) == []


def test_nothing_but_the_compilers_output_and_captions_is_written(checkout: Path) -> None:
    written = {path.name for path in (checkout / PACKAGE).iterdir()}
    suffixes = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")
    assert written == {"__init__.py", *(f"word{suffix}" for suffix in suffixes)}


def test_the_code_can_be_imported_as_it_is(checkout: Path) -> None:
    script = "from registry.api.v1 import word_pb2_grpc; print(word_pb2_grpc.WordServiceStub)"
    (checkout / "registry" / "__init__.py").touch()
    outcome = subprocess.run(
        [sys.executable, "-c", script], cwd=checkout, capture_output=True, text=True, check=False
    )
    assert (outcome.returncode, outcome.stderr) == (0, "")


def test_comments_become_docstrings(checkout: Path) -> None:
    assert '"""Asks for a word."""' in (checkout / PACKAGE / "word_pb2.pyi").read_text()


def test_generating_again_changes_nothing(checkout: Path) -> None:
    assert generate_api.main(["--check", "--root", str(checkout)]) == 0


def test_an_edited_file_is_named(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (checkout / PACKAGE / "word_pb2.pyi").open("a") as file:
        file.write("# mine\n")
    expected = f"{PACKAGE}/word_pb2.pyi: not what would be generated"
    assert problems(checkout, capsys) == [expected]


def test_a_missing_file_is_named(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (checkout / PACKAGE / "word_pb2_grpc.py").unlink()
    assert problems(checkout, capsys) == [f"{PACKAGE}/word_pb2_grpc.py: missing"]


def test_a_file_that_nothing_generates_is_named(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (checkout / PACKAGE / "mine.py").touch()
    expected = f"{PACKAGE}/mine.py: not generated from any definition"
    assert problems(checkout, capsys) == [expected]


def test_checking_writes_nothing(checkout: Path) -> None:
    shutil.rmtree(checkout / "registry")
    generate_api.main(["--check", "--root", str(checkout)])
    assert not (checkout / "registry").exists()


def test_generating_removes_what_is_no_longer_generated(checkout: Path) -> None:
    (checkout / PACKAGE / "old_pb2.py").touch()
    generate_api.main(["--root", str(checkout)])
    assert not (checkout / PACKAGE / "old_pb2.py").exists()


def test_a_broken_definition_leaves_the_code_alone(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (checkout / "proto" / PACKAGE / "word.proto").write_text('syntax = "proto3"; message {')
    assert generate_api.main(["--root", str(checkout)]) == 1
    assert "word.proto" in capsys.readouterr().out
    assert (checkout / PACKAGE / "word_pb2.py").exists()
