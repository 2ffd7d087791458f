"""Our own verifier on the bundles that clients in other languages judge."""

from contextlib import suppress

import pytest

from registry.errors import RegistryError
from tests.conformance.foreign_cases import CASES, ForeignCase, opened


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_our_verifier_is_right(case: ForeignCase) -> None:
    held = False
    with suppress(RegistryError):
        opened(case)
        held = True
    assert held is case.holds


def test_there_is_a_sound_bundle_of_each_kind() -> None:
    sound = {(case.artifact is None, case.by_key) for case in CASES if case.holds}
    assert sound == {(False, False), (True, False), (False, True)}
