"""``provreg shim --report`` as a process: what a model server says, from asking to proof."""

import hashlib
import http.client
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Place, Shell
from tests.cli.test_shim import WEIGHTS, Proxy, arguments, shim, until, version
from tests.shim.reports import scripted
from tests.shim.reports.scripted import MANIFEST, Script, saying

__all__ = ["version"]

OURS = hashlib.sha256(WEIGHTS).hexdigest()
ANSWER = {
    "id": "c1",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": ""}, "finish_reason": "stop"}
    ],
}


@pytest.fixture
def script(version: str) -> Iterator[Script]:
    """An Ollama that has the version's own file, and answers something of this test's own."""
    answer = json.loads(json.dumps(ANSWER))
    answer["choices"][0]["message"]["content"] = f"what {version} says, {time.monotonic_ns()}"
    said = scripted.ollama(OURS) | {"POST /v1/chat/completions": answer}
    script = Script(said)
    with saying(script) as url:
        script.url = url
        yield script


def report(place: Place, version: str, script: Script, *more: object) -> tuple[object, ...]:
    """The words that ask this server."""
    return (
        *arguments(place, version, script.url, "--report", "ollama", "--served-as", "tiny"),
        *more,
    )


def ask(proxy: Proxy) -> dict[str, str]:
    """The headers of an answer to whoever names the model."""
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=30)
    connection.request("POST", "/v1/chat/completions", json.dumps({"model": "tiny"}))
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    assert answer.status == 200, body
    return {name.lower(): value for name, value in answer.getheaders()}


def test_a_model_without_files_is_bound_by_what_its_server_reports(
    place: Place, acme: Shell, version: str, script: Script
) -> None:
    with shim(*report(place, version, script)) as proxy:
        told = ask(proxy)
    said = "".join(proxy.said)
    assert f"the model server reports tiny:latest, sha256:{MANIFEST}" in said
    assert "known by name only" not in said
    digest = f"sha256:{told['x-output-sha256']}"
    until(lambda: acme("trace", digest).status != 1)
    assert acme("trace", digest, "--capsule", "kept.capsule").status == 0
    offline = acme("--log-key", place.vkey, "verify", "kept.capsule")
    assert offline.status == 0
    for part in (
        *("level L1, runtime_reported, by setup", "tiny:latest, by ollama 0.5.7 (ollama)"),
        *(MANIFEST, f"sha256:{OURS}, model.gguf", "Q4_K_M"),
    ):
        assert part in offline.out, offline.out


def test_a_claim_is_not_enough_where_more_is_demanded(
    place: Place, acme: Shell, version: str, script: Script
) -> None:
    with shim(*report(place, version, script)) as proxy:
        told = ask(proxy)
    digest = f"sha256:{told['x-output-sha256']}"
    until(lambda: acme("trace", digest).status != 1)
    assert acme("trace", digest, "--capsule", "kept.capsule", "--require-level", "1").status == 0
    offline = ("--log-key", place.vkey, "verify", "kept.capsule", "--require-level")
    refused = acme(*offline, "2")
    assert (acme(*offline, "1").status, refused.status) == (0, 1)
    assert "model binding: INVALID(BINDING_TOO_WEAK)" in refused.out
    assert acme(*offline, "5").status == 2


def test_files_that_were_compared_are_more_than_a_report(
    place: Place, acme: Shell, version: str, script: Script
) -> None:
    with shim(*report(place, version, script, "--files", "files")) as proxy:
        told = ask(proxy)
    digest = f"sha256:{told['x-output-sha256']}"
    until(lambda: acme("trace", digest).status != 1)
    found = acme("trace", digest, "--json").value["facts"]
    assert (found["output"]["binding"], found["bound"]["level"]) == ("artifact_verified", 2)
    assert found["setup"]["report"]["digest"] == f"sha256:{MANIFEST}"


@pytest.mark.usefixtures("acme")
def test_a_server_that_says_that_it_has_other_weights_is_not_asked(
    place: Place, version: str, script: Script
) -> None:
    script.said |= scripted.ollama("e" * 64)
    with shim(*report(place, version, script)) as proxy:
        status, _, body = proxy.ask(model="tiny")
    assert (status, b"WRONG_MODEL_FILE" in body) == (503, True)
    assert not any(asked == "POST /v1/chat/completions" for asked, _ in script.asked)
    assert "e" * 64 in "".join(proxy.said)


@pytest.mark.usefixtures("acme")
def test_a_server_that_does_not_report_is_told_and_known_by_name_only(
    place: Place, version: str, script: Script
) -> None:
    del script.said["GET /api/tags"]
    with shim(*report(place, version, script)) as proxy:
        ask(proxy)
    said = "".join(proxy.said)
    assert "UNREPORTED" in said
    assert "known by name only" in said


@pytest.mark.usefixtures("acme")
def test_the_interface_that_is_asked_is_in_the_configuration(
    place: Place, version: str, script: Script
) -> None:
    with shim(*report(place, version, script)) as proxy:
        ask(proxy)
    [kept] = (Path("shim-data") / "configurations").iterdir()
    serving = json.loads(kept.read_bytes())["serving"]
    assert (serving["report"], serving["served_as"]) == ("ollama", ["tiny"])


def test_an_interface_that_an_address_does_not_have_is_refused(
    place: Place, acme: Shell, version: str
) -> None:
    said = acme(*arguments(place, version, "grpc://127.0.0.1:9", "--report", "ollama"))
    assert (said.status, "--report open-inference" in said.err) == (2, True)
