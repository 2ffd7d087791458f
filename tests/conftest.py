"""What all tests share."""

from collections.abc import Iterator

import pytest

from tests import postgres


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name bytes by their argument: a key is another one in every process of a parallel run."""
    return argname if isinstance(val, bytes) else None


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.PostgresServer]:
    """Run one PostgreSQL for the whole session."""
    try:
        with postgres.postgres_server() as server:
            yield server
    except postgres.NoPostgresError as error:
        pytest.skip(str(error))


@pytest.fixture
def postgres_url(postgres_server: postgres.PostgresServer) -> Iterator[str]:
    """Make an empty database, for one test only."""
    url = postgres.fresh_database(postgres_server)
    yield url
    postgres.drop_database(postgres_server, url)
