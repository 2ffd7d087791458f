"""A file over HTTP: from the page cache to the socket, by the kernel alone where it can.

Nothing is sent before the registry says that it takes this blob (RFC 9110 §10.1.1), and nothing
more once it has said anything else. Whether the blob is stored is asked over gRPC afterwards; where
HTTP leads nowhere, the file goes over gRPC from its beginning.
"""

import os
import selectors
import ssl
import time
from dataclasses import dataclass
from http import HTTPStatus
from io import FileIO
from socket import socket
from typing import Final

from registry.client import http_exchange
from registry.client.channel import Connection, transfer_seconds
from registry.client.http_exchange import HTTPAddress
from registry.client.transfer import Progress, changed
from registry.errors import MalformedError

PIECE_BYTES: Final = 4 * 1024 * 1024
"""Bytes that the kernel is asked to send at once; it takes as many as there is room for."""

TLS_BYTES: Final = 256 * 1024
"""Bytes that are encrypted at once."""

DURABLE_SECONDS: Final = 300
"""How long the registry may take to make durable what it received last."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file that is to be sent, with its digest and its length, and its name in errors."""

    file: FileIO
    sha256: bytes
    size: int
    where: str


def send(connection: Connection, address: HTTPAddress, source: Source, progress: Progress) -> None:
    """Send a file, and wait until somebody says that it is stored.

    Raises:
        MalformedError: ``FILE_CHANGED`` if the file has another length.
        UnavailableError: ``UNREACHABLE`` if the blob is not taken there, or if the connection is
            lost; ``DEADLINE`` if nothing moves, or too little.
    """
    ends = time.monotonic() + transfer_seconds(source.size)
    with http_exchange.beside(connection, address) as opened:
        opened.sendall(
            http_exchange.request_head(
                "PUT",
                connection,
                address,
                source.sha256,
                "Content-Type: application/octet-stream",
                f"Content-Length: {source.size}",
                "Expect: 100-continue",
            )
        )
        head = http_exchange.read_head(opened, ends)
        if not head.says(HTTPStatus.CONTINUE):
            raise http_exchange.unexpected(head, {}, f"status {HTTPStatus.CONTINUE.value}")
        if not head.rest:
            if isinstance(opened, ssl.SSLSocket):
                _send_encrypted(opened, source, progress, ends)
            else:
                _send_plain(opened, source, progress, ends)
        if os.fstat(source.file.fileno()).st_size != source.size:
            raise _changed(source, "another length")
        # It is written out, synced and named now.
        opened.settimeout(DURABLE_SECONDS)
        head = http_exchange.read_head(opened, ends, head.rest)
        if not head.says(HTTPStatus.OK, HTTPStatus.CREATED):
            raise http_exchange.unexpected(head, {}, "status 200 or 201")


def _send_plain(opened: socket, source: Source, progress: Progress, ends: float) -> None:
    """Let the kernel send the file, until all is sent or something else is answered."""
    sent = 0
    with selectors.DefaultSelector() as ready:
        ready.register(opened, selectors.EVENT_READ | selectors.EVENT_WRITE)
        while sent < source.size:
            events = ready.select(http_exchange.STALL_SECONDS)
            if not events:
                raise http_exchange.late()
            if any(mask & selectors.EVENT_READ for _, mask in events):
                return
            count = min(PIECE_BYTES, source.size - sent)
            count = os.sendfile(opened.fileno(), source.file.fileno(), sent, count)
            if not count:
                raise _changed(source, f"{sent} bytes")
            sent += count
            progress(count)
            http_exchange.check_time(ends)


def _send_encrypted(opened: socket, source: Source, progress: Progress, ends: float) -> None:
    sent = 0
    while sent < source.size:
        data = os.pread(source.file.fileno(), min(TLS_BYTES, source.size - sent), sent)
        if not data:
            raise _changed(source, f"{sent} bytes")
        opened.sendall(data)
        sent += len(data)
        progress(len(data))
        http_exchange.check_time(ends)


def _changed(source: Source, actual: str) -> MalformedError:
    return changed(source.where, f"{source.size} bytes", actual)
