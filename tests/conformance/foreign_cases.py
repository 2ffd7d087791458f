"""Bundles that clients in other languages judge: sound ones, and one for each way to be wrong.

They are minted with our own code, a test authority and a test timestamp authority, the same in
every run. A client is a program that reads cases and writes verdicts.
"""

import base64
import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from registry.core.attestation.bundle import Bundle, Message
from registry.core.attestation.dsse import Envelope
from registry.core.attestation.identity import Identity
from registry.core.attestation.trusted_root import Trust
from registry.core.attestation.verify import Opened, open_bundle
from registry.core.digest import sha256
from registry.core.keys import PublicKey
from tests.conformance.signed import Signed
from tests.oidc import SUBJECT
from tests.private_certificates import IDENTITY, OIDC_ISSUER
from tools.fuzz.sigstore import (
    ARTIFACT,
    BY_KEY,
    KEY,
    MESSAGE,
    STATEMENT,
    TOLD_KEY,
    TRUST,
    logged,
)

SECONDS = 120
"""How long a client may take for all cases."""


@dataclass(frozen=True)
class ForeignCase:
    """A bundle, and what its verifier believes.

    Attributes:
        name: What is wrong with it, or what is right.
        holds: Whether it must be verified.
        artifact: What was signed; None for a statement.
        by_key: Whether the signer is a bare key.
    """

    name: str
    bundle: bytes
    holds: bool = False
    artifact: bytes | None = ARTIFACT
    by_key: bool = False
    identity: str = IDENTITY
    issuer: str = OIDC_ISSUER
    root: bytes = TRUST.root.to_bytes()

    def members(self) -> dict[str, Any]:
        """The case as a client reads it."""
        said: dict[str, Any] = {
            "bundle": json.loads(self.bundle),
            "root": json.loads(self.root),
            "identity": self.identity,
            "issuer": self.issuer,
        }
        if self.artifact is not None:
            said["artifact"] = base64.b64encode(self.artifact).decode()
        if self.by_key:
            said["key"] = base64.b64encode(TOLD_KEY).decode()
        return said


def _other_log() -> bytes:
    """A root that believes another key under the same name."""
    root = json.loads(TRUST.root.to_bytes())
    key = root["tlogs"][0]["publicKey"]
    spki = base64.b64decode(key["rawBytes"])[: -len(LOG_OF_A_STRANGER)] + LOG_OF_A_STRANGER
    key["rawBytes"] = base64.b64encode(spki).decode()
    return json.dumps(root).encode()


LOG_OF_A_STRANGER = bytes.fromhex(
    "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
)
"""The public key of RFC 8032 §7.1, test 1: a point of the curve, and nobody's log."""


AGAIN = KEY.sign(ARTIFACT, ec.ECDSA(hashes.SHA256()))
"""ECDSA signs differently every time, unless it is told not to."""


def _flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def _resigned(bundle: Bundle) -> Bundle:
    """Another signature by the same key, logged nowhere."""
    assert isinstance(bundle.content, Message)
    return replace(bundle, content=replace(bundle.content, signature=AGAIN))


def _moved(bundle: Bundle) -> Bundle:
    """The proof of the entry beside it."""
    return replace(bundle, entry=replace(bundle.entry, index=0, leaf_index=0))


def _minted(name: str, bundle: Bundle, **members: Any) -> ForeignCase:
    return ForeignCase(name, bundle.to_bytes(), **members)


_PROOF = MESSAGE.entry.proof[0]
_ENVELOPE = STATEMENT.content
assert isinstance(_ENVELOPE, Envelope)

CASES = (
    _minted("a signature over bytes", MESSAGE, holds=True),
    _minted("a statement", STATEMENT, holds=True, artifact=None),
    _minted("a signature by a bare key", BY_KEY, holds=True, by_key=True),
    _minted("other bytes", MESSAGE, artifact=b"another artifact"),
    _minted("somebody else", MESSAGE, identity="https://ci.example/other"),
    _minted("another issuer", MESSAGE, issuer="https://other.example"),
    _minted("another key of the log", MESSAGE, root=_other_log()),
    _minted("another signature than the logged one", _resigned(MESSAGE)),
    _minted("the proof of another entry", _moved(MESSAGE)),
    _minted(
        "a hash of the proof changed",
        replace(MESSAGE, entry=replace(MESSAGE.entry, proof=(_flipped(_PROOF),))),
    ),
    _minted(
        "a line added to the checkpoint",
        replace(
            MESSAGE,
            entry=replace(
                MESSAGE.entry, checkpoint=MESSAGE.entry.checkpoint.replace(b"\n\n", b"\nx\n\n", 1)
            ),
        ),
    ),
    _minted(
        "the entry of another artifact",
        replace(MESSAGE, entry=logged(sha256(b"other"), MESSAGE.signature, MESSAGE.certificate)),
    ),
    _minted(
        "another statement",
        replace(STATEMENT, content=replace(_ENVELOPE, payload=_ENVELOPE.payload + b" ")),
        artifact=None,
    ),
    _minted("no timestamp", replace(MESSAGE, timestamps=())),
    _minted(
        "a timestamp over another signature", replace(MESSAGE, timestamps=STATEMENT.timestamps)
    ),
)
"""Every minted case; ``holds`` says which ones are sound."""


def signed_cases(signed: Signed) -> tuple[ForeignCase, ...]:
    """What stock clients signed through a registry of ours, as it is and tampered with."""
    root = (signed.trust / "trusted_root.json").read_bytes()
    by: dict[str, Any] = {"identity": SUBJECT, "issuer": signed.issuer, "root": root}
    message, statement = (signed.path(name).read_bytes() for name in ("message.json", "dsse.json"))
    told = json.loads(statement)
    payload = told["dsseEnvelope"]["payload"]
    told["dsseEnvelope"]["payload"] = payload[:-8] + "AAAA" + payload[-4:]
    artifact: dict[str, Any] = {"artifact": signed.path("weights").read_bytes()}
    tampered: dict[str, Any] = {"artifact": signed.path("tampered").read_bytes()}
    return (
        ForeignCase("a message", message, holds=True, **by, **artifact),
        ForeignCase("a statement", statement, holds=True, **by, artifact=None),
        ForeignCase("tampered bytes", message, **by, **tampered),
        ForeignCase("a tampered statement", json.dumps(told).encode(), **by, artifact=None),
        ForeignCase(
            "a rival", message, **by | {"identity": "https://ci.example/rival"}, **artifact
        ),
        ForeignCase("another issuer", message, **by | {"issuer": "https://a.example"}, **artifact),
    )


def opened(case: ForeignCase) -> Opened:
    """What our own verifier says of a case.

    Raises:
        RegistryError: It does not hold.
    """
    expected = PublicKey.parse(TOLD_KEY) if case.by_key else Identity(case.issuer, case.identity)
    return open_bundle(
        Bundle.parse(case.bundle),
        Trust.parse(case.root),
        expected,
        artifact=None if case.artifact is None else sha256(case.artifact),
    )


def disagreements(command: Sequence[str | Path], cases: Sequence[ForeignCase]) -> list[str]:
    """The cases that a client decides otherwise than it must, and what it says of them."""
    said = verdicts(command, cases)
    return [
        f"{case.name}: {verdict or 'verified'}"
        for case, verdict in zip(cases, said, strict=True)
        if (verdict == "") is not case.holds
    ]


def verdicts(command: Sequence[str | Path], cases: Sequence[ForeignCase]) -> list[str]:
    """What a client says of each case: nothing if it verified, otherwise why not."""
    done = subprocess.run(
        [str(part) for part in command],
        input=json.dumps([case.members() for case in cases]).encode(),
        capture_output=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    said: list[str] = json.loads(done.stdout)
    assert len(said) == len(cases)
    return said
