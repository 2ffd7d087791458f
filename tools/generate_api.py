"""Generates ``registry/api`` from ``proto/``.

::

    python tools/generate_api.py          writes the code
    python tools/generate_api.py --check  writes nothing; fails if the code is not what it would be

The output is committed. Nothing is rewritten after the compiler, and nothing but its output may
live in ``registry/api``: what is no longer generated is removed.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PROTO = Path("proto")
API = Path("registry/api")

CAPTION = '"""Generated from proto/ by tools/generate_api.py."""\n'
"""All that stands in the packages around the generated modules."""

_PLUGINS = ("protoc-gen-mypy", "protoc-gen-mypy_grpc")


class GenerateError(Exception):
    """Code could not be generated; the text says why."""


def generate(repository: Path, target: Path) -> None:
    """Write the code for the definitions of ``repository`` below ``target``.

    Raises:
        GenerateError: There is nothing to generate from, or the compiler refuses it.
    """
    proto = repository / PROTO
    # In a fixed order: the compiler's messages and output follow it.
    definitions = sorted(path.relative_to(proto) for path in proto.rglob("*.proto"))
    if not definitions:
        raise GenerateError(f"no .proto files below {proto}")
    outcome = subprocess.run(
        [
            *(sys.executable, "-m", "grpc_tools.protoc"),
            *(f"--plugin={name}={_plugin(name)}" for name in _PLUGINS),
            *("-I", proto.resolve()),
            *("--python_out=.", "--grpc_python_out=.", "--mypy_out=.", "--mypy_grpc_out=."),
            *definitions,
        ],
        cwd=target,
        capture_output=True,
        text=True,
        check=False,
    )
    if outcome.returncode != 0:
        raise GenerateError(outcome.stderr.strip())
    folders = {path.parent for path in definitions}
    for folder in folders | {parent for path in folders for parent in path.parents}:
        if folder.is_relative_to(API):
            (target / folder / "__init__.py").write_text(CAPTION, encoding="utf-8")


def differences(repository: Path) -> list[str]:
    """What is wrong with the committed code, one line for each file."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        generate(repository, fresh)
        expected, actual = _files(fresh), _files(repository)
    problems = []
    for path in sorted(expected.keys() | actual.keys()):
        if path not in actual:
            problems.append(f"{path}: missing")
        elif path not in expected:
            problems.append(f"{path}: not generated from any definition")
        elif actual[path] != expected[path]:
            problems.append(f"{path}: not what would be generated")
    return problems


def update(repository: Path) -> None:
    """Replace the committed code, once all of it could be generated."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        generate(repository, fresh)
        shutil.rmtree(repository / API, ignore_errors=True)
        shutil.copytree(fresh / API, repository / API)


def _plugin(name: str) -> str:
    # Beside the interpreter first: a virtual environment need not be on the PATH.
    beside = str(Path(sys.executable).parent)
    plugin = shutil.which(name, path=beside) or shutil.which(name)
    if plugin is None:
        raise GenerateError(f"{name} is not installed; it comes with the extra 'dev'")
    return plugin


def _files(root: Path) -> dict[str, bytes]:
    """Path → content of everything below ``registry/api``, but for Python's own cache."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in (root / API).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Generate, or check; 0 if all is well."""
    parser = argparse.ArgumentParser(description="Generate registry/api from proto/.")
    parser.add_argument("--check", action="store_true", help="compare only")
    parser.add_argument("--root", type=Path, default=REPOSITORY, help="another checkout")
    options = parser.parse_args(arguments)
    try:
        if options.check:
            problems = differences(options.root)
        else:
            problems = []
            update(options.root)
    except GenerateError as error:
        problems = [str(error)]
    for problem in problems:
        print(problem)
    if options.check and problems:
        print("Run: python tools/generate_api.py")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
