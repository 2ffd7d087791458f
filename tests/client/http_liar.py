r"""The HTTP face of a registry that lies: it passes bytes on, or says what a test wants it to.

::

    with HTTPLiar(running.url) as http_liar:
        http_liar.answer = lambda request: iter([b"HTTP/1.1 404 Not Found\r\n\r\n"])
"""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Self

SECONDS = 20
"""How long anything may take."""

PIECE_BYTES = 64 * 1024
"""Bytes that are passed on at once."""

Answer = Callable[[bytes], Iterable[bytes]]
"""What is sent in answer to the head of a request."""


Upload = Callable[[socket.socket, bytes], None]
"""Talks to a client that wants to upload, the head of whose request came."""


class HTTPLiar:
    """Stands where a client is told that HTTP is answered.

    Attributes:
        answer: What is sent; the honest answer if not told otherwise.
        upload: What is done with an upload; it is passed on if not told otherwise.
        seen: All that came, one item for each connection.
    """

    def __init__(self, url: str) -> None:
        host, _, port = url.rpartition("//")[2].rpartition(":")
        self._real = host, int(port)
        self.answer: Answer = self.honest
        self.upload: Upload = self.relay
        self.seen: list[bytes] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # It wakes whoever waits for a connection.
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(SECONDS)
        self._socket.close()

    def honest(self, request: bytes) -> Iterator[bytes]:
        """What the registry answers."""
        with socket.create_connection(self._real, timeout=SECONDS) as real:
            real.sendall(request)
            while data := real.recv(PIECE_BYTES):
                yield data

    def changed(self, change: Callable[[bytes], bytes]) -> Answer:
        """The honest answer, all of it at once and changed."""
        return lambda request: [change(b"".join(self.honest(request)))]

    def cut(self, after: int) -> Answer:
        """The honest answer, of which so many bytes come."""

        def answer(request: bytes) -> Iterator[bytes]:
            left = after
            for data in self.honest(request):
                yield data[:left]
                left -= len(data)
                if left <= 0:
                    return

        return answer

    def relay(self, connection: socket.socket, head: bytes, after: int | None = None) -> None:
        """Pass an upload on, and what is answered; or hang up after so many bytes."""
        left = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        left = left if after is None else after
        with socket.create_connection(self._real, timeout=SECONDS) as real:
            real.sendall(head)
            connection.sendall(real.recv(PIECE_BYTES))
            while left and (data := connection.recv(min(left, PIECE_BYTES))):
                real.sendall(data)
                left -= len(data)
            while after is None and (data := real.recv(PIECE_BYTES)):
                connection.sendall(data)

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                with connection, contextlib.suppress(OSError):
                    self._talk(connection)

    def _talk(self, connection: socket.socket) -> None:
        connection.settimeout(SECONDS)
        came = connection.recv(PIECE_BYTES)
        self.seen.append(came)
        if came.startswith(b"PUT "):
            self.upload(connection, came)
            return
        for data in self.answer(came):
            connection.sendall(data)
