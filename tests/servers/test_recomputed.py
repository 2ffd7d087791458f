"""Stock Triton clients ask KServe's server to have their calls recomputed, through the shim."""

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from registry.client.journals import JournalCalls
from registry.client.replays import ReplayCalls
from registry.core.records import inference
from registry.core.tlog.merkle import leaf_hash
from tests.forking import provreg
from tests.servers import environment
from tests.servers.site import SOON, Model, Site, kserve, site
from tests.shim.proxies.test_onnx import linear

CLIENT = Path(__file__).with_name("triton_client.py")
ASKED = ("x-provreg-level=recomputed", "x-provreg-deadline-ms=30000")


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("site")) as here:
        auditor = here.running.admit("auditor", "auditor")
        (here.folder / "auditor.token").write_text(auditor.token + "\n")
        auditor.signer.save(here.folder / "auditor.pem")
        yield here


@pytest.fixture(scope="module")
def model(here: Site) -> Model:
    return here.publish("acme/linear", {"model.onnx": linear()})


@contextlib.contextmanager
def auditing(here: Site, shim_data: Path) -> Iterator[None]:
    """Run what the shim kept again, as the auditor, while the block runs."""
    where = ("--server", here.running.address, "--log-key", str(here.client.log_key))
    token = ("--token-file", here.folder / "auditor.token")
    kept = ("--folder", shim_data, "--key", here.folder / "auditor.pem")
    with provreg(*where, *token, "payload", "replay", *kept, stderr=True) as process:
        try:
            yield
        finally:
            process.terminate()
            assert process.wait(SOON) == 0


def ask(protocol: str, address: str) -> Any:
    """What the stock client was told of one call."""
    words = [environment.python(), str(CLIENT), protocol, address, *ASKED]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["metadata"]


def test_an_answer_of_a_real_server_waits_for_its_replay(here: Site, model: Model) -> None:
    policy = here.folder / "privacy.json"
    policy.write_text(
        json.dumps({"schema": "privacy-policy/v1", "retention_class": "calls", "keep": True})
    )
    more = ("--privacy", policy, "--files", model.folder)
    with contextlib.ExitStack() as stack:
        http, rpc = stack.enter_context(kserve(model.file("model.onnx")))
        upstreams = ((f"http://{http}", more), (f"grpc://{rpc}", more))
        proxies = stack.enter_context(here.shims(model, *upstreams))
        for folder in here.folder.glob("shims/*"):
            stack.enter_context(auditing(here, folder))
        for protocol, proxy in zip(("http", "grpc"), proxies, strict=True):
            told = ask(protocol, proxy.address)
            assert told["x-provreg-level-reached"] == "recomputed", told
            completion = here.believe(told["x-receipt-id"], told["x-output-sha256"], model)
            assert completion.asked == "recomputed"
            assert _replayed(here, completion)


def _replayed(here: Site, completion: inference.Completion) -> bool:
    """Whether the log has a replay of this output that agrees."""
    place = completion.sequence
    found = JournalCalls(here.client).record(bytes.fromhex(place.shim_id), place.n)
    said = ReplayCalls(here.client).replay_of(leaf_hash(found.data))
    return said is not None and said.agrees
