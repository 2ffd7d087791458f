"""Starts processes quickly, again and again: everything is imported once, each life is a fork.

``python -m tools.load.nursery`` reads one line of JSON for each life, the file for what it prints
and the words of its command, and answers with its process id. The words are those of ``provreg``,
or ``model-server`` and a port. It ends with its input, and so does everything that still lives.
"""

import asyncio
import contextlib
import json
import os
import select
import signal
import sys

from registry.cli import serve, shim
from registry.cli.main import run
from tools.load import model_server

MODEL_SERVER = "model-server"
"""The word for what is not ``provreg``."""

COMMANDS = (serve.command, shim.command)
"""What is imported before the first life begins."""


def main() -> None:
    """Fork for each line."""
    # Whoever dies is gone at once: nobody waits for it. Its number may be another's then.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    children: list[int] = []
    for line in sys.stdin:
        said, words = json.loads(line)
        child = os.fork()
        if child == 0:
            _live(said, words)
        children = [*filter(_lives, children)]
        with contextlib.suppress(ProcessLookupError):
            children.append(os.pidfd_open(child))
        print(child, flush=True)
    for process in filter(_lives, children):
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(process, signal.SIGKILL)


def _lives(process: int) -> bool:
    """Whether a process is there; its descriptor is closed when it is not."""
    if not select.select([process], [], [], 0)[0]:
        return True
    os.close(process)
    return False


def _live(said: str, words: list[str]) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    descriptor = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    if words[0] == MODEL_SERVER:
        asyncio.run(model_server.serve(int(words[1])))
    os._exit(run(words))


if __name__ == "__main__":
    main()
