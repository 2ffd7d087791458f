"""Workers that all tests of evidence share: starting them takes longer than a test."""

from collections.abc import Iterator

import pytest

from registry.inspection.appraisal_pool import AppraisalPool


@pytest.fixture(scope="session")
def pool() -> Iterator[AppraisalPool]:
    """Two workers."""
    opened = AppraisalPool(2)
    yield opened
    opened.close()
