"""Files that a user hands over: read whole, and never more than a limit."""

from pathlib import Path

from registry.errors import LimitExceededError, Reason


def read_input(path: Path, max_bytes: int, what: str) -> bytes:
    """The bytes of a file.

    Args:
        path: The file.
        max_bytes: What it may have.
        what: What it should be, for the error.

    Raises:
        LimitExceededError: ``MESSAGE_TOO_LARGE``.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        # One byte more than allowed, so that a file that is too long is refused, not cut.
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise LimitExceededError(
            Reason.MESSAGE_TOO_LARGE,
            f"this {what} is too large",
            where=str(path),
            expected=f"at most {max_bytes} bytes",
        )
    return data
