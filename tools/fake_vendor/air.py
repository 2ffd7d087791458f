"""AIR v1 receipts of an enclave of our own, with its document or quote, and any defect.

For tests of a reader only: nothing of the project writes such receipts.

::

    caught = mint(Spec(platform="tdx"))
    examine(System.AIR, caught.captured, caught.asked())
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import cbor2

from registry.core.digest import sha256
from registry.core.evidence.endorsements import Endorsements
from registry.core.evidence.policy import Policy
from registry.core.foreign.captured import PartRole
from tools.fake_vendor import intel, nitro
from tools.fake_vendor.caught import NOON, Caught, believing, key_of, public_bytes

SEED: Final = 0x2A
"""The seed of the published vectors' key, 32 times."""

PROTECTED: Final = bytes.fromhex("a2012703183d")
PROFILE: Final = "https://spec.cyntrisec.com/air/v1"
REQUEST: Final = b'{"input": "hi"}'
RESPONSE: Final = b'{"output": "hello"}'

_NOON_SECONDS: Final = int(NOON.timestamp())


def _same(value: Any) -> Any:
    return value


def deterministic(claims: Mapping[Any, Any]) -> bytes:
    """The one encoding."""
    return cbor2.dumps(claims, canonical=True)


def descending(claims: Mapping[Any, Any]) -> bytes:
    """With the keys the other way round, as the published vectors that must fail once were."""
    ordered = sorted(claims, key=cbor2.dumps, reverse=True)
    return cbor2.dumps({key: claims[key] for key in ordered})


@dataclass(frozen=True)
class Spec:
    """One receipt.

    Attributes:
        platform: ``nitro`` or ``tdx``.
        nonce: The claim; None for a receipt without.
        claims: Edits the claims, by their numbers.
        encode: How the claims are encoded.
        protected: The protected header.
        unprotected: The unprotected header.
        tag: What stands before the message.
        message: Edits the finished receipt.
        signer: The seed of the key that signs.
        key: Edits the key as it is handed over.
        bound: Whether the evidence commits to the key, and how.
    """

    platform: str = "nitro"
    nonce: bytes | None = None
    claims: Callable[[dict[Any, Any]], dict[Any, Any]] = _same
    encode: Callable[[Mapping[Any, Any]], bytes] = deterministic
    protected: bytes = PROTECTED
    unprotected: Mapping[Any, Any] | None = None
    tag: bytes = b"\xd2"
    message: Callable[[bytes], bytes] = _same
    signature: Callable[[bytes], bytes] = _same
    signer: int = SEED
    key: Callable[[bytes], bytes] = _same
    bound: Callable[[bytes], bytes] | None = _same


def sign(claims: Mapping[Any, Any], spec: Spec) -> bytes:
    """A receipt of these claims."""
    payload = spec.encode(claims)
    signed = cbor2.dumps(["Signature1", spec.protected, b"", payload])
    signature = spec.signature(key_of(spec.signer).sign(signed))
    message = [spec.protected, dict(spec.unprotected or {}), payload, signature]
    return spec.message(spec.tag + cbor2.dumps(message))


def claims_of(platform: str, measurements: Mapping[str, bytes], document: bytes) -> dict[Any, Any]:
    """The claims of a receipt over our request and response."""
    kind = "nitro-pcr" if platform == "nitro" else "tdx-mrtd-rtmr"
    return {
        1: "enclave.test",
        6: _NOON_SECONDS - 60,
        7: bytes(range(16)),
        265: PROFILE,
        -65537: "acme/x",
        -65538: "1.2.0",
        -65539: b"\xaa" * 32,
        -65540: sha256(REQUEST),
        -65541: sha256(RESPONSE),
        -65542: sha256(document),
        -65543: {**measurements, "measurement_type": kind},
        -65544: "policy-2026.02",
        -65545: 42,
        -65546: 116,
        -65547: 512,
        -65548: "production",
    }


def mint(spec: Spec | None = None) -> Caught:
    """Make a receipt and the evidence of its enclave."""
    spec = spec or Spec()
    key = public_bytes(key_of(SEED))
    committed = b"" if spec.bound is None else spec.bound(key)
    evidence, measurements, endorsements, policy = _evidence(spec.platform, committed)
    claims = claims_of(spec.platform, measurements, evidence)
    if spec.nonce is not None:
        claims[10] = spec.nonce
    parts = (
        (PartRole.RECEIPT, sign(spec.claims(claims), spec)),
        (PartRole.KEY, spec.key(key)),
        (PartRole.EVIDENCE, evidence),
        (PartRole.REQUEST, REQUEST),
        (PartRole.RESPONSE, RESPONSE),
    )
    return Caught(parts, endorsements, policy, spec.nonce)


def _evidence(
    platform: str, committed: bytes
) -> tuple[bytes, dict[str, bytes], Endorsements, Policy]:
    if platform == "nitro":
        made = nitro.mint(nitro.Spec(public_key=committed or None))
        pcrs = nitro.Spec().pcrs
        measured = {f"pcr{index}": pcrs[index] for index in (0, 1, 2, 8)}
        return made.evidence, measured, made.endorsements, believing("aws-nitro", made.roots)
    measured = {"pcr0": b"\x11" * 48, "pcr1": b"\x22" * 48, "pcr2": b"\x33" * 48}
    fields = {"mr_td": measured["pcr0"], "rtmr0": measured["pcr1"], "rtmr1": measured["pcr2"]}
    quoted = intel.mint(intel.Spec(report_data=committed.ljust(64, b"\0"), fields=fields))
    policy = believing("intel-dcap", quoted.roots)
    return quoted.evidence, measured, quoted.endorsements, policy
