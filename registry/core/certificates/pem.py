"""PEM (RFC 7468): certificates as text, one after the other, and nothing else.

Lines may end as people's editors end them, and blank lines may stand between certificates. Text
before, between or after them is refused: nobody signed it, and readers disagree on what it means.
"""

import re
from functools import lru_cache
from typing import Final

from registry.core import encoding
from registry.core.certificates.chain import malformed
from registry.errors import MalformedError

MAX_PEM_CERTIFICATES: Final = 16
"""Certificates in one text; AMD publishes two, Intel three."""

MAX_PEM_BYTES: Final = 256 * 1024
"""Bytes of one text; three certificates take about 6 KiB."""

_BLOCK = re.compile(
    rb"\s*-----BEGIN CERTIFICATE-----\r?\n([A-Za-z0-9+/=\r\n]*)-----END CERTIFICATE-----\s*"
)


@lru_cache(maxsize=64)
def certificates(data: bytes) -> tuple[bytes, ...]:
    """The DER of every certificate in a PEM text, in its order.

    Raises:
        MalformedError: ``MALFORMED_CERTIFICATE``.
    """
    if len(data) > MAX_PEM_BYTES:
        raise malformed("the PEM text is too long", f"{len(data)} bytes")
    found: list[bytes] = []
    at = 0
    while at < len(data):
        block = _BLOCK.match(data, at)
        if block is None:
            raise malformed("this is not only certificates in PEM", f"at byte {at}")
        text = block[1].replace(b"\r", b"").replace(b"\n", b"").decode("ascii")
        try:
            found.append(encoding.base64_bytes(text))
        except MalformedError as error:
            raise malformed("its PEM is not base64", f"at byte {at}") from error
        if len(found) > MAX_PEM_CERTIFICATES:
            raise malformed("these are too many certificates", f"over {MAX_PEM_CERTIFICATES}")
        at = block.end()
    if not found:
        raise malformed("there is no certificate in this PEM text")
    return tuple(found)
