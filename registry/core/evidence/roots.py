"""Vendor roots, pinned by the SHA-256 of their DER.

What a chain inside evidence ends in is never trusted by itself. A root that is no vendor's, such as
that of a test vendor, counts only where whoever asks names it, and every result then says so.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

from registry.core.digest import sha256
from registry.core.evidence.checks import CheckError, Finding, Severity


class Vendor(StrEnum):
    """Whose device it is, and for what the root signs."""

    INTEL_SGX = "Intel SGX"
    AMD_MILAN = "AMD Milan"
    AMD_GENOA = "AMD Genoa"
    AMD_TURIN = "AMD Turin"
    AWS_NITRO = "AWS Nitro"
    NVIDIA_DEVICE = "NVIDIA device"
    NVIDIA_RIM = "NVIDIA RIM"
    NVIDIA_TOKEN = "NVIDIA token"  # noqa: S105 - a name


PINNED: dict[Vendor, str] = {
    Vendor.INTEL_SGX: "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3",
    Vendor.AMD_MILAN: "69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd",
    Vendor.AMD_GENOA: "4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1",
    Vendor.AMD_TURIN: "1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a",
    Vendor.AWS_NITRO: "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b",
    Vendor.NVIDIA_DEVICE: "102bf659d5419614c9d8e6aecebc80454eb26b1df6a769ac720b9a690b167b48",
    Vendor.NVIDIA_RIM: "12977b5115acb0381179279fffeb5a8c4d264971ebb32298023a465fa41df5d1",
}
"""SHA-256 of the DER of each vendor's root certificate.

NVIDIA's token service has none: its keys change often and are published over TLS only. Whoever
believes one names it, by the SHA-256 of its SubjectPublicKeyInfo.
"""


@dataclass(frozen=True, slots=True)
class Roots:
    """Which roots count: the vendors' own, and those that were named besides; and for how long.

    Attributes:
        named: SHA-256 of the DER of further roots, in hexadecimal, for each vendor that they
            stand in for.
        answer_days: How many days an answer about revocation counts after it was given, whatever
            window it states itself; None means within that window.
    """

    named: frozenset[tuple[Vendor, str]] = field(default=frozenset())
    answer_days: int | None = None

    @classmethod
    def also(
        cls, more: Iterable[tuple[Vendor, str]] = (), *, answer_days: int | None = None
    ) -> Self:
        """The vendors' roots, and more."""
        return cls(frozenset(more), answer_days)

    def accept(self, vendor: Vendor, der: bytes) -> bool:
        """Take a root for the vendor's; True if it is one that was only named.

        Args:
            vendor: Whose it must be.
            der: The certificate; of the token service, a key's SubjectPublicKeyInfo.

        Raises:
            CheckError: ``UNTRUSTED_ROOT``.
        """
        found = sha256(der).hex()
        if found == PINNED.get(vendor):
            return False
        if (vendor, found) in self.named:
            return True
        raise CheckError(
            Finding.UNTRUSTED_ROOT,
            f"this leads to a root that is not the {vendor} root",
            severity=Severity.CRYPTO,
            expected=PINNED.get(vendor, "one that whoever asks names"),
            actual=found,
        )
