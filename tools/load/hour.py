"""How much of an hour a bounded run is worth.

What goes wrong under load goes wrong per call or per death, not per second: a receipt is lost when
a process dies while a call is at some place on its way, and memory leaks with each call. So an hour
is compressed by its waiting: clients ask again as soon as they are answered, and processes live for
seconds only. An hour of 64 clients that take a second to read each answer is 230 400 calls; one in
which something is killed every half a minute is 120 deaths of each process. A run is worth as many
hours as it has these, and each is told apart.

What cannot be compressed is what only the clock brings: heartbeats come once a minute here, too.
"""

from dataclasses import dataclass
from typing import Final

CLIENT_SECONDS: Final = 1.0
"""How long a client of the hour takes for one call, reading included."""

DEATH_SECONDS: Final = 30.0
"""How often each process dies in the hour."""

HOUR_SECONDS: Final = 3600.0
"""An hour."""


@dataclass(frozen=True, slots=True)
class Worth:
    """How many hours a run is worth, by its calls and by the deaths of the rarest killed."""

    by_calls: float
    by_deaths: float


def worth(calls: int, clients: int, deaths: int) -> Worth:
    """How much of an hour of load this was.

    Args:
        calls: Calls that clients made, answered or not.
        clients: How many clients asked.
        deaths: How often the process died that died least often.
    """
    hour_of_calls = clients * HOUR_SECONDS / CLIENT_SECONDS
    hour_of_deaths = HOUR_SECONDS / DEATH_SECONDS
    return Worth(calls / hour_of_calls, deaths / hour_of_deaths)
