"""The client against a real server, of which some answers are meant to do harm."""

import gzip
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from registry.errors import LimitExceededError, MalformedError, Reason, UnavailableError
from registry.remote.http import HTTPClient, check_url
from tests.certificates import certificate

DRIP_SECONDS = 0.05
"""From one byte of a slow answer to the next: no wait for one is too long."""

DRIPS = 2000
"""Bytes of a slow answer: a hundred seconds of it."""

PATIENCE_SECONDS = 100
"""How long a server says nothing."""


class _Answers(BaseHTTPRequestHandler):
    """Each path is a way of answering."""

    protocol_version = "HTTP/1.1"
    callers: ClassVar[set[tuple[str, int]]] = set()
    seen: ClassVar[list[str]] = []

    def log_message(self, *_: object) -> None:
        pass

    def say(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.callers.add(self.client_address)
        self.seen.append(self.path)
        getattr(self, "on_" + self.path.strip("/").partition("/")[0])()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.say(body + self.headers["Content-Type"].encode(), 409, Content_Type="Text/X; a=b")

    def on_fine(self) -> None:
        self.say(b"fine", Content_Type="text/plain")

    def on_missing(self) -> None:
        self.say(b"no", 404)

    def on_large(self) -> None:
        self.say(b"x" * 5000)

    def on_bomb(self) -> None:
        self.say(gzip.compress(b"\0" * 50_000_000), Content_Encoding="gzip")

    def on_packed(self) -> None:
        self.say(gzip.compress(b"unpacked"), Content_Encoding="gzip")

    def on_endless(self) -> None:
        self.send_response(200)
        self.end_headers()
        while True:
            self.wfile.write(b"x" * 10_000)

    def on_to(self) -> None:
        self.say(b"", 302, Location="/" + self.path.removeprefix("/to/"))

    def on_silent(self) -> None:
        time.sleep(PATIENCE_SECONDS)
        self.close_connection = True

    def on_cut(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "100")
        self.end_headers()
        self.wfile.write(b"half")
        self.close_connection = True

    def on_slow_body(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(DRIPS))
        self.end_headers()
        self.drip(b"x" * DRIPS)

    def on_slow_head(self) -> None:
        self.drip(b"HTTP/1.1 200 OK\r\nX-A: " + b"b" * DRIPS)

    def drip(self, data: bytes) -> None:
        for byte in data:
            self.wfile.write(bytes([byte]))
            time.sleep(DRIP_SECONDS)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with _Running(_server()) as address:
        yield address


def _server() -> ThreadingHTTPServer:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    # A client that gives up makes the server's write fail; that is what these tests are about.
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # quiet
    return server


class _Running:
    def __init__(self, server: ThreadingHTTPServer, scheme: str = "http") -> None:
        self.server, self.scheme = server, scheme

    def __enter__(self) -> str:
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return f"{self.scheme}://127.0.0.1:{self.server.server_address[1]}"

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.socket.close()


@pytest.fixture
def client() -> Iterator[HTTPClient]:
    with HTTPClient(timeout=timedelta(seconds=5)) as client:
        yield client


@pytest.fixture
def hasty() -> Iterator[HTTPClient]:
    with HTTPClient(timeout=timedelta(seconds=0.4)) as client:
        yield client


def test_an_answer_comes_back_whole(client: HTTPClient, url: str) -> None:
    answer = client.get(f"{url}/fine")
    assert (answer.status, answer.body, answer.content_type) == (200, b"fine", "text/plain")
    assert answer.expect() is answer


def test_a_post_carries_body_and_type(client: HTTPClient, url: str) -> None:
    answer = client.post(f"{url}/any", b"question ", content_type="text/q")
    assert answer.body == b"question text/q"
    assert answer.content_type == "text/x"
    assert answer.status == 409


def test_an_unexpected_status_is_a_value_until_somebody_minds(client: HTTPClient, url: str) -> None:
    answer = client.get(f"{url}/missing")
    assert answer.expect(200, 404).status == 404
    with pytest.raises(UnavailableError) as caught:
        answer.expect()
    assert caught.value.reason is Reason.REMOTE_STATUS


@pytest.mark.parametrize("path", ["large", "endless", "bomb"])
def test_an_answer_that_is_too_large_is_refused(client: HTTPClient, url: str, path: str) -> None:
    with pytest.raises(LimitExceededError) as caught:
        client.get(f"{url}/{path}", max_bytes=4999)
    assert caught.value.reason is Reason.ANSWER_TOO_LARGE
    # The connection with the unread rest is not used again.
    assert client.get(f"{url}/fine").body == b"fine"


def test_an_answer_may_be_as_large_as_allowed(client: HTTPClient, url: str) -> None:
    assert len(client.get(f"{url}/large", max_bytes=5000).body) == 5000


def test_a_compressed_answer_is_unpacked(client: HTTPClient, url: str) -> None:
    assert client.get(f"{url}/packed").body == b"unpacked"


def test_redirects_are_followed_only_when_asked(client: HTTPClient, url: str) -> None:
    assert client.get(f"{url}/to/fine").status == 302
    assert client.get(f"{url}/to/to/fine", redirects=1).status == 302
    answer = client.get(f"{url}/to/to/fine", redirects=2)
    assert (answer.body, answer.url) == (b"fine", f"{url}/fine")


@pytest.mark.parametrize("path", ["silent", "slow_head", "slow_body"])
def test_time_is_bounded_for_the_whole_answer(hasty: HTTPClient, url: str, path: str) -> None:
    # No answer ends, and no pause within one is too long: only the clock can end this.
    began = time.monotonic()
    with pytest.raises(UnavailableError) as caught:
        hasty.get(f"{url}/{path}")
    assert caught.value.reason is Reason.DEADLINE
    assert time.monotonic() - began < PATIENCE_SECONDS / 4


def test_half_an_answer_is_none(client: HTTPClient, url: str) -> None:
    with pytest.raises(UnavailableError) as caught:
        client.get(f"{url}/cut")
    assert caught.value.reason is Reason.UNREACHABLE


def test_nobody_there(client: HTTPClient) -> None:
    with pytest.raises(UnavailableError) as caught:
        client.get("http://127.0.0.1:1/")
    assert caught.value.reason is Reason.UNREACHABLE


def test_connections_are_kept_and_shared_by_threads(client: HTTPClient, url: str) -> None:
    _Answers.callers.clear()
    for _ in range(5):
        client.get(f"{url}/fine")
    assert len(_Answers.callers) == 1
    with ThreadPoolExecutor(8) as pool:
        bodies = list(pool.map(lambda _: client.get(f"{url}/fine").body, range(64)))
    assert bodies == [b"fine"] * 64


def test_proxies_of_the_environment_are_not_used(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    with HTTPClient() as client:
        assert client.get(f"{url}/fine").body == b"fine"


@pytest.fixture
def private(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A server with a certificate of its own, and the file that says so."""
    chain, key = certificate()
    (tmp_path / "chain.pem").write_bytes(chain)
    (tmp_path / "key.pem").write_bytes(key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "chain.pem", tmp_path / "key.pem")
    server = _server()
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with _Running(server, "https") as address:
        yield address, tmp_path / "chain.pem"


def test_tls_is_verified(client: HTTPClient, private: tuple[str, Path]) -> None:
    url, authorities = private
    with pytest.raises(UnavailableError) as caught:
        client.get(f"{url}/fine")
    assert caught.value.reason is Reason.PEER_CERTIFICATE
    with HTTPClient(ca_file=authorities) as knowing:
        assert knowing.get(f"{url}/fine").body == b"fine"


def test_time_is_bounded_within_tls_too(private: tuple[str, Path]) -> None:
    url, authorities = private
    with HTTPClient(ca_file=authorities, timeout=timedelta(seconds=0.4)) as hasty:
        with pytest.raises(UnavailableError) as caught:
            hasty.get(f"{url}/slow_head")
        assert caught.value.reason is Reason.DEADLINE


def test_no_redirect_leaves_tls(private: tuple[str, Path], url: str) -> None:
    secure, authorities = private
    with HTTPClient(ca_file=authorities) as client:
        with pytest.raises(UnavailableError) as caught:
            client.get(f"{secure}/to//{url.removeprefix('http://')}/fine", redirects=1)
        assert caught.value.reason is Reason.UNREACHABLE


def test_authorities_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "none.pem").write_text("nothing")
    for path in (tmp_path / "none.pem", tmp_path / "absent.pem"):
        with pytest.raises(MalformedError) as caught:
            HTTPClient(ca_file=path)
        assert caught.value.reason is Reason.BAD_SETTING


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://host/",
        "file:///etc/passwd",
        "http://",
        "http:///path",
        "http://user:secret@host/",
        "http://host/#part",
        "http://host:99999/",
        "http://host:0/",
        "http://host/a b",
        "http://host/\r\nX: y",
        "http://höst/",
        "http://host/" + "x" * 3000,
    ],
)
def test_an_address_that_is_not_plain_is_refused(url: str) -> None:
    with pytest.raises(MalformedError) as caught:
        check_url(url)
    assert caught.value.reason is Reason.BAD_SETTING
