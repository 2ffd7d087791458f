"""The injector itself: what it injects arrives, and nothing else does."""

import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.crash import inject
from tests.crash.call_paths import paths_of_call
from tests.crash.inject import Call, Injector

pytestmark = pytest.mark.skipif(inject.available() is not None, reason=str(inject.available()))

REPOSITORY = Path(__file__).parents[2]
SECONDS = 20.0
NOBODY = 65534

# Does what it is told, one line each, and says how it went.
VICTIM = """\
import os, pathlib, sqlite3, subprocess, sys, threading

folder = pathlib.Path(sys.argv[1])
folder_fd = os.open(folder, os.O_RDONLY)
database = sqlite3.connect(folder / "database", isolation_level=None)
database.execute("PRAGMA journal_mode=WAL")
database.execute("PRAGMA synchronous=FULL")
database.execute("CREATE TABLE rows (word TEXT)")
database.execute("INSERT INTO rows VALUES ('first')")

def write(name):
    part = folder / (name + ".part")
    with part.open("wb", buffering=0) as file:
        file.write(b"x" * 100)
        os.fsync(file.fileno())
    os.rename(part, folder / name)
    os.fsync(folder_fd)

def relative(name):
    os.close(os.open(name, os.O_WRONLY | os.O_CREAT, dir_fd=folder_fd))
    os.link(name, name + ".link", src_dir_fd=folder_fd, dst_dir_fd=folder_fd)
    os.unlink(name, dir_fd=folder_fd)
    os.mkdir(name + ".folder", dir_fd=folder_fd)

def commit(word):
    database.execute("INSERT INTO rows VALUES (?)", (word,))

def threads(count):
    failed = []
    def many(number):
        for turn in range(50):
            try:
                write(f"{number}-{turn}")
            except OSError as error:
                failed.append(error)
    running = [threading.Thread(target=many, args=(n,)) for n in range(int(count))]
    for thread in running: thread.start()
    for thread in running: thread.join()
    if failed:
        raise failed[0]

def outside(name):
    pathlib.Path(name).write_text("outside")

def child(name):
    script = "import pathlib, sys; pathlib.Path(sys.argv[1]).write_text('child')"
    subprocess.run([sys.executable, "-I", "-S", "-c", script, folder / name], check=True,
                   stderr=subprocess.DEVNULL)

print("ready", flush=True)
for line in sys.stdin:
    verb, argument = line.split()
    try:
        globals()[verb](argument)
    except OSError as error:
        print("OSError", error.errno, flush=True)
    except sqlite3.OperationalError as error:
        print("OperationalError", error.sqlite_errorname, flush=True)
    except subprocess.CalledProcessError:
        print("CalledProcessError", flush=True)
    else:
        print("done", flush=True)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The watched folder."""
    folder = tmp_path / "watched"
    folder.mkdir()
    return folder


@pytest.fixture
def process(folder: Path) -> Iterator[Injector]:
    """The victim, ready and unharmed."""
    with Injector(
        [sys.executable, "-c", VICTIM, folder],
        watch=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert answer(process) == "ready"
        yield process


def answer(process: Injector) -> str:
    assert process.child.stdout is not None
    return process.child.stdout.readline().strip()


def tell(process: Injector, *words: object) -> str:
    assert process.child.stdin is not None
    print(*words, file=process.child.stdin, flush=True)
    return answer(process)


def calls_of(process: Injector, *words: object) -> list[Call]:
    process.arm()
    assert tell(process, *words) == "done"
    process.disarm()
    return process.trace


def test_the_trace_names_each_operation_and_its_path(process: Injector, folder: Path) -> None:
    names = {"openat": "a.part", "write": "a.part", "fsync": "a.part", "rename": "a"}
    expected = [Call(name, str(folder / path)) for name, path in names.items()]
    trace = calls_of(process, "write", "a")
    # Architectures without rename(2) have renameat(2) only.
    trace = [call._replace(name=call.name.removesuffix("at2")) for call in trace]
    trace = [call if "rename" not in call.name else Call("rename", call.path) for call in trace]
    assert trace == [*expected, Call("fsync", str(folder))]


def test_paths_relative_to_a_folder_descriptor_are_resolved(
    process: Injector, folder: Path
) -> None:
    trace = calls_of(process, "relative", "a")
    last_parts = [Path(call.path).relative_to(folder).name for call in trace]
    assert last_parts == ["a", "a.link", "a", "a.folder"]


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_every_operation_of_a_file_write_can_be_failed(process: Injector, number: int) -> None:
    count = len(calls_of(process, "write", "a"))
    answers = []
    for nth in range(1, count + 1):
        process.arm(nth=nth, errno=number)
        answers.append(tell(process, "write", "b"))
    assert answers == [f"OSError {number}"] * count


@pytest.mark.parametrize(
    ("number", "name"), [(errno.EIO, "SQLITE_IOERR_"), (errno.ENOSPC, "SQLITE_FULL")]
)
def test_a_failed_write_fails_the_commit(process: Injector, number: int, name: str) -> None:
    process.arm(nth=1, errno=number, calls={"pwrite64"})
    assert tell(process, "commit", "lost").startswith(f"OperationalError {name}")


def test_a_failed_sync_fails_the_commit(process: Injector) -> None:
    process.arm(nth=1, errno=errno.EIO, calls={"fsync", "fdatasync"})
    assert tell(process, "commit", "lost") == "OperationalError SQLITE_IOERR_FSYNC"


def test_every_operation_of_a_commit_can_be_failed(process: Injector) -> None:
    count = len(calls_of(process, "commit", "before"))
    answers = []
    for nth in range(1, count + 1):
        process.arm(nth=nth, errno=errno.EIO)
        answers.append(tell(process, "commit", "lost").split("_")[0])
    assert count >= 2
    assert answers == ["OperationalError SQLITE"] * count


def test_only_the_nth_operation_is_failed(process: Injector) -> None:
    process.arm(nth=3)
    tell(process, "write", "a")
    assert tell(process, "write", "b") == "done"


def test_a_lasting_fault_fails_everything_after_it(process: Injector) -> None:
    process.arm(nth=1, errno=errno.ENOSPC, lasting=True)
    answers = [tell(process, "write", name) for name in "abc"]
    assert answers == [f"OSError {errno.ENOSPC}"] * 3


def test_a_disarmed_process_is_unharmed(process: Injector) -> None:
    process.arm(nth=1, lasting=True)
    process.disarm()
    assert tell(process, "write", "a") == "done"


def test_a_failed_operation_is_not_done(process: Injector, folder: Path) -> None:
    process.arm(nth=1, calls={"rename", "renameat", "renameat2"})
    tell(process, "write", "a")
    assert not (folder / "a").exists()


def test_the_operation_that_was_hit_is_named(process: Injector, folder: Path) -> None:
    process.arm(nth=3)
    tell(process, "write", "a")
    assert process.hit == Call("fsync", str(folder / "a.part"))


def test_the_process_is_killed_before_its_nth_operation(process: Injector, folder: Path) -> None:
    process.arm(kill_at=4)
    tell(process, "write", "a")
    process.child.wait(SECONDS)
    assert process.child.returncode == -signal.SIGKILL
    assert sorted(path.name for path in folder.glob("a*")) == ["a.part"]


def test_a_hit_can_be_waited_for(process: Injector) -> None:
    process.arm(kill_at=1)
    tell(process, "write", "a")
    assert process.wait_for_hit(SECONDS)


def test_operations_outside_the_watched_folder_are_left_alone(
    process: Injector, tmp_path: Path
) -> None:
    process.arm(nth=1, lasting=True)
    answered = tell(process, "outside", tmp_path / "watched-not")
    assert (answered, process.trace) == ("done", [])


def test_all_threads_are_covered(process: Injector) -> None:
    per_write = len(calls_of(process, "write", "a"))
    process.arm(nth=4 * 50 * per_write)
    assert tell(process, "threads", 4) == f"OSError {errno.EIO}"
    assert len(process.trace) == 4 * 50 * per_write


def test_children_are_covered(process: Injector) -> None:
    process.arm(nth=1)
    assert tell(process, "child", "a") == "CalledProcessError"


def test_leaving_kills_what_still_runs(folder: Path) -> None:
    with Injector(
        [sys.executable, "-c", VICTIM, folder], watch=folder, stdin=subprocess.PIPE
    ) as process:
        pass
    assert process.child.returncode == -signal.SIGKILL


def test_a_process_may_be_armed_before_it_starts(folder: Path) -> None:
    process = Injector([sys.executable, "-c", VICTIM, folder], watch=folder)
    process.arm(kill_at=1)
    with process:
        process.child.wait(SECONDS)
    assert process.hit == Call("openat", str(folder))


def test_a_call_that_is_not_supervised_is_refused(folder: Path) -> None:
    process = Injector([sys.executable], watch=folder)
    with pytest.raises(ValueError, match="getpid"):
        process.arm(calls={"getpid"})


@pytest.mark.skipif(os.geteuid() != 0, reason="this run has no privileges anyway")
def test_no_privileges_are_needed() -> None:
    script = "import sys; from tests.crash import inject; sys.exit(inject.available())"
    outcome = run_as_nobody(reachable_python(), script)
    assert (outcome.returncode, outcome.stderr) == (0, "")


def reachable_python() -> Path:
    """A Python that somebody without privileges can start and that can read this checkout."""
    folders = [str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin"]
    probe = "import sys; assert sys.version_info >= (3, 11); import tests.crash.inject"
    for python in filter(None, (shutil.which("python3", path=folder) for folder in folders)):
        try:
            outcome = run_as_nobody(Path(python), probe)
        except PermissionError:
            continue
        if outcome.returncode == 0:
            return Path(python)
    pytest.skip("no Python 3.11 and checkout within reach of an unprivileged user")


def run_as_nobody(python: Path, script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, "-B", "-c", script],
        cwd=REPOSITORY,
        env={},
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def test_what_began_before_a_plan_is_not_counted_by_it(
    process: Injector, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = paths_of_call

    def meanwhile(name: str, thread: int, arguments: Sequence[int]) -> Sequence[str]:
        process.arm(nth=1, threads={"nobody"})
        return real(name, thread, arguments)

    process.arm()
    monkeypatch.setattr(inject, "paths_of_call", meanwhile)
    assert tell(process, "write", "a") == "done"
    assert (process.hit, process.trace) == (None, [])
