"""The secret salts of request commitments: without them a public commitment could be guessed.

Many requests come from a small set, and whoever can list the set can try its members against a
plain hash. So each commitment has a salt of its own, derived from one key that never leaves this
host and is in no record. Lending the salt of one request opens that commitment and no other;
destroying the key shuts all of them for ever, while every proof in the log still stands.
"""

import hmac
import struct
from pathlib import Path

from registry.shim.key_file import open_key

_PREFIX = b"request-salt/v1\0"
_N = struct.Struct(">Q")


class RequestKey:
    """The key in one file, from which the salt of every request follows."""

    def __init__(self, path: Path) -> None:
        """Read the key at ``path``, or make a new one there, durably and for the owner only.

        Raises:
            MalformedError: ``MALFORMED_KEY``.
        """
        key = open_key(path, "request key of a shim")
        # Its two inner states are made once, and copied for each salt.
        self._mac = hmac.new(key, _PREFIX, "sha256")

    def salt(self, shim_id: str, n: int) -> bytes:
        """The salt of the request of intent ``n``: HMAC-SHA256 over prefix, shim id and number."""
        mac = self._mac.copy()
        mac.update(bytes.fromhex(shim_id) + _N.pack(n))
        return mac.digest()
