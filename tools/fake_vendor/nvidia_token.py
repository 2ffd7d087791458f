"""Mints tokens as NVIDIA's verifier issues them, and the key set of their issuer."""

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from registry.core.digest import sha256
from registry.core.encoding import base64_text
from registry.core.evidence import base64url
from registry.core.evidence.endorsements import Endorsements, Role
from registry.core.evidence.roots import Roots, Vendor
from registry.core.evidence.validity import seconds
from tools.fake_vendor import pki
from tools.fake_vendor.nvidia import ORDER_P384, sign
from tools.fake_vendor.nvidia_ocsp import NOON

_KEY = pki.p384("token issuer")
KID: Final = "nv-eat-kid-1"
"""What the key is called."""

ISSUER: Final = "https://nras.example"
"""Who issues the tokens."""

NONCE: Final = bytes(range(32))
"""What the devices were asked with."""

Claims = dict[str, object]


@dataclass(frozen=True)
class Spec:
    """What the verifier says, and each defect.

    Attributes:
        at: When the tokens are issued.
        life: How long they count.
        devices: How many GPUs.
        nonce: What they were asked with.
        overall: Changes the claims of the overall token.
        device: Changes the claims of a device's token, by its number.
        bundle: Changes the tokens by name; the overall one is called ``""``.
        key: Who signs them.
        algorithm: How they say to be signed.
    """

    at: datetime = NOON
    life: timedelta = timedelta(hours=1)
    devices: int = 2
    nonce: bytes = NONCE
    overall: Callable[[Claims], Claims] = lambda claims: claims
    device: Callable[[int, Claims], Claims] = lambda _, claims: claims
    bundle: Callable[[dict[str, str]], dict[str, str]] = lambda tokens: tokens
    key: ec.EllipticCurvePrivateKey = field(default=_KEY)
    algorithm: str = "ES384"


@dataclass(frozen=True)
class Minted:
    """A detached EAT, the key set, and the key by name."""

    evidence: bytes
    endorsements: Endorsements
    roots: Roots


def mint(spec: Spec | None = None) -> Minted:
    """A detached EAT about some GPUs."""
    spec = spec or Spec()
    issued = seconds(spec.at)
    common: Claims = {
        "iss": ISSUER,
        "iat": issued,
        "nbf": issued,
        "exp": issued + int(spec.life.total_seconds()),
        "eat_nonce": spec.nonce.hex(),
    }

    def signed(claims: Claims) -> str:
        return token(claims, spec.algorithm, key=spec.key)

    members = {
        f"GPU-{number}": signed(spec.device(number, {**common, **_of_device(number)}))
        for number in range(spec.devices)
    }
    digests = {
        name: ["DIGEST", ["SHA-256", sha256(text.encode()).hex()]] for name, text in members.items()
    }
    whole: Claims = {
        **common,
        "sub": "NVIDIA-PLATFORM-ATTESTATION",
        "x-nvidia-ver": "3.0",
        "x-nvidia-overall-att-result": True,
        "submods": digests,
    }
    tokens = spec.bundle({"": signed(spec.overall(whole)), **members})
    evidence = json.dumps([["JWT", tokens.pop("")], tokens]).encode()
    return Minted(evidence, Endorsements.of([(Role.NVIDIA_JWKS, jwk_set())]), roots_of())


def roots_of() -> Roots:
    """The issuer's key, named."""
    return Roots.also([(Vendor.NVIDIA_TOKEN, key_sha256())])


def key_sha256(key: ec.EllipticCurvePrivateKey = _KEY) -> str:
    """By what a policy names a key."""
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return sha256(spki).hex()


def token(
    claims: Mapping[str, object],
    algorithm: str = "ES384",
    *,
    key: ec.EllipticCurvePrivateKey = _KEY,
    **header: object,
) -> str:
    """A token that says by what it is signed, and is if that can be."""
    said = {"alg": algorithm, "kid": KID, **header}
    signed = f"{_part(json.dumps(said).encode())}.{_part(json.dumps(claims).encode())}"
    if algorithm == "none":
        return f"{signed}."
    if algorithm == "HS256":
        return f"{signed}.{_part(hmac.digest(b'secret', signed.encode(), hashlib.sha256))}"
    return f"{signed}.{_part(sign(key, signed.encode()))}"


def high_s(text: str) -> str:
    """The same token with the other spelling of its signature."""
    signed, _, signature = text.rpartition(".")
    raw = _bytes(signature)
    s = ORDER_P384 - int.from_bytes(raw[48:], "big")
    return f"{signed}.{_part(raw[:48] + s.to_bytes(48, 'big'))}"


def jwk_set(key: ec.EllipticCurvePrivateKey = _KEY, **changed: object) -> bytes:
    """The issuer's key set, with the first key changed."""
    numbers = key.public_key().public_numbers()
    said = {
        "kty": "EC",
        "crv": "P-384",
        "kid": KID,
        "alg": "ES384",
        "use": "sig",
        "x": _part(numbers.x.to_bytes(48, "big")),
        "y": _part(numbers.y.to_bytes(48, "big")),
        **changed,
    }
    return json.dumps({"keys": [said]}).encode()


def _of_device(number: int) -> Claims:
    return {
        "ueid": str(number),
        "hwmodel": "GH100 A01 GSP BROM",
        "measres": "success",
        "dbgstat": "disabled",
        "secboot": True,
        "x-nvidia-device-type": "gpu",
        "x-nvidia-gpu-attestation-report-nonce-match": True,
        "x-nvidia-gpu-attestation-report-signature-verified": True,
        "x-nvidia-gpu-driver-version": "550.90.07",
        "x-nvidia-gpu-vbios-version": "96.00.9F.00.01",
        "x-nvidia-mismatch-measurement-records": None,
    }


def _part(data: bytes) -> str:
    return base64_text(data).rstrip("=").replace("+", "-").replace("/", "_")


def _bytes(part: str) -> bytes:
    return base64url.read(part, padded=False)
