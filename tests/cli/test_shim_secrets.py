"""What is said through a shim under a privacy policy is in no file, line or span of anybody's."""

import base64
import contextlib
import hashlib
import http.client
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.core.profiles.recognise import candidates
from tests.cli.conftest import Place, Shell
from tests.cli.test_shim import Model, Proxy, arguments, shim, until, version
from tests.cli.test_shim_spans import Collector, collector
from tests.http_handler import answering

__all__ = ["collector", "version"]

WORDS = "Żaneta Ω earns 1234 a day"
PLAIN = "Zaneta-owes-4711"
POLICY = {
    "schema": "privacy-policy/v1",
    "retention_class": "loans",
    "fields": ["/request/user", "/request/seed", "/request/messages/0/content"],
    "keep": True,
    "output": "committed",
}
SEED = 918273645546372819


class Leaky(Model):
    """A model server that puts what it was told wherever it can."""

    def do_POST(self) -> None:  # noqa: N802 - http.server calls it so
        """Answer, fail or stop, as the request says."""
        if self.path.startswith("/refuse"):
            body = json.dumps({"error": {"message": WORDS, "type": PLAIN}}).encode()
            self.send_response(500, "no")
            self.send_header("x-why", PLAIN)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        elif self.path.startswith("/stop"):
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("content-length", "100000")
            self.end_headers()
            self.wfile.write(b"data: " + json.dumps({"choices": [{"text": WORDS}]}).encode())
            self.close_connection = True
        elif self.path.startswith("/because"):
            choice = {"index": 0, "message": {"content": WORDS}, "finish_reason": PLAIN * 9}
            body = json.dumps({"model": WORDS, "choices": [choice]}).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        else:
            super().do_POST()


@pytest.fixture
def leaky() -> Iterator[str]:
    with answering(Leaky) as url:
        yield url


class Caller:
    """Asks, and remembers everything that nobody else may know."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self.told: list[bytes] = []
        self.receipts: list[str] = []

    def ask(self, path: str, body: bytes, **headers: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._proxy.port, timeout=30)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("POST", path, body, named)
        self.told.append(body)
        with contextlib.suppress(http.client.HTTPException, ConnectionError):
            answer = connection.getresponse()
            self.receipts += filter(None, [answer.getheader("x-receipt-id")])
            self.told.append(answer.read())
        connection.close()

    def leave(self, path: str, body: bytes) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._proxy.port, timeout=30)
        connection.request("POST", path, body)
        connection.getresponse().read(8)
        connection.close()


def forms(said: bytes) -> Iterator[bytes]:
    """Something as it might lie somewhere."""
    yield said
    yield said.hex().encode()
    yield said.hex().upper().encode()
    for shift in range(3):
        # What stands before it moves the alphabet; what is shared with neighbours is cut off.
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(bytes(shift) + said)[4 if shift else 0 : -4]
    with contextlib.suppress(UnicodeDecodeError):
        yield json.dumps(said.decode())[1:-1].encode()
        yield said.decode().encode("unicode_escape")


def secrets_of(told: list[bytes]) -> set[bytes]:
    """Everything that may lie nowhere: the words, and plain digests that could be guessed."""
    found = {form for word in (WORDS, PLAIN, str(SEED)) for form in forms(word.encode())}
    for data in told:
        digests = {hashlib.sha256(data).digest(), *candidates(data)}
        found |= {form for digest in digests for form in forms(digest)}
    return found


@pytest.mark.parametrize("mode", ["strict", "stream"])
def test_what_is_said_through_a_shim_lies_nowhere_in_clear(
    *,
    place: Place,
    acme: Shell,
    home: Path,
    leaky: str,
    version: str,
    collector: Collector,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
) -> None:
    Path("privacy.json").write_text(json.dumps(POLICY))
    temporary = home / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    body = {"model": WORDS, "user": WORDS, "seed": SEED, "messages": [{"content": WORDS}]}
    plain = json.dumps(body | {"temperature": PLAIN, "reasoning_effort": WORDS}).encode()
    chat = "/v1/chat/completions"
    more = ("--privacy", "privacy.json", "--otlp", collector.url, "--mode", mode)
    with shim(*arguments(place, version, leaky, *more)) as proxy:
        caller = Caller(proxy)
        hostile = {"traceparent": f"00-{PLAIN}", "tracestate": f"a={PLAIN}", "x_own": PLAIN}
        caller.ask(f"{chat}?user={PLAIN}", plain, **hostile)
        caller.ask(chat, json.dumps(body | {"stream": True}).encode())
        caller.ask(chat, plain, x_provreg_level="logged")
        caller.ask(f"/refuse/{PLAIN}{chat}", plain)
        caller.ask(f"/stop/{PLAIN}{chat}", plain)
        caller.ask(f"/because{chat}", plain)
        caller.ask(chat, WORDS.encode())
        caller.ask(chat, plain, x_provreg_level=PLAIN)
        caller.ask(chat, plain, x_provreg_level="signed", x_provreg_deadline_ms=PLAIN)
        caller.leave(f"/stop/{PLAIN}{chat}", plain)
    assert len(caller.receipts) >= 5
    kept = next(name for name in caller.receipts)
    until(lambda: acme("receipt", "show", kept).out.count("completion") == 1)
    assert acme("payload", "open", kept, "--json").value["fields"]["/request/user"] == WORDS
    shown = acme("receipt", "show", kept, "--json").out
    [digest] = set(re.findall(r'"content_digest": ?"([0-9a-f]{64})"', shown))
    assert acme("trace", f"sha256:{digest}", "--capsule", "answer.capsule").status == 0
    places = {"spans": b"".join(collector.bodies), "shim": "".join(proxy.said).encode()}
    places |= {"registry": caplog.text.encode(), "receipt": shown.encode()}
    for folder in (home, home.parent / "config", place.running.data):
        files = (path for path in folder.rglob("*") if path.is_file())
        places |= {str(path): path.read_bytes() for path in files}
    assert any(name.endswith(".segment") for name in places)
    assert any(name.endswith(".sealed") for name in places)
    assert any(name.endswith(".capsule") for name in places)
    assert collector.spans()
    forbidden = secrets_of(caller.told)
    assert not [(name, form) for name, data in places.items() for form in forbidden if form in data]
