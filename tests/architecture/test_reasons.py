"""Every reason that an error may give is given somewhere, and no other way of erring exists."""

import ast
from collections import Counter
from pathlib import Path

import pytest

from registry import errors
from registry.errors import Reason, RegistryError

PACKAGE = Path(errors.__file__).parent


@pytest.fixture(scope="module")
def given() -> Counter[str]:
    """How often the package names each reason."""
    named: Counter[str] = Counter()
    for path in PACKAGE.rglob("*.py"):
        if path.is_relative_to(PACKAGE / "api") or path.name == "errors.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                named[f"{node.value.id}.{node.attr}"] += 1
    return named


@pytest.mark.parametrize("reason", Reason)
def test_a_reason_is_given_somewhere(given: Counter[str], reason: Reason) -> None:
    assert given[f"Reason.{reason.name}"] > 0


@pytest.mark.parametrize("reason", Reason)
def test_a_reason_is_spelled_as_it_is_named(reason: Reason) -> None:
    assert reason.value == reason.name


def test_every_error_is_drawn_in_the_tree() -> None:
    drawn = errors.__doc__ or ""
    kinds: list[type[RegistryError]] = [RegistryError, *RegistryError.__subclasses__()]
    assert not [kind.__name__ for kind in kinds if kind.__name__ not in drawn]
