"""Stock Triton clients, unchanged, through the shim to KServe's server and to a streaming one."""

import contextlib
import http.client
import json
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from registry.client import replay
from registry.client.replay import Brought, Choices
from registry.core.records import inference
from registry.core.records.replay import Why
from registry.errors import VerificationError
from registry.shim.proxies.open_inference import INFER
from registry.shim.revealing import reveal
from tests.replaying import NOON
from tests.servers import environment
from tests.servers.site import SOON, Model, Proxy, Site, kserve, site
from tests.shim.proxies.oip_server import Handler, Server, field, request, serve, varint
from tests.shim.proxies.test_onnx import linear
from tests.shim.proxies.threaded import threaded

CLIENT = Path(__file__).with_name("triton_client.py")
VALUES = struct.pack("<4f", 1, 2, 0.1, -3)


def ask(protocol: str, address: str) -> Any:
    """What the stock clients were told; see ``triton_client.py``."""
    words = [environment.python(), str(CLIENT), protocol, address]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@dataclass(frozen=True)
class Stage:
    """A model server at an address, and the shim in front of it."""

    site: Site
    model: Model
    direct: str
    proxy: Proxy

    def believe(self, told: Any) -> inference.Completion:
        """Find an answer by the names that it came with."""
        metadata = told["metadata"]
        named = metadata["x-output-sha256"]
        return self.site.believe(metadata["x-receipt-id"], named, self.model)


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Stage]]:
    """Each way to ask, with its server and a shim in front of it."""
    with contextlib.ExitStack() as stack:
        here = stack.enter_context(site(tmp_path_factory.mktemp("site")))
        model = here.publish("acme/linear", {"model.onnx": linear()})
        http, rpc = stack.enter_context(kserve(model.file("model.onnx")))
        stream = stack.enter_context(threaded(lambda: serve(Handler(Server()))))
        servers = {"http": f"http://{http}", "grpc": f"grpc://{rpc}", "stream": f"grpc://{stream}"}
        strict: tuple[object, ...] = ("--mode", "strict", "--files", model.folder)
        asked: tuple[object, ...] = ("--report", "open-inference", "--served-as", "m")
        ways = [(name, url, strict) for name, url in servers.items()]
        ways += [(f"reported {name}", servers[name], asked) for name in ("http", "grpc")]
        proxies = stack.enter_context(here.shims(model, *((url, more) for _, url, more in ways)))
        yield {
            name: Stage(here, model, url.partition("//")[2], proxy)
            for (name, url, _), proxy in zip(ways, proxies, strict=True)
        }


def test_unary_calls_over_grpc(stages: dict[str, Stage]) -> None:
    stage = stages["grpc"]
    straight, through = ask("grpc", stage.direct), ask("grpc", stage.proxy.address)
    found = stage.believe(through["infer"])
    assert found.response.profile == "output/tensor/v1"
    assert found.binding == "artifact_verified"
    assert straight["infer"].pop("metadata") == {}
    del through["infer"]["metadata"]
    # A deadline of a microsecond is hardly ever kept; where it is, there is nothing to tell.
    late = "StatusCode.DEADLINE_EXCEEDED"
    assert {each.pop("late", late) for each in (straight, through)} == {late}
    # Answers, errors, and what is no inference at all.
    assert through == straight
    assert through["ready"]
    assert through["refused"][0] == "StatusCode.NOT_FOUND"
    assert through["compressed"]["outputs"] == through["infer"]["outputs"]


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_what_a_real_server_reports_of_itself_is_in_the_record(
    stages: dict[str, Stage], protocol: str
) -> None:
    stage = stages[f"reported {protocol}"]
    body = {
        "id": "1",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 2.0]}],
    }
    told = ask_once(stage.proxy.address, protocol, body)
    found = stage.site.outcome(told).record
    assert isinstance(found, inference.Completion)
    setup = stage.site.setup_of(found)
    assert isinstance(setup.report, inference.Report)
    assert (setup.report.interface, setup.report.model) == ("open-inference", "m")
    assert setup.report.engine
    # Its metadata name no version of the model: nothing but a name is known.
    expected = "runtime_reported" if setup.report.version else "name_only"
    assert (found.binding, setup.binding) == (expected, expected)


def ask_once(address: str, protocol: str, body: dict[str, Any]) -> str:
    """Ask the model once; gives the receipt id."""
    if protocol == "http":
        connection = http.client.HTTPConnection(address, timeout=30)
        said = {"content-type": "application/json"}
        connection.request("POST", "/v2/models/m/infer", json.dumps(body), said)
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        answer.read()
        connection.close()
        return answer.headers["x-receipt-id"] or ""
    with grpc.insecure_channel(address) as channel:
        call: Any = channel.unary_unary(INFER)
        _, done = call.with_call(request([1.0, 2.0]), timeout=30)
        return str(dict(done.trailing_metadata())["x-receipt-id"])


def test_a_stream_over_grpc(stages: dict[str, Stage]) -> None:
    stage = stages["stream"]
    straight, through = ask("stream", stage.direct), ask("stream", stage.proxy.address)
    assert through["answers"] == straight["answers"]
    assert [name for name, _ in through["answers"]] == ["0", "1", "2"]
    # The stream's metadata name the last answer; each request before it is a call of its own.
    stage.believe(through)
    before = stage.site.records(through["metadata"]["x-receipt-id"])
    intents = [item for item in before if isinstance(item, inference.Intent)]
    assert len(intents) == 2


def test_rest_with_raw_tensors_and_with_json(stages: dict[str, Stage]) -> None:
    stage = stages["http"]
    straight, through = ask("http", stage.direct), ask("http", stage.proxy.address)
    for way in ("raw", "JSON"):
        found = stage.believe(through[way])
        assert found.response.profile == "output/tensor/v1"
        assert straight[way].pop("metadata") == {}
        del through[way]["metadata"]
    assert through == straight
    assert through["refused"][0] == "404"
    assert through["asynchronous"]["outputs"] == through["raw"]["outputs"]


@pytest.mark.parametrize(
    ("protocol", "way"), [("http", "raw"), ("http", "JSON"), ("grpc", "infer")]
)
def test_a_call_of_a_stock_client_is_replayed(
    stages: dict[str, Stage], protocol: str, way: str
) -> None:
    stage = stages[protocol]
    through = ask(protocol, stage.proxy.address)
    completion = stage.believe(through[way])
    shim_id, intent_n = bytes.fromhex(completion.sequence.shim_id), completion.intent_n
    found = replay.find(stage.site.client, shim_id, intent_n)
    salts = [reveal(folder, shim_id, intent_n) for folder in stage.site.folder.glob("shims/*")]
    outcomes = []
    for salt in salts:
        brought = Brought(bytes.fromhex(through["bodies"][way]), salt)
        # Each shim has a key of its own; the others open nothing.
        with contextlib.suppress(VerificationError):
            outcomes.append(
                replay.run_again(
                    stage.site.client, found, brought, Choices(), folder=stage.model.folder, at=NOON
                )
            )
    [said] = outcomes
    assert (said.outcome, said.input) == ("bit_exact", "proven")
    assert Why.ENGINE_UNRECORDED in said.reasons


def test_an_answer_of_a_real_server_has_one_digest_over_every_transport(
    stages: dict[str, Stage],
) -> None:
    rest = ask("http", stages["http"].proxy.address)
    unary = ask("grpc", stages["grpc"].proxy.address)
    shape = field(3, varint(2) + varint(2))
    tensor = field(1, b"x") + field(2, b"FP32") + shape + field(5, field(6, VALUES))
    with grpc.insecure_channel(stages["grpc"].proxy.address) as channel:
        # Typed instead of raw, both ways, which no stock client asks for.
        ask_typed: Any = channel.unary_unary(INFER)
        answer, call = ask_typed.with_call(field(1, b"m") + field(5, tensor), timeout=SOON)
    assert struct.pack("<4f", -5.9, 16.5, 0, 0)[:8] in answer
    typed = dict(call.trailing_metadata())["x-output-sha256"]
    assert {
        rest["raw"]["metadata"]["x-output-sha256"],
        rest["JSON"]["metadata"]["x-output-sha256"],
        unary["infer"]["metadata"]["x-output-sha256"],
    } == {typed}
