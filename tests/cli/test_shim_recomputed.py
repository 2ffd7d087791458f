"""The level ``recomputed`` over real processes, from the caller's header to the offline proof.

A registry, a model server over gRPC, a shim that keeps payloads sealed, and ``provreg payload
replay`` beside it are processes of their own. The caller only sets two headers.
"""

import contextlib
import http.client
import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import pytest

from registry.shim.proxies.open_inference import INFER
from registry.shim.recorder.asking import DEADLINE, LEVEL
from tests.cli.conftest import Place, Said, Shell
from tests.cli.test_replay import ENGINE, Publish, Scorer, published
from tests.cli.test_shim import Proxy, arguments, shim, until
from tests.cli.test_shim_levels import attached
from tests.forking import provreg
from tests.http_handler import answering
from tests.inspection.runnable import scorer, scorer_input
from tests.shim.proxies import oip_process, oip_server
from tests.shim.proxies.test_onnx import linear

__all__ = ["published"]

pytestmark = pytest.mark.usefixtures("auditor")

SOON_MS = 30_000
"""The longest deadline within which an answer is held back."""

LATER_MS = 600_000
"""One that is too far off for that."""


@dataclass(frozen=True)
class Answer:
    """What a caller was told, and what it has."""

    told: dict[str, str]
    body: bytes

    @property
    def receipt(self) -> str:
        return self.told["x-receipt-id"]

    @property
    def n(self) -> int:
        return int(self.receipt.partition("/")[2])

    @property
    def level(self) -> tuple[str, str]:
        """What was reached as it went out, and what was missed."""
        missed = self.told.get("x-provreg-level-missed", "")
        return self.told.get("x-provreg-level-reached", ""), missed


def ask(proxy: Proxy, name: str, values: list[float], level: str, deadline_ms: int) -> Answer:
    """Ask over gRPC for a level by a deadline."""
    wanted = oip_server.field(6, oip_server.field(1, b"y"))
    message = oip_server.request(values, name.encode(), wanted)
    with grpc.insecure_channel(f"127.0.0.1:{proxy.port}") as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(INFER)
        asked = ((LEVEL, level), (DEADLINE, str(deadline_ms)))
        body, done = call.with_call(message, metadata=asked, timeout=60)
    told = {key: str(value) for key, value in done.trailing_metadata()}
    return Answer(told, body)


@contextlib.contextmanager
def recomputing(place: Place, *more: str) -> Iterator[list[str]]:
    """Run ``provreg payload replay`` beside the shim until the block ends; gives what it says."""
    lines: list[str] = []
    with provreg(*as_auditor(place), *more, stdout=True, stderr=True) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        assert "running again what waits" in process.stderr.readline()
        try:
            yield lines
        finally:
            process.send_signal(signal.SIGTERM)
            lines += process.stdout.read().splitlines()
            assert process.wait(30) == 0, process.stderr.read()


def as_auditor(place: Place) -> tuple[object, ...]:
    return (
        *("--server", place.running.address, "--log-key", place.vkey),
        *("--token-file", place.folder / "auditor.token"),
        *("payload", "replay", "--key", place.folder / "auditor.pem", "--versions", "versions"),
    )


def keeping(home: Path, output: str) -> tuple[object, ...]:
    """A privacy policy that keeps what is needed to run a call again."""
    path = home / "privacy.json"
    policy = {"schema": "privacy-policy/v1", "retention_class": "replays", "keep": True}
    path.write_text(json.dumps({**policy, "output": output}))
    return "--privacy", path


@pytest.fixture
def proxy(place: Place, published: Publish, home: Path) -> Iterator[Proxy]:
    """A shim in front of a model server that does not always say what its model gives."""
    reference = published(linear())
    given = (*ENGINE, *keeping(home, "plain"), "--mode", "strict")
    with oip_process.running() as url, shim(*arguments(place, reference, url, *given)) as proxy:
        yield proxy


def shown(acme: Shell, answer: Answer) -> list[str]:
    """The kinds of all records of a call in the log."""
    said = acme("receipt", "show", answer.receipt, "--json")
    return [item["record"]["kind"] for item in said.value] if said.status == 0 else []


def traced(acme: Shell, home: Path, output: str) -> tuple[Said, Said]:
    """What ``trace`` says of an answer, and what ``verify`` says of its capsule, offline."""
    (home / "answer.capsule").unlink(missing_ok=True)
    trace = acme("trace", f"sha256:{output}", "--capsule", "answer.capsule")
    return trace, acme("verify", "answer.capsule")


def test_what_is_recomputed_is_told_attached_or_missed(
    place: Place, acme: Shell, proxy: Proxy, name: str
) -> None:
    home = Path.cwd()
    # No other test of this registry has these outputs: a trace begins at an output.
    with recomputing(place) as lines:
        in_time = ask(proxy, "1", [1.1, 2.5], "recomputed", SOON_MS)
        near = ask(proxy, "near", [1.2, 2.5], "recomputed", SOON_MS)
        lie = ask(proxy, "lie", [1.3, 2.5], "recomputed", SOON_MS)
        later = ask(proxy, "2", [1.4, 2.5], "recomputed", LATER_MS)
        until(lambda: later.n in attached(home))
    # Nobody runs anything again any more.
    missed = ask(proxy, "3", [1.5, 2.5], "recomputed", 300)
    logged = ask(proxy, "4", [1.6, 2.5], "logged", 300)

    assert in_time.level == near.level == ("recomputed", "")
    assert lie.level == ("signed", "REPLAY_MISMATCH")
    assert later.level in {("logged", ""), ("signed", "")}
    assert missed.level[1] == "DEADLINE"
    assert logged.level == ("logged", "")

    until(lambda: missed.n in attached(home))
    told = attached(home)
    assert {n: item.missed for n, item in told.items()} == {
        in_time.n: "",
        near.n: "",
        lie.n: "REPLAY_MISMATCH",
        later.n: "",
        missed.n: "DEADLINE",
    }
    near_enough = "within_tolerance(abs=0.00001, rel=0.001, top1)"
    assert [line.partition("  ")[0] for line in lines] == [
        *("bit_exact", near_enough, "mismatch", "bit_exact")
    ]
    until(lambda: all("attached" in shown(acme, each) for each in (in_time, later, missed)))

    for answer, outcome in ((in_time, "bit_exact"), (later, "bit_exact"), (near, near_enough)):
        trace, offline = traced(acme, home, answer.told["x-output-sha256"])
        assert (trace.status, offline.status) == (0, 0), trace
        for said in (trace, offline):
            assert f"{outcome}, input proven, by auditor-cli" in said.out
            assert "in time, by sha256:" in said.out
            assert "checked here: replay/0" in said.out
        assert "recomputed, within" in offline.out
    trace, offline = traced(acme, home, lie.told["x-output-sha256"])
    assert (trace.status, offline.status) == (4, 4), trace
    assert "mismatch" in trace.out
    for said in (trace, offline):
        assert "recomputed MISSED(REPLAY_MISMATCH)" in said.out
    level = acme("trace", f"sha256:{missed.told['x-output-sha256']}", "--json").value["level"]
    assert (level["state"], level["missed"], level["deadline_ms"]) == ("missed", "DEADLINE", 300)

    rows = acme("costs", "--model", f"{name}@1", "--json").value["costs"]
    [row] = [each for each in rows if each["level"] == "recomputed"]
    assert (row["calls"], row["attached"], row["missed"], row["replays"]) == (5, 3, 2, 4)
    assert row["replay_us"] > 0
    assert row["proof_bytes"] > 0
    assert acme("audit", "gaps", "--receipt", missed.receipt).status == 0


def test_a_call_over_http_whose_record_hides_its_output_is_recomputed(
    place: Place, acme: Shell, home: Path, published: Publish
) -> None:
    reference = published(scorer())
    x = scorer_input(1)
    values = np.frombuffer(x.raw, "<f4").tolist()
    tensor = {"name": "x", "datatype": "FP32", "shape": list(x.shape), "data": values}
    asked = {LEVEL: "recomputed", DEADLINE: str(SOON_MS)}
    given = (*ENGINE, *keeping(home, "committed"))
    with answering(Scorer) as url, shim(*arguments(place, reference, url, *given)) as proxy:
        with recomputing(place):
            asking = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=60)
            body = json.dumps({"inputs": [tensor]})
            asking.request("POST", "/v2/models/scorer/infer", body, asked)
            answer = asking.getresponse()
            answer.read()
            asking.close()
        assert answer.getheader("x-provreg-level-reached") == "recomputed"
        receipt = answer.getheader("x-receipt-id")
        opened = acme("payload", "open", receipt, "--json").value
        assert opened["record_output"] != opened["content_digest"]
    trace, offline = traced(acme, home, opened["record_output"])
    assert (trace.status, offline.status) == (0, 0), trace
    assert "bit_exact, input proven, by auditor-cli" in offline.out


def waits(acme: Shell, *answers: Answer) -> None:
    """Wait until these calls are in the log, and somebody could run them again."""
    folder = Path("shim-data", "awaited")
    until(lambda: all((folder / f"{each.n:020}.json").exists() for each in answers))
    until(lambda: all("completion" in shown(acme, each) for each in answers))


def test_what_was_not_kept_is_not_run_again_and_the_reason_is_said(
    place: Place, acme: Shell, proxy: Proxy, name: str
) -> None:
    kept = ask(proxy, "lie", [0.1, 2.5], "recomputed", LATER_MS)
    erased = ask(proxy, "2", [0.2, 2.5], "recomputed", LATER_MS)
    waits(acme, kept, erased)
    assert acme("payload", "erase", erased.receipt, "--yes").status == 0
    # Nobody but an auditor can log it, and nothing is taken for run.
    as_publisher = ("payload", "replay", "--key", place.folder / "acme.pem", "--once", "--json")
    said = acme(*as_publisher)
    assert (said.status, said.out, said.error["reason"]) == (1, "", "ROLE")
    said = acme(*as_auditor(place), "--once")
    assert said.status == 1
    assert f"mismatch  {kept.receipt}, entry" in said.out
    assert f"not run     n={erased.n}: ERASED: what this call said was erased" in said.out
    # Whoever comes later finds it done, or finds that nobody waits any more.
    said = acme(*as_auditor(place), "--once")
    assert "mismatch" not in said.out
    rows = acme("costs", "--model", f"{name}@1", "--json").value["costs"]
    assert [each["replays"] for each in rows if each["level"] == "recomputed"] == [1]
    until(lambda: kept.n in attached(Path.cwd()))
    assert attached(Path.cwd())[kept.n].missed == "REPLAY_MISMATCH"


def test_without_inputs_nothing_is_run_again(
    place: Place, acme: Shell, home: Path, published: Publish
) -> None:
    reference = published(linear())
    policy = {"schema": "privacy-policy/v1", "retention_class": "a", "output": "committed"}
    (home / "privacy.json").write_text(json.dumps(policy))
    given = (*ENGINE, "--privacy", "privacy.json")
    with oip_process.running() as url, shim(*arguments(place, reference, url, *given)) as proxy:
        waiting = ask(proxy, "1", [0.1, 2.5], "recomputed", LATER_MS)
        waits(acme, waiting)
        said = acme(*as_auditor(place), "--once")
        assert (said.status, "the input of this call was not kept" in said.out) == (4, True)
