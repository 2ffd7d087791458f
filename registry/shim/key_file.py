"""A secret key in a file of its own, for the owner alone."""

import os
import secrets
from pathlib import Path

from registry.errors import MalformedError, Reason
from registry.shim.durable import replace_file

KEY_BYTES = 32
"""Bytes of a key."""


def open_key(path: Path, what: str) -> bytes:
    """Read the key at ``path``, or make a new one there, durably.

    Args:
        path: Its file.
        what: Whose key it is, for the error.

    Raises:
        MalformedError: ``MALFORMED_KEY``.
    """
    if not path.exists():
        replace_file(path, secrets.token_bytes(KEY_BYTES))
    return read_key(path, what)


def read_key(path: Path, what: str) -> bytes:
    """Read the key at ``path``.

    Raises:
        MalformedError: ``MALFORMED_KEY``.
    """
    with path.open("rb") as file:
        key = file.read(KEY_BYTES + 1)
        mode = os.fstat(file.fileno()).st_mode
    if len(key) != KEY_BYTES or mode & 0o077:
        raise MalformedError(
            Reason.MALFORMED_KEY,
            f"this is not the {what}",
            where=str(path),
            expected=f"{KEY_BYTES} bytes, mode 0600",
            actual=f"{len(key)} bytes, mode {mode & 0o777:04o}",
        )
    return key
