"""The secret salts of request commitments: without them a public commitment could be guessed.

Many requests come from a small set, and whoever can list the set can try its members against a
plain hash. So each commitment has a salt of its own, derived from one key that never leaves this
host and is in no record. Lending the salt of one request opens that commitment and no other;
destroying the key shuts all of them for ever, while every proof in the log still stands.
"""

import hmac
import os
import secrets
import struct
from pathlib import Path

from registry.errors import MalformedError, Reason
from registry.shim.durable import replace_file

KEY_BYTES = 32
"""Bytes of the key."""

_PREFIX = b"request-salt/v1\0"
_N = struct.Struct(">Q")


class RequestKey:
    """The key in one file, from which the salt of every request follows."""

    def __init__(self, path: Path) -> None:
        """Read the key at ``path``, or make a new one there, durably and for the owner only.

        Raises:
            MalformedError: ``MALFORMED_KEY``.
        """
        if not path.exists():
            replace_file(path, secrets.token_bytes(KEY_BYTES))
        with path.open("rb") as file:
            self._key = file.read(KEY_BYTES + 1)
            mode = os.fstat(file.fileno()).st_mode
        if len(self._key) != KEY_BYTES or mode & 0o077:
            raise MalformedError(
                Reason.MALFORMED_KEY,
                "this is not the request key of a shim",
                where=str(path),
                expected=f"{KEY_BYTES} bytes, mode 0600",
                actual=f"{len(self._key)} bytes, mode {mode & 0o777:04o}",
            )

    def salt(self, shim_id: str, n: int) -> bytes:
        """The salt of the request of intent ``n``: HMAC-SHA256 over prefix, shim id and number."""
        return hmac.digest(self._key, _PREFIX + bytes.fromhex(shim_id) + _N.pack(n), "sha256")
