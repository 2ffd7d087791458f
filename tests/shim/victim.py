"""A process that runs a shim and is killed for it: ``python -m tests.shim.victim``.

Says ``ready`` and then, for every call whose outcome it was told is durable, its number and the
digest of the answer. Runs until it is killed; with a number of calls, until these are done.
"""

import itertools
import os
import sys
import threading
from pathlib import Path

from registry.core import digest
from registry.core.profiles import raw
from registry.core.tlog.note import VerifierKey
from registry.errors import UnavailableError
from registry.shim.app import Shim, Timing, open_shim
from registry.shim.uploader import Pace
from registry.signing.file import StatementSigner
from tests.shim.remote import RemoteRegistry
from tests.shim.world import DEPLOYMENT, RELEASE, response_to

CALLERS = 4


def main(folder: Path, address: str, log_key: str, calls: int) -> None:
    """Run the shim in ``folder``."""
    with open_shim(
        folder / "shim",
        StatementSigner.load(folder / "node.pem"),
        RemoteRegistry(address),
        RELEASE,
        folder / "models",
        log_key=VerifierKey.parse(log_key),
        pace=Pace(records=16, seconds=0.005),
        timing=Timing(heartbeat=0.02, drain=5, farewell=20),
        segment_bytes=64 * 1024,
    ) as shim:
        say("ready")
        numbers = itertools.count() if calls < 0 else range(calls)
        threads = [
            threading.Thread(target=run, args=(shim, i, numbers), daemon=True)
            for i in range(CALLERS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        shim.flush(20)
    say("done")


def run(shim: Shim, name: int, numbers: "itertools.count[int] | range") -> None:
    """Call again and again; every fifth call fails. Stops when the shim does."""
    boot = shim.sequence.boot_id
    for i in iter(numbers) if isinstance(numbers, range) else numbers:
        answer = f"{i} of {name} in {boot}".encode()
        try:
            opened = shim.recorder.intent(DEPLOYMENT, digest.sha256(answer))
            if i % 5 == 4:
                shim.recorder.fail(opened, "Unlucky")
                continue
            n = shim.recorder.complete(opened, response_to(answer))
        except UnavailableError:
            return
        say(f"{n} {raw.content_digest(answer).hex()}")


def say(line: str) -> None:
    """Tell the parent, in one system call."""
    os.write(1, f"{line}\n".encode())


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]))
