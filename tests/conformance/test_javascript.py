"""Stock ``@sigstore/verify`` decides our bundles, and those that are wrong, as we do."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conformance.foreign_cases import (
    CASES,
    ForeignCase,
    disagreements,
    signed_cases,
    verdicts,
)
from tests.conformance.signed import Signed

SOURCE = Path(__file__).parent / "javascript"
FILES = ("package.json", "package-lock.json", "verify.mjs")
NODE_MAJOR = 20
"""The oldest Node that runs the client; it is made for 22, and says so."""

INSTALL_SECONDS = 300
"""How long npm may take; with a cache it takes five."""

OFFLINE = ("ENOTFOUND", "ECONNREFUSED", "EAI_AGAIN", "ETIMEDOUT", "ECONNRESET", "ENETUNREACH")
"""What npm says if it cannot reach its registry."""


def _node() -> str:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("node and npm are not installed: @sigstore/verify is not asked")
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    if int(said.lstrip("v").partition(".")[0]) < NODE_MAJOR:
        pytest.skip(f"@sigstore/verify 4 needs Node {NODE_MAJOR} or newer, this is {said.strip()}")
    return node


@pytest.fixture(scope="session")
def client(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Install what the lock file pins, into a folder of this run; npm keeps its own cache."""
    node = _node()
    folder = tmp_path_factory.mktemp("javascript")
    for name in FILES:
        shutil.copy(SOURCE / name, folder)
    # What a package wants to run when it is installed does not run.
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
    )
    if done.returncode != 0 and any(word in done.stderr for word in OFFLINE):
        pytest.skip("npm reaches no registry and has nothing in its cache")
    assert done.returncode == 0, done.stderr
    return node, folder / "verify.mjs"


@pytest.fixture(scope="session")
def said(client: tuple[str, Path]) -> dict[str, str]:
    """What the client says of every case."""
    return dict(zip((case.name for case in CASES), verdicts(client, CASES), strict=True))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_javascript_client_decides_as_we_do(case: ForeignCase, said: dict[str, str]) -> None:
    assert (said[case.name] == "") is case.holds, said[case.name]


def test_the_javascript_client_decides_what_stock_clients_signed_as_we_do(
    signed: Signed, client: tuple[str, Path]
) -> None:
    assert disagreements(client, signed_cases(signed)) == []
