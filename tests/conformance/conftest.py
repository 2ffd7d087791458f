"""What stock clients signed, once for all of them."""

import pytest

from tests.conformance.signed import Signed, sign_all


@pytest.fixture(scope="session")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Signed:
    """A message, an attestation and a model folder, and no registry."""
    return sign_all(tmp_path_factory.mktemp("signed"))
