"""Checks the layout of the house: what no compiler, type checker or linter looks at.

::

    python tools/check_layout.py

The rules, each over the files that git knows:

- At the top level stand the agreed entries and dotfiles; below ``.ci`` only ``run``.
- A module of ``registry`` has at most 400 lines, or says in its docstring why not, in a sentence
  that begins with "Longer than 400 lines because".
- No module or package has a name that says nothing, such as ``utils``.
- Every module opens with a docstring whose first line is a sentence.
- ``registry.core`` opens no files.
- A comment about something to be done names its issue, as in ``TODO(#12)``.

Generated code, in ``registry/api``, is left alone. Prints every problem; exits 1 if there is one.
"""

import argparse
import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

REPOSITORY = Path(__file__).resolve().parents[1]

TOP_LEVEL = frozenset(
    ["pyproject.toml", "README.md", "LICENSE", "registry", "proto", "migrations", "tests", "tools"]
)
CEILING_LINES = 400
EXCUSE = "Longer than 400 lines because"
SAY_NOTHING = frozenset(
    (
        "utils",
        "helpers",
        "common",
        "misc",
        "base",
        "manager",
        "handler",
        "types",
        "logging",
        "models",
    )
)
FILE_METHODS = frozenset(["read_text", "read_bytes", "write_text", "write_bytes"])

_PACKAGE = PurePosixPath("registry")
_CORE = PurePosixPath("registry/core")
_GENERATED = PurePosixPath("registry/api")
_CI = PurePosixPath(".ci")
_CI_ENTRY = PurePosixPath(".ci/run")

_UNFINISHED = re.compile(r"\b(TODO|FIXME)\b(?!\(#\d+\))")
_COMMENT_MARKS = {".proto": "//", ".toml": "#", ".yaml": "#", ".mako": "#", "": "#"}
"""Suffix → what begins a comment, for files that are not Python."""


def problems(root: Path) -> Iterator[str]:
    """What is wrong with the checkout at ``root``, one line for each problem."""
    files = _tracked(root)
    yield from _top_level_problems(files)
    for file in files:
        # Deleted, but not yet for git; or a link, which has no lines of its own.
        path = root / file
        if not path.is_file() or path.is_symlink() or file.is_relative_to(_GENERATED):
            continue
        if file.suffix == ".py" or _is_python_script(path):
            yield from _name_problems(file)
            for line, problem in _module_problems(file, path.read_text(encoding="utf-8")):
                yield f"{file}:{line}: {problem}"
        elif file.suffix in _COMMENT_MARKS:
            text = path.read_text(encoding="utf-8", errors="replace")
            for line, problem in _unfinished_lines(text, _COMMENT_MARKS[file.suffix]):
                yield f"{file}:{line}: {problem}"


def _tracked(root: Path) -> list[PurePosixPath]:
    command = ["git", "ls-files", "-z", "--cached"]
    listing = subprocess.run(command, cwd=root, check=True, capture_output=True).stdout
    names = listing.decode(errors="surrogateescape").split("\0")
    return sorted(PurePosixPath(name) for name in names if name)


def _is_python_script(path: Path) -> bool:
    if path.suffix:
        return False
    with path.open("rb") as file:
        first = file.readline(100)
    return first.startswith(b"#!") and b"python" in first


def _top_level_problems(files: Sequence[PurePosixPath]) -> Iterator[str]:
    for entry in sorted({file.parts[0] for file in files}):
        if entry not in TOP_LEVEL and not entry.startswith("."):
            yield f"{entry}: not an agreed top-level entry"
    for file in files:
        if file.is_relative_to(_CI) and file != _CI_ENTRY:
            yield f"{file}: .ci holds nothing but run"


def _name_problems(file: PurePosixPath) -> Iterator[str]:
    for name in (*file.parts[:-1], file.stem):
        if name in SAY_NOTHING:
            yield f"{file}:1: the name {name!r} says nothing about what is in it"


def _module_problems(file: PurePosixPath, text: str) -> Iterator[tuple[int, str]]:
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        yield error.lineno or 1, f"not Python: {error.msg}"
        return
    docstring = ast.get_docstring(tree) or ""
    yield from _caption_problems(tree)
    lines = len(text.splitlines())
    if file.is_relative_to(_PACKAGE) and lines > CEILING_LINES and not _is_excused(docstring):
        hint = f'split it, or say in its docstring "{EXCUSE} …"'
        yield 1, f"{lines} lines, more than {CEILING_LINES}: {hint}"
    if file.is_relative_to(_CORE):
        yield from _file_access_problems(tree)
    # Taking a file apart takes long; whether there is anything to find does not.
    if not _UNFINISHED.search(text):
        return
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            for _, problem in _unfinished_lines(token.string, "#"):
                yield token.start[0], problem


def _caption_problems(tree: ast.Module) -> Iterator[tuple[int, str]]:
    caption = (ast.get_docstring(tree, clean=False) or "").partition("\n")[0].strip()
    if not caption:
        yield 1, "no docstring whose first line says what this is"
    elif not caption.endswith((".", ":")):
        yield 1, f'the docstring\'s first line is not a sentence: "{caption}"'


def _is_excused(docstring: str) -> bool:
    """Whether a sentence of the docstring begins with the excuse and goes on."""
    words = " ".join(docstring.split())
    return re.search(rf"(^|[.:] ){EXCUSE} \w", words) is not None


def _file_access_problems(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        match node.func:
            case ast.Name(id="open"):
                yield node.lineno, "core opens no files: open()"
            case ast.Attribute(attr=name) if name in FILE_METHODS:
                yield node.lineno, f"core opens no files: {name}()"
            case _:
                pass


def _unfinished_lines(text: str, mark: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), start=1):
        _, found, comment = line.partition(mark)
        if found and (unfinished := _UNFINISHED.search(comment)):
            word = unfinished[1]
            yield number, f"{word} without an issue: write {word}(#number)"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print every problem; 1 if there is any."""
    parser = argparse.ArgumentParser(description="Check the layout of the checkout.")
    parser.add_argument("--root", type=Path, default=REPOSITORY, help="another checkout")
    options = parser.parse_args(arguments)
    try:
        found = list(problems(options.root))
    except subprocess.CalledProcessError as error:
        found = [f"git does not say what belongs to this checkout: {error.stderr.decode()}"]
    for problem in found:
        print(problem)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
