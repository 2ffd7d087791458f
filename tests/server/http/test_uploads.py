"""Blobs stored over HTTP: the contract of uploads over gRPC, over real sockets."""

import asyncio
import contextlib
import errno
import hashlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from registry.api.v1 import access_service_pb2, artifact_pb2
from registry.api.v1 import artifact_service_pb2 as pb
from registry.config import ServerSettings
from registry.core import digest
from registry.disk import WIDE_BUFFER_BYTES as BUFFER_BYTES
from registry.server.app import http_routes, open_services
from registry.server.guard import RULES, UPLOAD
from registry.server.http import connection as connection_module
from registry.server.http import incoming, uploads
from registry.server.http.routing import Request
from registry.server.http.uploads import UploadRoom
from registry.server.offline import freeze_log
from registry.services import tickets as tickets_module
from registry.services.artifacts import MAX_BLOB_BYTES
from registry.services.tickets import Right
from registry.storage.blobs.disk import DiskBlobStore
from tests.running import Caller
from tests.server.http.facing import SECONDS, Address, Answer, address_of, ask, drain, facing
from tests.server.served import Served, served

SMALL = b"a small blob"
LARGE = bytes(range(251)) * (5 * BUFFER_BYTES // 2 // 251) + b"end"
NEVER = b"never stored"

LENGTH = b"Content-Length: %d" % len(NEVER)
BYTES = {"content-type": "application/octet-stream"}

Change = Callable[[dict[str, str]], dict[str, str]]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("registry") / "data") as registry:
        yield registry


@pytest.fixture
def address(registry: Served) -> Address:
    return address_of(registry.url)


def path(data: bytes) -> str:
    return f"/blobs/{digest.text(digest.sha256(data))}"


def opened(
    registry: Served, data: bytes, size: int | None = None, caller: Caller | None = None
) -> pb.OpenUploadResponse:
    size = len(data) if size is None else size
    header = artifact_pb2.UploadHeader(sha256=digest.sha256(data), size=size)
    return registry.artifacts.OpenUpload(
        pb.OpenUploadRequest(header=header),
        metadata=(caller or registry.acme).metadata,
        timeout=SECONDS,
    )


def allowed(registry: Served, data: bytes, size: int | None = None) -> dict[str, str]:
    """The headers of an upload that is let in."""
    ticket = opened(registry, data, size).http.ticket
    return BYTES | {"authorization": f"Bearer {ticket}"}


def put(registry: Served, data: bytes, **headers: str) -> Answer:
    changed = {name.replace("_", "-"): text for name, text in headers.items()}
    shown = allowed(registry, data) | changed
    return ask(address_of(registry.url), "PUT", path(data), data, shown)


def head(registry: Served, data: bytes, size: int, *more: str) -> bytes:
    lines = [f"PUT {path(data)} HTTP/1.1", "Host: x", f"Content-Length: {size}", *more]
    lines += [f"{name}: {text}" for name, text in allowed(registry, data, size).items()]
    return "\r\n".join((*lines, "", "")).encode()


def reason_of(answer: bytes) -> str:
    """Why something was refused, if this is all that came back."""
    return str(msgspec.json.decode(answer.partition(b"\r\n\r\n")[2])["reason"])


def settles(holds: Callable[[], bool]) -> bool:
    ends = time.monotonic() + SECONDS
    while not (held := holds()) and time.monotonic() < ends:
        time.sleep(0.01)
    return held


@pytest.fixture
def nothing_stored(registry: Served) -> Iterator[None]:
    """Make sure that a test leaves nothing behind."""
    before = frozenset(registry.services.blobs)
    yield
    assert settles(lambda: not incoming_files(registry))
    assert frozenset(registry.services.blobs) == before


@pytest.mark.parametrize("data", [b"", SMALL, LARGE], ids=["empty", "small", "large"])
def test_a_blob_is_stored_under_both_digests(registry: Served, data: bytes) -> None:
    answer = put(registry, data)
    assert answer.status == 201
    assert answer.json == {
        "sha256": digest.sha256(data).hex(),
        "sha512": hashlib.sha512(data).hexdigest(),
        "size": len(data),
    }
    assert answer.headers["connection"] == "close"
    assert registry.services.blobs.path(digest.sha256(data)).read_bytes() == data
    info = registry.services.artifacts.stat(digest.sha256(data))
    assert info.sha512 == hashlib.sha512(data).digest()
    assert registry.stored().arriving == 0


@pytest.mark.parametrize("size", [100, BUFFER_BYTES + 100], ids=["small", "large"])
def test_a_blob_may_be_stored_twice(registry: Served, size: int) -> None:
    data = b"t" * size
    first, again = put(registry, data), put(registry, data)
    assert (first.status, again.status) == (201, 200)
    assert first.json == again.json


def test_storing_a_blob_again_mends_it(registry: Served) -> None:
    data = b"to be damaged"
    put(registry, data)
    registry.services.blobs.path(digest.sha256(data)).write_bytes(b"to be DAMAGED")
    assert put(registry, data).status == 200
    assert registry.services.blobs.read(digest.sha256(data), 100) == data


def test_a_client_that_asks_before_it_sends_is_told_to_go_on(
    registry: Served, address: Address
) -> None:
    data = LARGE + b"after the answer"
    with socket.create_connection(address, timeout=SECONDS) as connection:
        connection.sendall(head(registry, data, len(data), "Expect: 100-continue"))
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(data)
        assert drain(connection).startswith(b"HTTP/1.1 201 ")


@pytest.mark.usefixtures("nothing_stored")
def test_a_client_that_may_not_is_told_so_before_it_sends(
    registry: Served, address: Address
) -> None:
    sent = head(registry, NEVER, 10, "Expect: 100-continue").replace(b"ticket_", b"ticket_1")
    with socket.create_connection(address, timeout=SECONDS) as connection:
        connection.sendall(sent)
        assert drain(connection).startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize("cut", [1, 100_000, BUFFER_BYTES, len(LARGE) - 1])
def test_bytes_may_come_with_the_head_and_in_any_pieces(
    registry: Served, address: Address, cut: int
) -> None:
    data = LARGE + b"%d" % cut
    with socket.create_connection(address, timeout=SECONDS) as connection:
        connection.sendall(head(registry, data, len(data)) + data[:cut])
        time.sleep(0.05)
        connection.sendall(data[cut:])
        assert drain(connection).startswith(b"HTTP/1.1 201 ")
    assert registry.services.blobs.path(digest.sha256(data)).read_bytes() == data


def test_an_upload_may_come_after_other_requests(registry: Served, address: Address) -> None:
    data = b"after others" * 100_000
    sent = b"GET /checkpoint HTTP/1.1\r\nHost: x\r\n\r\n" * 3 + head(registry, data, len(data))
    with socket.create_connection(address, timeout=SECONDS) as connection:
        connection.sendall(sent + data)
        answers = drain(connection)
    assert answers.count(b"HTTP/1.1 200 ") == 3
    assert answers.count(b"HTTP/1.1 201 ") == 1
    assert registry.services.blobs.path(digest.sha256(data)).read_bytes() == data


def test_what_follows_a_blob_is_not_answered(registry: Served, address: Address) -> None:
    data = b"before more" * 100_000
    sent = head(registry, data, len(data)) + data
    with socket.create_connection(address, timeout=SECONDS) as connection:
        connection.sendall(sent + b"GET /checkpoint HTTP/1.1\r\nHost: x\r\n\r\n")
        try:
            answers = drain(connection)
        except ConnectionResetError:
            answers = b"HTTP/1.1 201 "
    assert answers.count(b"HTTP/1.1 ") == 1
    assert registry.services.blobs.path(digest.sha256(data)).read_bytes() == data


# Who may.


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "NO_TOKEN"),
        ("Basic YTpi", "NO_TOKEN"),
        ("Bearer provreg_nobody", "UNKNOWN_TOKEN"),
        ("Bearer provregticket_nobody", "UNKNOWN_TOKEN"),
    ],
)
@pytest.mark.usefixtures("nothing_stored")
def test_nobody_stores_without_a_ticket(address: Address, value: str | None, reason: str) -> None:
    headers = BYTES if value is None else BYTES | {"authorization": value}
    answer = ask(address, "PUT", path(NEVER), NEVER, headers)
    assert (answer.status, answer.reason) == (401, reason)
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("who", ["acme", "admin"])
@pytest.mark.usefixtures("nothing_stored")
def test_a_token_opens_nothing_here(registry: Served, address: Address, who: str) -> None:
    shown = BYTES | {"authorization": f"Bearer {getattr(registry, who).token}"}
    answer = ask(address, "PUT", path(NEVER), NEVER, shown)
    assert (answer.status, answer.reason) == (401, "UNKNOWN_TOKEN")


@pytest.mark.parametrize("who", ["node", "auditor", "admin"])
def test_only_publishers_get_a_ticket(registry: Served, who: str) -> None:
    caller = getattr(registry, who)
    assert registry.refused(lambda: opened(registry, NEVER, caller=caller)) == "ROLE"


def test_a_ticket_is_for_one_port_and_one_blob(registry: Served, address: Address) -> None:
    assert opened(registry, NEVER).http.port == address[1]


@pytest.mark.usefixtures("nothing_stored")
def test_a_ticket_is_for_no_other_blob(registry: Served, address: Address) -> None:
    shown = allowed(registry, SMALL, len(NEVER))
    answer = ask(address, "PUT", path(NEVER), NEVER, shown)
    assert (answer.status, answer.reason) == (401, "UNKNOWN_TOKEN")


@pytest.mark.parametrize("more", [-1, 1])
@pytest.mark.usefixtures("nothing_stored")
def test_a_ticket_is_for_no_other_length(registry: Served, address: Address, more: int) -> None:
    shown = allowed(registry, NEVER, len(NEVER) + more)
    answer = ask(address, "PUT", path(NEVER), NEVER, shown)
    assert (answer.status, answer.reason) == (401, "UNKNOWN_TOKEN")


@pytest.mark.usefixtures("nothing_stored")
def test_a_ticket_to_read_stores_nothing(registry: Served, address: Address) -> None:
    ticket = registry.services.tickets.issue("acme", Right.to_read(digest.sha256(NEVER)))
    shown = BYTES | {"authorization": f"Bearer {ticket}"}
    answer = ask(address, "PUT", path(NEVER), NEVER, shown)
    assert (answer.status, answer.reason) == (401, "UNKNOWN_TOKEN")


def test_a_ticket_to_store_reads_nothing(registry: Served, address: Address) -> None:
    registry.put(SMALL)
    answer = ask(address, "GET", path(SMALL), headers=allowed(registry, SMALL))
    assert (answer.status, answer.reason) == (401, "UNKNOWN_TOKEN")


@pytest.mark.usefixtures("nothing_stored")
def test_a_ticket_ends(registry: Served, address: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tickets_module, "SECONDS", -1)
    answer = ask(address, "PUT", path(NEVER), NEVER, allowed(registry, NEVER))
    assert (answer.status, answer.reason) == (401, "TOKEN_EXPIRED")


@pytest.mark.usefixtures("nothing_stored")
def test_a_ticket_of_somebody_who_was_revoked_opens_nothing(
    registry: Served, address: Address
) -> None:
    gone = registry.admit("gone", "publisher", namespaces=["gone/*"])
    ticket = opened(registry, NEVER, caller=gone).http.ticket
    registry.access.RevokePrincipal(
        access_service_pb2.RevokePrincipalRequest(name="gone"), metadata=registry.admin.metadata
    )
    shown = BYTES | {"authorization": f"Bearer {ticket}"}
    answer = ask(address, "PUT", path(NEVER), NEVER, shown)
    assert (answer.status, answer.reason) == (401, "TOKEN_REVOKED")


@pytest.mark.usefixtures("nothing_stored")
def test_the_rule_is_that_of_uploads(
    registry: Served, address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = allowed(registry, NEVER)
    monkeypatch.setitem(RULES, UPLOAD, "admin")
    answer = ask(address, "PUT", path(NEVER), NEVER, shown)
    assert (answer.status, answer.reason) == (403, "ROLE")
    monkeypatch.delitem(RULES, UPLOAD)
    assert ask(address, "PUT", path(NEVER), NEVER, shown).status == 403


def test_a_frozen_log_takes_no_blob(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with served(data):
        pass
    freeze_log(ServerSettings(data), datetime(2026, 9, 1, tzinfo=UTC))
    with (
        open_services(ServerSettings(data)) as (services, _),
        facing(http_routes(services)) as address,
    ):
        ticket = services.tickets.issue("acme", Right.to_store(digest.sha256(NEVER), len(NEVER)))
        shown = BYTES | {"authorization": f"Bearer {ticket}"}
        answer = ask(address, "PUT", path(NEVER), NEVER, shown)
        assert (answer.status, answer.reason) == (405, "LOG_FROZEN")
        assert not list(services.blobs)


# What is no blob.


def without(name: str) -> Change:
    return lambda headers: {key: text for key, text in headers.items() if key != name}


def having(name: str, text: str) -> Change:
    return lambda headers: headers | {name: text}


FORMS: dict[str, tuple[Change, int, str]] = {
    "no media type": (without("content-type"), 415, "MEDIA_TYPE"),
    "another media type": (having("content-type", "application/json"), 415, "MEDIA_TYPE"),
    "a form": (having("content-type", "multipart/form-data; boundary=x"), 415, "MEDIA_TYPE"),
    "a packed body": (having("content-encoding", "gzip"), 415, "MEDIA_TYPE"),
    "a part": (having("content-range", "bytes 0-3/10"), 400, "MALFORMED_RANGE"),
}


@pytest.mark.parametrize("what", FORMS)
@pytest.mark.usefixtures("nothing_stored")
def test_a_request_with_this_is_refused(registry: Served, address: Address, what: str) -> None:
    change, status, reason = FORMS[what]
    headers = change(allowed(registry, NEVER))
    answer = ask(address, "PUT", path(NEVER), NEVER, headers)
    assert (answer.status, answer.reason) == (status, reason)


@pytest.mark.parametrize(
    ("framing", "body"),
    [(b"Connection: close", b""), (b"Transfer-Encoding: chunked", b"c\r\n%s\r\n0\r\n\r\n" % NEVER)],
    ids=["none", "chunked"],
)
@pytest.mark.usefixtures("nothing_stored")
def test_a_request_that_does_not_say_its_length_is_refused(
    registry: Served, address: Address, framing: bytes, body: bytes
) -> None:
    sent = head(registry, NEVER, len(NEVER)).replace(LENGTH, framing)
    with socket.create_connection(address, timeout=SECONDS) as connection:
        connection.sendall(sent + body)
        answer = drain(connection)
    assert answer.startswith(b"HTTP/1.1 411 ")
    assert reason_of(answer) == "LENGTH_REQUIRED"


def test_a_length_beside_another_framing_is_none(registry: Served) -> None:
    # The parser refuses both together; whoever has another parser must be refused as well.
    room = UploadRoom(registry.services.artifacts, registry.services.tickets, None)
    headers = allowed(registry, NEVER) | {"content-length": "12", "transfer-encoding": "gzip"}
    parts = {"digest": digest.text(digest.sha256(NEVER))}
    answer = asyncio.run(room.store(Request("PUT", path(NEVER), headers=headers, parts=parts)))
    assert (answer.status, b"LENGTH_REQUIRED" in answer.body) == (411, True)


SMUGGLED = {
    "both framings": (LENGTH, LENGTH + b"\r\nTransfer-Encoding: chunked"),
    "both framings, the other way": (LENGTH, b"Transfer-Encoding: chunked\r\n" + LENGTH),
    "two lengths": (LENGTH, LENGTH + b"\r\nContent-Length: 5"),
    "one length twice": (LENGTH, LENGTH + b"\r\n" + LENGTH),
    "a list of lengths": (LENGTH, LENGTH + b", %d" % len(NEVER)),
    "a length with a sign": (LENGTH, b"Content-Length: +%d" % len(NEVER)),
    "another spelling of a length": (LENGTH, b"Content-Length: 0%d" % len(NEVER)),
    "a negative length": (LENGTH, b"Content-Length: -1"),
    "a length beyond numbers": (LENGTH, b"Content-Length: 18446744073709551628"),
    "a space before the colon": (b"Content-Length:", b"Content-Length :"),
}
"""Requests of whose length two readers may think differently."""


@pytest.mark.parametrize("what", SMUGGLED)
@pytest.mark.usefixtures("nothing_stored")
def test_a_length_that_leaves_doubt_is_refused(
    registry: Served, address: Address, what: str
) -> None:
    old, new = SMUGGLED[what]
    sent = head(registry, NEVER, len(NEVER))
    assert sent.count(old) == 1
    with socket.create_connection(address, timeout=SECONDS) as connection:
        connection.sendall(sent.replace(old, new) + NEVER)
        answers = drain(connection)
    assert answers.startswith(b"HTTP/1.1 4")
    assert answers.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("name", ["sha256:00", "sha512:" + "0" * 64, "0" * 64, "sha256:%2e%2e"])
@pytest.mark.usefixtures("nothing_stored")
def test_what_is_no_digest_is_refused(registry: Served, address: Address, name: str) -> None:
    answer = ask(address, "PUT", f"/blobs/{name}", NEVER, allowed(registry, NEVER))
    assert (answer.status, answer.reason) == (400, "MALFORMED_DIGEST")


@pytest.mark.parametrize(
    ("sha256", "size", "reason"),
    [
        (bytes(31), 1, "MALFORMED_DIGEST"),
        (bytes(32), MAX_BLOB_BYTES + 1, "BLOB_TOO_LARGE"),
        (bytes(32), 2**63, "BLOB_TOO_LARGE"),
    ],
)
def test_what_would_not_be_taken_gets_no_ticket(
    registry: Served, sha256: bytes, size: int, reason: str
) -> None:
    header = artifact_pb2.UploadHeader(sha256=sha256, size=size)
    request = pb.OpenUploadRequest(header=header)
    call = lambda: registry.artifacts.OpenUpload(request, metadata=registry.acme.metadata)  # noqa: E731
    assert registry.refused(call) == reason


@pytest.mark.parametrize("size", [100, 3 * BUFFER_BYTES], ids=["small", "large"])
@pytest.mark.usefixtures("nothing_stored")
def test_other_bytes_are_refused(registry: Served, address: Address, size: int) -> None:
    data = b"o" * size
    answer = ask(address, "PUT", path(data), data[:-1] + b"!", allowed(registry, data))
    assert (answer.status, answer.reason) == (400, "DIGEST_MISMATCH")


@pytest.mark.parametrize("announced", [1025, 10**10], ids=["a byte more", "10 GB"])
@pytest.mark.usefixtures("nothing_stored")
def test_fewer_bytes_than_announced_are_refused(
    registry: Served, address: Address, announced: int
) -> None:
    with socket.create_connection(address, timeout=SECONDS) as connection:
        connection.sendall(head(registry, NEVER, announced) + bytes(1024))
        assert settles(lambda: bool(incoming_files(registry)))
        connection.shutdown(socket.SHUT_WR)
        answer = drain(connection)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert reason_of(answer) == "TRUNCATED_UPLOAD"


@pytest.mark.usefixtures("nothing_stored")
def test_an_end_that_comes_with_the_beginning_is_no_failure_of_ours(
    registry: Served, address: Address, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(5):
        with socket.create_connection(address, timeout=SECONDS) as connection:
            connection.sendall(head(registry, NEVER, 10**10) + bytes(1024))
            connection.shutdown(socket.SHUT_WR)
            assert drain(connection)[:13] in (b"", b"HTTP/1.1 400 ")
    assert not caplog.records


def incoming_files(registry: Served) -> list[Path]:
    return list((registry.folder / "blobs" / "incoming").iterdir())


@pytest.mark.parametrize("reset", [False, True], ids=["closes", "resets"])
@pytest.mark.usefixtures("nothing_stored")
def test_a_client_that_leaves_leaves_nothing(
    registry: Served, address: Address, *, reset: bool
) -> None:
    with socket.create_connection(address, timeout=SECONDS) as connection:
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.sendall(head(registry, NEVER, 10**10) + bytes(3 * BUFFER_BYTES))
        assert settles(lambda: bool(incoming_files(registry)))
    assert settles(lambda: not incoming_files(registry))
    assert settles(lambda: not [t for t in threading.enumerate() if t.name.startswith("upload")])


# What may not last.


def is_given_up(registry: Served, address: Address, body: Callable[[socket.socket], None]) -> None:
    with socket.create_connection(address, timeout=SECONDS) as connection:
        connection.sendall(head(registry, NEVER, 10**9))
        body(connection)
        answer = drain(connection)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert reason_of(answer) == "SLOW_REQUEST"


@pytest.mark.usefixtures("nothing_stored")
def test_a_client_that_falls_silent_is_given_up(
    registry: Served, address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incoming, "STALL_SECONDS", 0.2)
    is_given_up(registry, address, lambda connection: connection.sendall(bytes(1000)))


@pytest.mark.usefixtures("nothing_stored")
def test_a_client_that_drips_is_given_up(
    registry: Served, address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incoming, "STALL_SECONDS", 0.5)

    given_up = threading.Event()

    def drip(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while not given_up.wait(0.01):
                connection.sendall(b"x")

    with socket.create_connection(address, timeout=SECONDS) as connection:
        connection.sendall(head(registry, NEVER, 10**9))
        thread = threading.Thread(target=drip, args=(connection,))
        thread.start()
        try:
            assert connection.recv(1000).startswith(b"HTTP/1.1 408 ")
        finally:
            given_up.set()
            thread.join()


@pytest.mark.usefixtures("nothing_stored")
def test_a_large_body_may_take_longer_than_one_that_is_held(
    registry: Served, address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "BODY_SECONDS", 0.1)
    with socket.create_connection(address, timeout=SECONDS) as connection:
        connection.sendall(head(registry, NEVER, 3) + b"a")
        time.sleep(0.3)
        connection.sendall(b"bc")
        assert b"DIGEST_MISMATCH" in drain(connection)


@pytest.mark.usefixtures("nothing_stored")
def test_so_many_blobs_are_taken_at_once(
    registry: Served, address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "MAX_UPLOADS", 1)
    with socket.create_connection(address, timeout=SECONDS) as connection:
        connection.sendall(head(registry, NEVER, 10**9) + b"some")
        assert settles(lambda: bool(incoming_files(registry)))
        answer = put(registry, NEVER)
        assert (answer.status, answer.reason) == (503, "TOO_MANY_TRANSFERS")
        assert answer.headers["retry-after"] == "1"
    # Once the other has left there is a place again.
    assert settles(lambda: put(registry, SMALL).status in (200, 201))


# What the disk may do.


@pytest.mark.usefixtures("nothing_stored")
def test_a_disk_that_is_nearly_full_takes_nothing(
    registry: Served, address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = allowed(registry, NEVER)
    monkeypatch.setattr(registry.services.artifacts._space, "_least_free_bytes", 2**62)
    answer = ask(address, "PUT", path(NEVER), NEVER, shown)
    assert (answer.status, answer.reason) == (503, "DISK_LOW")
    assert registry.refused(lambda: opened(registry, NEVER)) == "DISK_LOW"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO], ids=["ENOSPC", "EIO"])
@pytest.mark.usefixtures("nothing_stored")
def test_a_disk_that_fails_in_between_keeps_nothing(
    registry: Served, address: Address, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    data = b"f" * (5 * BUFFER_BYTES)
    real = os.pwrite

    def fail(descriptor: int, piece: bytes, position: int) -> int:
        if position >= BUFFER_BYTES:
            raise OSError(number, "as the test wants it")
        return real(descriptor, piece, position)

    monkeypatch.setattr(os, "pwrite", fail)
    with socket.create_connection(address, timeout=SECONDS) as connection:
        connection.sendall(head(registry, data, len(data)))
        try:
            connection.sendall(data)
            answer = drain(connection)
        except OSError:
            # It is told, unless the end of the connection comes first.
            answer = b"STORAGE_FAILED"
    assert b"STORAGE_FAILED" in answer


def test_no_more_than_its_buffers_is_held(
    registry: Served, address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow disk stops the sender: what it sent beyond the buffers waits in sockets."""
    go_on = threading.Event()
    real = os.pwrite

    def wait(descriptor: int, piece: bytes, position: int) -> int:
        go_on.wait(SECONDS)
        return real(descriptor, piece, position)

    monkeypatch.setattr(os, "pwrite", wait)
    data = b"s" * (20 * BUFFER_BYTES)
    sent = 0
    with socket.create_connection(address, timeout=SECONDS) as connection:
        connection.sendall(head(registry, data, len(data)))
        connection.settimeout(0.5)
        try:
            while sent < len(data):
                sent += connection.send(data[sent : sent + 65_536])
        except TimeoutError:
            pass
        # Three buffers, and what the system holds for both ends.
        assert sent < 12 * BUFFER_BYTES
        go_on.set()
        connection.settimeout(SECONDS)
        connection.sendall(data[sent:])
        assert drain(connection).startswith(b"HTTP/1.1 201 ")


def test_a_blob_that_cannot_be_named_is_not_there(
    registry: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = b"cannot be named"
    real = DiskBlobStore.settle

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "as the test wants it")

    monkeypatch.setattr(DiskBlobStore, "settle", fail)
    before = registry.stored()
    answer = put(registry, data)
    assert (answer.status, answer.reason) == (503, "STORAGE_FAILED")
    assert settles(lambda: registry.stored() == before)
    monkeypatch.setattr(DiskBlobStore, "settle", real)
    assert put(registry, data).status == 201


def test_a_registry_that_stops_waits_for_no_upload(tmp_path: Path) -> None:
    with served(tmp_path / "data") as registry:
        connection = socket.create_connection(address_of(registry.url), timeout=SECONDS)
        connection.sendall(head(registry, NEVER, 10**9) + bytes(BUFFER_BYTES + 100))
        assert settles(lambda: bool(incoming_files(registry)))
        started = time.monotonic()
    with connection:
        assert time.monotonic() - started < incoming.STALL_SECONDS / 2
        assert not incoming_files(registry)
