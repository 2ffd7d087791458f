"""Revealing a salt: one call's, and never a new key in the place of one that is gone."""

from pathlib import Path

import pytest

from registry.errors import NotFoundError, Reason
from registry.shim.recorder.request_key import RequestKey
from registry.shim.revealing import REQUEST_KEY, reveal

SHIM = bytes(range(16))


def test_the_salt_of_a_call_is_that_by_which_it_was_committed(tmp_path: Path) -> None:
    key = RequestKey(tmp_path / REQUEST_KEY)
    assert reveal(tmp_path, SHIM, 7) == key.salt(SHIM.hex(), 7)
    assert (
        len({reveal(tmp_path, SHIM, 7), reveal(tmp_path, SHIM, 8), reveal(tmp_path, bytes(16), 7)})
        == 3
    )


def test_a_key_that_is_gone_is_not_made_again(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError) as caught:
        reveal(tmp_path, SHIM, 7)
    assert caught.value.reason is Reason.MALFORMED_KEY
    assert not list(tmp_path.iterdir())
