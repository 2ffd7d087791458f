"""The stock OpenAI and httpx clients, unchanged, through the shim to llama.cpp's own server."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from registry.core import digest
from registry.core.profiles.answers import read
from registry.core.profiles.chat import Chat
from registry.core.records import inference
from registry.shim.proxies.httpx import RecordedTransport
from tests.servers.site import Model, Proxy, Site, llama, site
from tests.servers.tiny_model import ANSWER, ARGUMENTS, gguf

httpx = pytest.importorskip("httpx")
httpx2 = pytest.importorskip("httpx2")
openai = pytest.importorskip("openai")

MESSAGES: Any = [{"role": "user", "content": "May I have a loan?"}]
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "look_up",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


ABOUT = {"adapter": b"a LoRA", "tokenizer": b"{}", "template": b"{{ messages }}"}
"""Files that belong to what runs, and are not the model."""


@dataclass(frozen=True)
class Stage:
    """A model server, and the shim in front of it."""

    site: Site
    model: Model
    direct: str
    proxy: Proxy

    @contextlib.contextmanager
    def both(self) -> Iterator[tuple[Any, Any]]:
        """A client of the server itself, and one that differs in its address only."""
        with client(self.direct) as straight, client(self.proxy.url) as through:
            yield straight, through

    def believe(self, headers: Any, content_digest: str = "") -> inference.Completion:
        """Find an answer by the names that it came with."""
        named = content_digest or headers["x-output-sha256"]
        return self.site.believe(headers["x-receipt-id"], named, self.model)


def client(url: str) -> Any:
    return openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=30)


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Stage]]:
    """One model server, and a shim in front of it for each mode."""
    with contextlib.ExitStack() as stack:
        here = stack.enter_context(site(tmp_path_factory.mktemp("site")))
        model = here.publish("acme/tiny", {"model.gguf": gguf()})
        # What runs is what was published: the very file that the registry handed out.
        direct = stack.enter_context(llama(model.file("model.gguf")))
        about = here.folder / "about"
        about.mkdir()
        for name, content in ABOUT.items():
            (about / name).write_bytes(content)
        told = (
            *("--files", model.folder, "--engine", "llama.cpp", "--engine-version", "b1"),
            *("--quantization", "F32", "--adapter", about / "adapter"),
            *("--tokenizer", about / "tokenizer", "--chat-template", about / "template"),
        )
        ways: dict[str, tuple[object, ...]] = {
            "strict": (*told, "--mode", "strict"),
            "stream": told,
            # As in front of a provider of whom one has nothing but the model's name.
            "by name": ("--engine", "somebody's", "--report", "openai"),
        }
        shims = here.shims(model, *((direct, more) for more in ways.values()))
        proxies = stack.enter_context(shims)
        yield {
            way: Stage(here, model, direct, proxy) for way, proxy in zip(ways, proxies, strict=True)
        }


@pytest.fixture
def stage(stages: dict[str, Stage]) -> Stage:
    """The model server with a shim in the default mode."""
    return stages["stream"]


@pytest.fixture(params=["strict", "stream"])
def each(stages: dict[str, Stage], request: pytest.FixtureRequest) -> Stage:
    """As :func:`stage`, in one mode after the other."""
    return stages[request.param]


def spoken(answer: Any) -> list[Any]:
    """What an answer says, without what differs each time."""
    said = []
    for choice in answer.choices:
        members = choice.model_dump(exclude_none=True)
        for call in members.get("message", {}).get("tool_calls", ()):
            del call["id"]
        said.append(members)
    return said


def spoken_delta(chunk: Any) -> Any:
    members = chunk.choices[0].model_dump(exclude_none=True)
    return members["index"], members["delta"], members.get("finish_reason")


def chat_digest(chunks: list[Any]) -> str:
    """The content digest of a stream, found again from what the client was given."""
    chat = Chat()
    for chunk in chunks:
        chat.add_chunk(read(chunk.model_dump_json(exclude_unset=True).encode(), halves=True))
    return chat.digest(ended=True).content.hex()


def text_of(chunks: list[Any]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def arguments_of(chunks: list[Any]) -> str:
    calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
    return "".join(call.function.arguments for call in calls)


def test_a_whole_answer(each: Stage) -> None:
    with each.both() as (straight, through):
        expected = straight.chat.completions.create(model="m", messages=MESSAGES)
        raw = through.chat.completions.with_raw_response.create(
            model="m", messages=MESSAGES, temperature=0, seed=7
        )
    answer = raw.parse()
    assert spoken(answer) == spoken(expected)
    assert answer.choices[0].message.content == ANSWER
    found = each.believe(raw.headers)
    assert isinstance(found.course, inference.Course)
    assert (found.course.transport, found.course.params["seed"]) == ("unary", "7")


def test_what_ran_is_written_down_once_and_named_by_every_answer(stage: Stage) -> None:
    with client(stage.proxy.url) as through:
        ask = through.chat.completions.with_raw_response.create
        found = stage.believe(ask(model="m", messages=MESSAGES).headers)
    setup = stage.site.setup_of(found)
    assert (setup.binding, setup.level, setup.files_verified) == ("artifact_verified", 2, 1)
    assert (setup.runtime.engine, setup.runtime.version) == ("llama.cpp", "b1")
    assert setup.quantization == "F32"
    assert setup.upstream == stage.direct
    named = {"adapter": setup.adapters[0], "tokenizer": setup.tokenizer}
    named["template"] = setup.chat_template
    assert named == {name: digest.sha256(data).hex() for name, data in ABOUT.items()}
    # What is not bound is said.
    target = {"request.headers", "request.target", "response.headers"}
    assert {"runtime.weights_in_memory", *target} <= set(found.uncovered)


def test_a_model_of_which_only_the_name_is_known_is_not_said_to_be_more(
    stages: dict[str, Stage],
) -> None:
    stage = stages["by name"]
    with client(stage.proxy.url) as through:
        ask = through.chat.completions.with_raw_response.create
        found = stage.believe(ask(model="m", messages=MESSAGES).headers)
    assert found.binding == "name_only"
    setup = stage.site.setup_of(found)
    assert (setup.level, setup.files_verified, setup.adapters) == (1, 0, ())
    # The server was asked, and says no more than a name.
    assert isinstance(setup.report, inference.Report)
    assert (setup.report.interface, setup.report.names_it) == ("openai", False)
    assert setup.report.model


def test_a_stream(each: Stage) -> None:
    with each.both() as (straight, through):
        expected = list(straight.chat.completions.create(model="m", messages=MESSAGES, stream=True))
        raw = through.chat.completions.with_raw_response.create(
            model="m", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )
        chunks = list(raw.parse())
    told = [chunk for chunk in chunks if chunk.choices]
    assert [spoken_delta(chunk) for chunk in told] == [spoken_delta(chunk) for chunk in expected]
    assert text_of(told) == ANSWER
    found = each.believe(raw.headers, chat_digest(chunks))
    assert isinstance(found.course, inference.Course)
    assert found.course.transport == "sse"
    assert found.course.chunks == len(chunks)


def test_streamed_or_whole_an_answer_has_one_digest(stage: Stage) -> None:
    with client(stage.proxy.url) as through:
        ask = through.chat.completions.with_raw_response.create
        whole = ask(model="m", messages=MESSAGES)
        stream = ask(model="m", messages=MESSAGES, stream=True)
        assert whole.headers["x-output-sha256"] == chat_digest(list(stream.parse()))


def test_a_tool_call(stage: Stage) -> None:
    asked: Any = {"messages": MESSAGES, "tools": [TOOL], "tool_choice": "required"}
    with stage.both() as (straight, through):
        expected = straight.chat.completions.create(model="m", **asked)
        raw = through.chat.completions.with_raw_response.create(model="m", **asked)
    answer = raw.parse()
    assert spoken(answer) == spoken(expected)
    assert answer.choices[0].message.tool_calls[0].function.arguments == ARGUMENTS
    assert answer.choices[0].finish_reason == "tool_calls"
    stage.believe(raw.headers)


def test_a_tool_call_in_fragments(stage: Stage) -> None:
    asked: Any = {"messages": MESSAGES, "tools": [TOOL], "tool_choice": "required", "stream": True}
    with client(stage.proxy.url) as through:
        raw = through.chat.completions.with_raw_response.create(model="m", **asked)
        chunks = list(raw.parse())
    assert arguments_of(chunks) == ARGUMENTS
    found = stage.believe(raw.headers, chat_digest(chunks))
    assert isinstance(found.course, inference.Course)
    assert found.course.finish_reasons == ("tool_calls",)


def test_a_client_that_closes_in_the_middle(each: Stage) -> None:
    endless = {"ignore_eos": True}
    with client(each.proxy.url) as through:
        raw = through.chat.completions.with_raw_response.create(
            model="m", messages=MESSAGES, stream=True, max_tokens=30_000, extra_body=endless
        )
        with raw.parse() as stream:
            next(iter(stream))
    gone = each.site.outcome(raw.headers["x-receipt-id"]).record
    assert isinstance(gone, inference.ClientGone)
    assert 0 < gone.sent_bytes < 3_000_000


def test_a_client_that_closes_after_the_end_got_its_answer(stage: Stage) -> None:
    with client(stage.proxy.url) as through:
        raw = through.chat.completions.with_raw_response.create(
            model="m", messages=MESSAGES, stream=True
        )
        chunks = []
        with raw.parse() as stream:
            for chunk in stream:
                chunks.append(chunk)
                if chunk.choices[0].finish_reason:
                    break
    # It has seen everything that is content; whether the end followed is the proxy's to say.
    found = stage.site.outcome(raw.headers["x-receipt-id"]).record
    assert isinstance(found, inference.Completion | inference.ClientGone)
    if isinstance(found, inference.Completion):
        assert found.response.content_digest == chat_digest(chunks)


def test_the_asynchronous_client_asks_many_things_at_once(stage: Stage) -> None:
    async def ask(through: Any, place: int) -> tuple[Any, str]:
        messages = [{"role": "user", "content": f"question {place}"}]
        create = through.chat.completions.with_raw_response.create
        if place % 2:
            raw = await create(model="m", messages=messages)
            return raw.headers, raw.headers["x-output-sha256"]
        raw = await create(model="m", messages=messages, stream=True)
        return raw.headers, chat_digest([chunk async for chunk in raw.parse()])

    async def all_of_them() -> list[tuple[Any, str]]:
        url = f"{stage.proxy.url}/v1"
        async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as through:
            return list(await asyncio.gather(*(ask(through, place) for place in range(8))))

    answers = asyncio.run(all_of_them())
    assert len({headers["x-receipt-id"] for headers, _ in answers}) == 8
    assert len({content for _, content in answers}) == 1
    for headers, content in answers:
        stage.believe(headers, content)


def test_a_legacy_completion(stage: Stage) -> None:
    with stage.both() as (straight, through):
        expected = straight.completions.create(model="m", prompt="<|assistant|>")
        raw = through.completions.with_raw_response.create(model="m", prompt="<|assistant|>")
    assert spoken(raw.parse()) == spoken(expected)
    found = stage.believe(raw.headers)
    assert found.response.profile == "output/text/v1"


def test_the_newer_api_is_named_by_its_bytes_and_ends_by_its_own_event(stage: Stage) -> None:
    with stage.both() as (straight, through):
        expected = straight.responses.create(model="m", input="May I have a loan?")
        raw = through.responses.with_raw_response.create(model="m", input="May I have a loan?")
        stream = through.responses.create(model="m", input="x", stream=True)
        events = list(stream)
    assert raw.parse().output_text == expected.output_text == ANSWER
    found = stage.believe(raw.headers)
    assert found.response.profile == "output/bytes/v1"
    assert found.response.complete
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text == ANSWER
    streamed = stage.site.outcome(stream.response.headers["x-receipt-id"]).record
    assert isinstance(streamed, inference.Completion)
    assert streamed.response.complete


def test_what_the_server_refuses_reaches_the_client_as_the_server_said_it(stage: Stage) -> None:
    said = []
    with stage.both() as both:
        for asked in both:
            with pytest.raises(openai.BadRequestError) as caught:
                asked.chat.completions.create(model="m", messages=[{"role": "user"}])
            said.append(caught.value)
    assert said[0].body == said[1].body
    failure = stage.site.outcome(said[1].response.headers["x-receipt-id"]).record
    assert isinstance(failure, inference.Failure)
    assert failure.error == "http status 400"


def test_what_asks_no_model_passes(stage: Stage) -> None:
    with stage.both() as (straight, through):
        assert (
            through.models.list().to_dict()["data"][0]["id"]
            == (straight.models.list().to_dict()["data"][0]["id"])
        )


def test_httpx_over_one_connection(stage: Stage) -> None:
    body = {"model": "m", "messages": MESSAGES}
    with httpx.Client(base_url=stage.proxy.url) as through:
        for _ in range(3):
            answer = through.post("/v1/chat/completions", json=body)
            assert answer.json()["choices"][0]["message"]["content"] == ANSWER
            found = stage.believe(answer.headers)
            assert found.response.wire_digest == digest.sha256(answer.content).hex()
        with through.stream("POST", "/v1/chat/completions", json=body | {"stream": True}) as answer:
            assert answer.headers["trailer"] == "x-output-sha256"
            data = b"".join(answer.iter_raw())
        assert data.endswith(b"data: [DONE]\n\n")
        streamed = stage.site.outcome(answer.headers["x-receipt-id"]).record
    assert isinstance(streamed, inference.Completion)
    assert streamed.response.wire_digest == digest.sha256(data).hex()


def test_httpx_that_closes_before_the_end_is_gone(stage: Stage) -> None:
    body = {"messages": MESSAGES, "stream": True, "ignore_eos": True, "max_tokens": 30_000}
    with (
        httpx.Client(base_url=stage.proxy.url) as through,
        through.stream("POST", "/v1/chat/completions", json=body) as answer,
    ):
        next(answer.iter_raw())
    gone = stage.site.outcome(answer.headers["x-receipt-id"]).record
    assert isinstance(gone, inference.ClientGone)


def test_the_trailer_of_a_stream_names_what_was_said(stage: Stage) -> None:
    host, _, port = stage.proxy.address.partition(":")
    body = b'{"stream":true,"messages":[{"role":"user","content":"x"}]}'
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
    with socket.create_connection((host, int(port)), 30) as connection:
        connection.sendall(head + b"content-length: %d\r\n\r\n" % len(body) + body)
        answer = connection.makefile("rb").read()
    headers = dict(
        line.split(": ", 1) for line in answer.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    )
    trailer = answer.rpartition(b"\r\n0\r\n")[2].decode()
    assert trailer.startswith("x-output-sha256: ")
    stage.believe(headers, trailer.split()[1])


def test_one_line_around_the_client_records_as_the_proxy_does(stage: Stage, tmp_path: Path) -> None:
    here = stage.site
    with client(stage.proxy.url) as through:
        proxied = through.chat.completions.with_raw_response.create(model="m", messages=MESSAGES)
    with here.recorder(stage.model, tmp_path / "shim", stage.direct) as calls:
        recorded = RecordedTransport(httpx2.HTTPTransport(), calls)
        with openai.OpenAI(
            base_url=f"{stage.direct}/v1",
            api_key="none",
            http_client=httpx2.Client(transport=recorded),
        ) as within:
            whole = within.chat.completions.with_raw_response.create(model="m", messages=MESSAGES)
            streamed = within.chat.completions.with_raw_response.create(
                model="m", messages=MESSAGES, stream=True
            )
            chunks = list(streamed.parse())
    assert text_of(chunks) == ANSWER
    digests = {each.headers["x-output-sha256"] for each in (proxied, whole, streamed)}
    assert digests == {chat_digest(chunks)}
    for each in (whole, streamed):
        found = stage.believe(each.headers)
        assert isinstance(found.course, inference.Course)
        assert found.course.mode == "stream"
