"""A log on an ordinary web server, honest or not.

::

    with serving(log) as server:
        server.shown = log.head(5)
        TiledLog(server.url, HTTPClient()).newest()
"""

import gzip
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from registry.core.tlog.checkpoint import SignedCheckpoint
from registry.core.tlog.tile import TILE_WIDTH, TilePath
from tests.core.tlog.trees import StaticLog

Change = Callable[[str, bytes], bytes]
"""What a liar makes of the bytes of a path."""


@dataclass
class StaticServer:
    """What is served, and what was asked for.

    Attributes:
        shown: The checkpoint that is served instead of the newest one.
        cosigned: What is served as the newest cosigned checkpoint; None if the log has no such.
        gone: Paths that are not there any more.
        only_full: Whether incomplete tiles and bundles are gone where full ones are there.
        change: What is done to every body before it is sent.
        down: Whether every answer is 503.
        asked: All paths, in order.
    """

    log: StaticLog
    url: str = ""
    shown: SignedCheckpoint | None = None
    cosigned: bytes | None = None
    gone: frozenset[str] = frozenset()
    only_full: bool = False
    packed: bool = False
    change: Change = field(default=lambda _path, body: body)
    down: bool = False
    asked: list[str] = field(default_factory=list)

    def body(self, path: str) -> bytes | None:
        """The body of a path; None if there is none."""
        if path == "checkpoint":
            return (self.shown or self.log.head()).note
        if path == "checkpoint/cosigned":
            return self.cosigned
        is_bundle = path.startswith("tile/entries/")
        tile = TilePath.parse(path.replace("entries", "0", 1) if is_bundle else path)
        have = len(self.log.hashes(tile.level)) - tile.index * TILE_WIDTH
        was_replaced = self.only_full and tile.width < TILE_WIDTH <= have
        if have < tile.width or path in self.gone or was_replaced:
            return None
        return self.log.bundle(tile.index, tile.width) if is_bundle else self.log.tile(tile)

    def answer(self, path: str) -> tuple[int, bytes]:
        """Status and body."""
        self.asked.append(path)
        if self.down:
            return 503, b"later"
        body = self.body(path)
        return (404, b"no") if body is None else (200, self.change(path, body))


@contextmanager
def serving(log: StaticLog) -> Iterator[StaticServer]:
    """Serve a log until the end of the block."""
    served = StaticServer(log)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            status, body = served.answer(self.path.removeprefix("/log/"))
            self.send_response(status)
            if served.packed and status == 200:
                body = gzip.compress(body)
                self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_address[1]}/log/"
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
