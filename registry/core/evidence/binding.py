"""What an attester commits to: the nonce, its session key, the model, the GPU evidence.

Proof that some device said something is no proof that it is *this* device, key or model. The
commitment is length-prefixed and domain-separated, so that no two bindings share a preimage::

    R = SHA-512("provreg/report-data/v1" ‖ 00 ‖ Σ(u8 tag ‖ u32be length ‖ value))

with tags ascending, each at most once. An absent tag claims nothing.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum

from registry.core.digest import SHA256_SIZE, sha256
from registry.core.evidence.claims import ClaimValue, Family

NONCE_BYTES = 32
"""Bytes of a nonce that the registry issues."""

GPU_FAMILIES = frozenset({Family.NVIDIA_SPDM, Family.NVIDIA_SET, Family.NVIDIA_EAT})
"""Evidence that commits to a nonce and to nothing else; a CPU's evidence vouches for it."""

_REPORT_DATA = b"provreg/report-data/v1\0"
_GPU_NONCE = b"provreg/gpu-nonce/v1\0"


class Mismatch(StrEnum):
    """How evidence can be about something else than what it was submitted for."""

    WRONG_COMMITMENT = "WRONG_COMMITMENT"
    WRONG_NONCE = "WRONG_NONCE"
    WRONG_SESSION_KEY = "WRONG_SESSION_KEY"
    WRONG_MODEL = "WRONG_MODEL"
    WRONG_GPU = "WRONG_GPU"
    WRONG_CONTEXT = "WRONG_CONTEXT"


@dataclass(frozen=True, slots=True)
class Binding:
    """What evidence is about. The order of the fields is that of their tags, from 1.

    Attributes:
        nonce: What the registry issued: 32 bytes.
        session_key: DER SubjectPublicKeyInfo of the key that will sign; committed by its SHA-256.
        model: Manifest digest of the model version that is served: 32 bytes.
        gpu: Evidence id of the GPUs, which are asked first: 32 bytes.
        context: Digest of the inference batch or boot that it is for: 32 bytes.
    """

    nonce: bytes | None = None
    session_key: bytes | None = None
    model: bytes | None = None
    gpu: bytes | None = None
    context: bytes | None = None

    def preimage(self) -> bytes:
        """What is hashed into the commitment."""
        parts = [_REPORT_DATA]
        for tag, field in enumerate(fields(self), start=1):
            value: bytes | None = getattr(self, field.name)
            if value is not None:
                committed = sha256(value) if field.name == "session_key" else value
                parts += [bytes([tag]), len(committed).to_bytes(4, "big"), committed]
        return b"".join(parts)

    def report_data(self) -> bytes:
        """The 64 bytes that an SGX, TDX or SNP report, or a Nitro document's user data, holds."""
        return hashlib.sha512(self.preimage()).digest()

    def tpm_nonce(self) -> bytes:
        """The 32 bytes that an Azure vTPM signs, whose report data belongs to the paravisor."""
        return sha256(self.preimage())

    def gpu_nonce(self) -> bytes:
        """The 32 bytes that a GPU is asked with, before anything else can be known."""
        return gpu_nonce(self.nonce or bytes(NONCE_BYTES))


def gpu_nonce(nonce: bytes) -> bytes:
    """The request nonce of a GPU for a nonce that the registry issued."""
    return sha256(_GPU_NONCE + nonce)


def committed(family: Family, binding: Binding) -> dict[str, bytes]:
    """The claims in which evidence of a family holds its commitment, and what they must be."""
    match family:
        case Family.INTEL_DCAP | Family.AMD_SNP:
            return {"report_data": binding.report_data()}
        case Family.AWS_NITRO:
            said = {"user_data": binding.report_data()}
            if binding.nonce is not None:
                said["nonce"] = binding.nonce
            if binding.session_key is not None:
                said["public_key"] = binding.session_key
            return said
        case Family.AZURE_SNP_VTPM | Family.AZURE_TDX_VTPM:
            return {"tpm_nonce": binding.tpm_nonce()}
        case Family.NVIDIA_SPDM | Family.NVIDIA_SET | Family.NVIDIA_EAT:
            return {"nonce": binding.gpu_nonce()}


_WRONG: dict[str, Mismatch] = {
    "nonce": Mismatch.WRONG_NONCE,
    "session_key": Mismatch.WRONG_SESSION_KEY,
    "model": Mismatch.WRONG_MODEL,
    "gpu": Mismatch.WRONG_GPU,
    "context": Mismatch.WRONG_CONTEXT,
}


def mismatches(
    family: Family, claims: Mapping[str, ClaimValue], stated: Binding, expected: Binding
) -> tuple[tuple[Mismatch, str], ...]:
    """How evidence is about something else than expected; empty if it is about just that.

    Args:
        family: The kind of evidence.
        claims: What the evidence says.
        stated: What the submitter says that the device committed to.
        expected: What it must be about. What is None here is not asked for.

    Returns:
        Each mismatch by name, and what was found in plain words.
    """
    found: list[tuple[Mismatch, str]] = []
    for name, wanted in committed(family, stated).items():
        said = claims.get(name, b"")
        # All bytes count: neither a prefix nor the hexadecimal text of the commitment is one.
        if not isinstance(said, bytes) or not hmac.compare_digest(said, wanted):
            shown = said.hex() if isinstance(said, bytes) else str(said)
            text = f"{name} is {shown[:128] or 'empty'}, not the commitment {wanted.hex()}"
            found.append((Mismatch.WRONG_COMMITMENT, text))
    if family in GPU_FAMILIES:
        # A GPU can commit to nothing but the nonce; the CPU's evidence commits to the GPU's.
        expected = Binding(nonce=expected.nonce)
    for field in fields(expected):
        wanted = getattr(expected, field.name)
        said = getattr(stated, field.name)
        if wanted is None:
            continue
        if said is None or not hmac.compare_digest(said, wanted):
            shown = said.hex()[:64] if said is not None else "nothing"
            text = f"the evidence is for {field.name.replace('_', ' ')} {shown}"
            found.append((_WRONG[field.name], f"{text}, not for {wanted.hex()[:64]}"))
    return tuple(found)


def check_shape(binding: Binding) -> bool:
    """Whether every digest of a binding has its size."""
    sized = (binding.nonce, binding.model, binding.gpu, binding.context)
    return all(value is None or len(value) == SHA256_SIZE for value in sized)
