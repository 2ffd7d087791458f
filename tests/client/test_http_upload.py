"""Large files sent over HTTP: faster, no less checked, and never the only way."""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest

from registry.api.v1 import artifact_service_pb2 as pb
from registry.client import http_exchange, http_upload
from registry.client.publish import Publication, publish
from registry.client.registry import RegistryClient
from registry.core import digest
from registry.disk import LARGE_BYTES
from registry.disk import WIDE_BUFFER_BYTES as BUFFER_BYTES
from registry.errors import MalformedError, Reason, RegistryError
from tests.client.conftest import Place
from tests.client.http_liar import PIECE_BYTES, HTTPLiar
from tests.client.liar import Liar

NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)
OPEN = "ArtifactService/OpenUpload"
UPLOAD = "ArtifactService/Upload"
SIZE = 2 * BUFFER_BYTES + 3
GO_ON = b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A large file that nobody has."""
    path = tmp_path / "weights.bin"
    path.write_bytes(str(tmp_path).encode() + bytes(SIZE - len(str(tmp_path))))
    return path


@pytest.fixture
def http_liar(place: Place, liar: Liar) -> Iterator[HTTPLiar]:
    """Stand where the registry says that it takes blobs over HTTP."""
    with HTTPLiar(place.running.url) as http_liar:
        told(liar, http_liar.port)
        yield http_liar


def told(liar: Liar, port: int, ticket: str = "") -> None:
    """Have a registry say another port, and perhaps another ticket."""

    def change(raw: bytes) -> bytes:
        answer = pb.OpenUploadResponse.FromString(raw)
        answer.http.port = port
        answer.http.ticket = ticket or answer.http.ticket
        return answer.SerializeToString()

    liar.answers[OPEN] = change


class Moved(list[int]):
    """What was told of progress."""

    def __call__(self, more: int) -> None:
        self.append(more)


def sends(client: RegistryClient, path: Path, size: int = SIZE) -> list[int]:
    """Send a file that must then be stored; what was told of progress."""
    moved, sha256 = Moved(), digest.sha256(path.read_bytes())
    stored = client.upload(path, size, sha256, moved)
    assert (stored.sha256, stored.size) == (sha256, size)
    assert client.stat(sha256) == stored
    assert sum(moved) == size
    return moved


def goes_over_grpc(client: RegistryClient, liar: Liar, path: Path) -> None:
    """Whatever happens on the way over HTTP, the file arrives."""
    sends(client, path)
    assert (client.http_bytes, client.over_http, liar.count(UPLOAD)) == (0, False, 1)


def refusal(act: Callable[[], object]) -> RegistryError:
    with pytest.raises(RegistryError) as caught:
        act()
    return caught.value


def test_a_large_file_goes_over_http(misled: RegistryClient, liar: Liar, path: Path) -> None:
    sends(misled, path)
    assert (misled.http_bytes, liar.count(UPLOAD)) == (SIZE, 0)


def test_large_files_are_published_over_http(
    *,
    place: Place,
    misled: RegistryClient,
    liar: Liar,
    path: Path,
    fresh_name: Callable[[], str],
    tmp_path: Path,
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    path.rename(folder / path.name)
    (folder / "config.json").write_bytes(b"{}")
    published = publish(
        misled, folder, Publication(fresh_name(), "1"), place.publisher.signer, NOON
    )
    assert misled.http_bytes == SIZE
    data = (folder / path.name).read_bytes()
    assert misled.read_blob(digest.sha256(data), SIZE) == data
    assert published.sent_bytes in (SIZE, SIZE + 2)
    assert liar.count(OPEN) == 1


def test_small_files_and_bytes_do_not_go_over_http(
    misled: RegistryClient, liar: Liar, path: Path
) -> None:
    os.truncate(path, LARGE_BYTES - 1)
    sends(misled, path, LARGE_BYTES - 1)
    misled.upload_bytes(str(path).encode() * LARGE_BYTES)
    assert (misled.http_bytes, liar.count(OPEN), liar.count(UPLOAD)) == (0, 0, 2)


def test_the_token_is_not_shown(
    misled: RegistryClient, http_liar: HTTPLiar, place: Place, path: Path
) -> None:
    sends(misled, path)
    assert misled.http_bytes == SIZE
    assert len(http_liar.seen) == 1
    assert b"Authorization: Bearer provregticket_" in http_liar.seen[0]
    assert place.publisher.token.encode() not in http_liar.seen[0]


def test_nothing_is_sent_before_it_is_asked_for(
    misled: RegistryClient, liar: Liar, http_liar: HTTPLiar, path: Path
) -> None:
    came = b""

    def refuse(connection: socket.socket, _head: bytes) -> None:
        nonlocal came
        connection.sendall(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        came = connection.recv(PIECE_BYTES)

    http_liar.upload = refuse
    goes_over_grpc(misled, liar, path)
    assert came == b""


FIRST = {
    "silence": b"",
    "half a head": b"HTTP/1.1 100",
    "a refusal": b"HTTP/1.1 503 Service Unavailable\r\n\r\n",
    "the end": b"HTTP/1.1 201 Created\r\n\r\n",
    "old": b"HTTP/1.0 100 Continue\r\n\r\n",
    "no HTTP": b"SSH-2.0-OpenSSH\r\n\r\n",
    "a long head": b"HTTP/1.1 100 Continue\r\nx: " + b"y" * http_exchange.MAX_HEAD_BYTES,
}


@pytest.mark.parametrize("what", FIRST)
def test_whatever_does_not_take_the_file_is_left(
    misled: RegistryClient, liar: Liar, http_liar: HTTPLiar, path: Path, what: str
) -> None:
    http_liar.upload = lambda connection, _: connection.sendall(FIRST[what])
    goes_over_grpc(misled, liar, path)


LAST = {
    "silence": b"",
    "a refusal": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "half a head": b"HTTP/1.1 201 Created",
    "another success": b"HTTP/1.1 202 Accepted\r\n\r\n",
    "a lie": b"HTTP/1.1 201 Created\r\n\r\n",
}


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("what", LAST)
def test_a_file_that_was_not_stored_goes_over_grpc(
    *,
    misled: RegistryClient,
    liar: Liar,
    http_liar: HTTPLiar,
    path: Path,
    what: str,
    early: bool,
) -> None:
    def swallow(connection: socket.socket, _head: bytes) -> None:
        connection.sendall(GO_ON)
        left = 1000 if early else SIZE
        while left and (data := connection.recv(min(left, PIECE_BYTES))):
            left -= len(data)
        connection.sendall(LAST[what])

    http_liar.upload = swallow
    goes_over_grpc(misled, liar, path)


@pytest.mark.parametrize("after", [0, 1000, BUFFER_BYTES + 1])
def test_what_is_cut_off_goes_over_grpc(
    misled: RegistryClient, liar: Liar, http_liar: HTTPLiar, path: Path, after: int
) -> None:
    http_liar.upload = lambda connection, head: http_liar.relay(connection, head, after)
    goes_over_grpc(misled, liar, path)


def test_a_way_that_leads_nowhere_is_tried_once(
    misled: RegistryClient, liar: Liar, path: Path
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        told(liar, nobody.getsockname()[1])
        sends(misled, path)
        sends(misled, path)
    assert (liar.count(OPEN), liar.count(UPLOAD)) == (1, 2)


@pytest.mark.parametrize("ticket", ["a b", "a\r\nX: y", "é", "x" * 513])
def test_a_ticket_that_is_none_is_not_shown(
    misled: RegistryClient, liar: Liar, http_liar: HTTPLiar, path: Path, ticket: str
) -> None:
    told(liar, http_liar.port, ticket)
    goes_over_grpc(misled, liar, path)
    assert http_liar.seen == []


def test_a_registry_without_http_is_sent_files_over_grpc(
    misled: RegistryClient, liar: Liar, path: Path
) -> None:
    liar.answers[OPEN] = lambda _raw: pb.OpenUploadResponse().SerializeToString()
    goes_over_grpc(misled, liar, path)


def test_an_older_registry_is_sent_files_over_grpc(
    misled: RegistryClient, liar: Liar, path: Path
) -> None:
    liar.fail[OPEN] = (grpc.StatusCode.UNIMPLEMENTED, 1)
    goes_over_grpc(misled, liar, path)


@pytest.mark.parametrize("asked", [False, True], ids=["before", "while it is sent"])
def test_a_registry_that_falls_silent_is_given_up(
    *,
    misled: RegistryClient,
    liar: Liar,
    http_liar: HTTPLiar,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    asked: bool,
) -> None:
    monkeypatch.setattr(http_exchange, "STALL_SECONDS", 0.2)
    go_on = threading.Event()

    def silent(connection: socket.socket, _head: bytes) -> None:
        # Little room: the file does not fit into what the system holds.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        connection.sendall(GO_ON if asked else b"HTTP/1.1 ")
        go_on.wait(20)

    http_liar.upload = silent
    try:
        goes_over_grpc(misled, liar, path)
    finally:
        go_on.set()


def test_a_registry_that_never_says_it_is_stored_is_given_up(
    misled: RegistryClient,
    liar: Liar,
    http_liar: HTTPLiar,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_upload, "DURABLE_SECONDS", 0.2)
    go_on = threading.Event()

    def silent(connection: socket.socket, _head: bytes) -> None:
        connection.sendall(GO_ON)
        left = SIZE
        while left:
            left -= len(connection.recv(PIECE_BYTES))
        go_on.wait(20)

    http_liar.upload = silent
    try:
        goes_over_grpc(misled, liar, path)
    finally:
        go_on.set()


def test_a_registry_that_takes_drops_is_given_up(
    misled: RegistryClient,
    liar: Liar,
    http_liar: HTTPLiar,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_upload, "transfer_seconds", lambda _size: 0.3)

    def sip(connection: socket.socket, _head: bytes) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        connection.sendall(GO_ON)
        with contextlib.suppress(OSError):
            while connection.recv(30_000):
                time.sleep(0.02)

    http_liar.upload = sip
    goes_over_grpc(misled, liar, path)


@pytest.mark.parametrize("other", [SIZE - 1, SIZE + 1, 1000])
def test_a_file_of_another_length_is_refused(
    misled: RegistryClient, liar: Liar, path: Path, other: int
) -> None:
    sha256 = digest.sha256(path.read_bytes())
    os.truncate(path, other)
    error = refusal(lambda: misled.upload(path, SIZE, sha256))
    assert isinstance(error, MalformedError)
    assert (error.reason, error.where) == (Reason.FILE_CHANGED, str(path))
    assert liar.count(UPLOAD) == 0


def test_a_file_of_other_bytes_is_refused(misled: RegistryClient, liar: Liar, path: Path) -> None:
    sha256 = digest.sha256(str(path).encode())
    error = refusal(lambda: misled.upload(path, SIZE, sha256))
    assert error.reason is Reason.DIGEST_MISMATCH
    assert (liar.count(OPEN), liar.count(UPLOAD)) == (1, 1)
    assert misled.find_missing([sha256]) == [sha256]


def test_who_may_not_publish_hears_it_over_grpc(place: Place, path: Path) -> None:
    with place.client(place.node.token) as node:
        error = refusal(lambda: node.upload(path, SIZE, digest.sha256(path.read_bytes())))
    assert error.reason is Reason.ROLE
