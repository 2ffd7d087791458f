"""What all tests share."""

import gc
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests import postgres

# How long an example takes, or its making, says how busy the machine is. The same examples in each
# run: --hypothesis-profile=default draws others, and tools.fuzz goes on as long as one likes.
settings.register_profile(
    "steady", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
settings.load_profile("steady")


def pytest_collection_finish() -> None:
    """Let no search for garbage go through thousands of tests again, which all stay."""
    gc.collect()
    gc.freeze()


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
