"""Timestamp authorities that answer over HTTP, with clocks that tests set.

::

    with stamping("one") as one, stamping("two") as two:
        two.clock.late = timedelta(minutes=1)
        token, stamp = one.remote(client).stamp(b"bytes")
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from registry.config import DEFAULT_TSA_POLICY
from registry.remote.http import HTTPClient
from registry.remote.timestamp import RemoteAuthority
from registry.server.http.routing import Request, Response, Route, Routes
from registry.server.http.timestamping import PATH, Timestamping
from registry.signing.timestamping import TimestampSigner
from tests.server.http.facing import facing


def real_now() -> datetime:
    """The true time."""
    return datetime.now(UTC)


@dataclass
class Clock:
    """The true time, and how late this clock is."""

    late: timedelta = timedelta(0)

    def __call__(self) -> datetime:
        return real_now() - self.late


@dataclass
class Server:
    """An authority that answers; ``before`` is called with each question, and may do harm."""

    url: str
    signer: TimestampSigner
    clock: Clock
    questions: list[bytes] = field(default_factory=list)
    before: Callable[[], None] = lambda: None
    answer: Response | None = None
    asked: threading.Event = field(default_factory=threading.Event)

    def remote(self, client: HTTPClient, policy: str | None = None) -> RemoteAuthority:
        """Whoever asks this authority and has pinned its chain."""
        return RemoteAuthority(self.url, self.signer.authority, client, policy)


@contextmanager
def stamping(
    name: str = "tsa.example", *, tls: tuple[Path, Path] | None = None
) -> Iterator[Server]:
    """Answer on a free port until the end of the block.

    ``tls`` is a certificate and its key, if it answers over TLS.
    """
    clock = Clock()
    # A clock that is late must not be late before the certificate begins.
    born = real_now() - timedelta(days=1)
    server = Server("", TimestampSigner.generate(name, DEFAULT_TSA_POLICY, born), clock)
    honest = Timestamping(server.signer, clock)

    async def answer(request: Request) -> Response:
        server.questions.append(request.body)
        server.asked.set()
        server.before()
        return server.answer or await honest.stamp(request)

    settings = {} if tls is None else {"cert": tls[0], "key": tls[1]}
    routes = Routes((Route("POST", PATH, answer, max_body_bytes=4096),))
    with facing(routes, **settings) as (host, port):
        server.url = f"http{'s' if tls else ''}://{host}:{port}{PATH}"
        yield server
