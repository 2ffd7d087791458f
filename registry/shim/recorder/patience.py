"""How long it is waited for what callers asked for beyond a logged record."""

from dataclasses import dataclass
from typing import Final

POLL_SECONDS: Final = 5.0
"""Between two rounds of questions about replays."""

HURRIED_SECONDS: Final = 0.25
"""The same while an answer is held back for its replay."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long what was asked for is waited for, in seconds.

    Attributes:
        grace: For ``signed`` and ``attested``, after the caller's deadline.
        poll: Between two rounds of questions about replays.
        hurried: The same while an answer is held back for its replay.
    """

    grace: float = 3600.0
    poll: float = POLL_SECONDS
    hurried: float = HURRIED_SECONDS


DEFAULT_PATIENCE = Patience()
"""An hour for a registry to come back."""
