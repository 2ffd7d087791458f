"""While a shim runs: telling whoever started it what is wrong with it, as it begins and ends."""

import asyncio
from collections.abc import Callable

from registry.cli.output import say
from registry.shim.app import Shim
from registry.shim.health import Health

LOOK_SECONDS = 2.0
"""How often is looked: a trouble of less is in the health of that moment alone."""


async def tell_troubles(health: Callable[[], Health]) -> None:
    """Say what is wrong once, and once that it is over, until this is cancelled."""
    told: set[tuple[str, str]] = set()
    while True:
        # Comparing a model's files asks the disk, for which callers must not wait.
        now = await asyncio.to_thread(health)
        troubles = {(each.part, each.reason): each.detail for each in now.troubles}
        for part, reason in sorted(told - troubles.keys()):
            say(f"over, with the {part}: {reason}")
        for (part, reason), detail in troubles.items():
            if (part, reason) not in told:
                say(f"trouble with the {part}: {detail}")
        told = set(troubles)
        await asyncio.sleep(LOOK_SECONDS)


def tell_what_waits(shim: Shim) -> None:
    """Say how many records of a shim that has ended are not in the log yet."""
    status = shim.status()
    waiting = status.durable_n - status.registered_n
    if not waiting:
        return
    why = status.refused or status.unavailable
    say(f"{waiting} records wait here to be sent at the next start" + (f": {why}" if why else ""))
