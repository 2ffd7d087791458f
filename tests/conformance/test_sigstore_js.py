"""Stock ``@sigstore/verify`` verifies what was signed through our CA, TSA and log."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.conformance.instance import SECONDS
from tests.conformance.signed import Signed
from tests.oidc import SUBJECT

PACKAGE = "@sigstore/verify@4.1.3"
SCRIPT = Path(__file__).with_name("verify_with_sigstore.cjs")

Verify = Callable[..., "CompletedProcess[str]"]


@pytest.fixture(scope="module")
def verify(signed: Signed, tmp_path_factory: pytest.TempPathFactory) -> Verify:
    """Install the package, and run the script with it."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip("Node with npm is not installed")
    folder = tmp_path_factory.mktemp("node")
    try:
        installed = subprocess.run(
            [
                *(npm, "install", "--prefix", str(folder), "--ignore-scripts", "--no-audit"),
                *("--no-fund", "--no-save", PACKAGE),
            ],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm did not install {PACKAGE} in time")
    if installed.returncode != 0:
        pytest.skip(f"npm cannot install {PACKAGE}: {installed.stderr.strip()[-200:]}")

    def run(
        bundle: Path, artifact: Path, identity: str = SUBJECT, issuer: str = signed.issuer
    ) -> "CompletedProcess[str]":
        root = signed.trust / "trusted_root.json"
        return subprocess.run(
            [node, str(SCRIPT), *map(str, (root, bundle, artifact, identity, issuer))],
            env={"NODE_PATH": str(folder / "node_modules")},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    return run


@pytest.mark.parametrize("bundle", ["message.json", "dsse.json"])
def test_stock_sigstore_js_verifies_it(signed: Signed, verify: Verify, bundle: str) -> None:
    done = verify(signed.path(bundle), signed.path("weights"))
    assert done.returncode == 0, done.stderr


def test_stock_sigstore_js_refuses_bytes_that_were_tampered_with(
    signed: Signed, verify: Verify
) -> None:
    assert verify(signed.path("message.json"), signed.path("tampered")).returncode == 1


def test_stock_sigstore_js_refuses_a_statement_that_was_tampered_with(
    signed: Signed, verify: Verify, tmp_path: Path
) -> None:
    bundle = json.loads(signed.path("dsse.json").read_text())
    payload = bundle["dsseEnvelope"]["payload"]
    bundle["dsseEnvelope"]["payload"] = payload[:-8] + "AAAA" + payload[-4:]
    (tmp_path / "bundle.json").write_text(json.dumps(bundle))
    assert verify(tmp_path / "bundle.json", signed.path("weights")).returncode == 1


def test_stock_sigstore_js_refuses_another_signer_or_issuer(signed: Signed, verify: Verify) -> None:
    bundle, artifact = signed.path("message.json"), signed.path("weights")
    assert verify(bundle, artifact, "https://ci.example/rival").returncode == 1
    assert verify(bundle, artifact, issuer="https://accounts.example").returncode == 1
