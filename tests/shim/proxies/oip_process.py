"""The small model server in a process of its own: ``python -m tests.shim.proxies.oip_process``.

It prints its address. What it is asked under the id ``lie`` it answers with other numbers than its
model gives, and under ``near`` with almost the same.
"""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator

import numpy as np

from tests.running import REPOSITORY
from tests.shim.proxies.oip_server import Handler, Server, fields, response, serve

OFF = {b"lie": 1.0, b"near": 1e-6}
"""By how much each number is off, by the id of the request."""


class Unfaithful(Server):
    """Answers some requests with other numbers."""

    def run(self, data: bytes) -> bytes:
        """Answer."""
        said = fields(data)
        name = said.get(3, [b""])[0]
        values = np.frombuffer(said[7][0], dtype="<f4").reshape(-1, 2)
        [answer] = self.session.run(["y"], {"x": values})
        return response(answer + np.float32(OFF.get(name, 0.0)), name)


@contextlib.contextmanager
def running() -> Iterator[str]:
    """Run it until the block ends; gives its URL."""
    command = [sys.executable, "-u", "-m", "tests.shim.proxies.oip_process"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as process:
        assert process.stdout is not None
        try:
            yield f"grpc://{process.stdout.readline().strip()}"
        finally:
            process.terminate()


async def _main() -> None:
    async with serve(Handler(Unfaithful())) as address:
        sys.stdout.write(f"{address}\n")
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main())
