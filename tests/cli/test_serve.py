"""Serving from the command line, in processes of their own."""

import hashlib
import json
import signal
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from registry.config import ServerSettings
from registry.core.archive import tsp
from registry.core.archive.authority import Authority
from registry.core.archive.timestamp import open_response
from registry.server.offline import freeze_log
from registry.signing.cosigner import Cosigner
from tests.certificates import certificate
from tests.cli.conftest import Shell
from tests.forking import Process, provreg
from tests.running import address_in

WITNESS = Cosigner.generate("w1.example")


@contextmanager
def serving(*arguments: object) -> Iterator[tuple[Process, str]]:
    """Run ``provreg serve`` until it is told to stop; yields it and its address."""
    process = provreg("serve", "--listen", "127.0.0.1:0", *arguments, stdout=True)
    assert process.stdout is not None
    try:
        yield process, address_in(process.stdout.readline())
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


def test_a_first_session_goes_as_serve_tells(shell: Shell, home: Path) -> None:
    with serving("--data", home / "data", "--origin", "log.example") as (process, address):
        assert shell("key", "generate", "publisher.pem").status == 0
        said = shell(
            "--server", address, "--token-file", home / "data" / "admin.token",
            "principal", "add", "acme", "--role", "publisher", "--namespace", "acme/*",
            "--key", "publisher.pem.pub",
        )  # fmt: skip
        assert said.status == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_http_is_answered_at_the_address_that_serve_tells(home: Path) -> None:
    with serving("--data", home / "data", "--origin", "log.example") as (process, _):
        assert process.stdout is not None
        url = address_in(process.stdout.readline())
        with urllib.request.urlopen(f"{url}/checkpoint", timeout=20) as answer:
            assert answer.headers["content-type"] == "text/plain; charset=utf-8"
            assert answer.headers["cache-control"] == "max-age=2"
            assert answer.read().startswith(b"log.example\n1\n")
        with urllib.request.urlopen(f"{url}/api/v2/checkpoint", timeout=20) as answer:
            assert answer.read().startswith(b"log.example\n1\n")


def test_serve_tells_what_it_does_and_what_it_does_not_any_more(home: Path) -> None:
    def told(*options: object) -> str:
        with serving("--data", home / "data", *options) as (process, _):
            process.terminate()
            assert process.stdout is not None
            return process.stdout.read()

    (home / "policy").write_text(f"witness w1 {WITNESS.key}\nquorum w1\n")
    lines = told("--ca", "--tsa", "--witness-policy", home / "policy").splitlines()
    for line in (
        "  quorum   w1, fail-open",
        f"  tsa      {home / 'data' / 'keys' / 'tsa-chain.pem'}",
        f"  ca       {home / 'data' / 'keys' / 'ca-chain.pem'}",
    ):
        assert line in lines
    assert all(word not in told() for word in ("  ca ", "  tsa ", "  frozen ", "  quorum "))
    freeze_log(ServerSettings(home / "data"), datetime(2026, 9, 1, tzinfo=UTC))
    assert "  frozen   since 2026-09-01T00:00:00Z, for good" in told()


def test_http_can_be_switched_off(home: Path) -> None:
    with serving("--data", home / "data", "--http", "none") as (process, _):
        assert process.stdout is not None
        assert process.stdout.readline() == "  http     off\n"


def test_a_second_process_on_the_same_folder_is_refused(shell: Shell, home: Path) -> None:
    with serving("--data", home / "data"):
        said = shell("serve", "--data", home / "data", "--listen", "127.0.0.1:0")
        assert (said.status, "LOG_IN_USE" in said.err) == (3, True)


def test_a_stopped_registry_is_checked_and_rebuilt(shell: Shell, home: Path) -> None:
    with serving("--data", home / "data"):
        pass
    checked = shell("log", "fsck", "--data", home / "data", "--json")
    assert checked.value["faults"] == []
    assert shell("db", "rebuild", "--data", home / "data").status == 0
    assert shell("db", "upgrade", "--data", home / "data").status == 0


def test_a_running_registry_is_neither_checked_nor_rebuilt(shell: Shell, home: Path) -> None:
    with serving("--data", home / "data"):
        for command in (["log", "fsck"], ["db", "rebuild"], ["db", "upgrade"]):
            assert shell(*command, "--data", home / "data").status == 3


def test_tokens_do_not_cross_a_network_in_plain_text(shell: Shell, home: Path) -> None:
    said = shell("serve", "--data", home / "data", "--listen", "0.0.0.0:0")
    assert (said.status, "--tls-cert" in said.err) == (2, True)


@pytest.mark.parametrize("flag", ["--tls-cert", "--tls-key"])
def test_tls_needs_both_halves(shell: Shell, home: Path, flag: str) -> None:
    (home / "half").touch()
    said = shell("serve", "--data", home / "data", "--listen", "127.0.0.1:0", flag, home / "half")
    assert said.status == 2


def test_a_registry_over_tls_is_believed_by_its_certificate(shell: Shell, home: Path) -> None:
    chain, key = certificate()
    (home / "cert.pem").write_bytes(chain)
    (home / "key.pem").write_bytes(key)
    tls = ("--tls-cert", home / "cert.pem", "--tls-key", home / "key.pem")
    with serving("--data", home / "data", *tls) as (_, address):
        server = f"https://{address}"
        believed = shell("--server", server, "--ca-file", home / "cert.pem", "log", "checkpoint")
        assert believed.status == 0
        assert shell("--server", server, "log", "checkpoint").status == 3


def test_timestamps_are_answered_if_serve_is_told_to(home: Path) -> None:
    with serving("--data", home / "data", "--tsa", "--tsa-policy", "1.2.3.4") as (process, _):
        assert process.stdout is not None
        url = address_in(process.stdout.readline())
        asked = tsp.Request("sha256", hashlib.sha256(b"x").digest(), nonce=1)
        query = urllib.request.Request(
            f"{url}/api/v1/timestamp",
            asked.to_bytes(),
            {"content-type": "application/timestamp-query"},
        )
        with urllib.request.urlopen(query, timeout=20) as answer:
            assert answer.status == 201
            response = answer.read()
    chain = Authority.parse_pem((home / "data" / "keys" / "tsa-chain.pem").read_bytes())
    assert open_response(response, b"x", chain, nonce=1, policy="1.2.3.4").accuracy


def test_certificates_are_issued_only_if_asked_for(home: Path) -> None:
    data = home / "data"
    with serving("--data", data, "--origin", "log.example"):
        assert not (data / "keys" / "ca-chain.pem").exists()
    with serving("--data", data, "--ca", "--oidc-issuer", "https://a.example=me") as (process, _):
        assert process.stdout is not None
        url = address_in(process.stdout.readline())
        with urllib.request.urlopen(f"{url}/api/v2/trustBundle", timeout=20) as answer:
            (chain,) = json.loads(answer.read())["chains"]
    assert chain["certificates"] == [(data / "keys" / "ca-chain.pem").read_text()]


@pytest.mark.parametrize(
    "issuer", ["https://a.example", "https://a.example=", "a.example=me", "https://a.example=me,"]
)
def test_an_issuer_that_cannot_be_understood_is_a_mistake_in_the_command(
    shell: Shell, home: Path, issuer: str
) -> None:
    said = shell("serve", "--data", home / "data", "--ca", "--oidc-issuer", issuer)
    assert (said.status, "BAD_SETTING" in said.err) == (2, True)
    assert not (home / "data").exists()


def test_two_registries_stamp_the_log_of_a_third(home: Path) -> None:
    with (
        serving("--data", home / "one", "--tsa", "--origin", "one.example") as (one, _),
        serving("--data", home / "two", "--tsa", "--origin", "two.example") as (two, _),
    ):
        arguments: list[object] = ["--timestamp-interval", 1]
        for name, process in (("one", one), ("two", two)):
            assert process.stdout is not None
            url = address_in(process.stdout.readline())
            chain = home / name / "keys" / "tsa-chain.pem"
            arguments += ["--timestamp-authority", f"{url}/api/v1/timestamp={chain},2.999.3161.1"]
        with serving("--data", home / "three", *arguments) as (three, _):
            assert three.stdout is not None
            states = address_in(three.stdout.readline()) + "/api/v1/timestamps"
            ends = time.monotonic() + 60
            while True:
                with urllib.request.urlopen(states, timeout=20) as answer:
                    stamped = json.load(answer)
                if all(each["size"] for each in stamped):
                    break
                assert time.monotonic() < ends, stamped
                time.sleep(0.1)
    assert [each["authority"] for each in stamped] == [
        f"CN={name} timestamp authority,O={name}" for name in ("one.example", "two.example")
    ]
    assert not any(each["failures"] or each["alarms"] for each in stamped)
