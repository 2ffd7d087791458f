"""Records of calls that say as much as they can: none is too long to be written down."""

import json
from pathlib import Path

import pytest

from registry.core.records import inference
from registry.shim.proxies.request_params import MAX_CHARACTERS, MAX_PARAMS
from registry.shim.recorder.calls import Mode
from registry.shim.recorder.shown import MAX_REASONS
from tests.shim.proxies import test_http
from tests.shim.proxies.http_server import Script, plain
from tests.shim.proxies.test_http import JSON, MODES

NAMES = ("max_completion_tokens", "repetition_penalty", "presence_penalty", "frequency_penalty")
ASKED = json.dumps(
    {
        "inputs": [
            {"parameters": dict.fromkeys(NAMES, "1" * MAX_CHARACTERS)} for _ in range(MAX_PARAMS)
        ],
        "model": "m" * MAX_CHARACTERS,
    }
).encode()
ANSWER = json.dumps(
    {
        "choices": [
            {"index": index, "message": {"content": ""}, "finish_reason": "r" * 64}
            for index in range(MAX_REASONS)
        ]
    }
).encode()


@pytest.mark.parametrize("mode", MODES)
def test_whatever_a_client_and_a_model_server_say_the_call_has_its_outcome(
    tmp_path: Path, mode: Mode
) -> None:
    async def act(client: test_http.Client) -> None:
        status, _, rest = await client.ask(b"POST /v1/chat/completions", ASKED)
        assert (status, rest) == (200, ANSWER)

    _, outcome = test_http.run(tmp_path, Script([plain(ANSWER, JSON)]), act, mode)
    assert isinstance(outcome, inference.Completion)
    assert isinstance(outcome.course, inference.Course)
    assert outcome.course.params
    assert outcome.course.finish_reasons
    assert len(inference.write(outcome)) <= inference.MAX_RECORD_BYTES
