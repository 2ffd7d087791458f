"""One registry in this process, answering over real gRPC, for all tests of a file."""

from collections.abc import Iterator

import pytest

from tests.server.served import Served, served


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A registry on SQLite, with a publisher, two nodes and an auditor."""
    with served(tmp_path_factory.mktemp("registry") / "data") as registry:
        yield registry
