"""What ran, from the options of ``provreg shim`` to a proof that is checked offline."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Place, Shell
from tests.cli.test_shim import WEIGHTS, arguments, shim, until, upstream, version

__all__ = ["upstream", "version"]

BESIDE = {"adapter": b"an adapter", "tokenizer": b"a tokenizer", "chat-template": b"{{ x }}"}


def named(name: str) -> str:
    return f"sha256:{hashlib.sha256(BESIDE[name]).hexdigest()}"


@pytest.fixture
def facts(place: Place, acme: Shell, home: Path, upstream: str, version: str) -> Any:
    """What somebody without a registry is told of an answer."""
    for name, data in BESIDE.items():
        (home / name).write_bytes(data)
    more = (
        *("--files", "files", "--engine", "vllm", "--engine-version", "0.10.1"),
        *("--quantization", "awq", *(word for name in BESIDE for word in (f"--{name}", name))),
        *("--engine-setting", "threads", "4", "--engine-setting", "opt_level", "all"),
    )
    with shim(*arguments(place, version, upstream, *more)) as proxy:
        _, headers, _ = proxy.ask(f"what {version} says", seed=7, temperature=0.25, top_p=1)
    digest = f"sha256:{headers['x-output-sha256']}"
    until(lambda: acme("trace", digest).status != 1)
    assert acme("trace", digest, "--capsule", "kept.capsule").status == 0
    said = acme("--log-key", place.vkey, "verify", "kept.capsule", "--json").value
    assert said["verdict_now"] == "VALID"
    return said["facts"]


def test_everything_that_ran_is_in_the_proof(facts: Any) -> None:
    ran, output = facts["setup"], facts["output"]
    assert {
        "verified model files": (ran["files_verified"], facts["files"][0]["digest"]),
        "adapters": ran["adapters"],
        "tokenizer": ran["tokenizer"],
        "chat template": ran["chat_template"],
        "quantisation": ran["quantization"],
        "engine and version": output["runtime"],
        "sampling parameters": {name: output["params"][name] for name in ("temperature", "top_p")},
        "seed": output["params"]["seed"],
        "binding": (ran["binding"], ran["level"], facts["bound"]["level"]),
    } == {
        "verified model files": (1, f"sha256:{hashlib.sha256(WEIGHTS).hexdigest()}"),
        "adapters": [named("adapter")],
        "tokenizer": named("tokenizer"),
        "chat template": named("chat-template"),
        "quantisation": "awq",
        "engine and version": "vllm 0.10.1",
        "sampling parameters": {"temperature": "0.25", "top_p": "1"},
        "seed": "7",
        "binding": ("artifact_verified", 2, 2),
    }


@pytest.mark.parametrize("beside", sorted(BESIDE))
@pytest.mark.usefixtures("acme")
def test_what_lies_beside_the_model_and_changes_while_it_serves_stops_the_service(
    place: Place, home: Path, upstream: str, version: str, beside: str
) -> None:
    (home / beside).write_bytes(BESIDE[beside])
    with shim(*arguments(place, version, upstream, f"--{beside}", beside)) as proxy:
        assert proxy.ask()[0] == 200
        (home / beside).write_bytes(b"something else")
        until(lambda: proxy.ask()[0] == 503)
        assert b"WRONG_MODEL_FILE" in proxy.ask()[2]
