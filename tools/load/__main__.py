"""An hour of load, or as much of it as you like.

::

    python -m tools.load [--seconds 60] [--clients 64] [--seed N]

A registry, a model server and two shims (modes ``strict`` and ``stream``) run as processes of their
own. All are killed as ``kill -9`` does it, at random, and started again, while 64 clients ask
without end. In the end everything is judged, see :mod:`tools.load.judging` and
:mod:`tools.load.memory`; :mod:`tools.load.hour` says how much of an hour it was. The seed is
printed; it repeats who is killed when and what is asked, not how threads take turns. Exits 1 if
anything is not as it must be.
"""

import argparse
import asyncio
import secrets
import sys
import tempfile
from pathlib import Path

from tools.load.hour import worth
from tools.load.judging import line
from tools.load.memory import line as memory_line
from tools.load.processes import MODES
from tools.load.run import Report, run


def main() -> int:
    """Run, and tell what came of it."""
    parser = argparse.ArgumentParser(description="Load with failures.")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long clients ask")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seed", type=int, default=None, help="repeats a run")
    parser.add_argument("--folder", type=Path, default=None, help="an empty one, to be kept")
    given = parser.parse_args()
    seed = secrets.randbelow(2**32) if given.seed is None else given.seed
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="provreg-load-") as scratch:
        folder = given.folder or Path(scratch)
        report = asyncio.run(
            run(folder, seconds=given.seconds, clients=given.clients, seed=seed, say=_say)
        )
    tell(report, given.clients)
    return 1 if report.problems else 0


def tell(report: Report, clients: int) -> None:
    """Print a report."""
    memory = report.memory
    for mode in MODES:
        whole = sum(1 for _ in memory.whole(mode))
        signed = sum(1 for each in memory.whole(mode) if each.told == "signed")
        print(f"{mode}: {whole} answers came whole, {signed} of them told to be signed")
    print("killed: " + ", ".join(f"{name} {count}x" for name, count in report.kills.items()))
    calls = len(memory.received) + memory.failed
    hours = worth(calls, clients, min(report.kills.values(), default=0))
    print(f"worth {hours.by_calls:.1f} hours by its {calls} calls, {hours.by_deaths:.1f} by deaths")
    for name in dict.fromkeys(each.name for each in report.samples):
        print(memory_line(report.samples, name))
    for audit in report.audits:
        print(line(audit))
    for problem in report.problems[:20]:
        print(f"WRONG {problem}")
    print(f"{len(report.problems)} problems, seed {report.seed}")


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
