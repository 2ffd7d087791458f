"""What all tests share."""

from collections.abc import Iterator

import pytest

from tests import postgres


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
