"""Levels over each transport: what answers wait for, what they tell, what is attached later."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import httpx2
import pytest

from registry.core.records import inference
from registry.shim.app import Shim
from registry.shim.proxies import call_metadata
from registry.shim.proxies.httpx import AsyncRecordedTransport, RecordedTransport
from registry.shim.proxies.open_inference import INFER, OPTIONS, STREAM, OpenInferenceProxy
from registry.shim.recorder.awaiting import Awaiting
from registry.shim.recorder.calls import Calls, Mode
from registry.shim.recorder.outcomes import Deployment
from registry.shim.serving import Listen, Upstream, serving
from tests.core.profiles.test_chat import STREAMS
from tests.shim.proxies import http_server, oip_server
from tests.shim.proxies.http_server import END, STREAM_HEAD, Script, chunk, plain
from tests.shim.proxies.test_http import CHAT, JSON, Client, unchunked
from tests.shim.proxies.threaded import threaded
from tests.shim.recorder.test_levels import ATTESTED, Said, World, attached, until
from tests.shim.world import DEPLOYMENT, QUICK

TRANSPORTS = ("unary", "sse", "grpc unary", "grpc stream")
SECONDS = 20.0
PATH = "/v1/chat/completions"
PATIENT_MS = 15_000
"""A deadline that no test reaches unless something is wrong."""

Told = dict[str, str]
Ask = Callable[..., Awaitable[Told]]
"""Makes a call that asks for a level by a deadline, and gives what the answer tells."""


@dataclass(frozen=True)
class Bench:
    """A proxy in front of a model server."""

    shim: Shim
    ask: Ask
    port: int = 0


def over_http(port: int, shim: Shim) -> Ask:
    async def ask(level: str, deadline: object = PATIENT_MS) -> Told:
        headers = [b"x-provreg-level: " + level.encode()]
        if deadline is not None:
            headers.append(b"x-provreg-deadline-ms: %s" % str(deadline).encode())
        told = await Client(port, shim).ask(b"POST /v1/chat/completions", b"{}", *headers)
        status, head, answer = told
        found = {name.decode(): value.decode() for name, value in head.items()}
        found["status"] = str(status)
        if found.get("transfer-encoding") == "chunked":
            _, trailers = unchunked(answer)
            for line in trailers.decode().split("\r\n"):
                name, colon, value = line.partition(": ")
                if colon:
                    found[name] = value
        return found

    return ask


def over_grpc(channel: grpc.aio.Channel, *, streams: bool) -> Ask:
    async def ask(level: str, deadline: object = PATIENT_MS, **named: Any) -> Told:
        metadata = [("x-provreg-level", level)]
        if deadline is not None:
            metadata.append(("x-provreg-deadline-ms", str(deadline)))
        question = oip_server.request([1.0, 2.0], b"one")
        call: Any
        if streams:
            call = channel.stream_stream(STREAM)(metadata=tuple(metadata), **named)
            await call.write(question)
            await call.done_writing()
            async for _ in call:
                pass
        else:
            unary: Any = channel.unary_unary(INFER)
            call = unary(question, metadata=tuple(metadata), **named)
            await call
        return {"status": str(await call.code()), **dict(await call.trailing_metadata())}

    return ask


def run(
    world: World,
    transport: str,
    act: Callable[[Bench], Awaitable[None]],
    *,
    mode: Mode = "stream",
    deployment: Deployment = DEPLOYMENT,
    script: Script | None = None,
) -> list[inference.Record]:
    """Run ``act`` against a proxy and return what its shim wrote down."""
    world.real = True

    def calls_of(shim: Shim) -> Calls:
        awaiting = Awaiting(asyncio.get_running_loop())
        return Calls(
            shim.recorder,
            shim.unrecorded,
            lambda: deployment,
            awaiting,
            mode,
            levels=shim.levels,
        )

    async def http(shim: Shim) -> None:
        data = STREAMS["four characters"]
        streamed = Script([STREAM_HEAD, chunk(data), END])
        said = script or (streamed if transport == "sse" else Script([plain(CHAT % b"x", JSON)]))
        async with (
            http_server.serve(said) as url,
            serving(Listen("127.0.0.1", 0), Upstream(url), calls_of(shim)) as port,
        ):
            await act(Bench(shim, over_http(port, shim), port))

    async def in_grpc(shim: Shim) -> None:
        async with (
            oip_server.serve(oip_server.Handler(oip_server.Server())) as address,
            grpc.aio.insecure_channel(address, options=OPTIONS) as upstream,
            oip_server.serve(OpenInferenceProxy(upstream, calls_of(shim))) as proxy,
            grpc.aio.insecure_channel(proxy, options=OPTIONS) as channel,
        ):
            await act(Bench(shim, over_grpc(channel, streams=transport == "grpc stream")))

    around = in_grpc if transport.startswith("grpc") else http
    return world.run(lambda shim: asyncio.run(around(shim)))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "shim")


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[each for each in TRANSPORTS if each.startswith("grpc")])
def in_tensors(request: pytest.FixtureRequest) -> str:
    """A transport whose answers are named tensors."""
    return str(request.param)


async def settled(bench: Bench) -> None:
    """Wait until it is durable what became of everything."""
    levels = bench.shim.levels
    async with asyncio.timeout(SECONDS):
        while levels.oldest() is not None or levels._waiting or any(levels._folder.read()):  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("mode", ["strict", "stream", "best_effort"])
def test_a_logged_record_is_reached_in_every_mode(world: World, transport: str, mode: Mode) -> None:
    async def act(bench: Bench) -> None:
        told = await bench.ask("logged")
        assert told["x-provreg-level-reached"] == "logged"
        assert "x-provreg-level-missed" not in told

    assert attached(run(world, transport, act, mode=mode)) == []


@pytest.mark.parametrize("mode", ["strict", "stream"])
def test_an_answer_waits_for_its_signature(world: World, transport: str, mode: Mode) -> None:
    async def act(bench: Bench) -> None:
        told = await bench.ask("signed")
        assert told["x-provreg-level-reached"] == "signed"
        n = int(told["x-receipt-id"].partition("/")[2])
        assert bench.shim.status().registered_n > n + 1
        await settled(bench)

    [said] = attached(run(world, transport, act, mode=mode))
    assert (said.level, said.late_us, said.missed) == ("signed", 0, "")


def test_an_answer_waits_for_its_attestation(world: World, transport: str) -> None:
    async def act(bench: Bench) -> None:
        assert (await bench.ask("attested"))["x-provreg-level-reached"] == "attested"
        await settled(bench)

    [said] = attached(run(world, transport, act, deployment=ATTESTED))
    assert (said.level, said.proof) == ("attested", ATTESTED.evidence)


def test_an_unattested_key_is_told_at_once(world: World, transport: str) -> None:
    async def act(bench: Bench) -> None:
        told = await bench.ask("attested")
        assert told["x-provreg-level-reached"] == "logged"
        assert told["x-provreg-level-missed"].upper() == "UNATTESTED"

    [said] = attached(run(world, transport, act))
    assert said.missed == "UNATTESTED"


@pytest.mark.parametrize("agrees", [True, False], ids=["agrees", "differs"])
@pytest.mark.parametrize("mode", ["strict", "stream", "best_effort"])
def test_an_answer_waits_for_a_replay_that_is_wanted_soon(
    world: World, in_tensors: str, mode: Mode, *, agrees: bool
) -> None:
    async def act(bench: Bench) -> None:
        answer = asyncio.ensure_future(bench.ask("recomputed"))
        async with asyncio.timeout(SECONDS):
            while not world.auditors.asked:  # noqa: ASYNC110 - another thread
                await asyncio.sleep(0.005)
        assert not answer.done()
        world.auditors.said[world.auditors.asked[0]] = Said(b"r" * 32, agrees=agrees)
        told = await answer
        if agrees:
            assert told["x-provreg-level-reached"] == "recomputed"
            assert "x-provreg-level-missed" not in told
        else:
            assert told["x-provreg-level-reached"] == "signed"
            assert told["x-provreg-level-missed"].upper() == "REPLAY_MISMATCH"
        await settled(bench)

    # Its batch is closed at once.
    [said] = attached(run(world, in_tensors, act, mode=mode))
    missed = "" if agrees else "REPLAY_MISMATCH"
    assert (said.level, said.proof, said.missed) == ("recomputed", (b"r" * 32).hex(), missed)
    assert said.late_us == 0


def test_a_replay_that_has_longer_is_not_waited_for_and_attached_when_it_comes(
    world: World, in_tensors: str
) -> None:
    async def act(bench: Bench) -> None:
        told = await bench.ask("recomputed", 60_000)
        assert told["x-provreg-level-reached"] in ("logged", "signed")
        assert "x-provreg-level-missed" not in told
        async with asyncio.timeout(SECONDS):
            while not world.auditors.asked:  # noqa: ASYNC110 - another thread
                await asyncio.sleep(0.005)
        world.auditors.said[world.auditors.asked[0]] = Said(b"r" * 32, agrees=True)
        await settled(bench)

    world.pace = QUICK
    [said] = attached(run(world, in_tensors, act))
    assert (said.level, said.proof, said.late_us) == ("recomputed", (b"r" * 32).hex(), 0)


def test_a_replay_that_does_not_come_is_missed_at_the_deadline(
    world: World, in_tensors: str
) -> None:
    async def act(bench: Bench) -> None:
        told = await bench.ask("recomputed", 150)
        assert told["x-provreg-level-missed"].upper() == "DEADLINE"
        await settled(bench)

    [said] = attached(run(world, in_tensors, act))
    assert (said.level, said.missed) == ("recomputed", "DEADLINE")


@pytest.mark.parametrize("transport", ["unary", "sse"])
def test_an_output_that_no_replay_compares_misses_it_at_once(world: World, transport: str) -> None:
    async def act(bench: Bench) -> None:
        told = await bench.ask("recomputed")
        assert told["x-provreg-level-reached"] == "logged"
        assert told["x-provreg-level-missed"].upper() == "NOT_REPLAYABLE"

    [said] = attached(run(world, transport, act))
    assert (said.level, said.missed, said.late_us) == ("recomputed", "NOT_REPLAYABLE", 0)
    assert world.auditors.asked == []


def test_with_deadline_0_nothing_is_waited_for(world: World, transport: str) -> None:
    async def act(bench: Bench) -> None:
        world.registry.down.set()
        told = await bench.ask("signed", 0)
        assert told["x-provreg-level-reached"] == "logged"
        assert "x-provreg-level-missed" not in told
        world.registry.down.clear()
        await settled(bench)

    [said] = attached(run(world, transport, act))
    assert (said.level, said.missed) == ("signed", "")
    assert said.late_us > 0


def test_a_registry_that_is_down_is_waited_for_until_the_deadline_and_then_attached(
    world: World, transport: str
) -> None:
    async def act(bench: Bench) -> None:
        world.registry.down.set()
        began = asyncio.get_running_loop().time()
        told = await bench.ask("signed", 150)
        waited = asyncio.get_running_loop().time() - began
        assert told["x-provreg-level-reached"] == "logged"
        assert waited >= 0.14
        world.registry.down.clear()
        await settled(bench)

    [said] = attached(run(world, transport, act))
    assert (said.level, said.missed) == ("signed", "")
    assert said.late_us > 0


@pytest.mark.parametrize("streams", [False, True], ids=["unary", "stream"])
def test_a_calls_own_deadline_is_never_missed_for_a_level(
    world: World, monkeypatch: pytest.MonkeyPatch, *, streams: bool
) -> None:
    # A busy machine takes longer than a tenth of a second to give an answer.
    monkeypatch.setattr(call_metadata, "ANSWER_SECONDS", SECONDS)

    async def act(bench: Bench) -> None:
        world.registry.down.set()
        told = await bench.ask("signed", timeout=SECONDS + 0.5)
        assert (told["status"], told["x-provreg-level-reached"]) == ("StatusCode.OK", "logged")

    run(world, "grpc stream" if streams else "grpc unary", act)


@pytest.mark.parametrize(
    ("level", "deadline"), [("signet", None), ("signed", "soon"), ("signed", "-1")]
)
def test_what_cannot_be_asked_for_is_refused_before_the_model_is_asked(
    world: World, transport: str, level: str, deadline: str | None
) -> None:
    async def act(bench: Bench) -> None:
        if transport.startswith("grpc"):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await bench.ask(level, deadline)
            assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        else:
            assert (await bench.ask(level, deadline))["status"] == "400"

    assert [type(item).__name__ for item in run(world, transport, act)] == ["Boot", "Stop"]


def test_whoever_does_not_ask_is_told_nothing(world: World) -> None:
    async def act(bench: Bench) -> None:
        client = Client(bench.port, bench.shim)
        _, headers, _ = await client.ask(b"POST /v1/chat/completions", b"{}")
        assert not any(name.startswith(b"x-provreg") for name in headers)

    run(world, "unary", act)


def test_an_answer_that_is_an_error_has_no_level(world: World) -> None:
    failing = Script([plain(b'{"error":{}}', JSON, status=b"500 Oops")])

    async def act(bench: Bench) -> None:
        told = await bench.ask("signed")
        assert told["status"] == "500"
        assert "x-provreg-level-reached" not in told

    records = run(world, "unary", act, script=failing)
    assert attached(records) == []
    assert any(isinstance(item, inference.Failure) for item in records)


def test_a_client_that_leaves_while_its_answer_waits_changes_nothing(world: World) -> None:
    async def act(bench: Bench) -> None:
        world.registry.down.set()
        asking = (b"x-provreg-level: signed", b"x-provreg-deadline-ms: 15000")
        client = Client(bench.port, bench.shim)
        _, writer = await client.send(b"POST /v1/chat/completions", b"{}", *asking)
        await client.until_recorded(3)
        writer.close()
        await asyncio.sleep(0.05)
        world.registry.down.clear()
        await settled(bench)

    records = run(world, "unary", act)
    assert [item.missed for item in attached(records)] == [""]


def test_without_a_journal_best_effort_says_that_nothing_was_reached(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_given: object) -> int:
        raise OSError(28, "No space left on device")

    async def act(bench: Bench) -> None:
        with monkeypatch.context() as patched:
            patched.setattr("registry.shim.recorder.segments.os.pwrite", full)
            first = await bench.ask("logged")
        second = await bench.ask("signed")
        assert (first["status"], second["status"]) == ("200", "200")
        assert first["x-provreg-level-reached"] == "none"
        assert second["x-provreg-level-reached"] == "none"
        assert second["x-provreg-level-missed"].upper() == "JOURNAL_LATCHED"

    records = run(world, "unary", act, mode="best_effort")
    assert [type(item).__name__ for item in records] == ["Boot"]


# --- Within the process that asks ---


@pytest.mark.parametrize("streams", [False, True], ids=["document", "stream"])
@pytest.mark.parametrize("waits", [False, True], ids=["thread", "loop"])
def test_a_client_within_the_process_has_its_level_with_its_answer(
    world: World, *, streams: bool, waits: bool
) -> None:
    stream = Script([STREAM_HEAD, chunk(STREAMS["four characters"]), END])
    script = stream if streams else Script([plain(CHAT % b"x", JSON)])
    asking = {"x-provreg-level": "signed", "x-provreg-deadline-ms": str(PATIENT_MS)}

    def act(shim: Shim) -> None:
        calls = Calls(shim.recorder, shim.unrecorded, lambda: DEPLOYMENT, levels=shim.levels)

        async def ask_in_a_loop() -> Any:
            transport: Any = AsyncRecordedTransport(httpx2.AsyncHTTPTransport(), calls)
            async with httpx2.AsyncClient(transport=transport, base_url=url) as client:
                return await client.post(PATH, json={}, headers=asking)

        with threaded(lambda: http_server.serve(script)) as url:
            if waits:
                answer = asyncio.run(ask_in_a_loop())
            else:
                transport: Any = RecordedTransport(httpx2.HTTPTransport(), calls)
                with httpx2.Client(transport=transport, base_url=url) as client:
                    answer = client.post(PATH, json={}, headers=asking)
        assert answer.headers["x-provreg-level-reached"] == "signed"
        until(lambda: shim.levels.oldest() is None)

    world.real = True
    [said] = attached(world.run(act))
    assert (said.level, said.missed) == ("signed", "")
