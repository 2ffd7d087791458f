"""Things that stock clients signed through a real registry, which is gone afterwards."""

import json
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

from tests.conformance.instance import Instance, instance, run
from tests.oidc import SUBJECT

ARTIFACT = b"the weights of a model\n"
"""What is signed."""

PREDICATE = {
    "buildDefinition": {
        "buildType": "https://acme.example/build/v1",
        "externalParameters": {"model": "acme/scorer"},
    },
    "runDetails": {"builder": {"id": "https://ci.example/acme"}},
}
EMAIL = "ada@acme.example"
"""Whom one token names."""


@dataclass(frozen=True)
class Signed:
    """What stock clients signed, and what they need to verify it.

    Attributes:
        folder: Where it is.
        issuer: Who vouched for the signer.
        trust: As in :class:`Instance`.
    """

    folder: Path
    issuer: str
    trust: Path

    @property
    def trust_config(self) -> Path:
        return self.trust / "client_trust_config.json"

    def path(self, name: str) -> Path:
        return self.folder / name

    def verify(
        self, name: str, bundle: str, identity: str = SUBJECT, issuer: str | None = None
    ) -> "CompletedProcess[str]":
        """Verify a file offline with ``sigstore verify identity``."""
        return run(
            *("sigstore", "--trust-config", self.trust_config, "verify", "identity", "--offline"),
            *("--bundle", self.path(bundle), "--cert-identity", identity),
            *("--cert-oidc-issuer", issuer or self.issuer, self.path(name)),
        )

    def verify_model(self, folder: Path, identity: str = SUBJECT) -> "CompletedProcess[str]":
        """Verify a folder with ``model_signing verify sigstore``."""
        return run(
            *("model_signing", "verify", "sigstore", "--trust_config", self.trust_config),
            *("--signature", self.path("model.sig"), "--identity", identity),
            *("--identity_provider", self.issuer, folder),
        )


def sigstore(running: Instance, verb: str, *arguments: object, **claims: object) -> None:
    """Sign something with ``sigstore``."""
    done = run(
        *("sigstore", "--trust-config", running.trust_config, verb),
        *("--identity-token", running.token(**claims), *arguments),
    )
    assert done.returncode == 0, done.stderr


def sign_all(folder: Path) -> Signed:
    """Sign a message, an attestation and a model folder, and stop the registry."""
    (folder / "weights").write_bytes(ARTIFACT)
    (folder / "tampered").write_bytes(ARTIFACT + b"\n")
    (folder / "predicate.json").write_text(json.dumps(PREDICATE))
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text("{}")
    (folder / "model" / "weights.bin").write_bytes(ARTIFACT)
    with instance(folder) as running:
        sigstore(running, "sign", "--bundle", folder / "message.json", folder / "weights")
        sigstore(
            running,
            "attest",
            *("--predicate", folder / "predicate.json"),
            *("--predicate-type", "https://slsa.dev/provenance/v1"),
            *("--bundle", folder / "dsse.json", folder / "weights"),
        )
        email = {"sub": "7f3a", "email": EMAIL, "email_verified": True}
        sigstore(running, "sign", "--bundle", folder / "email.json", folder / "weights", **email)
        done = run(
            *("model_signing", "sign", "sigstore", "--trust_config", running.trust_config),
            *("--identity_token", running.token(), "--signature", folder / "model.sig"),
            folder / "model",
        )
        assert done.returncode == 0, done.stderr
    return Signed(folder, running.issuer.url, running.trust)
