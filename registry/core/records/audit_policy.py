"""What an auditor of shims accepts."""

from dataclasses import dataclass
from datetime import timedelta

DEFAULT_HEARTBEAT = timedelta(seconds=90)
"""The longest time between two heartbeats: a shim writes one a minute, and may be busy."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What an auditor accepts.

    Attributes:
        heartbeat: The longest time between two heartbeats, and from the last sign of a shim that
            did not stop until now.
    """

    heartbeat: timedelta = DEFAULT_HEARTBEAT
