"""Base64 for URLs (RFC 4648 §5), as JSON Web Keys, tokens and Azure's attesters write it."""

from registry.core import encoding
from registry.errors import MalformedError, Reason

_FROM_URL = str.maketrans("-_", "+/")


def read(text: str, *, padded: bool | None = None) -> bytes:
    """Read base64url in its one canonical spelling.

    Args:
        text: What is written.
        padded: Whether ``=`` must fill it up, or must not; None takes both.

    Raises:
        MalformedError: ``MALFORMED_BASE64``.
    """
    if "+" in text or "/" in text or (padded is False and "=" in text):
        raise MalformedError(Reason.MALFORMED_BASE64, "this is not base64url")
    filled = text if padded or "=" in text else text + "=" * (-len(text) % 4)
    return encoding.base64_bytes(filled.translate(_FROM_URL))
