"""Who judges a capsule, or evidence, loads no server, no client, no database and no network code.

The import contracts say so of what is written; this says so of what is loaded.
"""

import subprocess
import sys

import pytest

FOREIGN = (
    "alembic",
    "google.protobuf",
    "grpc",
    "numpy",
    "onnx",
    "onnxruntime",
    "registry.api",
    "registry.client",
    "registry.server",
    "registry.services",
    "registry.shim",
    "registry.storage",
    "sqlalchemy",
)


def loaded(*modules: str) -> set[str]:
    """What a new interpreter holds after importing ``modules``."""
    script = f"import sys, {', '.join(modules)}; print(*sys.modules)"
    outcome = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(outcome.stdout.split())


@pytest.mark.parametrize(
    "modules",
    [
        ("registry.cli.main", "registry.cli.verify"),
        ("registry.core.capsule.walk", "registry.core.capsule.container"),
        ("registry.cli.main", "registry.cli.evidence", "registry.cli.evidence_verify"),
        ("registry.cli.main", "registry.cli.policy", "registry.cli.policy_file"),
    ],
    ids=["command", "core", "evidence", "policy"],
)
def test_judging_loads_nothing_foreign(modules: tuple[str, ...]) -> None:
    assert not loaded(*modules) & set(FOREIGN)


def test_a_foreign_module_would_be_seen() -> None:
    assert {"registry.storage", "sqlalchemy"} <= loaded("registry.storage.sql.engine")
