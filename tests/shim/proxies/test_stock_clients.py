"""The stock clients of OpenAI and httpx are told through the proxy what the model server says.

What real servers answer is asked in ``tests/servers``; here are answers that no small server gives:
refusals of every kind, large ones, and none at all.
"""

import asyncio
import base64
import json
import struct
from pathlib import Path
from typing import Any

import pytest

from registry.core import digest
from registry.core.records import inference
from tests.shim.proxies.http_server import Script, plain, serve
from tests.shim.proxies.test_http import CHAT, JSON, MODES, Client, run

httpx = pytest.importorskip("httpx")
openai = pytest.importorskip("openai")

MESSAGES: Any = [{"role": "user", "content": "x"}]
REFUSALS: dict[int, tuple[str, Any]] = {
    400: ("Bad Request", openai.BadRequestError),
    401: ("Unauthorized", openai.AuthenticationError),
    403: ("Forbidden", openai.PermissionDeniedError),
    404: ("Not Found", openai.NotFoundError),
    409: ("Conflict", openai.ConflictError),
    422: ("Unprocessable Content", openai.UnprocessableEntityError),
    429: ("Too Many Requests", openai.RateLimitError),
    500: ("Internal Server Error", openai.InternalServerError),
    503: ("Service Unavailable", openai.InternalServerError),
}


def client(url: str, **more: Any) -> Any:
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="secret", max_retries=0, **more)


async def both(script: Script, through: Client, act: Any) -> tuple[Any, Any]:
    """What somebody is told who asks a model server like this one, and who asks the proxy."""
    async with serve(Script(script.pieces)) as url, client(url) as asked:
        direct = await act(asked)
    async with client(f"http://127.0.0.1:{through.port}") as asked:
        return direct, await act(asked)


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("mode", MODES)
def test_a_refusal_reaches_the_client_as_the_server_said_it(
    tmp_path: Path, mode: Any, *, streams: bool
) -> None:
    said = b'{"error": {"message":"\\u00e9\xc3\xa9", "type":"t", "code":null,"more":[1.0]}}\n'
    headers = (JSON, b"retry-after: 7", b"x-ratelimit-remaining: 0", b"www-authenticate: Bearer")
    script = Script([b""])

    async def ask(asked: Any) -> Any:
        with pytest.raises(openai.APIStatusError) as caught:
            await asked.chat.completions.create(model="m", messages=MESSAGES, stream=streams)
        return caught.value

    async def act(through: Client) -> None:
        for place, (status, (phrase, kind)) in enumerate(REFUSALS.items()):
            script.pieces = [plain(said, *headers, status=f"{status} {phrase}".encode())]
            direct, told = await both(script, through, ask)
            assert type(told) is type(direct) is kind
            assert (told.status_code, told.body, str(told)) == (status, direct.body, str(direct))
            assert told.response.content == said
            for name in ("retry-after", "x-ratelimit-remaining", "www-authenticate"):
                assert told.response.headers[name] == direct.response.headers[name]
            # After the boot record, an intent and an outcome for each.
            receipt = f"{through.shim.shim_id}/{1 + 2 * place}"
            assert told.response.headers["x-receipt-id"] == receipt
            await through.until_recorded(3 + 2 * place)

    failures = [item for item in run(tmp_path, script, act, mode) if hasattr(item, "intent_n")]
    assert all(b"\r\nauthorization: bearer secret\r\n" in head.lower() for head in script.heads)
    assert [getattr(item, "error", "") for item in failures] == [
        f"http status {status}" for status in REFUSALS
    ]


@pytest.mark.parametrize("encoding_format", ["float", "base64"])
@pytest.mark.parametrize("mode", MODES)
def test_embeddings_are_what_the_server_said(
    tmp_path: Path, mode: Any, encoding_format: Any
) -> None:
    values = [0.1, -2.5, 3e-8]
    packed = base64.b64encode(struct.pack("<3f", *values)).decode()
    vector: Any = packed if encoding_format == "base64" else values
    item = {"object": "embedding", "index": 0, "embedding": vector}
    usage = {"prompt_tokens": 1, "total_tokens": 1}
    whole = {"object": "list", "model": "m", "data": [item], "usage": usage}
    body = json.dumps(whole).encode()
    script = Script([plain(body, JSON)])

    async def ask(asked: Any) -> Any:
        create = asked.embeddings.with_raw_response.create
        return await create(model="m", input=["x"], encoding_format=encoding_format)

    async def act(through: Client) -> None:
        direct, told = await both(script, through, ask)
        assert told.parse() == direct.parse()
        assert told.content == body
        assert told.headers["x-output-sha256"]

    _, completion = run(tmp_path, script, act, mode)
    assert isinstance(completion, inference.Completion)
    assert (completion.response.profile, completion.response.complete) == ("output/bytes/v1", True)
    assert completion.response.wire_digest == digest.sha256(body).hex()


@pytest.mark.parametrize("mode", MODES)
def test_large_questions_and_answers_pass_whole(tmp_path: Path, mode: Any) -> None:
    size = 12 * 1024 * 1024
    answer = plain(CHAT % (b"y" * size), JSON)
    script = Script([answer])

    async def act(through: Client) -> None:
        async with client(f"http://127.0.0.1:{through.port}", timeout=60) as asked:
            messages: Any = [{"role": "user", "content": "x" * size}]
            told = await asked.chat.completions.create(model="m", messages=messages)
        assert told.choices[0].message.content == "y" * size
        assert json.loads(script.bodies[0])["messages"] == messages

    _, completion = run(tmp_path, script, act, mode)
    assert isinstance(completion, inference.Completion)
    assert completion.response.profile == "output/chat/v1"


@pytest.mark.parametrize("mode", MODES)
def test_a_client_that_waits_no_longer_is_gone(tmp_path: Path, mode: Any) -> None:
    script = Script([b""], hang=True)

    async def act(through: Client) -> None:
        async with client(f"http://127.0.0.1:{through.port}", timeout=0.5) as asked:
            with pytest.raises(openai.APITimeoutError):
                await asked.chat.completions.create(model="m", messages=MESSAGES)
        # The model server need not go on, either.
        await asyncio.wait_for(script.gone.wait(), 20)
        await through.until_recorded(3)

    _, gone = run(tmp_path, script, act, mode)
    assert isinstance(gone, inference.ClientGone)
    assert gone.sent_bytes == 0


def test_httpx_keeps_a_connection_through_answers_of_every_kind(tmp_path: Path) -> None:
    async def act(through: Client) -> None:
        limits = httpx.Limits(max_connections=1)
        url = f"http://127.0.0.1:{through.port}"
        async with httpx.AsyncClient(base_url=url, limits=limits, timeout=20) as asked:
            for status in ("200 OK", "204 No Content", "404 Not Found", "503 Service Unavailable"):
                code = int(status[:3])
                script.pieces = [plain(b"" if code == 204 else b"said", status=status.encode())]
                told = await asked.post("/v1/files", content=b"{}")
                assert (told.status_code, told.content) == (code, b"" if code == 204 else b"said")
            for method in ("GET", "DELETE", "OPTIONS", "HEAD"):
                whole = plain(b"said", b"x-a: 1")
                script.pieces = [whole.removesuffix(b"said") if method == "HEAD" else whole]
                told = await asked.request(method, "/v1/models")
                assert (told.status_code, told.headers["x-a"]) == (200, "1")
                assert told.content == (b"" if method == "HEAD" else b"said")

    script = Script([b""])
    outcomes = [item for item in run(tmp_path, script, act) if hasattr(item, "intent_n")]
    assert len(outcomes) == 4
