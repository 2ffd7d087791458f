"""Calls under a privacy policy: what it commits to stands nowhere in clear in their records."""

import asyncio
import json
from pathlib import Path

import msgspec
import pytest

from registry.core.digest import sha256
from registry.core.records import inference
from registry.shim.privacy.keeping import Keeping
from registry.shim.privacy.policy import PrivacyPolicy
from registry.shim.privacy.vault import Vault
from registry.shim.recorder.calls import Mode
from tests.shim.proxies.http_server import STREAM_HEAD, Script, chunk, plain
from tests.shim.proxies.test_http import JSON, MODES, Client, run

PATH = b"POST /v1/chat/completions"
HALF = b'data: {"choices":[{"delta":{"content":"denied"}}]}\n\n'


def keeping(tmp_path: Path, **members: object) -> Keeping:
    said = {"schema": "privacy-policy/v1", "retention_class": "loans", **members}
    policy = msgspec.convert(said, PrivacyPolicy)
    policy.check()
    return Keeping(policy, Vault(tmp_path / "private"))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("output", ["plain", "committed"])
@pytest.mark.parametrize("ends", ["client", "server"])
def test_half_an_answer_cannot_be_guessed_if_whole_ones_cannot(
    tmp_path: Path, mode: Mode, output: str, ends: str
) -> None:
    script = Script([STREAM_HEAD + chunk(HALF)], hang=ends == "client")

    async def act(client: Client) -> None:
        reader, writer = await client.send(PATH, b"{}")
        await reader.readuntil(HALF)
        if ends == "client":
            writer.close()
            await asyncio.wait_for(script.gone.wait(), 20)
        await client.until_recorded(3)
        writer.close()

    policy = keeping(tmp_path, output=output, fields=["/request/user"])
    _, record = run(tmp_path, script, act, mode, keeping=policy)
    assert isinstance(record, inference.ClientGone | inference.Failure)
    assert record.sent_bytes == len(HALF)
    digested = msgspec.UNSET if output == "committed" else sha256(HALF).hex()
    assert record.sent_digest == digested


def test_a_parameter_that_is_committed_to_does_not_stand_beside_its_commitment(
    tmp_path: Path,
) -> None:
    body = {"choices": [{"index": 0, "message": {"content": "x"}, "finish_reason": "because"}]}
    script = Script([plain(json.dumps(body).encode(), JSON)])

    async def act(client: Client) -> None:
        asked = b'{"model":"m-secret","seed":987654,"temperature":0.5,"messages":[]}'
        assert (await client.ask(PATH, asked))[0] == 200

    fields = ["/request/model", "/request/seed", "/response/choices/0/finish_reason"]
    policy = keeping(tmp_path, fields=fields)
    _, record = run(tmp_path, script, act, keeping=policy)
    assert isinstance(record, inference.Completion)
    assert isinstance(record.private, inference.Private)
    assert record.private.fields == 3
    assert isinstance(record.course, inference.Course)
    assert record.course.params == {"temperature": "0.5"}
    assert record.course.finish_reasons == ()
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*.segment"))
    assert not [word for word in (b"m-secret", b"987654", b"because") if word in written]
