"""``provreg log trust-config`` writes files for stock clients from a data folder's public files."""

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sigstore.models import Bundle as StockBundle
from sigstore.models import ClientTrustConfig as StockConfig
from sigstore.verify import Verifier
from sigstore.verify.policy import Identity as StockIdentity

from registry.cli.main import run
from tests.private_certificates import p256
from tests.private_sigstore import ARTIFACT, HOST, SIGNER, Log, Sigstore

OURS = Sigstore()


def pem(chain: tuple[bytes, ...]) -> bytes:
    return b"".join(x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM) for der in chain)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The public files of a registry with an authority, a CT log and a timestamp authority."""
    folder = tmp_path / "data"
    (folder / "keys").mkdir(parents=True)
    (folder / "log.vkey").write_text(f"{OURS.log.verifier}\n")
    made = OURS.instance.start.timestamp()
    os.utime(folder / "log.vkey", (made, made))
    (folder / "keys" / "ca-chain.pem").write_bytes(pem(OURS.ca.chain))
    (folder / "keys" / "tsa-chain.pem").write_bytes(pem(OURS.tsa.chain))
    (folder / "keys" / "ct.pem.pub").write_bytes(
        OURS.ct.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    return folder


Write = Callable[..., int]


@pytest.fixture
def write(data: Path, tmp_path: Path) -> Write:
    def write(*options: str, url: str = f"https://{HOST}") -> int:
        out = str(tmp_path / "out")
        return run(["log", "trust-config", out, "--url", url, "--data", str(data), *options])

    return write


def test_a_stock_client_verifies_with_what_is_written(write: Write, tmp_path: Path) -> None:
    assert write() == 0
    text = (tmp_path / "out" / "client_trust_config.json").read_text()
    verifier = Verifier(trusted_root=StockConfig.from_json(text).trusted_root)
    policy = StockIdentity(identity=SIGNER.name, issuer=SIGNER.issuer)
    verifier.verify_artifact(ARTIFACT, StockBundle.from_json(OURS.sign().to_bytes()), policy)


def test_what_is_written_is_what_the_folder_says(write: Write, tmp_path: Path) -> None:
    assert write() == 0
    assert (tmp_path / "out" / "trusted_root.json").read_bytes() == OURS.root.to_bytes()
    signing = (tmp_path / "out" / "signing_config.json").read_bytes()
    assert signing == OURS.instance.signing_config().to_bytes()


def test_chains_and_keys_may_be_elsewhere(write: Write, data: Path, tmp_path: Path) -> None:
    options = []
    for option, name in (
        ("--ca-chain", "ca-chain.pem"),
        ("--tsa-chain", "tsa-chain.pem"),
        ("--ct-key", "ct.pem.pub"),
    ):
        moved = (data / "keys" / name).rename(tmp_path / name)
        options += [option, str(moved)]
    assert write(*options) == 0
    assert (tmp_path / "out" / "trusted_root.json").read_bytes() == OURS.root.to_bytes()


def test_an_older_root_is_retired_and_another_joined(write: Write, tmp_path: Path) -> None:
    worlds = {}
    for name in ("old", "other"):
        key = Ed25519PrivateKey.generate()
        worlds[name] = tmp_path / f"{name}.json"
        worlds[name].write_bytes(Sigstore(log=Log(f"{name}.example", key)).root.to_bytes())
    assert (
        write(
            *("--previous", str(worlds["old"]), "--retired-at", "2026-07-01T00:00:00Z"),
            *("--also", str(worlds["other"])),
        )
        == 0
    )
    written = json.loads((tmp_path / "out" / "trusted_root.json").read_text())
    ends = {log["baseUrl"]: log["publicKey"]["validFor"].get("end") for log in written["tlogs"]}
    assert ends == {
        f"https://{HOST}": None,
        "https://old.example": "2026-07-01T00:00:00Z",
        "https://other.example": None,
    }


def test_without_a_time_it_is_retired_now(write: Write, tmp_path: Path) -> None:
    old = tmp_path / "old.json"
    old.write_bytes(Sigstore(log=Log("old.example", Ed25519PrivateKey.generate())).root.to_bytes())
    before = datetime.now(UTC).replace(microsecond=0)
    assert write("--previous", str(old)) == 0
    written = json.loads((tmp_path / "out" / "trusted_root.json").read_text())
    end = datetime.fromisoformat(written["tlogs"][1]["publicKey"]["validFor"]["end"])
    assert before <= end <= datetime.now(UTC)


def test_start_and_end_may_be_stated(write: Write, tmp_path: Path) -> None:
    assert write("--start", "2026-01-01T00:00:00Z", "--end", "2026-12-31T23:59:59Z") == 0
    written = json.loads((tmp_path / "out" / "trusted_root.json").read_text())
    assert written["tlogs"][0]["publicKey"]["validFor"] == {
        "start": "2026-01-01T00:00:00Z",
        "end": "2026-12-31T23:59:59Z",
    }


def test_a_frozen_log_s_window_ends_when_it_was_frozen(
    write: Write, data: Path, tmp_path: Path
) -> None:
    (data / "log.end").write_text("2026-09-01T00:00:00Z\n")
    assert write() == 0
    written = json.loads((tmp_path / "out" / "trusted_root.json").read_text())
    assert written["tlogs"][0]["publicKey"]["validFor"]["end"] == "2026-09-01T00:00:00Z"
    for text in ("yesterday\n", "2026-09-01T00:00:00Z", "2026-09-01\n"):
        (data / "log.end").write_text(text)
        assert write() == 2


RETIRED = {
    "ca-chain.pem": "certificateAuthorities",
    "ct.pem.pub": "ctlogs",
    "tsa-chain.pem": "timestampAuthorities",
}


@pytest.mark.parametrize("name", RETIRED)
def test_what_was_retired_is_named_until_its_end(
    write: Write, data: Path, tmp_path: Path, name: str
) -> None:
    # Each is a chain or a key, and another one than there is now.
    bodies = {
        "ca-chain.pem": pem(OURS.tsa.chain),
        "ct.pem.pub": p256(77)
        .public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "tsa-chain.pem": pem(OURS.ca.chain),
    }
    kept = data / "keys" / "retired"
    kept.mkdir()
    (kept / f"{name}.until-20260901T000000Z").write_bytes(bodies[name])
    # Retiring this one died before it had begun.
    (kept / f"{name}.until-20260801T000000Z").write_bytes((data / "keys" / name).read_bytes())
    assert write() == 0
    written = json.loads((tmp_path / "out" / "trusted_root.json").read_text())
    for kind in RETIRED.values():
        windows = [each.get("validFor") or each["publicKey"]["validFor"] for each in written[kind]]
        ends = [window.get("end") for window in windows]
        assert ends == ([None, "2026-09-01T00:00:00Z"] if kind == RETIRED[name] else [None])


def test_what_nobody_retired_is_refused(write: Write, data: Path) -> None:
    (data / "keys" / "retired").mkdir()
    for name in ("notes", "log.pem.until-20260901T000000Z"):
        file = data / "keys" / "retired" / name
        file.touch()
        assert write() == 2
        file.unlink()


def test_it_can_be_written_again(write: Write, tmp_path: Path) -> None:
    assert write() == write() == 0
    assert len(list((tmp_path / "out").iterdir())) == 3


def test_the_summary_is_json_if_asked(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    assert write("--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["logs"], summary["ct_logs"]) == ([f"https://{HOST}"], 1)


@pytest.mark.parametrize("url", ["https://other.example", f"https://{HOST}/log"])
def test_another_host_than_the_origin_is_refused(
    write: Write, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert write(url=url) == 1
    assert "ORIGIN_HOST" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_without_a_log_is_refused(write: Write, data: Path) -> None:
    (data / "log.vkey").unlink()
    assert write() == 2


def test_a_file_that_is_no_chain_is_refused(
    write: Write, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "keys" / "ca-chain.pem").write_bytes(b"nothing")
    assert write() == 1
    assert "MALFORMED_CERTIFICATE" in capsys.readouterr().err


def test_a_file_that_is_too_long_is_refused(write: Write, data: Path) -> None:
    (data / "keys" / "ct.pem.pub").write_bytes(bytes(300_000))
    assert write() == 2


@pytest.mark.parametrize("text", ["yesterday", "2026-01-01", "2026-01-01T00:00:00+01:00"])
def test_a_time_in_another_spelling_is_a_mistake_of_usage(write: Write, text: str) -> None:
    assert write("--start", text) == 2
