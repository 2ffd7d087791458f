"""Large files over HTTP: faster, no less checked, and never the only way."""

import dataclasses
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from registry.api.v1 import artifact_service_pb2 as pb
from registry.client import http_download, http_exchange
from registry.client.channel import Connection, Target
from registry.client.fetch import Fetched, fetch
from registry.client.http_download import Part, receive
from registry.client.http_exchange import MAX_HEAD_BYTES, HTTPAddress
from registry.client.publish import Publication, publish
from registry.client.registry import RegistryClient
from registry.core import digest
from registry.disk import BLOCK_BYTES, BUFFER_BYTES, LARGE_BYTES
from registry.errors import Reason, RegistryError, UnavailableError
from tests.client.conftest import Place
from tests.client.http_liar import HTTPLiar
from tests.client.liar import Liar

NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)
WEIGHTS = "weights.bin"
DATA = bytes(range(251)) * (5 * BUFFER_BYTES // 251) + b"end"
SHA256 = digest.sha256(DATA)
STAT = "ArtifactService/Stat"
DOWNLOAD = "ArtifactService/Download"

Fetch = Callable[[], Fetched]


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "fetched"


@pytest.fixture(scope="module")
def name(place: Place, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Publish a model with one large file and a small one."""
    folder = tmp_path_factory.mktemp("model")
    (folder / WEIGHTS).write_bytes(DATA)
    (folder / "config.json").write_bytes(b"{}")
    with place.client(place.publisher.token) as client:
        publish(client, folder, Publication("acme/over-http", "1"), place.publisher.signer, NOON)
    return "acme/over-http"


@pytest.fixture
def http_liar(place: Place, liar: Liar) -> Iterator[HTTPLiar]:
    """Stand where the registry says that it answers HTTP."""
    with HTTPLiar(place.running.url) as http_liar:
        told(liar, http_liar.port)
        yield http_liar


def told(liar: Liar, port: int, ticket: str = "") -> None:
    """Have a registry say another port, and perhaps another ticket."""

    def change(raw: bytes) -> bytes:
        answer = pb.StatResponse.FromString(raw)
        answer.http.port = port
        answer.http.ticket = ticket or answer.http.ticket
        return answer.SerializeToString()

    liar.answers[STAT] = change


@pytest.fixture
def fetches(misled: RegistryClient, http_liar: HTTPLiar, name: str, target: Path) -> Fetch:
    """Fetch by way of two liars, who pass everything on unless told otherwise."""
    assert http_liar.seen == []
    return lambda: fetch(misled, name, "1", target)


def refusal(act: Callable[[], object]) -> RegistryError:
    with pytest.raises(RegistryError) as caught:
        act()
    return caught.value


def staging_of(target: Path) -> Path:
    return target.with_name(f".{target.name}.provreg-partial")


def test_a_large_file_comes_over_http(client: RegistryClient, name: str, target: Path) -> None:
    fetched = fetch(client, name, "1", target)
    assert (target / WEIGHTS).read_bytes() == DATA
    assert client.http_bytes == len(DATA)
    assert fetched.received_bytes == len(DATA) + len(b"{}")


def test_the_token_is_not_shown(
    fetches: Fetch, http_liar: HTTPLiar, misled: RegistryClient, place: Place
) -> None:
    fetches()
    assert misled.http_bytes == len(DATA)
    assert len(http_liar.seen) == 1
    assert b"Authorization: Bearer " in http_liar.seen[0]
    assert place.publisher.token.encode() not in http_liar.seen[0]


def test_a_wrong_byte_names_the_file_and_both_digests_and_leaves_nothing(
    fetches: Fetch, http_liar: HTTPLiar, target: Path
) -> None:
    def flip(answer: bytes) -> bytes:
        return answer[:-1000] + bytes([answer[-1000] ^ 1]) + answer[-999:]

    http_liar.answer = http_liar.changed(flip)
    error = refusal(fetches)
    assert (error.reason, error.where) == (Reason.DIGEST_MISMATCH, WEIGHTS)
    assert error.expected == digest.text(SHA256)
    assert error.actual.startswith("sha256:")
    assert not target.exists()
    assert not staging_of(target).exists()


@pytest.mark.parametrize(
    "after", [0, 20, 1000, 3 * BUFFER_BYTES + 77], ids=["silence", "head", "body", "later"]
)
def test_what_is_cut_off_goes_on_over_grpc(
    *,
    fetches: Fetch,
    http_liar: HTTPLiar,
    liar: Liar,
    misled: RegistryClient,
    target: Path,
    after: int,
) -> None:
    http_liar.answer = http_liar.cut(after)
    fetches()
    assert (target / WEIGHTS).read_bytes() == DATA
    assert misled.http_bytes < len(DATA)
    assert liar.count(DOWNLOAD) > 0


def test_a_fetch_that_lost_everybody_goes_on_over_http(
    fetches: Fetch, http_liar: HTTPLiar, liar: Liar, misled: RegistryClient, target: Path
) -> None:
    def lose(answers: Iterator[bytes]) -> Iterator[bytes]:
        for raw in answers:
            if len(raw) > 100_000:
                message = "the registry is gone"
                raise ConnectionError(message)
            yield raw

    http_liar.answer = http_liar.cut(3 * BUFFER_BYTES + 1000)
    liar.streams[DOWNLOAD] = lose
    assert refusal(fetches).reason is Reason.UNREACHABLE
    assert not target.exists()
    left = staging_of(target) / WEIGHTS
    # Somebody else stopped inside a block.
    os.truncate(left, left.stat().st_size - 1)
    liar.streams.clear()
    http_liar.answer = http_liar.honest
    misled.http_bytes = 0
    fetched = fetches()
    start = 3 * BUFFER_BYTES - BLOCK_BYTES
    assert f"Range: bytes={start}-".encode() in http_liar.seen[-1]
    assert misled.http_bytes == len(DATA) - start
    assert fetched.kept_bytes == start + len(b"{}")
    assert (target / WEIGHTS).read_bytes() == DATA


def test_small_files_do_not_come_over_http(
    fetches: Fetch, http_liar: HTTPLiar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.client.fetch.LARGE_BYTES", len(DATA) + 1)
    fetches()
    assert http_liar.seen == []


LENGTH = b"content-length: %d" % len(DATA)
OK = b"HTTP/1.1 200 OK"
END = b"\r\n\r\n"

WRONG = {
    "not found": (OK, b"HTTP/1.1 404 Not Found"),
    "not allowed": (OK, b"HTTP/1.1 401 Unauthorized"),
    "busy": (OK, b"HTTP/1.1 503 Service Unavailable"),
    "a part": (OK, b"HTTP/1.1 206 Partial Content"),
    "old": (OK, b"HTTP/1.0 200 OK"),
    "no HTTP": (OK, b"SSH-2.0-OpenSSH"),
    "shorter": (LENGTH, b"content-length: %d" % (len(DATA) - 1)),
    "longer": (LENGTH, b"content-length: %d" % (len(DATA) + 1)),
    "another spelling": (LENGTH, b"content-length: 0%d" % len(DATA)),
    "no length": (LENGTH, b"x: y"),
    "chunked": (LENGTH, LENGTH + b"\r\ntransfer-encoding: chunked"),
    "packed": (LENGTH, LENGTH + b"\r\ncontent-encoding: gzip"),
    "no tag": (b"etag: ", b"no-etag: "),
    "another tag": (SHA256.hex().encode(), b"0" * 64),
    "many lines": (END, b"\r\n" + b"x: y\r\n" * 200 + b"\r\n"),
    "a long line": (END, b"\r\nx: " + b"y" * MAX_HEAD_BYTES + END),
}
"""What is wrong with an answer, and how to make it so."""


@pytest.mark.parametrize("what", WRONG)
def test_whatever_is_not_the_answer_of_a_registry_is_not_taken(
    fetches: Fetch,
    http_liar: HTTPLiar,
    misled: RegistryClient,
    target: Path,
    what: str,
) -> None:
    old, new = WRONG[what]
    http_liar.answer = http_liar.changed(lambda answer: answer.replace(old, new, 1))
    fetches()
    assert (misled.http_bytes, misled.over_http) == (0, False)
    assert (target / WEIGHTS).read_bytes() == DATA


def test_more_bytes_than_announced_are_not_taken(
    fetches: Fetch, http_liar: HTTPLiar, target: Path
) -> None:
    http_liar.answer = http_liar.changed(lambda answer: answer + b"more")
    fetches()
    assert (target / WEIGHTS).read_bytes() == DATA


@pytest.mark.parametrize("port", [0, 2**16, 2**32 - 1])
def test_a_port_that_is_none_is_not_asked(
    liar: Liar, misled: RegistryClient, name: str, target: Path, port: int
) -> None:
    told(liar, port)
    fetch(misled, name, "1", target)
    assert (misled.http_bytes, liar.count(STAT)) == (0, 1)


@pytest.mark.parametrize(
    "ticket", ["a b", "a\r\nX: y", "é", "x" * 513], ids=["gap", "header", "letter", "long"]
)
def test_a_ticket_that_is_none_is_not_shown(
    fetches: Fetch, liar: Liar, http_liar: HTTPLiar, ticket: str
) -> None:
    told(liar, http_liar.port, ticket)
    fetches()
    assert http_liar.seen == []


def test_a_registry_without_http_is_asked_over_grpc(
    liar: Liar, misled: RegistryClient, name: str, target: Path
) -> None:
    def silent(raw: bytes) -> bytes:
        answer = pb.StatResponse.FromString(raw)
        answer.ClearField("http")
        return answer.SerializeToString()

    liar.answers[STAT] = silent
    fetch(misled, name, "1", target)
    assert misled.http_bytes == 0
    assert (target / WEIGHTS).read_bytes() == DATA


def test_where_nobody_answers_it_is_tried_once(
    liar: Liar, misled: RegistryClient, name: str, tmp_path: Path
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        told(liar, nobody.getsockname()[1])
        fetch(misled, name, "1", tmp_path / "one")
        fetch(misled, name, "1", tmp_path / "two")
    assert (misled.http_bytes, liar.count(STAT)) == (0, 1)


@pytest.fixture
def direct(place: Place, http_liar: HTTPLiar) -> Iterator[Callable[..., list[int]]]:
    """Receive the weights into a buffer, and see the error itself."""
    connection = Connection(Target.parse(place.running.address), token=place.publisher.token)
    buffer = memoryview(bytearray(LARGE_BYTES))

    def receive_all(start: int = 0) -> list[int]:
        address = HTTPAddress(http_liar.port, "ticket")
        return list(receive(connection, address, Part(SHA256, len(DATA), start), lambda: buffer))

    yield receive_all
    connection.close()


HEAD = (
    b'HTTP/1.1 200 OK\r\n%s\r\netag: "sha256:%s"\r\n\r\n' % (LENGTH, SHA256.hex().encode())
)  # fmt: skip


def test_a_registry_that_falls_silent_is_given_up(
    direct: Callable[..., list[int]], http_liar: HTTPLiar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_exchange, "STALL_SECONDS", 0.2)
    go_on = threading.Event()

    def silent(_request: bytes) -> Iterator[bytes]:
        yield HEAD + b"some"
        go_on.wait(20)

    http_liar.answer = silent
    error = refusal(direct)
    go_on.set()
    assert isinstance(error, UnavailableError)
    assert error.reason is Reason.DEADLINE


@pytest.mark.parametrize("sent", [b"HTTP/1.1 200 OK\r\n", HEAD], ids=["head", "body"])
def test_a_registry_that_drips_is_given_up(
    direct: Callable[..., list[int]],
    http_liar: HTTPLiar,
    monkeypatch: pytest.MonkeyPatch,
    sent: bytes,
) -> None:
    monkeypatch.setattr(http_download, "transfer_seconds", lambda _size: 0.3)

    def drip(_request: bytes) -> Iterator[bytes]:
        yield sent
        for _ in range(500):
            time.sleep(0.02)
            yield b"x"

    http_liar.answer = drip
    assert refusal(direct).reason is Reason.DEADLINE


def test_another_part_than_the_one_asked_for_is_not_taken(
    direct: Callable[..., list[int]], http_liar: HTTPLiar
) -> None:
    body = DATA[1000:]
    head = b'HTTP/1.1 206 Partial Content\r\ncontent-length: %d\r\netag: "%s"\r\n' % (
        len(body),
        digest.text(SHA256).encode(),
    )
    for said in (b"", b"content-range: bytes 999-%d/%d\r\n" % (len(DATA) - 2, len(DATA))):
        http_liar.answer = lambda _request, said=said: [head + said + b"\r\n" + body]  # type: ignore[misc]  # of this round
        assert refusal(lambda: direct(1000)).reason is Reason.UNREACHABLE
    right = b"content-range: bytes 1000-%d/%d\r\n" % (len(DATA) - 1, len(DATA))
    http_liar.answer = lambda _request: [head + right + b"\r\n" + body]
    assert sum(direct(1000)) == len(body)


def test_a_part_knows_what_is_left() -> None:
    assert dataclasses.replace(Part(SHA256, 10), start=4).left == 6
