"""``provreg shim --attest`` over real processes: registry, guest agent, shim, and a model server.

An output of an attested node is traced down to the evidence; what the node has no result in force
for is unattested; what is distrusted later was valid then, and is not now. Evidence is the fake
vendor's, with real cryptography, and everybody says so in capitals.
"""

import itertools
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from registry.cli.attesting import Attest, attesting
from registry.client.channel import Connection, Target
from registry.client.registry import RegistryClient
from registry.core.evidence.claims import Family
from registry.core.records import inference
from registry.core.tlog.note import VerifierKey
from registry.signing.file import StatementSigner
from tests.cli.conftest import Place, Said, Shell
from tests.cli.test_shim import Proxy, arguments, shim, until, upstream, version
from tests.cli.test_shim_health import health, reasons
from tests.cli.test_shim_levels import ask, attached
from tests.running import REPOSITORY, running_registry
from tests.shim.world import RELEASE, written
from tools.fake_vendor import amd
from tools.fake_vendor.guest_agent import roots_of

__all__ = ["upstream", "version"]

FAMILY = str(Family.AMD_SNP)
POLICY = f"acme/{Family.AMD_SNP}"
GPU_POLICY = f"acme/{Family.NVIDIA_SET}"
FAKE = "NOT A REAL VENDOR"
NUMBERS = itertools.count()
"""No two answers are the same: an output is found by what it says."""

BOTH_VALID = "Verdict as-now: VALID    as-then: VALID"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A registry for each test: what one distrusts is distrusted for good."""
    folder = tmp_path / "place"
    folder.mkdir()
    with running_registry(folder / "data") as running:
        publisher = running.admit("acme", "publisher", namespaces=["acme/*"])
        node = running.admit("node-1", "node")
        for caller in (publisher, node):
            (folder / f"{caller.name}.token").write_text(caller.token + "\n")
            caller.signer.save(folder / f"{caller.name}.pem")
        yield Place(running, folder, publisher, node)


@dataclass(frozen=True)
class Device:
    """A guest agent of the fake vendor, and the roots that must be named to believe it."""

    process: subprocess.Popen[str]
    address: str
    roots: tuple[tuple[str, str], ...]


@contextmanager
def guest_agent(socket: Path, family: Family = Family.AMD_SNP) -> Iterator[Device]:
    """Run the agent."""
    words = [sys.executable, "-u", "-m", "tools.fake_vendor.guest_agent", str(family)]
    with subprocess.Popen(
        [*words, "--socket", str(socket)], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
    ) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        lines = [process.stdout.readline() for _ in roots_of(family).named]
        roots = [re.fullmatch(r"root (.+): ([0-9a-f]{64})\n", line) for line in lines]
        try:
            yield Device(process, address, tuple((f[1], f[2]) for f in roots if f is not None))
        finally:
            process.kill()


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    with guest_agent(tmp_path / "agent.sock") as device:
        assert len(device.roots) == 3
        yield device


def believe(
    place: Place, acme: Shell, device: Device, seconds: int, family: Family = Family.AMD_SNP
) -> None:
    """Register a policy: what the fake vendor's devices must say, and for how long that holds."""
    policy = json.loads(acme("policy", "starter", family).out)
    if family is Family.AMD_SNP:
        policy["reference_values"]["measurement"] = [amd.Spec().measurement.hex()]
        policy["skip"].remove("measurement")
    policy["roots"] = [{"vendor": vendor, "sha256": root} for vendor, root in device.roots]
    path = Path("policy.json")
    path.write_text(json.dumps({**policy, "name": f"acme/{family}", "result_seconds": seconds}))
    said = as_admin(place, acme, "policy", "register", path)
    assert said.status == 0, said


def as_admin(place: Place, acme: Shell, *words: object) -> Said:
    return acme("--token-file", place.running.data / "admin.token", *words)


@contextmanager
def attested_shim(
    place: Place, version: str, upstream: str, device: Device, *more: object
) -> Iterator[Proxy]:
    given = ("--files", "files", "--attester", device.address, "--attest-policy", POLICY, *more)
    with shim(*arguments(place, version, upstream, *given)) as proxy:
        yield proxy


def answer(proxy: Proxy, text: str) -> Path:
    """An answer of the model, in a file."""
    status, _, body = proxy.ask(text)
    assert status == 200, body
    path = Path(f"{text}.json")
    path.write_bytes(body)
    return path


def results(place: Place, acme: Shell) -> list[dict[str, Any]]:
    """Every result about the node's key."""
    said = acme("evidence", "show", "--key", place.node.signer.public_key.key_id, "--json")
    return [item["result"]["submods"][FAMILY] for item in said.value]


def test_an_output_of_an_attested_node_is_proved_and_later_distrusted(
    place: Place, acme: Shell, upstream: str, version: str, device: Device
) -> None:
    believe(place, acme, device, 600)
    with attested_shim(place, version, upstream, device, "--attest", "required") as proxy:
        # The shim says that it attested its key before it took a call, and what to think of it.
        assert any(re.match("attested by entry", line) for line in proxy.said)
        assert any(FAKE in line for line in proxy.said)
        made = answer(proxy, "granted")
        # Whoever asks for an attested answer gets it when its batch is in the log.
        asked = ask(proxy, "attested", 20_000)
        assert asked["x-provreg-level-reached"] == "attested"
    shown = acme("trace", f"sha256:{asked['x-output-sha256']}")
    assert "checked here: attestation, record n=" in shown.out
    traced = acme("trace", made, "--capsule", "then.capsule", "--require-attestation")
    assert traced.status == 0, traced
    assert traced.out.startswith(f"{BOTH_VALID}\n{FAKE}: this evidence is from a test root.")
    evidence = results(place, acme)[-1]["provreg.evidence-id"]
    [proven] = attached(Path()).values()
    assert (proven.level, proven.proof, proven.missed) == ("attested", evidence, "")
    setups = [item for item in written(Path("shim-data")) if isinstance(item, inference.Setup)]
    [boot] = [item for item in written(Path("shim-data")) if isinstance(item, inference.Boot)]
    assert boot.evidence == evidence
    # Files compared by measured software: but under a root of no vendor nothing is lifted to 3.
    assert [(item.evidence, item.level) for item in setups[1:]] == [(evidence, 2)]

    since = ("--claim", "product_line", "Milan", "--reason", "its keys leaked")
    assert as_admin(place, acme, "distrust", "add", FAMILY, *since).status == 0
    changes = as_admin(place, acme, "evidence", "reappraise", "--all", "--json").value
    [change] = [item for item in changes if item["evidence_id"] == evidence]
    assert (change["before"], change["now"]) == ("VALID", "INVALID")
    assert (change["principal"], change["versions"]) == ("node-1", [version])
    assert sum(batch["outputs"] for batch in change["batches"]) == 2

    again = acme("trace", made, "--capsule", "now.capsule")
    assert again.status == 1
    assert again.out.startswith("Verdict as-now: INVALID    as-then: VALID")
    assert "attestation: INVALID(DISTRUSTED)" in again.out
    assert "REFUTED" in again.out

    # Nobody answers any more, and nothing is asked.
    offline = ("--server", "127.0.0.1:9", "verify", "--log-key", place.vkey, "--output", made)
    then = acme(*offline, "then.capsule")
    assert (then.status, then.out.startswith(f"{BOTH_VALID}\n{FAKE}")) == (0, True)
    now = acme(*offline, "now.capsule")
    assert now.status == 1
    assert now.out.startswith("Verdict as-now: INVALID    as-then: VALID")


def attested_answer(acme: Shell, proxy: Proxy) -> str:
    """The evidence behind an output of the node, made now or as soon as one is attested."""
    found: list[str] = []

    def ask() -> bool:
        made = answer(proxy, f"answer-{next(NUMBERS)}")
        until(lambda: acme("trace", made).status == 0)
        traced = acme("trace", made, "--require-attestation", "--json")
        if traced.status == 0:
            [fact] = traced.value["facts"]["attestations"]
            found.append(fact["evidence_id"])
        return bool(found)

    until(ask)
    return found[0]


def test_evidence_is_renewed_and_what_comes_after_the_last_result_is_unattested(
    place: Place, acme: Shell, upstream: str, version: str, tmp_path: Path
) -> None:
    socket = tmp_path / "first.sock"
    watched = ("--attest", "auto", "--health", "127.0.0.1:0")
    with guest_agent(socket) as device:
        believe(place, acme, device, 3)
        with attested_shim(place, version, upstream, device, *watched) as proxy:
            first = attested_answer(acme, proxy)
            until(lambda: attested_answer(acme, proxy) != first)
            device.process.kill()
            device.process.wait()
            # The device is gone; the node goes on answering, and says what is missing.
            until(lambda: "UNATTESTED" in reasons(health(proxy)[1]))
            made = answer(proxy, "unattested")
            until(lambda: acme("trace", made).status == 0)
            socket.unlink(missing_ok=True)
            with guest_agent(socket):
                until(lambda: "UNATTESTED" not in reasons(health(proxy)[1]))
                assert attested_answer(acme, proxy) != first
    plain = acme("trace", made, "--capsule", "unattested.capsule")
    assert plain.status == 0
    assert plain.out.startswith(BOTH_VALID)
    assert "UNATTESTED" in plain.out, plain.out
    assert FAKE not in plain.out
    refused = acme("verify", "unattested.capsule", "--log-key", place.vkey, "--require-attestation")
    assert (refused.status, "INVALID(UNATTESTED)" in refused.out) == (1, True)
    names = [item["provreg.evidence-id"] for item in results(place, acme)]
    assert len(set(names)) == len(names) >= 3


def test_a_node_that_must_be_attested_answers_nothing_while_it_is_not(
    place: Place, acme: Shell, upstream: str, version: str, tmp_path: Path
) -> None:
    late = tmp_path / "late.sock"
    with guest_agent(late) as device:
        believe(place, acme, device, 600)
    late.unlink(missing_ok=True)
    with guest_agent(tmp_path / "gpus.sock", Family.NVIDIA_SET) as gpus:
        believe(place, acme, gpus, 600, Family.NVIDIA_SET)
        asked = ("--gpu-attester", gpus.address, "--gpu-policy", GPU_POLICY)
        more = ("--attest", "required", "--mode", "best_effort", *asked)
        with attested_shim(place, version, upstream, device, *more) as proxy:
            assert any("UNATTESTED so far" in line for line in proxy.said)
            status, _, body = proxy.ask("early")
            assert (status, b"UNATTESTED" in body) == (503, True)
            with guest_agent(late):
                until(lambda: proxy.ask("late")[0] == 200)
                made = answer(proxy, "after")
    traced = acme("trace", made, "--require-attestation")
    assert traced.status == 0, traced
    # The CPU's evidence commits to that of the GPUs, which were asked first.
    assert "  gpu: VALID" in traced.out
    refused = [
        item.reason
        for item in written(Path("shim-data"))
        if isinstance(item, inference.NotForwarded)
    ]
    assert set(refused) == {"UNATTESTED"}


def test_a_registry_that_is_down_keeps_nobody_from_serving_unattested(
    place: Place, acme: Shell, upstream: str, version: str, device: Device
) -> None:
    believe(place, acme, device, 600)
    with attested_shim(place, version, upstream, device, "--attest", "auto") as proxy:
        answer(proxy, "first")
    place.running.kill()
    with attested_shim(place, version, upstream, device, "--attest", "auto") as proxy:
        assert any("verified before" in line for line in proxy.said)
        assert any("UNATTESTED so far" in line for line in proxy.said)
        answer(proxy, "second")
    last = [item for item in written(Path("shim-data")) if isinstance(item, inference.Setup)][-1]
    assert last.evidence is msgspec.UNSET


@pytest.fixture
def demanding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have registries that are started from here on demand attested keys."""
    monkeypatch.setenv("PROVREG_REQUIRE_ATTESTATION", "1")


@pytest.mark.usefixtures("demanding")
def test_a_registry_that_demands_attestation_gets_what_was_made_before_once_there_is_some(
    place: Place, acme: Shell, upstream: str, version: str, tmp_path: Path
) -> None:
    late = tmp_path / "late.sock"
    with guest_agent(late) as device:
        believe(place, acme, device, 600)
    late.unlink(missing_ok=True)
    watched = ("--attest", "auto", "--health", "127.0.0.1:0")
    with attested_shim(place, version, upstream, device, *watched) as proxy:
        early = answer(proxy, "early")
        until(lambda: health(proxy)[1]["attempts"] > 0)
        assert acme("trace", early).status == 1
        with guest_agent(late):
            until(lambda: health(proxy)[1]["attempts"] == 0)
    traced = acme("trace", early)
    # Taken now that the key is attested; when it was made it was not.
    assert (traced.status, "UNATTESTED" in traced.out) == (0, True)


def test_the_fake_vendor_is_refused_if_its_root_is_not_named(
    place: Place, acme: Shell, upstream: str, version: str, device: Device
) -> None:
    believe(place, acme, Device(device.process, device.address, ()), 600)
    with attested_shim(place, version, upstream, device, "--attest", "auto") as proxy:
        assert any("UNTRUSTED_ROOT" in line for line in proxy.said)
        made = answer(proxy, "unbelieved")
    traced = acme("trace", made)
    assert (traced.status, "UNATTESTED" in traced.out) == (0, True)


def test_a_way_to_attest_that_makes_no_sense_is_refused(
    place: Place, acme: Shell, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.cli.attesting.find_device", lambda: "")
    auto = ("--attest", "auto")
    for more, status, why in (
        (("--attester", "tsm:"), 2, "--attest is off"),
        ((*auto, "--attester", "tsm:"), 2, "--attest-policy"),
        ((*auto, "--attester", "acme:", "--attest-policy", "x"), 2, "tsm:, nsm:"),
        ((*auto, "--gpu-attester", "nvml:"), 2, "--gpu-policy"),
        ((*auto, "--gpu-attester", "nvml:", "--gpu-policy", "x"), 1, "ATTESTER_ABSENT"),
        (("--attest", "required", "--attest-policy", "x"), 1, "ATTESTER_ABSENT"),
    ):
        said = acme(*arguments(place, version, "http://127.0.0.1:9", *more))
        assert (said.status, why in said.err) == (status, True), said


@pytest.fixture
def shim_client(place: Place) -> Iterator[RegistryClient]:
    connection = Connection(Target.parse(place.running.address), token=place.node.token)
    with RegistryClient(connection, VerifierKey.parse(place.vkey)) as client:
        yield client


def test_a_host_without_a_device_goes_on_and_says_what_that_means(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], shim_client: RegistryClient
) -> None:
    monkeypatch.setattr("registry.cli.attesting.find_device", lambda: "")
    key = StatementSigner.generate().public_key
    with attesting(Attest("auto", "", "", "", ""), shim_client, key, RELEASE) as attestation:
        assert attestation is None
    assert "outputs will be UNATTESTED" in capsys.readouterr().err
