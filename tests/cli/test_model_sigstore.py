"""Publishing without a lasting key: the registry certifies a new one for its principal."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.cli.main import run as provreg
from registry.core.attestation.bundle import Bundle
from registry.core.attestation.identity import Identity
from registry.core.attestation.trusted_root import Trust
from registry.core.attestation.verify import open_bundle
from tests.certificates import PrivateAuthority
from tests.conformance.instance import ORIGIN, Instance, instance, run, serving
from tests.oidc import SUBJECT
from tests.private_sigstore import Sigstore


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """A registry that certifies, with a publisher that has no lasting key."""
    folder = tmp_path_factory.mktemp("sigstore")
    with instance(folder) as running:
        robot = running.admit("robot", "publisher", namespaces=("robot/*",), keys=())
        (folder / "robot.token").write_text(robot.token)
        acme = running.admit("acme", "publisher", namespaces=("acme/*",))
        (folder / "acme.token").write_text(acme.token)
        acme.signer.save(folder / "acme.pem")
        yield running


@pytest.fixture
def home(world: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model, and settings for the registry."""
    folder = world.data.parent
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PROVREG_SERVER", world.address)
    monkeypatch.setenv("PROVREG_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("PROVREG_TOKEN_FILE", str(folder / "robot.token"))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    return tmp_path


def publish(world: Instance, *arguments: object, version: str, name: str = "robot/scorer") -> int:
    return provreg(
        [
            *("model", "publish", "model", "--name", name, "--version", version, "--json"),
            *("--sigstore", "--trust-config", str(world.trust_config), *map(str, arguments)),
        ]
    )


def reason(capsys: pytest.CaptureFixture[str]) -> str:
    told: str = json.loads(capsys.readouterr().err.splitlines()[-1])["error"]["reason"]
    return told


@pytest.mark.usefixtures("home")
def test_a_publisher_without_a_lasting_key_publishes(
    world: Instance, capsys: pytest.CaptureFixture[str]
) -> None:
    assert publish(world, version="1") == 0
    assert json.loads(capsys.readouterr().out)["fresh"] is True
    assert provreg(["model", "show", "robot/scorer@1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["publisher"] == "robot"


@pytest.mark.usefixtures("home")
def test_publishing_the_same_again_changes_nothing_and_certifies_nothing(
    world: Instance, capsys: pytest.CaptureFixture[str]
) -> None:
    assert publish(world, version="2") == 0
    first = json.loads(capsys.readouterr().out)
    assert provreg(["log", "checkpoint", "--json"]) == 0
    size = json.loads(capsys.readouterr().out)["size"]
    assert publish(world, version="2") == 0
    again = json.loads(capsys.readouterr().out)
    assert (again["fresh"], again["index"]) == (False, first["index"])
    assert provreg(["log", "checkpoint", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["size"] == size


@pytest.mark.usefixtures("home")
def test_a_publisher_with_a_lasting_key_signs_with_that_only(
    world: Instance, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROVREG_TOKEN_FILE", str(world.data.parent / "acme.token"))
    assert publish(world, version="1", name="acme/scorer") == 1
    assert reason(capsys) == "UNKNOWN_SIGNER"


def test_a_token_is_not_told_to_another_registry_s_authority(
    world: Instance, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = json.loads(world.trust_config.read_text())
    config["trustedRoot"] = json.loads(Sigstore().root.to_bytes())
    (home / "other.json").write_text(json.dumps(config))
    assert publish(world, "--trust-config", "other.json", version="3") == 1
    assert reason(capsys) == "WRONG_LOG"


def test_an_authority_without_tls_is_not_asked(
    world: Instance, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = json.loads(world.trust_config.read_text())
    config["signingConfig"]["caUrls"][0]["url"] = "http://ca.example"
    (home / "plain.json").write_text(json.dumps(config))
    assert publish(world, "--trust-config", "plain.json", version="3") == 2
    assert reason(capsys) == "BAD_SETTING"


@pytest.mark.usefixtures("home")
def test_without_a_token_nothing_is_certified(
    world: Instance, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PROVREG_TOKEN_FILE")
    assert publish(world, version="3") == 1
    assert reason(capsys) == "NO_TOKEN"


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--sigstore"],
        ["--trust-config", "model/config.json"],
        ["--key", "k.pem", "--identity-token", "model/config.json"],
        ["--key", "k.pem", "--sigstore", "--trust-config", "model/config.json"],
    ],
)
@pytest.mark.usefixtures("home")
def test_options_that_do_not_fit_are_a_mistake_in_the_command(options: list[str]) -> None:
    named = ["model", "publish", "model", "--name", "robot/scorer", "--version", "3"]
    assert provreg([*named, *options]) == 2


@pytest.fixture
def ada(world: Instance, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file with the identity token of a publisher whom the registry knows by name alone."""
    token = world.data.parent / "ada.token"
    if not token.exists():
        status = provreg(
            [
                *("--token-file", str(world.data / "admin.token"), "principal", "add", "ada"),
                *("--role", "publisher", "--namespace", "ada/*", "--token-out", str(token)),
                *("--identity", world.issuer.url, SUBJECT),
            ]
        )
        assert status == 0
    monkeypatch.setenv("PROVREG_TOKEN_FILE", str(token))
    (home / "identity.token").write_text(world.token())
    return home / "identity.token"


def test_whoever_an_identity_token_names_publishes_in_a_bundle(
    world: Instance, home: Path, ada: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert publish(world, "--identity-token", ada, version="1", name="ada/scorer") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["identity"] == f"{SUBJECT} by {world.issuer.url}"
    data = (home / "model.sigstore.json").read_bytes()
    trust = Trust.parse((world.trust / "trusted_root.json").read_bytes())
    opened = open_bundle(Bundle.parse(data), trust, Identity(world.issuer.url, SUBJECT))
    assert f"sha256:{opened.digest.hex()}" == told["record_id"]
    assert provreg(["model", "show", "ada/scorer@1", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["publisher"], shown["record_id"]) == ("ada", told["record_id"])
    # What stands in the bundle, a stock client verifies.
    subject = json.loads(opened.payload or b"")["subject"][0]["digest"]["sha256"]
    done = run(
        *("sigstore", "--trust-config", world.trust_config, "verify", "identity", "--offline"),
        *("--bundle", home / "model.sigstore.json", "--cert-identity", SUBJECT),
        *("--cert-oidc-issuer", world.issuer.url, f"sha256:{subject}"),
    )
    assert done.returncode == 0, done.stderr


def test_publishing_the_same_bundle_again_changes_nothing(
    world: Instance, home: Path, ada: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert publish(world, "--identity-token", ada, version="2", name="ada/scorer") == 0
    (home / "model.sigstore.json").unlink()
    capsys.readouterr()
    assert publish(world, "--identity-token", ada, version="2", name="ada/scorer") == 0
    assert json.loads(capsys.readouterr().out)["fresh"] is False
    assert not (home / "model.sigstore.json").exists()


def test_a_bundle_is_never_overwritten(
    world: Instance, home: Path, ada: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "model.sigstore.json").write_text("mine")
    assert publish(world, "--identity-token", ada, version="3", name="ada/scorer") == 1
    assert reason(capsys) == "TARGET_EXISTS"
    assert (home / "model.sigstore.json").read_text() == "mine"


def test_somebody_else_s_identity_publishes_nothing(
    world: Instance, home: Path, ada: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ada.write_text(world.token(sub="https://ci.example/rival"))
    assert publish(world, "--identity-token", ada, version="4", name="ada/scorer") == 1
    assert reason(capsys) == "UNKNOWN_SIGNER"
    # The bundle was made, and stays where ``bundle register`` finds it.
    assert (home / "model.sigstore.json").exists()


def test_a_token_for_somebody_else_makes_no_bundle(
    world: Instance, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "identity.token").write_text(world.token(aud="other"))
    assert publish(world, "--identity-token", "identity.token", version="6") == 1
    assert reason(capsys) == "MALFORMED_IDENTITY_TOKEN"
    assert not (home / "model.sigstore.json").exists()


def test_an_authority_in_a_closed_network_is_believed_by_the_authorities_that_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = PrivateAuthority(tmp_path)
    certificate, key = ours.certify(ORIGIN)
    data, trust = tmp_path / "data", tmp_path / "trust"
    options = ("--tls-cert", certificate, "--tls-key", key, "--ca", "--origin", ORIGIN)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PROVREG_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("PROVREG_CA_FILE", str(ours.file))
    monkeypatch.setenv("PROVREG_TOKEN_FILE", str(data / "admin.token"))
    with serving(data, *options, "--listen", f"{ORIGIN}:0", "--http", f"{ORIGIN}:0") as registry:
        monkeypatch.setenv("PROVREG_SERVER", registry.address)
        wanted = ("--role", "publisher", "--namespace", "robot/*", "--token-out", "robot.token")
        assert provreg(["principal", "add", "robot", *wanted]) == 0
        told = ["--url", registry.url, "--data", str(data)]
        assert provreg(["log", "trust-config", str(trust), *told]) == 0
        monkeypatch.setenv("PROVREG_TOKEN_FILE", "robot.token")
        config = str(trust / "client_trust_config.json")
        publishing = [
            *("model", "publish", "model", "--name", "robot/scorer", "--version", "1"),
            *("--sigstore", "--trust-config", config),
        ]
        assert registry.url.startswith("https:")
        assert provreg(publishing) == 0
        capsys.readouterr()
        assert provreg(["model", "show", "robot/scorer@1", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["publisher"] == "robot"
