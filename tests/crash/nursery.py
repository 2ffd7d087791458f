"""Starts registries quickly, one after the other: ``python -m tests.crash.nursery DATA …``.

Everything is imported once, and each registry is a fork. Tell it ``start`` or ``kill`` on standard
input; it answers with the lines that the registry prints, and with ``killed``. Behind the folder
may stand ``hasty``, then background jobs hardly pause, and ``URL=CHAIN`` of authorities that shall
stamp the log.
"""

import os
import signal
import sys
from datetime import timedelta
from pathlib import Path

from registry.config import ServerSettings, TimestampAuthority
from registry.errors import RegistryError
from registry.server.app import run
from registry.services import publishing


def serve(data: Path) -> None:
    """Be a registry, in a process of its own."""
    try:
        run(
            ServerSettings(
                data,
                listen="127.0.0.1:0",
                # Where its job's operations are not counted, unless they are what is looked at.
                static=None if "hasty" in sys.argv else data.with_name("published"),
                timestamp_authorities=tuple(
                    TimestampAuthority.parse(each) for each in sys.argv if "=" in each
                ),
                timestamp_interval=timedelta(seconds=0.05),
            )
        )
    except RegistryError as error:
        print(f"refused {error}", flush=True)  # noqa: T201 - whoever started us reads it
    finally:
        os._exit(0)


def main() -> None:
    """Obey until standard input ends."""
    if "hasty" in sys.argv:
        publishing.PAUSE_SECONDS = publishing.RETRY_SECONDS = 0.02
    child = 0
    for line in sys.stdin:
        if line == "start\n":
            child = os.fork()
            if child == 0:
                serve(Path(sys.argv[1]))
        else:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            print("killed", flush=True)  # noqa: T201 - as above


if __name__ == "__main__":
    main()
