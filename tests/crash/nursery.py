"""Starts registries quickly, one after the other: ``python -m tests.crash.nursery DATA WORD…``.

Everything is imported once, and each registry is a fork. Tell it ``start`` or ``kill`` on standard
input, in turn; it answers with the lines that the registry prints, and once with ``killed`` when it
has died, of itself or because it was told to. The words behind the folder may be:

================  ==================================================================================
``ready``         it says ``ready`` when it can start registries
``hasty``         background jobs hardly pause
``published``     the log is published inside the folder, where that job's operations are counted
``merging``       outputs are merged after every other batch, in small steps, and only while there
                  is a file :data:`GATE` beside the folder; :data:`DONE` says that it is over
``ca``            certificates are issued
``policy=FILE``   witnesses are asked
``closed``        nothing is acknowledged without them
``URL=CHAIN``     an authority that shall stamp the log
``database=URL``  the log is there, and not in a file
``lock=URL``      the newest checkpoint is there, and not in a file
``logs=FILE``     it is not a registry but a witness of these logs
================  ==================================================================================
"""

import gc
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from registry.config import ServerSettings, TimestampAuthority, WitnessSettings
from registry.errors import RegistryError
from registry.remote.http import HTTPClient
from registry.server import witness
from registry.server.app import run
from registry.services import cosigning, publishing, sequencing
from registry.services.sequencing import Sequencer
from registry.storage.sql import migrate, outputs

GATE = "merge"
"""While this file is beside the folder, runs of the index are merged."""

DONE = "merged"
"""Beside the folder: how many entries there were when nothing was left to merge."""

READY = "ready"
"""What is said, if this word was, when registries can be started."""

POLICY = "policy="
"""What comes before the name of the policy file."""

DATABASE = "database="
"""What comes before the URL of the log's database."""

LOCK = "lock="
"""What comes before the URL of the checkpoint lock."""

LOGS = "logs="
"""What comes before the name of the file that names the logs of a witness."""


def serve(data: Path, words: list[str]) -> None:
    """Be a registry, or a witness, in a process of its own."""
    policy, logs = _said(words, POLICY), _said(words, LOGS)
    try:
        if logs:
            witness.run(WitnessSettings(data, Path(logs), "127.0.0.1:0", name="witness.example"))
            return
        run(
            ServerSettings(
                data,
                listen="127.0.0.1:0",
                database=_said(words, DATABASE),
                checkpoint_lock=_said(words, LOCK),
                # Where its job's operations are not counted, unless they are what is looked at.
                static=None if "published" in words else data.with_name("published"),
                witness_policy=Path(policy) if policy else None,
                fail_closed="closed" in words,
                ca="ca" in words,
                timestamp_authorities=tuple(
                    TimestampAuthority.parse(word) for word in words if word.startswith("http")
                ),
                timestamp_interval=timedelta(seconds=0.05),
            )
        )
    except (RegistryError, OSError) as error:
        # What the command line turns into plain words.
        print(f"refused {error}", flush=True)  # noqa: T201 - whoever started us reads it
    except BaseException as error:
        print(f"broken {error!r}", flush=True)  # noqa: T201 - as above
        raise
    finally:
        os._exit(0)


def _said(words: list[str], name: str) -> str | None:
    """What the word with this beginning says."""
    return next((word.removeprefix(name) for word in words if word.startswith(name)), None)


def name_threads() -> None:
    """Let the kernel know the names of threads, so that somebody outside can tell them apart."""
    run = threading.Thread.run

    def run_by_name(thread: threading.Thread) -> None:
        number = threading.get_native_id()
        Path(f"/proc/self/task/{number}/comm").write_text(thread.name[:15])
        run(thread)

    threading.Thread.run = run_by_name  # type: ignore[method-assign,assignment]  # to tell the kernel


def make_hasty() -> None:
    """Let background jobs hardly pause."""
    publishing.PAUSE_SECONDS = publishing.RETRY_SECONDS = 0.02
    cosigning.PACE_SECONDS = cosigning.CLOSED_PACE_SECONDS = cosigning.TICK_SECONDS = 0.02
    cosigning.RETRY_SECONDS = 0.1


def make_merging(data: Path) -> None:
    """Let runs be merged early, in small steps, and when a test says so."""
    outputs.FAN_OUT = 2
    outputs.STEP_ENTRIES = 8
    sequencing.COMPACTION_STEPS = 1000
    gate, done = data.with_name(GATE), data.with_name(DONE)
    merge = Sequencer._compact

    def merge_behind_gate(sequencer: Sequencer) -> None:
        while not gate.exists():
            time.sleep(0.002)
        merge(sequencer)
        done.write_text(str(sequencer.tree.size))

    Sequencer._compact = merge_behind_gate  # type: ignore[method-assign,assignment]  # to hold it back


class Child:
    """A registry in a process of its own; when it has died, that is said."""

    def __init__(self, data: Path, words: list[str]) -> None:
        number = os.fork()
        if number == 0:
            serve(data, words)
        self._process = os.pidfd_open(number)
        self._watch = threading.Thread(target=self._wait, args=(number,))
        self._watch.start()

    def kill(self) -> None:
        """Kill it, if it lives."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._process, signal.SIGKILL)
        self._watch.join()
        os.close(self._process)

    def _wait(self, number: int) -> None:
        os.waitpid(number, 0)
        print("killed", flush=True)  # noqa: T201 - as above


def main() -> None:
    """Obey until standard input ends."""
    data, words = Path(sys.argv[1]), sys.argv[2:]
    # What a client of HTTP makes once for the whole process, it need not make in each.
    HTTPClient().close()
    name_threads()
    if "hasty" in words:
        make_hasty()
    if "merging" in words:
        make_merging(data)
    # Each would read all migrations, too.
    migrate.head()
    # A registry searches all that it has for garbage when it starts: each fork would copy all that
    # is imported here to do so, which takes longer than the rest of its start.
    gc.collect()
    gc.freeze()
    if READY in words:
        print(READY, flush=True)  # noqa: T201 - as above
    child: Child | None = None
    for line in sys.stdin:
        if line == "start\n":
            child = Child(data, words)
        elif child is not None:
            child.kill()


if __name__ == "__main__":
    main()
