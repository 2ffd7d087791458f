"""``provreg shim --health`` as a process: red with reasons; each mode on a disk that is full."""

import contextlib
import http.client
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from registry.core.records import inference
from tests.cli.conftest import Place, Shell
from tests.cli.test_shim import WEIGHTS, Proxy, arguments, shim, until
from tests.http_handler import answering
from tests.shim.world import written

DISK = "6m"
"""The size of the disk that fills up: some of what the journal takes at once."""

SECONDS = 30


class SlowModel(BaseHTTPRequestHandler):
    """A model server that ends its streams only when it is told to."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    go_on = threading.Event()

    def do_POST(self) -> None:
        """Answer."""
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        if not asked.get("stream"):
            choice = {"index": 0, "message": {"content": "hello"}, "finish_reason": "stop"}
            body = json.dumps({"choices": [choice]}).encode()
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        self._event({"choices": [{"delta": {"content": "first "}}]})
        self.go_on.wait(SECONDS)
        self._event({"choices": [{"delta": {"content": "last"}, "finish_reason": "stop"}]})
        self._chunk(b"data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_arguments: Any) -> None:
        """Say nothing."""

    def _event(self, value: dict[str, Any]) -> None:
        self._chunk(b"data: " + json.dumps(value).encode() + b"\n\n")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))


@dataclass(frozen=True)
class Scene:
    """A registry, a published version, and a model server."""

    place: Place
    acme: Shell
    upstream: str
    version: str

    def serving(
        self, mode: str, *more: object, server: str = ""
    ) -> contextlib.AbstractContextManager[Proxy]:
        """Run the shim."""
        given = ("--mode", mode, "--health", "127.0.0.1:0", *more)
        words = list(arguments(self.place, self.version, self.upstream, *given))
        words[1] = server or words[1]
        return shim(*words)


@pytest.fixture
def upstream() -> Iterator[str]:
    SlowModel.go_on.clear()
    with answering(SlowModel) as url:
        yield url
        SlowModel.go_on.set()


@pytest.fixture
def scene(  # noqa: PLR0917 - fixtures
    place: Place, acme: Shell, home: Path, name: str, key: Path, upstream: str
) -> Scene:
    """A version of this test's own, with its files beside."""
    folder = home / "publish"
    folder.mkdir()
    (folder / "model.gguf").write_bytes(WEIGHTS)
    said = acme("model", "publish", folder, "--name", name, "--version", "1", "--key", key)
    assert said.status == 0, said
    node = ("--token-file", place.folder / "node-1.token")
    assert acme(*node, "model", "fetch", f"{name}@1", "files").status == 0
    return Scene(place, acme, upstream, f"{name}@1")


@pytest.fixture
def small_disk(home: Path) -> Iterator[Path]:
    """A file system of its own, for what the shim remembers."""
    folder = home / "shim-data"
    folder.mkdir()
    mounted = subprocess.run(
        ["/bin/mount", "-t", "tmpfs", "-o", f"size={DISK},mode=0700", "none", folder],
        check=False,
        capture_output=True,
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["/bin/umount", "-l", folder], check=True)


def health(proxy: Proxy) -> tuple[int, dict[str, Any]]:
    """What the shim says of itself."""
    [line] = [line for line in proxy.said if "health at port" in line]
    port = int(line.partition("port ")[2].partition(",")[0])
    with contextlib.closing(
        http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    ) as asked:
        asked.request("GET", "/health")
        answer = asked.getresponse()
        return answer.status, json.loads(answer.read())


def fill(folder: Path) -> Path:
    """Fill a disk to the last byte; returns what fills it."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    assert os.statvfs(folder).f_bavail == 0
    return filler


def reasons(found: dict[str, Any]) -> set[str]:
    return {trouble["reason"] for trouble in found["troubles"]}


FULL = {"JOURNAL_LATCHED", "STORAGE_FAILED"}
"""What a full disk keeps from being written: records, or first the batches that are sent."""


def until_full(proxy: Proxy) -> None:
    """Ask until the journal has used up what it reserved: refused calls have records, too."""
    for _ in range(4000):
        status, headers, _ = proxy.ask()
        stopped = status != 200 or "x-receipt-id" not in headers
        if stopped and "JOURNAL_LATCHED" in reasons(health(proxy)[1]):
            return
    raise AssertionError(reasons(health(proxy)[1]))


def in_the_background(
    proxy: Proxy, told: list[tuple[int, dict[str, str], bytes]]
) -> threading.Thread:
    """Ask for an answer whose end waits."""

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=SECONDS)
        with (
            contextlib.closing(connection),
            contextlib.suppress(http.client.HTTPException, OSError),
        ):
            connection.request("POST", "/v1/chat/completions", json.dumps({"stream": True}))
            answer = connection.getresponse()
            told.append((answer.status, dict(answer.getheaders()), answer.read()))

    thread = threading.Thread(target=ask)
    thread.start()
    return thread


@pytest.mark.parametrize("mode", ["strict", "stream", "best_effort"])
def test_a_full_disk_is_what_the_mode_says(scene: Scene, small_disk: Path, mode: str) -> None:
    running: list[tuple[int, dict[str, str], bytes]] = []
    with scene.serving(mode) as proxy:
        assert health(proxy)[0] == 200
        before = proxy.ask()
        thread = in_the_background(proxy, running)
        until(lambda: health(proxy)[1]["next_n"] >= 5)
        filler = fill(small_disk)
        until_full(proxy)
        status, said = health(proxy)
        assert (status, said["status"]) == (503, "red")
        assert "No space left" in json.dumps(said)
        after = proxy.ask()
        SlowModel.go_on.set()
        thread.join(SECONDS)
    assert before[0] == 200
    if mode == "best_effort":
        # Nobody is turned away; what is lost is counted, and the answer has no receipt.
        assert (after[0], "x-receipt-id" in after[1]) == (200, False)
        assert "UNRECORDED_CALLS" in reasons(said)
    else:
        assert after[0] == 503
        assert json.loads(after[2])["error"]["code"] in FULL
    # A stream that runs may end, but in strict not without its record.
    assert bool(running and b"[DONE]" in running[0][2]) == (mode != "strict")
    filler.unlink()
    check_what_remains(scene, small_disk, mode)


def check_what_remains(scene: Scene, disk: Path, mode: str) -> None:
    """With room on the disk the next start tells of everything, and an auditor sees it."""
    with scene.serving(mode) as proxy:
        assert health(proxy)[0] == 200, health(proxy)[1]["troubles"]
        assert proxy.ask()[0] == 200
        shim_id = health(proxy)[1]["shim_id"]
    records = written(disk)
    boots = [item for item in records if isinstance(item, inference.Boot)]
    assert [boot.prev_stop for boot in boots] == ["first", "unclean"]
    assert (boots[1].unrecorded > 0) == (mode == "best_effort")
    audited = scene.acme("audit", "gaps", "--shim", shim_id, "--json")
    assert audited.out, audited
    found = json.loads(audited.out)
    assert (found["unclean"], found["next_n"]) == (1, len(records))
    if mode == "best_effort":
        assert (found["verdict"], found["unrecorded"]) == ("INVALID", boots[1].unrecorded)
        told = {item["reason"] for item in found["checks"] if "reason" in item}
        assert told == {"UNRECORDED_CALLS"}
    else:
        assert (audited.status, found["verdict"]) == (0, "VALID"), found


def test_a_model_file_that_changes_turns_health_red(scene: Scene, home: Path) -> None:
    with scene.serving("stream", "--files", "files") as proxy:
        assert health(proxy)[1]["checks"] == ["model"]
        (home / "files" / "model.gguf").write_bytes(b"other weights")
        until(lambda: health(proxy)[0] == 503)
        assert reasons(health(proxy)[1]) == {"WRONG_MODEL_FILE"}


def test_how_long_records_may_wait_is_the_operators_choice(scene: Scene) -> None:
    with scene.serving("stream", "--max-behind", "0.001") as proxy:
        assert proxy.ask()[0] == 200
        # A batch is closed a second after its first record, and the log has it even later.
        status, said = health(proxy)
        assert (status, reasons(said)) == (503, {"DEADLINE"})
        until(lambda: health(proxy)[0] == 200)


def test_an_address_for_health_that_makes_no_sense_is_refused(scene: Scene) -> None:
    words = arguments(scene.place, scene.version, scene.upstream, "--health", "nowhere")
    said = scene.acme(*words)
    assert (said.status, "HOST:PORT" in said.err) == (2, True)
