"""From an output to a capsule, and judging the capsule without anybody's help."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from registry.client.channel import Connection, Target
from registry.client.registry import RegistryClient
from registry.core.digest import sha256, text
from registry.core.profiles import raw
from registry.core.records import inference
from registry.core.tlog.note import VerifierKey
from registry.signing.cosigner import Cosigner
from registry.signing.file import LogSigner
from tests import mint
from tests.cli.conftest import Place, Shell
from tests.running import REPOSITORY


@dataclass(frozen=True)
class Output:
    """An output that the registry has receipts of."""

    file: Path
    capsule: Path
    digest: bytes


def record(place: Place, model: str, data: bytes, shim: bytes) -> None:
    """Let a node record that ``model`` made ``data``."""
    name, _, version = model.partition("@")
    connection = Connection(Target.parse(place.running.address), token=place.node.token)
    with RegistryClient(connection, VerifierKey.parse(place.vkey)) as client:
        known = client.release(name, version).logged
        journal = mint.Journal(shim_id=sha256(shim).hex()[:32])
        journal.call(
            mint.Logged(known.statement, known.envelope, known.index),
            response=inference.Response(
                profile="output/bytes/v1",
                content_digest=raw.content_digest(data).hex(),
                wire_digest=sha256(data).hex(),
                complete=True,
            ),
        )
        envelope = place.node.signer.sign(journal.batch_statement())
        client.register_batch(envelope.to_bytes(), journal.records)


@pytest.fixture
def model(acme: Shell, folder: Path, name: str, key: Path) -> str:
    """Publish the folder."""
    said = acme("model", "publish", folder, "--name", name, "--version", "1", "--key", key)
    assert said.status == 0, said.err
    return f"{name}@1"


@pytest.fixture
def output(acme: Shell, place: Place, model: str, home: Path) -> Output:
    """Record an output and export its capsule."""
    data = f"the answer of {model}".encode()
    (home / "answer").write_bytes(data)
    record(place, model, data, data)
    said = acme("trace", "answer", "--capsule", "answer.capsule")
    assert said.status == 0
    return Output(home / "answer", home / "answer.capsule", raw.content_digest(data))


# --- Trace ---


def test_a_trace_names_model_publisher_and_node(acme: Shell, output: Output, model: str) -> None:
    said = acme("trace", output.file)
    assert said.status == 0
    for word in ("VALID", model, "acme", "node-1", "config.json"):
        assert word in said.out


def test_a_trace_in_json_is_the_report(acme: Shell, output: Output, model: str) -> None:
    value = acme("trace", output.file, "--json").value
    assert (value["verdict_now"], value["facts"]["output"]["model"]) == ("VALID", model)


def test_an_output_may_be_named_by_its_digest(acme: Shell, output: Output) -> None:
    assert acme("trace", text(output.digest)).status == 0


def test_an_output_that_nobody_recorded_is_refused(acme: Shell, home: Path) -> None:
    (home / "other").write_bytes(b"never recorded")
    said = acme("trace", "other")
    assert (said.status, "UNKNOWN_OUTPUT" in said.err) == (1, True)


def test_one_of_several_receipts_can_be_chosen(
    acme: Shell, place: Place, output: Output, model: str
) -> None:
    record(place, model, output.file.read_bytes(), b"another shim")
    first, second = (
        acme("trace", output.file, "--receipt", number, "--json").value for number in (1, 2)
    )
    assert first["facts"]["output"]["batch_index"] < second["facts"]["output"]["batch_index"]
    assert "2 receipts have this output" in acme("trace", output.file).out


def test_a_receipt_that_there_is_not_is_refused(acme: Shell, output: Output) -> None:
    said = acme("trace", output.file, "--receipt", 2)
    assert (said.status, "UNKNOWN_OUTPUT" in said.err) == (1, True)


def test_a_capsule_is_never_written_over_something(acme: Shell, output: Output) -> None:
    before = output.capsule.read_bytes()
    said = acme("trace", output.file, "--capsule", output.capsule)
    assert (said.status, "TARGET_EXISTS" in said.err) == (1, True)
    assert output.capsule.read_bytes() == before


@pytest.mark.parametrize("given", ["nowhere", "."])
def test_what_is_no_file_is_not_understood(acme: Shell, given: str) -> None:
    assert acme("trace", given).status == 2


def test_a_trace_says_that_an_output_is_unattested(acme: Shell, output: Output) -> None:
    said = acme("trace", output.file)
    assert (said.status, "UNATTESTED" in said.out) == (0, True)
    demanded = acme("trace", output.file, "--require-attestation")
    assert (demanded.status, "INVALID(UNATTESTED)" in demanded.out) == (1, True)


# --- Verify ---


def test_an_unattested_output_is_refused_only_if_an_attestation_is_required(
    acme: Shell, output: Output
) -> None:
    assert acme("verify", output.capsule).status == 0
    said = acme("verify", output.capsule, "--require-attestation", "--json")
    assert (said.status, said.value["verdict_now"]) == (1, "INVALID")
    assert "no attestation result" in said.value["facts"]["unattested"]


def test_a_capsule_of_a_known_log_is_valid(acme: Shell, output: Output, model: str) -> None:
    said = acme("verify", output.capsule, "--output", output.file)
    assert said.status == 0
    assert model in said.out


def test_a_capsule_of_a_pinned_log_is_valid(shell: Shell, place: Place, output: Output) -> None:
    said = shell("verify", output.capsule, "--log-key", place.vkey, "--json")
    assert (said.status, said.value["verdict_now"]) == (0, "VALID")


def test_a_capsule_of_an_unknown_log_is_indeterminate(
    shell: Shell, output: Output, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROVREG_CONFIG_DIR", str(home / "empty"))
    said = shell("verify", output.capsule)
    assert (said.status, "LOG_KEY_NOT_PINNED" in said.out) == (4, True)


def test_a_capsule_of_another_log_is_refused(shell: Shell, output: Output) -> None:
    stranger = str(LogSigner.generate("stranger.example").key)
    said = shell("verify", output.capsule, "--log-key", stranger)
    assert (said.status, "WRONG_LOG" in said.out) == (1, True)


def test_a_capsule_of_a_known_name_with_another_key_is_refused(
    shell: Shell, place: Place, output: Output, tmp_path: Path
) -> None:
    origin = VerifierKey.parse(place.vkey).name
    stranger = LogSigner.generate(origin).key
    (tmp_path / "config" / "known_logs").write_text(f"elsewhere:1 {stranger}\n")
    assert shell("verify", output.capsule).status == 1


def test_a_capsule_about_another_output_is_refused(shell: Shell, output: Output) -> None:
    other = output.file.with_name("other")
    other.write_bytes(b"another answer")
    said = shell("verify", output.capsule, "--output", other)
    assert (said.status, "DIGEST_MISMATCH" in said.out) == (1, True)


@pytest.mark.parametrize("place_in_file", [0.01, 0.3, 0.6, 0.99])
def test_a_capsule_with_a_flipped_bit_is_refused(
    shell: Shell, output: Output, place_in_file: float
) -> None:
    data = bytearray(output.capsule.read_bytes())
    data[int(len(data) * place_in_file)] ^= 1
    damaged = output.capsule.with_name("damaged")
    damaged.write_bytes(data)
    said = shell("verify", damaged, "--json")
    assert said.status == 1
    assert said.error["reason"] in {"CAPSULE_PART", "MALFORMED_CAPSULE"}


def test_a_file_that_is_no_capsule_is_refused(shell: Shell, home: Path) -> None:
    (home / "file").write_bytes(b"nonsense")
    said = shell("verify", "file")
    assert (said.status, "MALFORMED_CAPSULE" in said.err) == (1, True)


def test_a_capsule_that_is_not_there_is_not_understood(shell: Shell) -> None:
    assert shell("verify", "nowhere").status == 2


def test_verifying_loads_nothing_that_can_reach_a_network_or_a_database(
    output: Output, place: Place
) -> None:
    script = f"""
import sys
from registry.cli.main import run
status = run(["verify", {str(output.capsule)!r}, "--log-key", {place.vkey!r}])
loaded = {{"grpc", "google", "sqlalchemy", "alembic", "numpy", "onnx", "psycopg", "sqlite3", "ssl",
          "registry.api", "registry.client", "registry.server", "registry.services",
          "registry.storage", "registry.wire"}} & set(sys.modules)
print("loaded:", *loaded)
sys.exit(status)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        check=True,
    )
    assert done.stdout.endswith("loaded:\n")


# --- Witnesses ---


def test_a_capsule_without_the_quorum_of_a_policy_stays_open(
    acme: Shell, place: Place, output: Output, home: Path
) -> None:
    witness = Cosigner.generate("nobody.example").key
    policy = home / "policy"
    policy.write_text(f"log {place.vkey}\nwitness w {witness}\nquorum w\n")
    for said in (
        acme("verify", output.capsule, "--policy", policy),
        acme("trace", output.file, "--policy", policy),
    ):
        assert said.status == 4
        assert "witnesses: INDETERMINATE(QUORUM)" in said.out


def test_a_policy_that_names_the_log_needs_no_other_key(
    shell: Shell, place: Place, output: Output, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROVREG_CONFIG_DIR", str(tmp_path / "empty"))
    assert shell("verify", output.capsule).status == 4
    policy = tmp_path / "policy"
    policy.write_text(f"log {place.vkey}\nquorum none\n")
    assert shell("verify", output.capsule, "--policy", policy).status == 0
    stranger = LogSigner.generate(place.vkey.partition("+")[0]).key
    policy.write_text(f"log {stranger}\nquorum none\n")
    said = shell("verify", output.capsule, "--policy", policy)
    assert (said.status, "WRONG_LOG" in said.out) == (1, True)
