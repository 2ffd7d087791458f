"""The layout of the house holds, and the check would notice if it did not."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tools import check_layout

REPOSITORY = Path(__file__).parents[2]
CAPTION = '"""A room."""\n'


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A small checkout with nothing wrong in it."""
    git(tmp_path, "init", "--quiet")
    build(tmp_path, "README.md", "# House\n")
    build(tmp_path, ".ci/run", "#!/bin/sh\n")
    build(tmp_path, "registry/__init__.py", CAPTION)
    build(tmp_path, "registry/core/__init__.py", CAPTION)
    return tmp_path


def build(house: Path, path: str, text: str = CAPTION) -> str:
    file = house / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    git(house, "add", "--force", path)
    return path


def git(house: Path, *words: str) -> None:
    program = shutil.which("git")
    assert program is not None
    subprocess.run([program, *words], cwd=house, check=True)


def found(house: Path) -> list[str]:
    return list(check_layout.problems(house))


def lines(count: int, docstring: str = "A room.") -> str:
    text = f'"""{docstring}"""\n'
    return text + "X = 1\n" * (count - text.count("\n"))


def test_this_checkout_keeps_its_layout() -> None:
    assert found(REPOSITORY) == []


def test_a_house_in_order_has_no_problems(house: Path) -> None:
    assert found(house) == []


def test_what_git_does_not_know_is_not_checked(house: Path) -> None:
    (house / "scratch").mkdir()
    (house / "scratch" / "utils.py").touch()
    assert found(house) == []


def test_a_new_top_level_folder_is_found(house: Path) -> None:
    build(house, "docs/index.md", "# Documents\n")
    assert found(house) == ["docs: not an agreed top-level entry"]


def test_dotfiles_are_allowed(house: Path) -> None:
    build(house, ".gitattributes", "")
    assert found(house) == []


def test_a_second_file_for_ci_is_found(house: Path) -> None:
    build(house, ".ci/deploy", "#!/bin/sh\n")
    assert found(house) == [".ci/deploy: .ci holds nothing but run"]


def test_400_lines_are_allowed(house: Path) -> None:
    build(house, "registry/room.py", lines(400))
    assert found(house) == []


def test_401_lines_are_found(house: Path) -> None:
    path = build(house, "registry/room.py", lines(401))
    assert [problem.split(",")[0] for problem in found(house)] == [f"{path}:1: 401 lines"]


def test_a_long_module_may_say_why(house: Path) -> None:
    reason = "A room.\n\nIt is big. Longer than 400 lines because\nthe table is one table."
    build(house, "registry/room.py", lines(401, reason))
    assert found(house) == []


def test_an_excuse_without_a_reason_is_none(house: Path) -> None:
    build(house, "registry/room.py", lines(401, "A room.\n\nLonger than 400 lines because"))
    assert len(found(house)) == 1


def test_tests_may_be_long(house: Path) -> None:
    build(house, "tests/test_room.py", lines(401))
    assert found(house) == []


def test_generated_code_is_left_alone(house: Path) -> None:
    build(house, "registry/api/v1/types.py", "X = 1\n" * 401)
    assert found(house) == []


@pytest.mark.parametrize("name", sorted(check_layout.SAY_NOTHING))
def test_a_module_name_that_says_nothing_is_found(house: Path, name: str) -> None:
    path = build(house, f"registry/{name}.py")
    assert found(house) == [f"{path}:1: the name {name!r} says nothing about what is in it"]


def test_a_package_name_that_says_nothing_is_found(house: Path) -> None:
    path = build(house, "registry/utils/__init__.py")
    assert found(house) == [f"{path}:1: the name 'utils' says nothing about what is in it"]


@pytest.mark.parametrize("text", ["", "X = 1\n", '"""\nA room.\n"""\n', "# A room.\n"])
def test_a_module_without_a_caption_is_found(house: Path, text: str) -> None:
    path = build(house, "registry/room.py", text)
    assert found(house) == [f"{path}:1: no docstring whose first line says what this is"]


def test_a_caption_that_is_no_sentence_is_found(house: Path) -> None:
    path = build(house, "registry/room.py", '"""A room"""\n')
    expected = 'the docstring\'s first line is not a sentence: "A room"'
    assert found(house) == [f"{path}:1: {expected}"]


def test_a_caption_may_introduce_what_follows(house: Path) -> None:
    build(house, "registry/room.py", '"""A room with:\n\n- a view\n"""\n')
    assert found(house) == []


def test_a_python_script_without_suffix_needs_a_caption_too(house: Path) -> None:
    path = build(house, "tools/demo", "#!/usr/bin/env python3\nX = 1\n")
    assert found(house) == [f"{path}:1: no docstring whose first line says what this is"]


def test_a_module_that_is_not_python_is_found(house: Path) -> None:
    path = build(house, "registry/room.py", CAPTION + "def\n")
    assert [problem.rpartition(":")[0] for problem in found(house)] == [f"{path}:2: not Python"]


@pytest.mark.parametrize(
    ("access", "name"),
    [
        ("open('a')", "open"),
        ("Path('a').read_text()", "read_text"),
        ("Path('a').read_bytes()", "read_bytes"),
        ("path.write_text('')", "write_text"),
        ("path.write_bytes(b'')", "write_bytes"),
    ],
)
def test_file_access_in_core_is_found(house: Path, access: str, name: str) -> None:
    path = build(house, "registry/core/room.py", f"{CAPTION}X = {access}\n")
    assert found(house) == [f"{path}:2: core opens no files: {name}()"]


def test_file_access_outside_core_is_allowed(house: Path) -> None:
    build(house, "registry/storage/room.py", CAPTION + "X = open('a')\n")
    assert found(house) == []


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("registry/room.py", CAPTION + "X = 1  # TODO: furnish\n"),
        ("registry/room.py", CAPTION + "# FIXME #12 furnish\n"),
        ("proto/room.proto", "// A room.\nmessage Room {}  // TODO: furnish\n"),
        ("tools/test", "#!/bin/sh\n# TODO(later): furnish\n"),
    ],
)
def test_unfinished_work_without_an_issue_is_found(house: Path, path: str, text: str) -> None:
    build(house, path, text)
    (problem,) = found(house)
    assert problem.startswith(f"{path}:2: ")


def test_unfinished_work_may_name_its_issue(house: Path) -> None:
    build(house, "registry/room.py", CAPTION + "# TODO(#12): furnish\n")
    assert found(house) == []


def test_every_problem_is_printed(house: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build(house, "docs/utils.py", "")
    assert check_layout.main(["--root", str(house)]) == 1
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_a_house_in_order_passes(house: Path) -> None:
    assert check_layout.main(["--root", str(house)]) == 0


def test_a_folder_that_is_no_checkout_does_not_pass(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check_layout.main(["--root", str(tmp_path)]) == 1
    assert "git" in capsys.readouterr().out
