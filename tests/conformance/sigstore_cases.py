"""The folders of sigstore-conformance, as they say they are to be read.

https://github.com/sigstore/sigstore-conformance, ``test/assets/bundle-verify``: a folder per case,
``_fail`` in its name if verification must fail.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest
import sigstore

from registry.core.attestation.bundle import Bundle
from registry.core.attestation.identity import Expected, Identity
from registry.core.attestation.trusted_root import Trust
from registry.core.attestation.verify import Opened, open_bundle
from registry.core.digest import sha256
from registry.core.keys import PublicKey

VECTORS = "PROVREG_TEST_VECTORS"

PUBLIC_ROOT = (
    Path(sigstore.__file__).parent
    / "_store"
    / "https%3A%2F%2Ftuf-repo-cdn.sigstore.dev"
    / "trusted_root.json"
)
"""The trusted root of the public instance, as the stock client ships it."""

_IDENTITY = (
    "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/"
    ".github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main"
)
_ISSUER = "https://token.actions.githubusercontent.com"


@dataclass(frozen=True)
class Case:
    """One folder."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def must_fail(self) -> bool:
        return self.name.endswith("_fail")

    def _text(self, name: str, default: str) -> str:
        path = self.folder / name
        return path.read_text().strip() if path.exists() else default

    @property
    def bundle(self) -> bytes:
        return (self.folder / "bundle.sigstore.json").read_bytes()

    @property
    def artifact(self) -> bytes:
        path = self.folder / "artifact"
        return (path if path.exists() else self.folder.parent / "a.txt").read_bytes()

    @property
    def root(self) -> bytes:
        path = self.folder / "trusted_root.json"
        return (path if path.exists() else PUBLIC_ROOT).read_bytes()

    @property
    def identity(self) -> Identity:
        return Identity(self._text("issuer", _ISSUER), self._text("identity", _IDENTITY))

    @property
    def key(self) -> bytes | None:
        path = self.folder / "key.pub"
        return path.read_bytes() if path.exists() else None

    def open(self) -> Opened:
        """Verify it with our own verifier."""
        expected: Expected = PublicKey.parse(self.key) if self.key else self.identity
        return open_bundle(
            Bundle.parse(self.bundle),
            Trust.parse(self.root),
            expected,
            artifact=sha256(self.artifact),
        )


def cases() -> list[Case]:
    """Every folder, or none without the vectors."""
    root = os.environ.get(VECTORS)
    if not root:
        return []
    folder = Path(root) / "sigstore-conformance"
    return [Case(path.parent) for path in sorted(folder.glob("*/bundle.sigstore.json"))]


CASES = cases()

needs_vectors = pytest.mark.skipif(
    not CASES, reason=f"{VECTORS} does not name a folder with sigstore-conformance in it"
)
