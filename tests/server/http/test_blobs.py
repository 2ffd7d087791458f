"""Blobs over HTTP, to whoever may have them over gRPC, from a real registry over real sockets."""

import http.client
import logging
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from registry.api.v1 import access_pb2, access_service_pb2, artifact_service_pb2
from registry.core import digest
from registry.disk import BUFFER_BYTES
from registry.server.guard import DOWNLOAD, RULES
from registry.server.http import blobs as room
from registry.server.http import connection as connection_module
from registry.services.tickets import PREFIX
from tests.server.http.facing import SECONDS, Address, Answer, address_of, ask, drain
from tests.server.served import Served, served

SMALL = b"a small blob"
LARGE = bytes(range(251)) * (5 * BUFFER_BYTES // 2 // 251) + b"end"
HUGE_BYTES = 32 * 1024 * 1024

Get = Callable[..., Answer]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("registry") / "data") as registry:
        for data in (b"", SMALL, LARGE, bytes(HUGE_BYTES)):
            registry.put(data)
        yield registry


@pytest.fixture
def address(registry: Served) -> Address:
    return address_of(registry.url)


def path(data: bytes) -> str:
    return f"/blobs/{digest.text(digest.sha256(data))}"


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


@pytest.fixture
def get(registry: Served, address: Address) -> Get:
    """Ask as a node."""

    def get(path: str, method: str = "GET", **headers: str) -> Answer:
        return ask(address, method, path, headers=bearer(registry.node.token) | headers)

    return get


@pytest.mark.parametrize("data", [b"", SMALL, LARGE], ids=["empty", "small", "large"])
def test_a_blob_is_these_bytes(get: Get, data: bytes) -> None:
    answer = get(path(data))
    assert (answer.status, answer.body) == (200, data)
    assert answer.headers["content-length"] == str(len(data))
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["etag"] == f'"{digest.text(digest.sha256(data))}"'
    assert answer.headers["accept-ranges"] == "bytes"
    assert "private" in answer.headers["cache-control"]


def test_head_says_how_long_a_blob_is(get: Get) -> None:
    answer = get(path(LARGE), "HEAD")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["content-length"] == str(len(LARGE))


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("bytes=5-", slice(5, None)),
        ("bytes=3-7", slice(3, 8)),
        ("bytes=-4", slice(-4, None)),
        ("bytes=0-99999999", slice(None)),
    ],
)
def test_a_range_is_these_bytes(get: Get, data: bytes, text: str, part: slice) -> None:
    answer = get(path(data), range=text)
    start, stop, _ = part.indices(len(data))
    assert (answer.status, answer.body) == (206, data[part])
    assert answer.headers["content-length"] == str(stop - start)
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(data)}"


@pytest.mark.parametrize("start", [1, 4095, 4096, BUFFER_BYTES - 1, BUFFER_BYTES, len(LARGE) - 1])
def test_a_transfer_goes_on_from_any_place(get: Get, start: int) -> None:
    etag = f'"{digest.text(digest.sha256(LARGE))}"'
    answer = get(path(LARGE), range=f"bytes={start}-", **{"if-range": etag})
    assert (answer.status, answer.body) == (206, LARGE[start:])


def test_a_range_of_other_bytes_gives_the_whole_blob(get: Get) -> None:
    answer = get(path(SMALL), range="bytes=1-", **{"if-range": '"sha256:00"'})
    assert (answer.status, answer.body) == (200, SMALL)


@pytest.mark.parametrize("data", [b"", SMALL], ids=["empty", "small"])
def test_a_range_behind_the_end_is_refused(get: Get, data: bytes) -> None:
    answer = get(path(data), range=f"bytes={len(data)}-")
    assert (answer.status, answer.reason) == (416, "OFFSET_OUT_OF_RANGE")
    assert answer.headers["content-range"] == f"bytes */{len(data)}"


@pytest.mark.parametrize("text", ["bytes=x-", "bytes=4-3", "bytes=0-1,3-4"])
def test_what_is_not_one_range_is_refused(get: Get, text: str) -> None:
    answer = get(path(SMALL), range=text)
    assert (answer.status, answer.reason) == (400, "MALFORMED_RANGE")


def test_an_unknown_blob_is_not_found(get: Get) -> None:
    answer = get(path(b"nobody stored this"))
    assert (answer.status, answer.reason) == (404, "UNKNOWN_BLOB")


@pytest.mark.parametrize(
    "name", ["sha256:00", "sha512:" + "0" * 64, "0" * 64, "sha256:" + "A" * 64, "sha256:%2e%2e"]
)
def test_what_is_no_digest_is_refused(get: Get, name: str) -> None:
    answer = get(f"/blobs/{name}")
    assert (answer.status, answer.reason) == (400, "MALFORMED_DIGEST")


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
def test_blobs_are_only_read_and_stored_here(get: Get, method: str) -> None:
    answer = get(path(SMALL), method)
    assert (answer.status, answer.reason) == (405, "WRONG_METHOD")


@pytest.mark.parametrize("who", ["acme", "rival", "node", "auditor", "admin"])
def test_whoever_may_download_may_read(registry: Served, address: Address, who: str) -> None:
    token = getattr(registry, who).token
    assert ask(address, "GET", path(SMALL), headers=bearer(token)).body == SMALL


def expired(registry: Served) -> str:
    request = access_service_pb2.AddPrincipalRequest(
        name="past", roles=[access_pb2.ROLE_NODE], expires_at=Timestamp(seconds=1_000_000)
    )
    return registry.access.AddPrincipal(request, metadata=registry.admin.metadata).token


def revoked(registry: Served) -> str:
    caller = registry.admit("gone", "node")
    registry.access.RevokePrincipal(
        access_service_pb2.RevokePrincipalRequest(name="gone"), metadata=registry.admin.metadata
    )
    return caller.token


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("data", [SMALL, b"nobody stored this"], ids=["known", "unknown"])
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "NO_TOKEN"),
        ("", "NO_TOKEN"),
        ("Basic YTpi", "NO_TOKEN"),
        ("Bearer provreg_nobody", "UNKNOWN_TOKEN"),
        (f"Bearer {PREFIX}nobody", "UNKNOWN_TOKEN"),
    ],
)
def test_nobody_reads_without_a_token(
    address: Address, method: str, data: bytes, value: str | None, reason: str
) -> None:
    headers = {} if value is None else {"authorization": value}
    answer = ask(address, method, path(data), headers=headers)
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    if method == "GET":
        assert answer.reason == reason


@pytest.mark.parametrize(
    ("make", "reason"), [(expired, "TOKEN_EXPIRED"), (revoked, "TOKEN_REVOKED")]
)
def test_a_token_whose_time_is_over_opens_nothing(
    registry: Served, address: Address, make: Callable[[Served], str], reason: str
) -> None:
    answer = ask(address, "GET", path(SMALL), headers=bearer(make(registry)))
    assert (answer.status, answer.reason) == (401, reason)


def test_the_rule_is_that_of_downloads(
    registry: Served, address: Address, get: Get, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RULES, DOWNLOAD, "auditor")
    answer = get(path(SMALL))
    assert (answer.status, answer.reason) == (403, "ROLE")
    allowed = ask(address, "GET", path(SMALL), headers=bearer(registry.auditor.token))
    assert allowed.status == 200
    monkeypatch.delitem(RULES, DOWNLOAD)
    assert ask(address, "GET", path(SMALL), headers=bearer(registry.admin.token)).status == 403


def stat(registry: Served, data: bytes) -> artifact_service_pb2.HttpAddress:
    request = artifact_service_pb2.StatRequest(sha256=digest.sha256(data))
    return registry.artifacts.Stat(request, metadata=registry.node.metadata, timeout=SECONDS).http


def test_callers_are_told_over_grpc_where_to_ask(registry: Served, address: Address) -> None:
    told = stat(registry, LARGE)
    assert told.port == address[1]
    assert ask(address, "GET", path(LARGE), headers=bearer(told.ticket)).body == LARGE


def test_a_ticket_opens_no_other_blob(registry: Served, address: Address) -> None:
    ticket = stat(registry, LARGE).ticket
    answer = ask(address, "GET", path(SMALL), headers=bearer(ticket))
    assert (answer.status, answer.reason) == (401, "UNKNOWN_TOKEN")


def test_a_ticket_is_no_token(registry: Served) -> None:
    ticket = stat(registry, SMALL).ticket
    metadata = (("authorization", f"Bearer {ticket}"),)
    request = artifact_service_pb2.StatRequest(sha256=digest.sha256(SMALL))
    call = lambda: registry.artifacts.Stat(request, metadata=metadata)  # noqa: E731
    assert registry.refused(call) == "UNKNOWN_TOKEN"


def test_one_connection_serves_several_blobs(registry: Served, address: Address) -> None:
    connection = http.client.HTTPConnection(*address, timeout=SECONDS)
    try:
        for data in (LARGE, SMALL, b"", LARGE):
            connection.request("GET", path(data), headers=bearer(registry.node.token))
            assert connection.getresponse().read() == data
    finally:
        connection.close()


def request(registry: Served, data: bytes, *more: str) -> bytes:
    lines = (
        f"GET {path(data)} HTTP/1.1",
        "Host: x",
        f"Authorization: Bearer {registry.node.token}",
        *more,
    )
    return "\r\n".join((*lines, "", "")).encode()


def test_requests_that_come_together_are_answered_in_order(
    registry: Served, address: Address
) -> None:
    kinds = [LARGE, SMALL, LARGE, b"", SMALL]
    sent = b"".join(request(registry, data) for data in kinds)
    last = request(registry, LARGE, "Connection: close")
    with socket.create_connection(address, timeout=SECONDS) as connection:
        connection.sendall(sent + last)
        received = drain(connection)
    for data in (*kinds, LARGE):
        head, _, received = received.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert received.startswith(data)
        received = received[len(data) :]
    assert received == b""


def settles(holds: Callable[[], bool]) -> bool:
    ends = time.monotonic() + SECONDS
    while not holds() and time.monotonic() < ends:
        time.sleep(0.01)
    return holds()


def open_blobs(registry: Served) -> int:
    """How many blobs this process, which serves them, holds open."""
    folder = str(registry.folder / "blobs")
    links = Path("/proc/self/fd").iterdir()
    return sum(str(link.readlink()).startswith(folder) for link in links if link.is_symlink())


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="this system does not tell")
def test_a_client_that_leaves_leaves_nothing_open(registry: Served, address: Address) -> None:
    for _ in range(5):
        with socket.create_connection(address, timeout=SECONDS) as connection:
            connection.sendall(request(registry, bytes(HUGE_BYTES)))
            connection.recv(1000)
    assert settles(lambda: open_blobs(registry) == 0)


def test_a_client_that_takes_nothing_is_dropped(
    registry: Served, address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "TAKEN_SECONDS", 0.2)
    with socket.socket() as connection:
        # Little room on this side: the rest of the blob must wait on the other.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        connection.settimeout(SECONDS)
        connection.connect(address)
        connection.sendall(request(registry, bytes(HUGE_BYTES)))
        connection.recv(1000)
        assert settles(lambda: open_blobs(registry) == 0)
        with pytest.raises(ConnectionError):
            assert len(drain(connection)) < HUGE_BYTES
            raise ConnectionResetError


def test_so_many_blobs_are_sent_at_once(
    registry: Served, address: Address, get: Get, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "MAX_TRANSFERS", 1)
    with socket.create_connection(address, timeout=SECONDS) as connection:
        connection.sendall(request(registry, bytes(HUGE_BYTES)))
        connection.recv(1000)
        answer = get(path(SMALL))
        assert (answer.status, answer.reason) == (503, "TOO_MANY_TRANSFERS")
        assert answer.headers["retry-after"] == "1"
    assert settles(lambda: get(path(SMALL)).status == 200)


def test_a_blob_that_lost_its_end_breaks_the_answer_off(
    registry: Served, address: Address, caplog: pytest.LogCaptureFixture
) -> None:
    data = LARGE + b"to be cut"
    stored = registry.services.blobs.path(registry.put(data))
    with stored.open("r+b") as file:
        file.truncate(len(data) - 1)
    with (
        caplog.at_level(logging.ERROR),
        socket.create_connection(address, timeout=SECONDS) as connection,
    ):
        connection.sendall(request(registry, data))
        received = drain(connection)
    assert received.partition(b"\r\n\r\n")[2] == data[:-1]
    assert "STORED_BYTES" in caplog.text


def test_a_blob_whose_file_is_gone_is_not_found(registry: Served, get: Get) -> None:
    data = b"to be removed"
    registry.services.blobs.path(registry.put(data)).unlink()
    answer = get(path(data))
    assert (answer.status, answer.reason) == (404, "UNKNOWN_BLOB")
