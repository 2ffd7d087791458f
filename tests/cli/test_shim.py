"""``provreg shim`` as a process: in front of a model server, between a client and a registry."""

import contextlib
import http.client
import json
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from registry.cli import shim as command
from registry.errors import Reason, UnavailableError
from tests.cli.conftest import Place, Shell
from tests.forking import Process, provreg
from tests.http_handler import answering

WEIGHTS = b"weights of a model"


class Model(BaseHTTPRequestHandler):
    """A model server that says what it was told."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer."""
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        text = asked["messages"][0]["content"]
        if asked.get("stream"):
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            delta = {"choices": [{"delta": {"content": text}, "finish_reason": "stop"}]}
            data = b"data: " + json.dumps(delta).encode() + b"\n\ndata: [DONE]\n\n"
            for at in range(0, len(data), 40):
                piece = data[at : at + 40]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")
            return
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        body = json.dumps({"id": "c1", "choices": [choice]}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: Any) -> None:
        """Say nothing."""


@pytest.fixture
def upstream() -> Iterator[str]:
    with answering(Model) as url:
        yield url


@dataclass
class Proxy:
    """A running ``provreg shim``."""

    process: Process
    port: int
    said: list[str]

    def ask(self, text: str = "hello", **members: Any) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        body = json.dumps({"model": "m", "messages": [{"content": text}], **members})
        connection.request("POST", "/v1/chat/completions", body)
        answer = connection.getresponse()
        told = (answer.status, dict(answer.getheaders()), answer.read())
        connection.close()
        return told


@contextlib.contextmanager
def shim(*arguments: object, expect: int | None = 0) -> Iterator[Proxy]:
    """Run ``provreg shim`` until the block ends, and expect its exit status."""
    with provreg(*arguments, stderr=True) as process:
        assert process.stderr is not None
        said: list[str] = []
        port = 0
        for line in process.stderr:
            said.append(line)
            if found := re.search(r"listening on \S+:(\d+)", line):
                port = int(found[1])
                break
        try:
            yield Proxy(process, port, said)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            said.extend(process.stderr)
            assert process.wait(30) == expect, said


def until(true: Callable[[], bool]) -> None:
    """Wait for something that happens in another process."""
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def version(place: Place, acme: Shell, home: Path, name: str, key: Path) -> str:
    """Publish a version of its own for each test, and fetch it."""
    folder = home / "publish"
    folder.mkdir()
    (folder / "model.gguf").write_bytes(WEIGHTS)
    said = acme("model", "publish", folder, "--name", name, "--version", "1", "--key", key)
    assert said.status == 0, said
    node = ("--token-file", place.folder / "node-1.token")
    said = acme(*node, "model", "fetch", f"{name}@1", "files")
    assert said.status == 0, said
    return f"{name}@1"


def arguments(place: Place, reference: str, upstream: str, *more: object) -> tuple[object, ...]:
    return (
        *("--server", place.running.address, "--log-key", place.vkey),
        *("--token-file", place.folder / "node-1.token"),
        *("shim", "--model", reference, "--upstream", upstream, "--listen", "127.0.0.1:0"),
        *("--key", place.folder / "node-1.pem", "--folder", "shim-data"),
        *more,
    )


@pytest.mark.parametrize("mode", ["strict", "stream", "best_effort"])
def test_an_output_of_a_model_server_can_be_traced(
    place: Place, acme: Shell, upstream: str, version: str, mode: str
) -> None:
    more = ("--files", "files", "--mode", mode)
    with shim(*arguments(place, version, upstream, *more)) as proxy:
        status, headers, body = proxy.ask(version)
        assert status == 200
        assert re.fullmatch(r"[0-9a-f]{32}/[0-9]+", headers["x-receipt-id"])
        Path("answer.json").write_bytes(body)
        _, _, streamed = proxy.ask(version, stream=True)
        Path("answer.sse").write_bytes(streamed)
    for name in ("answer.json", "answer.sse"):
        traced = acme("trace", name)
        assert traced.status == 0, traced
        assert version in traced.out


def test_a_shim_starts_and_records_while_its_registry_is_down(
    place: Place, home: Path, upstream: str, version: str
) -> None:
    with shim(*arguments(place, version, upstream)) as proxy:
        proxy.ask()
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        down = f"127.0.0.1:{nobody.getsockname()[1]}"
        given = list(arguments(place, version, upstream))
        given[1] = down
        with shim(*given) as proxy:
            assert proxy.ask()[0] == 200
            assert any("verified before" in line for line in proxy.said)
    assert home.joinpath("shim-data", "release.json").exists()


def test_a_model_file_replaced_while_it_serves_stops_the_service(
    place: Place, home: Path, upstream: str, version: str
) -> None:
    with shim(*arguments(place, version, upstream, "--files", "files")) as proxy:
        assert proxy.ask()[0] == 200
        (home / "files" / "model.gguf").write_bytes(b"other weights")
        until(lambda: proxy.ask()[0] == 503)
        assert b"WRONG_MODEL_FILE" in proxy.ask()[2]


@pytest.mark.parametrize("option", ["--adapter", "--tokenizer", "--chat-template"])
def test_a_file_beside_the_model_that_changes_stops_the_service_too(
    place: Place, home: Path, upstream: str, version: str, option: str
) -> None:
    (home / "beside").write_bytes(b"as it was")
    with shim(*arguments(place, version, upstream, option, "beside")) as proxy:
        assert proxy.ask()[0] == 200
        (home / "beside").write_bytes(b"otherwise")
        until(lambda: proxy.ask()[0] == 503)
        assert b"WRONG_MODEL_FILE" in proxy.ask()[2]


def test_a_wrong_model_is_not_served(place: Place, home: Path, upstream: str, version: str) -> None:
    (home / "files" / "model.gguf").write_bytes(b"weights of a modem")
    with shim(*arguments(place, version, upstream, "--files", "files"), expect=1) as proxy:
        assert proxy.port == 0
        assert any("WRONG_MODEL_FILE" in line for line in proxy.said)


def test_a_registry_that_refuses_is_told_of_while_it_serves_and_at_the_end(
    place: Place, upstream: str, version: str
) -> None:
    given = list(arguments(place, version, upstream))
    given[5] = place.folder / "acme.token"
    with shim(*given) as proxy:
        assert proxy.ask()[0] == 200
        assert proxy.process.stderr is not None
        line = next(line for line in proxy.process.stderr if "trouble" in line)
        assert line.startswith("trouble with the registry: ROLE: ")
    assert re.fullmatch(
        r"[0-9]+ records wait here to be sent at the next start: ROLE: .*\n", proxy.said[-1]
    )


def test_another_key_than_that_of_the_folder_is_named(
    place: Place, upstream: str, version: str, key: Path
) -> None:
    with shim(*arguments(place, version, upstream)) as proxy:
        assert proxy.ask()[0] == 200
    given = (*arguments(place, version, upstream), "--key", key)
    with shim(*given, expect=1) as proxy:
        assert any("UNKNOWN_SIGNER" in line for line in proxy.said)
        assert any("a folder of its own" in line for line in proxy.said)


def test_another_model_of_the_server_is_not_asked(
    place: Place, upstream: str, version: str
) -> None:
    with shim(*arguments(place, version, upstream, "--served-as", "m")) as proxy:
        assert proxy.ask()[0] == 200
        status, _, body = proxy.ask(model="n")
        assert (status, b"ANOTHER_MODEL" in body) == (404, True)


def test_how_much_may_wait_is_the_operators_choice(
    place: Place, acme: Shell, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: dict[str, Any] = {}

    def opened(*_arguments: Any, **named: Any) -> None:
        told.update(named)
        raise UnavailableError(Reason.JOURNAL_IN_USE, "somebody else has it")

    monkeypatch.setattr(command, "open_shim", opened)
    words = arguments(place, version, "http://127.0.0.1:9", "--max-journal", 300)
    assert "JOURNAL_IN_USE" in acme(*words).err
    assert told["max_journal_bytes"] == 300 * 1024 * 1024


@pytest.mark.parametrize("text", ["no JSON", '{"schema": 1}'], ids=["no JSON", "another form"])
def test_a_policy_that_is_none_is_named_by_its_file(
    place: Place, acme: Shell, version: str, text: str
) -> None:
    Path("policy.json").write_text(text)
    said = acme(*arguments(place, version, "http://127.0.0.1:9", "--privacy", "policy.json"))
    assert said.status == 1
    assert "policy.json" in said.err


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (("--listen", "0.0.0.0:0"), "readably"),
        (("--listen", "nowhere"), "HOST:PORT"),
        (("--upstream", "ftp://x"), "grpc://"),
        (("--tls-cert", "files/model.gguf"), "--tls-key"),
        (("--upstream-key", "files/model.gguf"), "--upstream-cert"),
        (("--max-journal", "255"), "256"),
        (("--upstream", "http://127.0.0.1:port"), "HOST:PORT"),
        (("--upstream", "http://127.0.0.1:99999"), "HOST:PORT"),
        (("--tls-cert", "files/model.gguf", "--tls-key", "files/model.gguf"), "model.gguf"),
    ],
    ids=[
        *("open to all", "no address", "no model server", "half of TLS"),
        *("half of who asks", "less than well-being takes"),
        *("no port", "a port beyond all", "no certificate"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(
    place: Place, acme: Shell, version: str, more: tuple[str, ...], why: str
) -> None:
    said = acme(*arguments(place, version, "http://127.0.0.1:9", *more))
    assert said.status == 2
    assert why in said.err


def test_a_model_without_a_version_is_refused_and_told_what_is_wanted(
    place: Place, acme: Shell, version: str
) -> None:
    said = acme(*arguments(place, version.partition("@")[0], "http://127.0.0.1:9"))
    assert said.status == 1
    for part in ("MALFORMED_NAME", "names no version", "namespace/name@version", "model list"):
        assert part in said.err


def test_an_audit_tells_with_which_configuration_a_shim_started(
    place: Place, acme: Shell, upstream: str, version: str
) -> None:
    for mode in ("stream", "strict"):
        with shim(*arguments(place, version, upstream, "--mode", mode)) as proxy:
            receipt = proxy.ask(version)[1]["x-receipt-id"]
    shim_id = receipt.partition("/")[0]
    kept = {path.stem for path in (Path("shim-data") / "configurations").iterdir()}
    said = acme("audit", "gaps", "--shim", shim_id, "--json")
    found = json.loads(said.out)
    assert (said.status, found["verdict"], found["configurations"]) == (0, "VALID", 1)
    assert found["started"]["config"] in kept
    assert len(kept) == 2
    assert found["started"]["seen"]["size"] > 0
    text = acme("audit", "gaps", "--shim", shim_id).out
    assert f"configuration sha256:{found['started']['config']}, changed 1 times before" in text
    assert "UNATTESTED then" in text
