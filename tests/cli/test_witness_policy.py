"""``--policy``: what is believed only if enough witnesses saw it, at a terminal."""

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from registry.core.tlog.note import Note, VerifierKey
from registry.core.tlog.policy import Policy
from registry.core.tlog.receipt import Receipt
from registry.signing.cosigner import Cosigner
from tests.cli.conftest import Place, Shell
from tests.cosigned import eventually
from tests.forking import provreg
from tests.running import REPOSITORY, STOP_SECONDS, admin_token
from tests.server.test_witness import running_witness

NOBODY = Cosigner.generate("nobody.example")


def policy_of(place: Place, home: Path, quorum: str = "w") -> Path:
    """A policy with a witness that has never seen this log."""
    file = home / "policy"
    file.write_text(f"log {place.vkey}\nwitness w {NOBODY.key}\nquorum {quorum}\n")
    return file


def test_a_checkpoint_without_a_quorum_is_refused(acme: Shell, place: Place, home: Path) -> None:
    said = acme("log", "checkpoint", "--policy", policy_of(place, home), "--json")
    assert (said.status, said.error["reason"]) == (1, "QUORUM")
    assert "missing w" in said.error["actual"]
    assert acme("log", "checkpoint", "--policy", policy_of(place, home, "none")).status == 0


def test_a_proof_without_a_quorum_is_refused_and_not_written(
    acme: Shell, place: Place, home: Path
) -> None:
    said = acme(
        *("log", "prove", "0", "--policy", policy_of(place, home)),
        *("--out", home / "proof", "--json"),
    )
    assert (said.status, said.error["reason"]) == (1, "QUORUM")
    assert not (home / "proof").exists()


def test_a_cose_receipt_cannot_carry_a_quorum(acme: Shell, place: Place, home: Path) -> None:
    policy = policy_of(place, home)
    assert acme("log", "prove", "0", "--format", "cose", "--policy", policy).status == 2


@pytest.mark.parametrize("text", ["", "quorum w\n", "log x\nquorum none\n"])
def test_a_policy_that_is_none_is_refused(acme: Shell, home: Path, text: str) -> None:
    (home / "policy").write_text(text)
    assert acme("log", "checkpoint", "--policy", home / "policy").status == 1


@dataclass(frozen=True)
class Watched:
    """A log with a witness, both in processes of their own."""

    address: str
    url: str
    data: Path
    policy: Path

    @property
    def vkey(self) -> str:
        return (self.data / "log.vkey").read_text().strip()


@contextmanager
def serving(data: Path, *arguments: str) -> Iterator[tuple[str, str]]:
    given = ("serve", "--data", data, "--listen", "127.0.0.1:0", *arguments)
    with provreg(*given, stdout=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().split()[-1], process.stdout.readline().split()[-1]
        finally:
            process.terminate()
            process.wait(STOP_SECONDS)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("watched")
    data, policy = folder / "data", folder / "policy"
    with serving(data, "--post-quantum"):
        pass
    key = VerifierKey.parse((data / "log.vkey").read_text().strip())
    with running_witness(folder / "witness", key) as (witness, _):
        pq = (data / "log-mldsa.vkey").read_text().strip()
        policy.write_text(
            f"log {key}\nwitness w {witness.key} {witness.url}\nwitness pq {pq}\n"
            "group g all w pq\nquorum g\n"
        )
        given = ("--witness-policy", str(policy), "--witness-mode", "fail-closed")
        with serving(data, *given) as (address, url):
            yield Watched(address, url, data, policy)


@pytest.fixture
def auditor(shell: Shell, watched: Watched, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.setenv("PROVREG_SERVER", watched.address)
    monkeypatch.setenv("PROVREG_TOKEN", admin_token(watched.data))
    eventually(lambda: shell("log", "checkpoint").status == 0)
    return shell


def test_a_quorum_of_a_real_witness_satisfies_the_policy(auditor: Shell, watched: Watched) -> None:
    said = auditor("log", "checkpoint", "--policy", watched.policy, "--json")
    assert said.status == 0
    assert (said.value["quorum"], set(said.value["cosigned"])) == ("g", {"w", "pq"})
    assert "quorum g met" in auditor("log", "checkpoint", "--policy", watched.policy).out


def test_a_receipt_carries_its_quorum_for_anybody(
    auditor: Shell, watched: Watched, home: Path
) -> None:
    said = auditor("log", "prove", "0", "--policy", watched.policy, "--out", home / "proof")
    assert said.status == 0
    receipt = Receipt.parse((home / "proof").read_bytes())
    Policy.parse(watched.policy.read_bytes()).verify(receipt.head.note)


def test_a_proof_says_how_it_stands_with_its_quorum(auditor: Shell, watched: Watched) -> None:
    said = auditor("log", "prove", "0", "--policy", watched.policy, "--json")
    assert (said.value["quorum"], set(said.value["cosigned"])) == ("g", {"w", "pq"})
    for form in ("tlog-proof", "tle"):
        shown = auditor("log", "prove", "0", "--policy", watched.policy, "--format", form)
        assert shown.err.startswith("quorum g met: cosigned by ")
        assert "quorum" not in shown.out


def test_the_second_slot_is_served_over_http(auditor: Shell, watched: Watched) -> None:
    assert auditor("log", "checkpoint").status == 0
    with urllib.request.urlopen(f"{watched.url}/checkpoint/cosigned", timeout=10) as answer:
        note = answer.read()
    Policy.parse(watched.policy.read_bytes()).verify(note)
    # A log that fails closed shows nothing else.
    with urllib.request.urlopen(f"{watched.url}/checkpoint", timeout=10) as answer:
        assert Note.parse(answer.read()).text == Note.parse(note).text


def test_a_log_without_witnesses_has_an_empty_second_slot(place: Place) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{place.running.url}/checkpoint/cosigned", timeout=10)
    assert caught.value.code == 404
    caught.value.close()


def test_failing_closed_without_witnesses_is_not_understood(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "registry", "serve", "--data", str(tmp_path / "data")),
            *("--listen", "127.0.0.1:0", "--witness-mode", "fail-closed"),
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=STOP_SECONDS,
        check=False,
    )
    assert (done.returncode, "BAD_SETTING" in done.stderr) == (2, True)


def test_anybody_can_see_how_the_witnesses_do(
    auditor: Shell, watched: Watched, place: Place
) -> None:
    assert auditor("log", "checkpoint").status == 0

    def states() -> dict[str, object]:
        url = f"{watched.url}/api/v1/witnesses"
        with urllib.request.urlopen(url, timeout=10) as answer:
            found: dict[str, object] = json.loads(answer.read())
        return found

    eventually(lambda: states()["cosigned"] == states()["size"])
    found = states()
    assert (found["quorum"], found["mode"]) == ("g", "fail-closed")
    # Where a witness is asked stays the operator's business.
    assert found["witnesses"] == [{"name": "w", "reason": "", "size": found["size"]}]
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{place.running.url}/api/v1/witnesses", timeout=10)
    assert caught.value.code == 404
    caught.value.close()
