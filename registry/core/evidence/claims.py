"""Claims: what evidence says of its device, and the evidence id, which is over signed regions only.

Evidence bytes are malleable: signatures have second spellings, certificates and padding are not
signed. Two blobs with one evidence id are the same evidence.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from registry.core.evidence.checks import CheckResult
from registry.core.evidence.validity import Validity
from registry.errors import LimitExceededError, Reason

MAX_EVIDENCE_BYTES = 4 * 1024 * 1024
"""Bytes of one piece of evidence; a set of twelve NVIDIA devices takes about 200 KiB."""

_ID_PREFIX = b"provreg/evidence-id/v1\0"

ClaimValue = bytes | str | int | bool | tuple[str, ...]
"""What a claim may be. Bytes are compared as lowercase hexadecimal."""


class Family(StrEnum):
    """Kinds of evidence; the string goes into the evidence id."""

    INTEL_DCAP = "intel-dcap"
    AMD_SNP = "amd-snp"
    AWS_NITRO = "aws-nitro"
    NVIDIA_SPDM = "nvidia-spdm"
    NVIDIA_SET = "nvidia-set"
    NVIDIA_EAT = "nvidia-eat"
    AZURE_SNP_VTPM = "azure-snp-vtpm"
    AZURE_TDX_VTPM = "azure-tdx-vtpm"


def evidence_id(family: Family, regions: Iterable[bytes]) -> bytes:
    """The 32 bytes that name evidence, over its signed regions in the order of its family.

    ``SHA-256("provreg/evidence-id/v1" ‖ 00 ‖ family ‖ 00 ‖ Σ(u32be(length) ‖ region))``.
    """
    state = hashlib.sha256(_ID_PREFIX + family.encode() + b"\0")
    for region in regions:
        state.update(len(region).to_bytes(4, "big"))
        state.update(region)
    return state.digest()


def check_size(evidence: bytes) -> None:
    """Refuse evidence that no device makes, before anything reads it.

    Raises:
        LimitExceededError: ``EVIDENCE_SIZE``.
    """
    if len(evidence) > MAX_EVIDENCE_BYTES:
        raise LimitExceededError(
            Reason.EVIDENCE_SIZE,
            "this is too large for evidence",
            expected=f"at most {MAX_EVIDENCE_BYTES} bytes",
            actual=f"{len(evidence)} bytes",
        )


@dataclass(frozen=True, slots=True)
class Examination:
    """What the cryptography says of one piece of evidence at one moment.

    Attributes:
        family: The kind of evidence.
        at: The moment that counts, in Unix seconds.
        evidence_id: Its name; None if it could not be read that far.
        claims: What it says, by the names of its family. They are believed only if no check of
            severity ``crypto`` or ``identity`` failed.
        checks: At least one result for each check of the family's table.
        window: When all endorsements that were used are valid at once; None if none was used.
        endorsements: SHA-256 of every endorsement that was used, in hexadecimal, sorted.
        configured_roots: SHA-256 of each root that the evidence leads to and that is no vendor's
            but was named by whoever asked, such as that of a test vendor.
        members: The examinations of the single devices of a set.
    """

    family: Family
    at: int
    evidence_id: bytes | None
    claims: Mapping[str, ClaimValue]
    checks: tuple[CheckResult, ...]
    window: Validity | None
    endorsements: tuple[str, ...] = ()
    configured_roots: tuple[str, ...] = ()
    members: tuple["Examination", ...] = field(default=())
