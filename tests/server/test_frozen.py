"""A frozen log, asked over gRPC and HTTP: it is read like any other, and written by nobody."""

import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest

from registry.api.v1 import log_service_pb2, log_service_pb2_grpc
from registry.config import ServerSettings
from registry.core.tlog.note import VerifierKey
from registry.server.guard import ANYBODY, PUBLIC, RULES, WRITES
from registry.server.offline import freeze_log
from registry.wire.status import from_rpc_error
from tests.cli.conftest import COMMAND
from tests.mint import dataset_statement
from tests.rekor import PATH, request_of
from tests.running import REPOSITORY, Caller, Running, bearer, running_registry
from tests.server.http.facing import SECONDS, address_of, ask
from tests.server.served import served
from tests.walking import walk


@pytest.fixture(scope="module")
def acme() -> list[Caller]:
    """The publisher of the frozen log, once there is one."""
    return []


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory, acme: list[Caller]) -> Iterator[Running]:
    """A log with a few entries that was frozen, and is served again."""
    data = tmp_path_factory.mktemp("frozen") / "data"
    with served(data) as registry:
        registry.say(dataset_statement(), registry.acme)
        acme.append(registry.acme)
    freeze_log(ServerSettings(data), datetime(2026, 9, 1, tzinfo=UTC))
    with running_registry(data) as running:
        yield running


def test_every_method_that_only_some_may_call_reads_or_is_refused() -> None:
    reads = {"ListPrincipals", "SumCosts"}
    # Ends tokens in any case; keys can be ended by the log only.
    reads |= {"RevokePrincipal"}
    for method, rule in RULES.items():
        if rule not in (PUBLIC, ANYBODY):
            assert method in WRITES or method.rpartition("/")[2] in reads


@pytest.mark.parametrize("method", sorted(WRITES))
def test_what_writes_is_refused_over_grpc(frozen: Running, method: str) -> None:
    with grpc.insecure_channel(frozen.address) as channel, pytest.raises(grpc.RpcError) as refused:
        call: grpc.StreamUnaryMultiCallable[bytes, bytes] = channel.stream_unary(method)
        call(iter([b""]), metadata=bearer(frozen.admin_token), timeout=SECONDS)
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert from_rpc_error(refused.value).reason == "LOG_FROZEN"


@pytest.mark.parametrize("body", [b"", b"{}"])
def test_what_writes_is_refused_over_http(frozen: Running, acme: list[Caller], body: bytes) -> None:
    for sent in (body, request_of(acme[0].signer)):
        answer = ask(address_of(frozen.url), "POST", PATH, sent)
        assert (answer.status, answer.reason, answer.json["code"]) == (405, "LOG_FROZEN", 12)
        assert "allow" in answer.headers


def test_a_frozen_log_is_read_to_its_end(frozen: Running) -> None:
    address = address_of(frozen.url)
    with grpc.insecure_channel(frozen.address) as channel:
        stub = log_service_pb2_grpc.LogServiceStub(channel)
        vkey = stub.GetLogKey(log_service_pb2.GetLogKeyRequest()).vkey
        note = stub.GetCheckpoint(log_service_pb2.GetCheckpointRequest()).checkpoint
    key = VerifierKey.parse(vkey)
    head, _ = walk(lambda path: ask(address, "GET", f"/{path}").body, key)
    assert note.decode().splitlines()[1] == str(head.size)


def provreg(*arguments: object, answer: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        input=answer,
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        timeout=SECONDS * 3,
        check=False,
    )


def test_freezing_asks_before_and_shows_the_final_checkpoint(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "final"
    with served(data):
        assert provreg("log", "freeze", "--data", data, "--yes").returncode == 3
    assert provreg("log", "freeze", "--data", data, answer="n\n").returncode != 0
    done = provreg("log", "freeze", "--data", data, "--yes", "--out", out)
    assert done.returncode == 0, done.stderr
    assert out.read_text() == done.stdout
    again = provreg("log", "freeze", "--data", data, "--yes", "--json")
    assert again.returncode == 0
    assert provreg("log", "freeze", "--data", data, "--yes", "--out", out).returncode == 1
    assert provreg("log", "fsck", "--data", data).returncode == 0


def test_a_trust_config_tells_when_a_frozen_log_ended(tmp_path: Path) -> None:
    data, at = tmp_path / "data", datetime(2026, 9, 1, tzinfo=UTC)
    with served(data) as registry:
        origin = registry.services.signer.key.name
    for later in range(2):
        # Freezing again changes nothing, and says again what a death may have left unsaid.
        freeze_log(ServerSettings(data), at + timedelta(days=later))
    out = tmp_path / "out"
    done = provreg(
        *("log", "trust-config", out, "--url", f"https://{origin}", "--data", data),
        *("--start", "2026-01-01T00:00:00Z"),
    )
    assert done.returncode == 0, done.stderr
    written = json.loads((out / "trusted_root.json").read_text())
    assert written["tlogs"][0]["publicKey"]["validFor"]["end"] == "2026-09-01T00:00:00Z"
