"""An hour of load, or as much of it as you like.

::

    python -m tools.load [--seconds 60] [--clients 64] [--seed N]

A registry, a model server and two shims (modes ``strict`` and ``stream``) run as processes of their
own. All are killed as ``kill -9`` does it, at random, and started again, while 64 clients ask
without end. In the end everything is judged, see :mod:`tools.load.judging`. The seed is printed; it
repeats who is killed when and what is asked, not how threads take turns. Exits 1 if anything is
not as it must be.
"""

import argparse
import asyncio
import secrets
import sys
import tempfile
from pathlib import Path

from tools.load.judging import grown, line
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
    tell(report)
    return 1 if report.problems else 0


def tell(report: Report) -> None:
    """Print a report."""
    memory = report.memory
    for mode in MODES:
        whole = sum(1 for _ in memory.whole(mode))
        print(f"{mode}: {whole} answers came whole; memory {_mib(report, mode)}")
    print("killed: " + ", ".join(f"{name} {count}x" for name, count in report.kills.items()))
    for audit in report.audits:
        print(line(audit))
    for problem in report.problems[:20]:
        print(f"WRONG {problem}")
    print(f"{len(report.problems)} problems, seed {report.seed}")


def _mib(report: Report, mode: str) -> str:
    lives: dict[int, list[int]] = {}
    for each in report.samples:
        if each.mode == mode:
            lives.setdefault(each.life, []).append(each.resident_bytes)
    largest = max(max(values) for values in lives.values()) / 2**20
    more = grown(report.samples, mode) / 2**20
    return f"at most {largest:.0f} MiB in {len(lives)} lives, {more:+.1f} MiB in the last half life"


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
