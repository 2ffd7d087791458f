"""Keys of CA, CT log and TSA are replaced, and stock clients believe what either key signed."""

from dataclasses import dataclass

import pytest

from registry.core.attestation.bundle import Bundle
from registry.core.attestation.identity import Identity
from registry.core.attestation.trusted_root import Trust
from registry.core.attestation.verify import open_bundle
from registry.core.digest import sha256
from tests.conformance.instance import instance, run
from tests.conformance.signed import ARTIFACT, Signed, sigstore
from tests.oidc import SUBJECT

WHEN = ("before", "after")


@dataclass(frozen=True)
class Rotated:
    """What was signed before and after, by whom it was vouched for, and whom to believe now."""

    signed: Signed
    issuers: dict[str, str]


@pytest.fixture(scope="module")
def rotated(tmp_path_factory: pytest.TempPathFactory) -> Rotated:
    """Sign, replace all three keys, and sign again."""
    folder = tmp_path_factory.mktemp("rotated")
    (folder / "weights").write_bytes(ARTIFACT)
    issuers = {}
    for when in WHEN:
        with instance(folder) as running:
            sigstore(running, "sign", "--bundle", folder / f"{when}.json", folder / "weights")
            issuers[when] = running.issuer.url
        if when == "before":
            for kind in ("ca", "ct", "tsa"):
                done = run("registry", "log", "retire", kind, "--yes", "--data", folder / "data")
                assert done.returncode == 0, done.stderr
    return Rotated(Signed(folder, issuers["after"], folder / "trust"), issuers)


@pytest.mark.parametrize("when", WHEN)
def test_stock_clients_believe_what_either_key_signed(rotated: Rotated, when: str) -> None:
    issuer = rotated.issuers[when]
    done = rotated.signed.verify("weights", f"{when}.json", issuer=issuer)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("when", WHEN)
def test_our_verifier_agrees(rotated: Rotated, when: str) -> None:
    trust = Trust.parse((rotated.signed.trust / "trusted_root.json").read_bytes())
    bundle = Bundle.parse(rotated.signed.path(f"{when}.json").read_bytes())
    expected = Identity(rotated.issuers[when], SUBJECT)
    assert open_bundle(bundle, trust, expected, artifact=sha256(ARTIFACT)).signer == expected
