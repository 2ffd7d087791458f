"""Keeps one PostgreSQL alive for as long as the test run that wants it, and cleans up after it.

This file is executed by its path, in a bare interpreter, by :mod:`tests.postgres`::

    python -I -S postgres_keeper.py FOLDER USER COMMAND [ARGUMENT...]

It runs ``COMMAND`` in ``FOLDER`` as the user with that number (``-``: as itself) until its own
standard input ends, and then removes ``FOLDER``. Input ends also when the test run is killed, so
that no test run leaves a server or its data behind. If the server ends by itself, its log is
written to standard output and the folder stays.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path


def _stop_at_the_end_of_input(server: subprocess.Popen[bytes], unwanted: threading.Event) -> None:
    while os.read(0, 1):
        pass
    unwanted.set()
    # Immediate: the data is about to be removed, nothing has to be written out.
    server.send_signal(signal.SIGQUIT)


def main(arguments: list[str]) -> None:
    """Run the server until nobody wants it, then remove its folder."""
    folder, user, *command = arguments
    number = None if user == "-" else int(user)
    log = Path(folder, "log")
    with log.open("wb") as output:
        server = subprocess.Popen(
            command,
            cwd=folder,
            user=number,
            group=None if number is None else Path(folder).stat().st_gid,
            extra_groups=None if number is None else [],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    unwanted = threading.Event()
    threading.Thread(target=_stop_at_the_end_of_input, args=(server, unwanted), daemon=True).start()
    server.wait()
    if unwanted.is_set():
        shutil.rmtree(folder, ignore_errors=True)
    else:
        sys.stdout.write(log.read_text(errors="replace"))
        sys.stdout.flush()
    # The thread may still be reading; there is nothing to finish that it could be waited for.
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
