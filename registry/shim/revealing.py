"""Reveal the salt of one call, so that an auditor can check the input that was recorded.

Only the salt of that one call leaves this host: it opens its commitment and no other.
"""

from pathlib import Path

from registry.errors import NotFoundError, Reason
from registry.shim.recorder.request_key import RequestKey

REQUEST_KEY = "request.key"
"""The name of the key's file in a shim's folder."""


def reveal(folder: Path, shim_id: bytes, n: int) -> bytes:
    """The salt of intent ``n`` of the shim whose folder this is.

    Raises:
        NotFoundError: ``MALFORMED_KEY`` if no key is there any more: the commitments of this shim
            are shut for ever.
        MalformedError: ``MALFORMED_KEY``.
    """
    path = folder / REQUEST_KEY
    if not path.exists():
        raise NotFoundError(
            Reason.MALFORMED_KEY,
            "there is no request key of a shim in this folder",
            where=str(path),
            hint="name the shim's folder; if its key was destroyed, no input can be proven again",
        )
    return RequestKey(path).salt(shim_id.hex(), n)
