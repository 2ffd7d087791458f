"""Witnesses in this process, over real HTTP: honest ones, slow ones, and liars.

::

    with watching(tmp_path, log_key) as witness:
        witness.line            # its line of a policy
        witness.hang()          # from now on, requests wait
"""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from registry.core.tlog.note import VerifierKey
from registry.core.tlog.policy import NONE, Policy
from registry.server.http.routing import Request, Response, Route, Routes
from registry.server.http.witness import Witnessing
from registry.services.witnessing import Witness
from registry.signing.cosigner import Cosigner
from registry.storage.sql.engine import Database
from tests.server.http.facing import facing

MAX_HANG_SECONDS = 30
"""How long a request hangs at most."""


class Watching:
    """One witness, and what it is made to do.

    Attributes:
        asked: The bodies of all requests for a cosignature.
        statuses: What was answered to each of them, in the order of the answers.
        lie: What is answered instead of the truth; None to be honest.
    """

    def __init__(self, witness: Witness, cosigner: Cosigner) -> None:
        self.witness = witness
        self.cosigner = cosigner
        self.asked: list[bytes] = []
        self.statuses: list[int] = []
        self.lie: Response | None = None
        self.delay_seconds = 0.0
        self.url = ""
        self._free = threading.Event()
        self._free.set()
        self._honest = Witnessing(witness)

    @property
    def name(self) -> str:
        return self.cosigner.key.name

    @property
    def line(self) -> str:
        """Its line of a policy."""
        return f"witness {self.name} {self.cosigner.key} {self.url}\n"

    def hang(self) -> None:
        """Let requests wait until :meth:`go_on`."""
        self._free.clear()

    def go_on(self) -> None:
        self._free.set()

    def routes(self) -> Routes:
        honest = self._honest.routes()
        return Routes(
            Route("POST", route.path, self._answer, route.max_body_bytes)
            if route.method == "POST"
            else route
            for route in honest
        )

    async def _answer(self, request: Request) -> Response:
        self.asked.append(request.body)
        await asyncio.sleep(self.delay_seconds)
        await asyncio.to_thread(self._free.wait, MAX_HANG_SECONDS)
        answer = self.lie or await self._honest.add_checkpoint(request)
        self.statuses.append(answer.status)
        return answer


@contextmanager
def watching(
    folder: Path,
    *logs: VerifierKey,
    name: str = "w1",
    post_quantum: bool = False,
    tls: tuple[Path, Path] | None = None,
) -> Iterator[Watching]:
    """A witness that knows ``logs``, with its memory in ``folder``, until the end of the block.

    ``tls`` is a certificate and its key, if it answers over TLS.
    """
    database = Database(f"sqlite:///{folder / f'{name}.sqlite3'}")
    cosigner = Cosigner.generate(name, post_quantum=post_quantum)
    text = "".join(f"log {key}\n" for key in logs)
    policy = Policy.parse(text.encode(), quorum=NONE)
    watching = Watching(Witness(database, policy, [cosigner], lambda: datetime.now(UTC)), cosigner)
    try:
        settings = {} if tls is None else {"cert": tls[0], "key": tls[1]}
        with facing(watching.routes(), **settings) as (host, port):
            watching.url = f"http{'s' if tls else ''}://{host}:{port}"
            yield watching
            watching.go_on()
    finally:
        database.close()
