"""Tests of registry.core.certificates.pem."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core import encoding
from registry.core.certificates.pem import (
    MAX_PEM_BYTES,
    MAX_PEM_CERTIFICATES,
    certificates,
)
from registry.errors import MalformedError, Reason


def pem(data: bytes, end: str = "\n") -> bytes:
    text = encoding.base64_text(data)
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    whole = ["-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""]
    return end.join(whole).encode()


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=4), st.sampled_from(["\n", "\r\n"]))
def test_certificates_come_out_in_their_order(ders: list[bytes], end: str) -> None:
    assert certificates(b"".join(pem(der, end) for der in ders)) == tuple(ders)


def test_blank_lines_between_certificates_mean_nothing() -> None:
    assert certificates(b"\n" + pem(b"a") + b"\n\n" + pem(b"b") + b"\n") == (b"a", b"b")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"junk\n" + pem(b"a"),
        pem(b"a") + b"junk",
        pem(b"a") + b"\0",
        b"\xef\xbb\xbf" + pem(b"a"),
        pem(b"a")[:-10],
        pem(b"a").replace(b"CERTIFICATE", b"PUBLIC KEY"),
        pem(b"a").replace(b"YQ==", b"YQ"),
        pem(b"a").replace(b"YQ==", b"YR=="),
        pem(b"a").replace(b"YQ==", b"Y Q=="),
        pem(b"a") * (MAX_PEM_CERTIFICATES + 1),
        pem(b"a") + b"\n" * MAX_PEM_BYTES,
    ],
    ids=[
        *("empty", "blank", "junk before", "junk after", "NUL after", "BOM", "cut", "a key"),
        *("no padding", "stray bits", "space in base64", "too many", "too long"),
    ],
)
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError) as caught:
        certificates(data)
    assert caught.value.reason is Reason.MALFORMED_CERTIFICATE
