"""Digests: the only name for bytes."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core import digest
from registry.core.digest import DigestSet
from registry.errors import MalformedError, Reason

HEX = "ab" * 32


@given(st.binary(max_size=64))
def test_a_digest_is_read_back(data: bytes) -> None:
    raw = digest.sha256(data)
    assert digest.parse(digest.text(raw)) == raw == hashlib.sha256(data).digest()


@pytest.mark.parametrize(
    "name",
    [
        "",
        HEX,
        f"sha512:{HEX}",
        f"SHA256:{HEX}",
        f"sha256:{HEX.upper()}",
        f"sha256:{HEX}0",
        f"sha256:{HEX[:-2]}",
        f"sha256: {HEX[:-2]}",
        f"sha256:{HEX}\n",
        f" sha256:{HEX}",
    ],
)
def test_what_is_not_exactly_a_digest_is_refused(name: str) -> None:
    with pytest.raises(MalformedError) as caught:
        digest.parse(name)
    assert caught.value.reason is Reason.MALFORMED_DIGEST


def test_a_digest_set_holds_both_digests_of_the_same_bytes() -> None:
    both = DigestSet.of(b"bytes")
    assert both.sha256 == hashlib.sha256(b"bytes").hexdigest()
    assert both.sha512 == hashlib.sha512(b"bytes").hexdigest()
    assert both.raw == hashlib.sha256(b"bytes").digest()
