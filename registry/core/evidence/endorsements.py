"""Endorsements (RFC 9334 §8.2): what a vendor says of its devices, kept as the bytes it signed.

Most of it is published for days or weeks only, so it is archived whole at ingest. An endorsement
is named by its role; which device or certificate it speaks of is in its signed content.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from registry.core.digest import sha256
from registry.errors import LimitExceededError, Reason

MAX_ENDORSEMENT_BYTES = 2 * 1024 * 1024
"""Bytes of one endorsement; a large PCK CRL takes some 10 KiB, an NVIDIA manifest 100 KiB."""

MAX_ENDORSEMENTS = 256
"""Endorsements for one piece of evidence; twelve NVIDIA devices take about 100."""


class Role(StrEnum):
    """What an endorsement is for.

    The values are stable. Certificates, CRLs and OCSP answers are DER, chains are PEM, NVIDIA's
    manifests are the XML that was signed, JSON is the exact body of the vendor's answer: for Intel
    ``{"tcbInfo":{…},"signature":hex}`` and ``{"enclaveIdentity":{…},"signature":hex}``.
    """

    INTEL_TCB_INFO = "intel-tcb-info"
    INTEL_TCB_CHAIN = "intel-tcb-chain"
    INTEL_QE_IDENTITY = "intel-qe-identity"
    INTEL_QE_CHAIN = "intel-qe-chain"
    INTEL_ROOT_CRL = "intel-root-crl"
    INTEL_PCK_CRL = "intel-pck-crl"
    INTEL_PCK_CRL_CHAIN = "intel-pck-crl-chain"
    INTEL_PCK_CHAIN = "intel-pck-chain"
    AMD_VEK = "amd-vek"
    AMD_CHAIN = "amd-chain"
    AMD_CRL = "amd-crl"
    NITRO_CRL = "nitro-crl"
    NVIDIA_RIM = "nvidia-rim"
    NVIDIA_OCSP = "nvidia-ocsp"
    NVIDIA_JWKS = "nvidia-jwks"
    EVENT_LOG = "event-log"


@dataclass(frozen=True, slots=True)
class Endorsement:
    """One thing that a vendor published.

    Attributes:
        role: What it is for.
        data: The exact bytes.
    """

    role: Role
    data: bytes

    @property
    def sha256(self) -> str:
        """The name of its bytes, in hexadecimal."""
        return sha256(self.data).hex()


@dataclass(frozen=True, slots=True)
class Endorsements:
    """A snapshot of endorsements: nothing fetched while an examination runs can mix in."""

    items: tuple[Endorsement, ...] = ()

    @classmethod
    def of(cls, items: Iterable[tuple[Role, bytes]]) -> Self:
        """Gather endorsements, each once, in a stable order.

        Raises:
            LimitExceededError: ``ENDORSEMENT_SIZE``.
        """
        kept = {(role, data) for role, data in items}
        for role, data in kept:
            if len(data) > MAX_ENDORSEMENT_BYTES:
                raise _too_large(role, f"{len(data)} bytes", f"{MAX_ENDORSEMENT_BYTES} bytes")
        if len(kept) > MAX_ENDORSEMENTS:
            raise _too_large("all", f"{len(kept)} endorsements", f"{MAX_ENDORSEMENTS}")
        return cls(tuple(Endorsement(role, data) for role, data in sorted(kept)))

    def all(self, role: Role) -> tuple[bytes, ...]:
        """Everything at hand in one role; may be nothing."""
        return tuple(item.data for item in self.items if item.role is role)

    def with_(self, more: Iterable[tuple[Role, bytes]]) -> Self:
        """These and more."""
        return self.of([*((item.role, item.data) for item in self.items), *more])


def _too_large(where: str, actual: str, limit: str) -> LimitExceededError:
    return LimitExceededError(
        Reason.ENDORSEMENT_SIZE,
        "these endorsements are too large",
        where=where,
        expected=f"at most {limit}",
        actual=actual,
    )
