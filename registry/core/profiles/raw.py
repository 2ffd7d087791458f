"""``output/bytes/v1``: the bytes themselves, for whatever has no profile of its own."""

import hashlib
from typing import Final

NAME: Final = "output/bytes/v1"
"""The name of this profile."""

_PREFIX = NAME.encode() + b"\0"


def content_digest(data: bytes) -> bytes:
    """``H(output/bytes/v1 ‖ 0x00 ‖ data)``."""
    digest = hashlib.sha256(_PREFIX)
    # A second update, since joining would copy what may be a large file.
    digest.update(data)
    return digest.digest()
