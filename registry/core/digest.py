"""SHA-256, the only name for bytes, and SHA-512, its twin for the day SHA-256 grows old."""

import hashlib
from typing import Self

from registry.core.encoding import Hex32, Hex64, Value, hex_bytes
from registry.errors import MalformedError, Reason

SHA256_SIZE = 32
"""Bytes in a SHA-256 digest."""

_PREFIX = "sha256:"


def sha256(data: bytes) -> bytes:
    """The SHA-256 of ``data``: 32 bytes."""
    return hashlib.sha256(data).digest()


def text(raw: bytes) -> str:
    """Write a 32-byte digest as ``sha256:<64 lowercase hexadecimal digits>``."""
    return _PREFIX + raw.hex()


def parse(name: str) -> bytes:
    """Read ``sha256:<hex>`` back into 32 bytes.

    Raises:
        MalformedError: ``MALFORMED_DIGEST``.
    """
    if not name.startswith(_PREFIX):
        raise MalformedError(
            Reason.MALFORMED_DIGEST,
            "this is not a digest",
            expected="sha256:<64 lowercase hexadecimal digits>",
            actual=repr(name[:80]),
        )
    try:
        return hex_bytes(name.removeprefix(_PREFIX), SHA256_SIZE)
    except MalformedError as error:
        raise MalformedError(
            Reason.MALFORMED_DIGEST,
            "this is not a digest",
            expected="sha256:<64 lowercase hexadecimal digits>",
            actual=repr(name[:80]),
        ) from error


class DigestSet(Value, frozen=True):
    """The two digests of the same bytes (in-toto DigestSet): the name, and its twin for renewal."""

    sha256: Hex32
    sha512: Hex64

    @classmethod
    def of(cls, data: bytes) -> Self:
        """Both digests of ``data``."""
        return cls(sha256=hashlib.sha256(data).hexdigest(), sha512=hashlib.sha512(data).hexdigest())

    @property
    def raw(self) -> bytes:
        """The 32 bytes of the SHA-256."""
        return bytes.fromhex(self.sha256)
