"""What no revision may ever do."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.storage.sql.tables import DERIVED, metadata

VERSIONS = Path(__file__).parents[2] / "migrations" / "versions"
REVISIONS = sorted(VERSIONS.glob("*.py"))

LOG_TABLES = ("log_entries", "log_attachments", "log_checkpoints", "log_timestamps", "log_end")
"""Truth, and append-only."""

_CHANGES = re.compile(r"\b(update|delete\s+from|truncate(\s+table)?)\b", re.IGNORECASE)


def changes(source: str) -> Iterator[str]:
    """Every call and every text in a revision that would change rows."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            called = node.func
            name = called.attr if isinstance(called, ast.Attribute) else ""
            if name in ("update", "delete"):
                yield ast.unparse(node)
            if name in ("execute", "text") and _CHANGES.search(ast.unparse(node)):
                yield ast.unparse(node)


def forward(source: str) -> str:
    """A revision without its way back."""
    tree = ast.parse(source)
    tree.body = [
        node
        for node in tree.body
        if not (isinstance(node, ast.FunctionDef) and node.name == "downgrade")
    ]
    return ast.unparse(tree)


def of(path: Path) -> str:
    return path.stem


@pytest.mark.parametrize("path", REVISIONS, ids=of)
def test_no_revision_changes_rows_of_the_log(path: Path) -> None:
    source = path.read_text()
    assert not [change for change in changes(source) if any(name in change for name in LOG_TABLES)]


@pytest.mark.parametrize("path", REVISIONS, ids=of)
def test_no_revision_on_the_way_up_drops_the_log(path: Path) -> None:
    dropped = re.findall(r"drop_table\(['\"](\w+)['\"]", forward(path.read_text()))
    assert not set(dropped) & set(LOG_TABLES)


@pytest.mark.parametrize("path", REVISIONS, ids=of)
def test_no_revision_imports_the_registry(path: Path) -> None:
    # What it imported would be tomorrow's code, not that of its day.
    imported = re.findall(r"^\s*(?:from|import)\s+([\w.]+)", path.read_text(), re.MULTILINE)
    assert not [name for name in imported if name.split(".")[0] == "registry"]


@pytest.mark.parametrize("number", range(len(REVISIONS)))
def test_revisions_are_numbered_without_a_gap(number: int) -> None:
    assert REVISIONS[number].name.startswith(f"{number + 1:04d}_")


def test_the_log_is_not_derived() -> None:
    assert not {table.name for table in DERIVED} & set(LOG_TABLES)
    assert set(LOG_TABLES) <= metadata.tables.keys()


@pytest.mark.parametrize(
    "change",
    [
        'op.execute("UPDATE log_entries SET body = NULL")',
        'op.execute(sa.text("delete from log_checkpoints"))',
        'op.execute(sa.table("log_entries").delete())',
    ],
)
def test_the_scan_sees_a_forbidden_change(change: str) -> None:
    assert any(name in found for found in changes(change) for name in LOG_TABLES)
