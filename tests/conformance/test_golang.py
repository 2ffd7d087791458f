"""Stock ``sigstore-go`` decides our bundles, and those that are wrong, as we do.

Where Go is present, the program in the folder ``golang`` is built once and kept in the virtual
environment: 33 seconds of processor time from nothing. ``PROVREG_TEST_SIGSTORE_GO`` names one that
is built already.
"""

import hashlib
import os
from pathlib import Path

import pytest

from tests.conformance.foreign_cases import (
    CASES,
    ForeignCase,
    disagreements,
    signed_cases,
    verdicts,
)
from tests.conformance.go_programs import CHEAP, program
from tests.conformance.signed import Signed

SOURCE = Path(__file__).parent / "golang"
FILES = ("go.mod", "go.sum", "main.go")

BUILD_SECONDS = 200
"""How long building may take; what is not finished then goes on in the next run."""


@pytest.fixture(scope="session")
def client() -> Path:
    """Find the program, or build it."""
    chosen = os.environ.get("PROVREG_TEST_SIGSTORE_GO")
    if chosen:
        return Path(chosen)
    digest = hashlib.sha256(b"".join((SOURCE / name).read_bytes() for name in FILES))
    return program(
        f"sigstore-go-{digest.hexdigest()[:16]}",
        ["build", "-mod=readonly", *CHEAP, "-o", "{folder}/client", "."],
        seconds=BUILD_SECONDS,
        folder=SOURCE,
    )


@pytest.fixture(scope="session")
def said(client: Path) -> dict[str, str]:
    """What the client says of every case."""
    return dict(zip((case.name for case in CASES), verdicts((client,), CASES), strict=True))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_sigstore_go_decides_as_we_do(case: ForeignCase, said: dict[str, str]) -> None:
    assert (said[case.name] == "") is case.holds, said[case.name]


def test_sigstore_go_decides_what_stock_clients_signed_as_we_do(
    signed: Signed, client: Path
) -> None:
    assert disagreements((client,), signed_cases(signed)) == []
