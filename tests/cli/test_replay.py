"""``provreg replay``: calls of real clients, through the proxies, run again by an auditor."""

import asyncio
import http.client
import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import onnxruntime  # type: ignore[import-untyped]
import pytest

from registry.client.channel import Connection, Target
from registry.client.publish import Publication, publish
from registry.client.registry import RegistryClient
from registry.core.tlog.note import VerifierKey
from registry.inspection.cpu import instruction_set
from registry.shim.proxies.open_inference import INFER
from tests.cli.conftest import Place, Said, Shell
from tests.cli.test_shim import Proxy, arguments, shim
from tests.http_handler import answering
from tests.inspection.runnable import elsewhere, scorer, scorer_input
from tests.replaying import NOON
from tests.shim.proxies import oip_server
from tests.shim.proxies.test_onnx import linear

ENGINE = (
    *("--engine", "onnxruntime", "--engine-version", onnxruntime.__version__),
    *("--engine-setting", "provider", "CPUExecutionProvider"),
    *("--engine-setting", "opt_level", "ORT_ENABLE_ALL"),
    *("--engine-setting", "isa", "here"),
)


class Scorer(BaseHTTPRequestHandler):
    """A model server for Open Inference over HTTP: ONNX Runtime behind it."""

    protocol_version = "HTTP/1.1"
    session = onnxruntime.InferenceSession(scorer())

    def do_POST(self) -> None:
        """Answer."""
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        [x] = asked["inputs"]
        values = np.array(x["data"], np.float32).reshape(x["shape"])
        y, label = self.session.run(None, {"x": values})
        outputs = [
            {"name": name, "datatype": kind, "shape": list(array.shape), "data": flat}
            for name, kind, array, flat in (
                ("y", "FP32", y, [float(v) for v in y.ravel()]),
                ("label", "INT64", label, label.ravel().tolist()),
            )
        ]
        body = json.dumps({"model_name": "scorer", "outputs": outputs}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: Any) -> None:
        """Say nothing."""


@contextmanager
def grpc_server() -> Iterator[str]:
    """The small gRPC model server, in a thread."""
    loop = asyncio.new_event_loop()
    ready = threading.Event()
    stop = asyncio.Event()
    told: list[str] = []

    async def serve() -> None:
        async with oip_server.serve(oip_server.Handler(oip_server.Server())) as address:
            told.append(address)
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    assert ready.wait(30)
    yield f"grpc://{told[0]}"
    loop.call_soon_threadsafe(stop.set)
    thread.join()
    loop.close()


pytestmark = pytest.mark.usefixtures("auditor")

Publish = Callable[[bytes], str]
"""Publishes a model; gives its name and version."""


@pytest.fixture
def published(acme: Shell, home: Path, name: str, key: Path) -> Publish:
    def act(data: bytes) -> str:
        folder = home / "publish"
        folder.mkdir()
        (folder / "model.onnx").write_bytes(data)
        said = acme("model", "publish", folder, "--name", name, "--version", "1", "--key", key)
        assert said.status == 0, said
        return f"{name}@1"

    return act


@dataclass
class Recorded:
    """A call whose receipt, request and answer are in files of the folder that we sit in."""

    receipt: str
    shell: Shell
    place: Place

    def reveal(self) -> str:
        """The salt, as the shim's operator reveals it."""
        said = self.shell("receipt", "reveal", self.receipt)
        assert said.status == 0, said
        return said.out.strip()

    def replay(self, *more: object, what: str = "", status: int = 0) -> Said:
        """Replay as the auditor."""
        token = ("--token-file", self.place.folder / "auditor.token")
        said = self.shell(*token, "replay", what or self.receipt, "--input", "request", *more)
        assert said.status == status, said
        return said

    @property
    def key(self) -> tuple[object, ...]:
        """The auditor signs."""
        return "--key", self.place.folder / "auditor.pem"


@pytest.fixture(scope="session")
def http_call(place: Place, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """One request to the scorer, over HTTP: its receipt, and where all files about it are."""
    folder = tmp_path_factory.mktemp("http-call")
    (folder / "publish").mkdir()
    (folder / "publish" / "model.onnx").write_bytes(scorer())
    connection = Connection(Target.parse(place.running.address), token=place.publisher.token)
    with RegistryClient(connection, VerifierKey.parse(place.vkey)) as client:
        what = Publication("acme/replayed-over-http", "1")
        publish(client, folder / "publish", what, place.publisher.signer, NOON)
    x = scorer_input(3)
    values = np.frombuffer(x.raw, "<f4").tolist()
    tensor = {"name": "x", "datatype": "FP32", "shape": list(x.shape), "data": values}
    body = json.dumps({"inputs": [tensor], "id": "1"}).encode()
    (folder / "request").write_bytes(body)
    more = (*ENGINE, "--folder", folder / "shim-data")
    reference = f"{what.name}@{what.version}"
    with answering(Scorer) as url, shim(*arguments(place, reference, url, *more)) as proxy:
        asking = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=30)
        asking.request("POST", "/v2/models/scorer/infer", body)
        answer = asking.getresponse()
        (folder / "answer").write_bytes(answer.read())
        receipt = answer.getheader("x-receipt-id")
        asking.close()
    assert receipt is not None
    return receipt, folder


@pytest.fixture
def over_http(place: Place, acme: Shell, home: Path, http_call: tuple[str, Path]) -> Recorded:
    """That request, with its files here."""
    receipt, folder = http_call
    shutil.copytree(folder, home, dirs_exist_ok=True)
    return Recorded(receipt, acme, place)


def test_a_call_over_http_is_replayed_and_logged_and_shown(over_http: Recorded) -> None:
    salt = over_http.reveal()
    assert re.fullmatch(r"[0-9a-f]{64}", salt)
    said = over_http.replay("--salt", salt, *over_http.key, "--json").value
    assert said["replay"]["outcome"] == "bit_exact"
    assert said["replay"]["input"] == "proven"
    assert "reasons" not in said["replay"]
    assert said["replay"]["recorded"]["isa"] == instruction_set()
    assert said["record_id"].startswith("sha256:")
    text = over_http.replay("--salt", salt).out
    assert "bit_exact" in text
    assert "proven" in text
    traced = over_http.shell("trace", "answer", "--capsule", "answer.capsule")
    assert traced.status == 0, traced
    assert "bit_exact, input proven, by auditor-cli" in traced.out
    assert over_http.shell("verify", "answer.capsule", "--json").value["facts"]["replays"]


def test_the_receipt_is_found_by_the_answer_or_its_digest(over_http: Recorded) -> None:
    by_file = over_http.replay("--json", what="answer").value["replay"]
    digest = f"sha256:{by_file['recorded_output']}"
    by_digest = over_http.replay("--json", what=digest).value["replay"]
    assert by_file["receipt"] == by_digest["receipt"]
    assert by_file["input"] == "unproven"
    assert "INPUT_UNPROVEN" in over_http.replay().out


def test_a_salt_may_stand_in_a_file(over_http: Recorded) -> None:
    Path("salt").write_text(over_http.reveal() + "\n")
    assert over_http.replay("--salt", "@salt", "--json").value["replay"]["input"] == "proven"


def test_a_request_that_was_tampered_with_is_refused(over_http: Recorded) -> None:
    body = Path("request").read_bytes()
    Path("request").write_bytes(body.replace(b'"FP32"', b'"FP32" '))
    said = over_http.replay("--salt", over_http.reveal(), "--json", status=1)
    assert said.error["reason"] == "REPLAY_INPUT"


def test_another_optimisation_level_says_how_far_apart_the_outputs_are(
    over_http: Recorded,
) -> None:
    given = ("--salt", over_http.reveal(), "--output", "answer", "--opt-level", "ORT_DISABLE_ALL")
    said = over_http.replay(*given, *over_http.key).out
    assert "within_tolerance(abs=0.00001, rel=0.001, top1)" in said
    assert re.search(r"apart +0\.0000000", said)
    exact = ("--abs-tolerance", "0", "--rel-tolerance", "0")
    assert "indeterminate" in over_http.replay(*given, *exact, *over_http.key, status=4).out
    open_ = over_http.replay("--opt-level", "ORT_DISABLE_ALL", status=4).out
    assert "indeterminate" in open_
    assert "OUTPUT_NOT_GIVEN" in open_


def test_a_run_without_enough_time_says_nothing(over_http: Recorded) -> None:
    said = over_http.replay("--timeout", "0.001", "--json", status=4)
    assert said.error["reason"] == "REPLAY_LIMIT"


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (("--abs-tolerance", "1e-5"), "BAD_SETTING"),
        (("--threads", "1000"), "BAD_SETTING"),
        (("--salt", "abc"), "MALFORMED_HEX"),
        (("--output", "request"), "REPLAY_OUTPUT"),
        (("--model-file", "other.onnx"), "WRONG_MODEL_FILE"),
    ],
    ids=["tolerance", "threads", "salt", "output", "file"],
)
def test_what_makes_no_sense_is_refused(
    over_http: Recorded, more: tuple[str, ...], reason: str
) -> None:
    said = over_http.replay(*more, "--json", status=2 if reason == "BAD_SETTING" else 1)
    assert said.error["reason"] == reason


def test_only_an_auditor_may_log_a_replay(over_http: Recorded, place: Place) -> None:
    said = over_http.shell(
        *("replay", over_http.receipt, "--input", "request"),
        *("--key", place.folder / "acme.pem", "--json"),
    )
    assert (said.status, said.error["reason"]) == (1, "ROLE")


def test_a_receipt_is_shown_with_all_that_is_known_of_it(over_http: Recorded) -> None:
    said = over_http.shell("receipt", "show", over_http.receipt, "--json")
    assert [item["record"]["kind"] for item in said.value] == ["intent", "completion"]
    text = over_http.shell("receipt", "show", over_http.receipt).out
    assert "commitment" in text
    assert "output/tensor/v1" in text
    for command in (("show", "nonsense"), ("reveal", "nonsense")):
        assert over_http.shell("receipt", *command).status == 2


def asked(proxy: Proxy, message: bytes) -> tuple[str, bytes]:
    """Ask over gRPC: the receipt, and the answer."""
    with grpc.insecure_channel(f"127.0.0.1:{proxy.port}") as channel:
        ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(INFER)
        answer, call = ask.with_call(message, timeout=30)
        return str(dict(call.trailing_metadata())["x-receipt-id"]), answer


def test_a_call_over_grpc_is_replayed(
    place: Place, acme: Shell, name: str, published: Publish
) -> None:
    reference = published(linear())
    wanted = oip_server.field(6, oip_server.field(1, b"y"))
    message = oip_server.request([0.1, 2.5], name.encode(), wanted)
    Path("request").write_bytes(message)
    with grpc_server() as url, shim(*arguments(place, reference, url, *ENGINE)) as proxy:
        receipt, answer = asked(proxy, message)
    Path("answer").write_bytes(answer)
    recorded = Recorded(receipt, acme, place)
    given = ("--salt", recorded.reveal(), "--output", "answer", "--json")
    said = recorded.replay(*given, *recorded.key).value["replay"]
    assert (said["outcome"], said["input"]) == ("bit_exact", "proven")
    Path("request").write_bytes(message + oip_server.field(9, b"?"))
    assert recorded.replay(*given, status=1).error["reason"] == "REPLAY_INPUT"


def over_grpc(place: Place, acme: Shell, reference: str, name: str) -> Recorded:
    """A call over gRPC to an engine that nobody named."""
    message = oip_server.request([1.0, 2.0], name.encode(), oip_server.field(6, b"\n\x01y"))
    Path("request").write_bytes(message)
    with grpc_server() as url, shim(*arguments(place, reference, url)) as proxy:
        receipt, _ = asked(proxy, message)
    return Recorded(receipt, acme, place)


def test_a_call_of_an_engine_that_nobody_named_is_replayed_with_reasons(
    place: Place, acme: Shell, name: str, published: Publish
) -> None:
    reference = published(linear())
    said = over_grpc(place, acme, reference, name).replay("--json").value["replay"]
    assert said["outcome"] == "bit_exact"
    assert said["reasons"] == [
        "ENGINE_UNRECORDED",
        "ENGINE_VERSION_UNRECORDED",
        "INPUT_UNPROVEN",
        "ISA_UNRECORDED",
        "OPT_LEVEL_UNRECORDED",
        "PROVIDER_UNRECORDED",
    ]


def test_a_model_that_cannot_be_loaded_here_refutes_nobody(
    place: Place, acme: Shell, name: str, published: Publish
) -> None:
    # Where it ran there was an operator that is not in ONNX Runtime.
    reference = published(elsewhere())
    said = over_grpc(place, acme, reference, name).replay("--json", status=4)
    assert said.error["reason"] == "MALFORMED_ONNX"


@pytest.mark.parametrize("setting", [("threads", "many"), ("threads", "-1")])
def test_a_setting_of_the_engine_that_is_none_is_refused(
    place: Place, acme: Shell, published: Publish, setting: tuple[str, str]
) -> None:
    reference = published(linear())
    more = ("--engine-setting", *setting)
    said = acme(*arguments(place, reference, "http://127.0.0.1:9", *more))
    assert (said.status, "threads" in said.err) == (2, True)
