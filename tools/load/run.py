"""One run: clients ask, processes are killed and started again, and in the end all is judged."""

import asyncio
import json
import random
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from registry.core.records.completeness import ShimAudit
from tools.load.clients import Memory, ask
from tools.load.judging import judge
from tools.load.memory import Sample, problem
from tools.load.processes import Process, World, running

QUIET_PART = 0.4
"""The last part of a run, in which no shim is killed: its memory is measured there."""

REGISTRY_QUIET_PART = 0.25
"""The same for the registry: until then the shims live with one that comes and goes."""

PAUSES_SECONDS = (0.3, 3.0)
"""The shortest and the longest time for which a process may work before it is killed again."""

DOWN_SECONDS = 0.5
"""How long a process stays dead, at most."""

SAMPLE_SECONDS = 0.1
"""Between two looks at the memory of the processes."""

BUG = b"Traceback (most recent call last)"
"""What no process may say."""

DRAIN_SECONDS = 60.0
"""How long the shims may take to bring everything into the log once nobody asks any more."""


@dataclass
class Report:
    """What a run came to.

    Attributes:
        kills: How often each process was killed.
        problems: What is not as it must be; none if all is well.
    """

    seed: int
    memory: Memory = field(default_factory=Memory)
    kills: dict[str, int] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    audits: list[ShimAudit] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


async def run(
    folder: Path,
    *,
    seconds: float,
    clients: int,
    seed: int,
    say: Callable[[str], None] = lambda _line: None,
) -> Report:
    """Run for some seconds in an empty folder.

    Args:
        folder: Where everything is kept.
        seconds: How long clients ask.
        clients: How many.
        seed: What decides who is killed when, and what clients ask; not how threads take turns.
        say: Told how it goes.
    """
    report = Report(seed)
    chance = random.Random(seed)  # noqa: S311 - to be repeated
    async with running(folder) as world:
        until = asyncio.Event()
        ports = {mode: each.port for mode, each in world.shims.items()}
        asking = [
            asyncio.ensure_future(
                ask(number, ports, report.memory, until, random.Random(chance.random()))  # noqa: S311
            )
            for number in range(clients)
        ]
        watching = asyncio.ensure_future(_watch(world, report))
        say("clients ask, and processes are killed")
        await _kill(world, report, seconds, chance)
        until.set()
        await asyncio.gather(*asking)
        watching.cancel()
        say(f"{len(report.memory.received)} answers, {report.memory.failed} calls without one")
        await _drain(world)
        await asyncio.gather(*(each.stop() for each in world.shims.values()))
        with world.client("auditor") as client:
            report.audits, found = await asyncio.to_thread(judge, client, report.memory, seed)
        report.problems += found
        for each in _watched(world):
            report.problems += filter(None, [problem(report.samples, each.name)])
            if BUG in each.said.read_bytes():
                report.problems.append(f"the {each.name} said: {each.last_words()}")
    return report


def _watched(world: World) -> list[Process]:
    """Ours."""
    return [world.registry, *world.shims.values()]


async def _kill(world: World, report: Report, seconds: float, chance: random.Random) -> None:
    """Kill every process again and again, each in its own time; ours not in their quiet parts."""
    loud = seconds * (1 - QUIET_PART)
    ends = {
        world.registry.name: seconds * (1 - REGISTRY_QUIET_PART),
        world.model_server.name: seconds,
    }
    processes = (world.registry, world.model_server, *world.shims.values())
    began = time.monotonic()
    await asyncio.gather(
        *(
            _harass(each, report, began + ends.get(each.name, loud), random.Random(chance.random()))  # noqa: S311
            for each in processes
        )
    )
    await asyncio.sleep(max(0.0, began + seconds - time.monotonic()))


async def _harass(process: Process, report: Report, end: float, chance: random.Random) -> None:
    while True:
        pause = chance.uniform(*PAUSES_SECONDS)
        if time.monotonic() + pause >= end:
            return
        await asyncio.sleep(pause)
        await _again(process, report, chance.random())


async def _again(process: Process, report: Report, share: float) -> None:
    await process.kill()
    report.kills[process.name] = report.kills.get(process.name, 0) + 1
    await asyncio.sleep(share * DOWN_SECONDS)
    await process.start()


async def _watch(world: World, report: Report) -> None:
    """Look at the memory of our processes, again and again."""
    while True:
        for each in _watched(world):
            if each.ready_at and (resident := each.resident_bytes()):
                age = time.monotonic() - each.ready_at
                report.samples.append(Sample(each.name, each.lives, age, resident))
        await asyncio.sleep(SAMPLE_SECONDS)


async def _drain(world: World) -> None:
    """Wait until all records are in the log, with proof."""
    async with asyncio.timeout(DRAIN_SECONDS):
        for port in world.health.values():
            while not await asyncio.to_thread(_is_drained, port):  # noqa: ASYNC110 - a process
                await asyncio.sleep(0.05)


def _is_drained(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=10) as answer:
            said = json.loads(answer.read())
    except OSError:
        return False
    return bool(said["registered_n"] == said["next_n"])
