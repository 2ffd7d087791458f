"""The log over HTTP, as a stranger reads it."""

import gzip
import http.client
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from registry.core.tlog import entry_bundle
from registry.server.http import tiles as room
from tests.contracts.registry_under_test import bare
from tests.server.http.facing import SECONDS, Address, Answer, address_of, ask
from tests.server.served import Served, served
from tests.walking import walk

COUNT = 600
PREFIXES = ("", "/api/v2")


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A log of a bit more than 600 entries."""
    with served(tmp_path_factory.mktemp("registry") / "data") as registry:
        asked = [
            registry.services.sequencer.submit(bare(registry.acme.signer, number))
            for number in range(COUNT)
        ]
        for answer in asked:
            answer.result(SECONDS)
        yield registry


@pytest.fixture
def get(log: Served) -> Callable[..., Answer]:
    address = address_of(log.url)

    def get(path: str, headers: dict[str, str] | None = None, method: str = "GET") -> Answer:
        return ask(address, method, path, headers=headers)

    return get


Get = Callable[..., Answer]


def size(log: Served) -> int:
    head = log.services.sequencer.head
    assert head is not None
    return head.checkpoint.size


def fetching(address: Address, prefix: str) -> Callable[[str], bytes]:
    def fetch(path: str) -> bytes:
        answer = ask(address, "GET", f"{prefix}/{path}")
        assert answer.status == 200, path
        return answer.body

    return fetch


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_stranger_verifies_the_whole_log(log: Served, prefix: str) -> None:
    head, _ = walk(fetching(address_of(log.url), prefix), log.services.signer.key)
    assert head.size == size(log)


def test_a_file_server_over_the_folder_serves_the_same_log(log: Served) -> None:
    assert log.services.publisher.wait(SECONDS)
    folder = str(log.folder / "static")
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "-d", folder],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            # Serving HTTP on 127.0.0.1 port 45678 (http://127.0.0.1:45678/) ...
            port = int(process.stdout.readline().partition(" port ")[2].split()[0])
            head, entries = walk(fetching(("127.0.0.1", port), ""), log.services.signer.key)
        finally:
            process.terminate()
    assert head.size == len(entries) == size(log)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_the_checkpoint_is_text_and_soon_stale(get: Get, log: Served, prefix: str) -> None:
    answer = get(f"{prefix}/checkpoint")
    head = log.services.sequencer.head
    assert head is not None
    assert (answer.status, answer.body) == (200, head.note)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["cache-control"] == "max-age=2"


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("path", ["0/000", "0/000.p/7", "0/002.p/9", "1/000.p/2", "1/000.p/1"])
def test_a_tile_is_bytes_that_never_change(get: Get, prefix: str, path: str) -> None:
    for _ in range(2):
        answer = get(f"{prefix}/tile/{path}")
        assert answer.status == 200
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert len(answer.body) == 32 * int(path.partition(".p/")[2] or 256)


@pytest.mark.parametrize("width", [1, 2, 100, 255])
def test_a_narrow_tile_is_the_beginning_of_the_full_one(get: Get, width: int) -> None:
    full = get("/tile/0/001").body
    assert get(f"/tile/0/001.p/{width}").body == full[: 32 * width]
    entries = entry_bundle.split(get("/tile/entries/001").body, 256)
    narrow = get(f"/tile/entries/001.p/{width}").body
    assert entry_bundle.split(narrow, width) == entries[:width]


@pytest.mark.parametrize(
    "accepted", [None, "gzip", "deflate, gzip;q=0.5", "br, *", "GZIP", "x-gzip"]
)
def test_a_bundle_is_packed_for_whoever_takes_it(get: Get, log: Served, accepted: str) -> None:
    plain = get("/tile/entries/000", {"accept-encoding": "identity"})
    connection = http.client.HTTPConnection(*address_of(log.url), timeout=SECONDS)
    connection.putrequest("GET", "/tile/entries/000", skip_accept_encoding=True)
    if accepted:
        connection.putheader("accept-encoding", accepted)
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["vary"] == "accept-encoding"
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    packed = answer.read()
    connection.close()
    assert gzip.decompress(packed) == plain.body
    assert len(packed) < len(plain.body)


@pytest.mark.parametrize("accepted", ["identity", "br", "gzip;q=0", "gzip; q=0.0", ""])
def test_a_bundle_is_not_packed_for_others(get: Get, accepted: str) -> None:
    answer = get("/tile/entries/000", {"accept-encoding": accepted})
    assert "content-encoding" not in answer.headers
    assert answer.headers["content-type"] == "application/octet-stream"
    assert len(entry_bundle.split(answer.body, 256)) == 256


@pytest.mark.parametrize(
    "path",
    ["0/002", "0/003", "0/003.p/1", "0/002.p/255", "1/000", "1/000.p/3", "2/000", "2/000.p/1",
     "63/000", "63/000.p/1", "0/x999/x999/x999/x999/999", "entries/002", "entries/003.p/1"],
)  # fmt: skip
def test_what_the_tree_does_not_fill_is_not_found(get: Get, path: str) -> None:
    answer = get(f"/tile/{path}")
    assert (answer.status, answer.reason) == (404, "BEYOND_TREE")
    assert "cache-control" not in answer.headers


@pytest.mark.parametrize(
    "path",
    ["0/0", "0/0000", "0/x000/001", "00/000", "64/000", "-1/000", "0/000.p/0", "0/000.p/256",
     "0/000.p/007", "0/000.p/", "0/000/", "0//000", "entries/0", "entries/entries/000",
     "0/%30%30%30", "0/../0/000", "entries/000.p/256", "abc", "0", "0/x001/x000"],
)  # fmt: skip
def test_any_other_spelling_is_refused(get: Get, path: str) -> None:
    answer = get(f"/tile/{path}")
    assert (answer.status, answer.reason) == (400, "MALFORMED_TILE_PATH")


def test_head_says_how_long_a_tile_is(get: Get) -> None:
    answer = get("/tile/0/000", method="HEAD")
    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "8192")


@pytest.mark.parametrize("path", ["/checkpoint", "/tile/0/000", "/api/v2/checkpoint"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_of_the_log_can_be_written_here(get: Get, path: str, method: str) -> None:
    answer = get(path, method=method)
    assert (answer.status, answer.reason) == (405, "WRONG_METHOD")
    assert answer.headers["allow"] == "GET, HEAD"


def test_only_so_much_is_kept_ready(log: Served, get: Get, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MAX_KEPT_BYTES", 5000)
    first = get("/tile/0/000.p/250").body
    for width in range(200, 240):
        assert get(f"/tile/0/000.p/{width}").body == first[: 32 * width]
    assert get("/tile/0/000.p/250").body == first
    assert log.services.sequencer.latched is None
