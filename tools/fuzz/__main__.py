"""``python -m tools.fuzz``: try inputs on targets, and keep what makes one fail."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from registry.core.digest import sha256
from tools.fuzz.engine import ENGINES
from tools.fuzz.target import FuzzFailure
from tools.fuzz.targets import TARGETS
from tools.fuzz.watching import Slate, limit_memory, watched

DEFAULT_SECONDS = 10
"""Seconds for each target, if nobody says otherwise."""

FINDINGS = Path("fuzz-findings")
"""Where inputs are kept that make a target fail."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="all of them if none is named")
    parser.add_argument("--list", action="store_true", help="name the targets")
    parser.add_argument("--seconds", type=float, default=DEFAULT_SECONDS, help="for each target")
    parser.add_argument("--seed", type=int, default=None, help="the same seed, the same inputs")
    parser.add_argument("--engine", choices=sorted(ENGINES), default="hypothesis")
    parser.add_argument("--input", type=Path, help="try this file only")
    parser.add_argument("--findings", type=Path, default=FINDINGS, help="keep inputs here")
    parser.add_argument("--slate", type=Path, help=argparse.SUPPRESS)
    return parser


def _try_inputs(options: argparse.Namespace) -> int:
    """What the watched process does; its output is the watcher's to read."""
    target = TARGETS[options.targets[0]]
    slate = Slate(options.slate)
    limit_memory()
    began = time.monotonic()
    try:
        tally = ENGINES[options.engine](target, options.seconds, options.seed, slate.write)
    except FuzzFailure as failure:
        # The last input tried is the smallest one that fails.
        slate.write(failure.data)
        print(failure)
        return 1
    rate = tally.inputs / max(time.monotonic() - began, 0.001)
    print(f"{tally.inputs} inputs, {tally.accepted} accepted, {rate:.0f} a second")
    return 0


def _try_file(options: argparse.Namespace) -> int:
    data = options.input.read_bytes()
    status = 0
    for name in options.targets:
        try:
            accepted = TARGETS[name].examine(data)
        except FuzzFailure as failure:
            print(failure)
            status = 1
        else:
            print(f"{name}: {'accepted' if accepted else 'refused'}")
    return status


def _fuzz(options: argparse.Namespace, name: str) -> bool:
    """Try inputs on one target; whether nothing was found."""
    arguments = [
        *(name, "--seconds", str(options.seconds), "--seed", str(options.seed)),
        *("--engine", options.engine),
    ]
    ended = watched(arguments)
    said = ended.said.strip()
    if ended.status == 0:
        print(f"{name:20} {said.splitlines()[-1] if said else 'nothing found'}", flush=True)
        return True
    options.findings.mkdir(parents=True, exist_ok=True)
    kept = options.findings / f"{name}-{sha256(ended.last).hex()[:12]}"
    kept.write_bytes(ended.last)
    how = "killed: it hung" if ended.hung else f"status {ended.status}"
    print(f"{name:20} FOUND ({how}), seed {options.seed}\n{said}")
    print(f"  again: python -m tools.fuzz {name} --input {kept}", flush=True)
    return False


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz; 1 if something was found."""
    parser = _parser()
    options = parser.parse_args(arguments)
    unknown = [name for name in options.targets if name not in TARGETS]
    if unknown:
        parser.error(f"no such target: {', '.join(unknown)}")
    if options.list:
        print("\n".join(TARGETS))
        return 0
    options.targets = options.targets or list(TARGETS)
    if options.seed is None:
        options.seed = time.time_ns() % 2**32
    if options.slate is not None:
        return _try_inputs(options)
    if options.input is not None:
        return _try_file(options)
    held = [_fuzz(options, name) for name in options.targets]
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
