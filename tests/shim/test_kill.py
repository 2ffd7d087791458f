"""The shim dies: killed at random moments, and failed by its disk at each single operation."""

import errno
import random
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pytest

from registry.core.records import inference
from tests.crash import inject
from tests.crash.inject import Injector
from tests.shim.remote import served
from tests.shim.world import FILES, MemoryRegistry, check_history, lay_out

KILLS = 24
SECONDS = 30.0
REPOSITORY = Path(__file__).parents[2]


@dataclass
class Scene:
    """A folder for a shim, and the registry it talks to.

    Attributes:
        acknowledged: What victims said was durable: number of the completion → content digest.
    """

    folder: Path
    registry: MemoryRegistry
    acknowledged: dict[int, str] = field(default_factory=dict)

    def command(self, calls: int = -1) -> list[str]:
        address = str(self.folder / "registry")
        log_key = str(self.registry.log.key)
        module = [sys.executable, "-m", "tests.shim.victim"]
        return [*module, str(self.folder), address, log_key, str(calls)]

    def believe(self, lines: Sequence[str]) -> None:
        """Take note of what a victim said."""
        for line in lines:
            number, space, content = line.partition(" ")
            if space:
                assert int(number) not in self.acknowledged
                self.acknowledged[int(number)] = content

    def finish(self) -> list[inference.Record]:
        """Run once more to a clean end; returns what the registry then knows."""
        done = subprocess.run(
            self.command(calls=3),
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=True,
        )
        assert done.stderr == ""
        lines = done.stdout.splitlines()
        assert lines[-1] == "done"
        self.believe(lines)
        [shim_id] = self.registry.records
        return self.registry.of(shim_id)

    def check(self) -> None:
        """After all deaths: nothing acknowledged is lost, and nothing is there twice."""
        records = self.finish()
        check_history(records)
        completions = {
            record.sequence.n: record.response.content_digest
            for record in records
            if isinstance(record, inference.Completion)
        }
        assert self.acknowledged.items() <= completions.items()
        assert len(set(completions.values())) == len(completions)
        assert len(set(self.registry.bodies)) == len(self.registry.bodies)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    registry = MemoryRegistry.build()
    registry.node.save(tmp_path / "node.pem")
    lay_out(tmp_path / "models", FILES)
    with served(registry, tmp_path / "registry"):
        yield Scene(tmp_path, registry)


def test_no_death_loses_or_doubles_a_record(scene: Scene) -> None:
    luck = random.Random(20260504)  # noqa: S311 - the same luck every time
    for turn in range(KILLS):
        # Every third one dies somewhere in its start, the others somewhere in their work.
        process = subprocess.Popen(
            scene.command(), cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        if turn % 3:
            assert process.stdout.readline() == "ready\n"
        threading.Timer(luck.uniform(0.0, 0.25), process.kill).start()
        output, _ = process.communicate(timeout=SECONDS)
        scene.believe(output.splitlines())
    assert len(scene.acknowledged) > KILLS
    scene.check()


needs_injector = pytest.mark.skipif(inject.available() is not None, reason=str(inject.available()))


class Blow(NamedTuple):
    """Which file operation fails, and with what, or before which one the process is killed."""

    nth: int | None = None
    code: int = errno.EIO
    kill_at: int | None = None


def strike(scene: Scene, blow: Blow, *, at_start: bool = False) -> None:
    """Run a victim that is struck as ``blow`` says, from its start or from its first call on."""
    process = Injector(
        scene.command(),
        watch=scene.folder / "shim",
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    if at_start:
        process.arm(blow.nth, blow.code, kill_at=blow.kill_at)
    with process:
        assert process.child.stdout is not None
        if not at_start:
            assert process.child.stdout.readline() == "ready\n"
            process.arm(blow.nth, blow.code, kill_at=blow.kill_at)
        assert process.wait_for_hit(SECONDS)
        # What the victim still does now it does with a disk that works again, or it is dead.
        process.disarm()
        threading.Timer(0.1, process.child.kill).start()
        output, _ = process.child.communicate(timeout=SECONDS)
        scene.believe(output.splitlines())


@needs_injector
def test_death_before_any_operation_of_a_start_is_survived(scene: Scene) -> None:
    for nth in range(1, 26, 3):
        strike(scene, Blow(kill_at=nth), at_start=True)
    scene.check()


@needs_injector
def test_death_before_any_operation_of_the_work_is_survived(scene: Scene) -> None:
    for nth in range(1, 17):
        strike(scene, Blow(kill_at=nth))
    scene.check()


@needs_injector
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC], ids=["EIO", "ENOSPC"])
def test_a_failed_operation_loses_nothing_acknowledged(scene: Scene, code: int) -> None:
    for nth in range(1, 13, 2 if code == errno.EIO else 5):
        strike(scene, Blow(nth, code))
    scene.check()
